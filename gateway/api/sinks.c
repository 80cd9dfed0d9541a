/* Sinks: list, get, flush. */
#include "gateway/api/router.h"

void api_sinks_list(ApiRequest *request) {
    ApiPage page;
    if (!api_page(request, request->parameters[0], request->parameters[1], &page)) return;
    const RegistrySource *source = request->source;
    json_t *list = json_array();
    check(list);
    const char *last = NULL;
    for (size_t i = registry_sink_after(source, page.after_id); i < source->sink_count && json_array_size(list) < page.limit; i++) {
        const Sink *sink = source->sinks[i]->sink;
        if (sink->deleted != 0) continue;
        check(json_array_append_new(list, sink_to_json(sink)) == 0);
        last = sink->sink_id;
    }
    json_t *answer = json_pack("{s:o, s:o}", "sinks", list, "page", api_page_json(&page, registry_live_sinks(source), last));
    check(answer);
    api_answer(request, 200, answer);
}

void api_sinks_get(ApiRequest *request) {
    api_answer(request, 200, sink_to_json(request->sink->sink));
}

void api_sinks_flush(ApiRequest *request) {
    Failure failure = {0};
    api_taken(request, control_flush(request->control, request->source, request->sink, request->call, &failure), &failure);
}
