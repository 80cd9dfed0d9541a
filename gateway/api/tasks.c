/* Tasks. */
#include "gateway/api/router.h"

void api_tasks_get(ApiRequest *request) {
    Failure failure = {0};
    api_taken(request, control_show_task(request->control, request->task_id, request->source_id, request->call, &failure), &failure);
}
