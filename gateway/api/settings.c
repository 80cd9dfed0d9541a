/* Settings of sources and sinks. */
#include "base/error.h"
#include "gateway/api/router.h"

void api_settings_get(ApiRequest *request) {
    const Settings *source = &request->source->source->settings;
    const Settings *sink = request->sink ? &request->sink->sink->settings : NULL;
    json_t *answer = json_pack("{s:o}", "settings", settings_to_json(source, sink, sink != NULL));
    check(answer);
    api_answer(request, 200, answer);
}

void api_settings_patch(ApiRequest *request) {
    api_change(request, CHANGE_SETTINGS, false);
}
