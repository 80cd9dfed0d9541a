/* A manifest: a source with its sinks and settings, at once. */
#include "gateway/api/router.h"

void api_manifest(ApiRequest *request) {
    ChangeRequest change = {.kind = CHANGE_MANIFEST, .source_id = request->source_id, .body = request->body, .by = request->by};
    bool dry_run = false;
    if (!api_boolean(request, "dryRun", request->parameters[0], &dry_run) ||
        !api_boolean(request, "prune", request->parameters[1], &change.prune) ||
        !api_keep_positions(request, request->parameters[2], &change.keep_positions) ||
        !api_boolean(request, "resetSettings", request->parameters[4], &change.reset_settings) ||
        !api_if_match(request, &change.if_version))
        return;
    if (dry_run) change.assumed = request->parameters[3];
    Failure failure = {0};
    int r = dry_run ? control_preview(request->control, &change, request->call, &failure)
                    : control_change(request->control, &change, request->call, &failure);
    api_taken(request, r, &failure);
}
