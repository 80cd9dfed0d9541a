/* A manifest: a source with its sinks and settings, at once. */
#include "gateway/api/router.h"
#include "gateway/control/preview.h"

void api_manifest(ApiRequest *request) {
    Control *control = request->control;
    ChangeRequest change = {.kind = CHANGE_MANIFEST, .source_id = request->source_id, .body = request->body, .by = request->by};
    bool dry_run = false;
    if (!api_boolean(request, "dryRun", request->parameters[0], &dry_run) ||
        !api_boolean(request, "prune", request->parameters[1], &change.prune) || !api_if_match(request, &change.if_version))
        return;
    Task *task = NULL;
    Failure failure = {0};
    TemplateCheck *needed = NULL;
    int r = dry_run ? preview_start(control, &change, request->call, &needed, &failure)
                    : change_start(control, &change, &task, &needed, &failure);
    if (r != 0) {
        api_change_not_started(request, r, needed, &failure);
    } else if (dry_run) {
        request->call = NULL; /* taken */
    } else {
        tasks_answer(control->tasks, task, api_keep(request), 202);
    }
}
