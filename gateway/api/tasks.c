/* Tasks. */
#include "base/log.h"
#include "gateway/api/router.h"

void api_tasks_get(ApiRequest *request) {
    Tasks *tasks = request->control->tasks;
    json_t *shown;
    Error error = {0};
    int r = tasks_find(tasks, request->task_id, request->source_id, &shown, &error);
    if (r < 0) {
        log_failure(LOG_ERROR, "a task cannot be read", &error);
        api_fail(request, 500, "internalError", "The task cannot be read.");
        return;
    }
    if (r == TASKS_NOT_FOUND) {
        api_fail(request, 404, "taskNotFound", "There is no task \"%.60s\".", request->task_id);
        return;
    }
    Task *live = tasks_live(tasks, request->task_id);
    if (!live) {
        api_answer(request, 200, shown);
        return;
    }
    json_decref(shown);
    tasks_answer(tasks, live, api_keep(request), 200);
}
