/* Sources, and what sources and sinks have in common: patch, delete, enable, disable, undelete,
 * pause, resume. */
#include <stdlib.h>
#include <string.h>

#include "gateway/api/router.h"

static json_t *show(const ApiRequest *request, const Source *source) {
    const Options *options = request->view->options;
    /* Read anew each time: public-url may be reloaded. */
    const char *url = options->public_url && options->public_url[0] ? options->public_url : request->view->intake_url;
    return source_to_json(source, url, options->project, request->role >= ROLE_OPERATOR);
}

void api_sources_list(ApiRequest *request) {
    ApiPage page;
    if (!api_page(request, request->parameters[0], request->parameters[1], &page)) return;
    const Registry *registry = request->view->registry;
    json_t *list = json_array();
    check(list);
    const char *last = NULL;
    for (size_t i = registry_after(registry, page.after_id); i < registry->count && json_array_size(list) < page.limit; i++) {
        const Source *source = registry->sources[i]->source;
        if (source->deleted != 0) continue;
        check(json_array_append_new(list, show(request, source)) == 0);
        last = source->source_id;
    }
    json_t *answer = json_pack("{s:o, s:o}", "sources", list, "page", api_page_json(&page, registry_live_sources(registry), last));
    check(answer);
    api_answer(request, 200, answer);
}

void api_sources_get(ApiRequest *request) {
    api_answer(request, 200, show(request, request->source->source));
}

bool api_if_match(ApiRequest *request, uint32_t *ret_version) {
    const char *text = request->call->if_match;
    *ret_version = 0;
    if (!text[0] || strcmp(text, "*") == 0) return true;
    const char *digits = text[0] == '"' ? text + 1 : text;
    char *end = NULL;
    unsigned long version = digits[0] >= '0' && digits[0] <= '9' ? strtoul(digits, &end, 10) : 0;
    bool closed = text[0] != '"' || (end && *end++ == '"');
    if (!end || !closed || *end || version < 1 || version > UINT32_MAX) {
        api_fail(request, 400, "badRequest", "If-Match must be the number of a version, such as \"3\".");
        return false;
    }
    *ret_version = (uint32_t)version;
    return true;
}

static void start(ApiRequest *request, ChangeRequest *change) {
    if (!api_if_match(request, &change->if_version)) return;
    change->by = request->by;
    change->body = request->body;
    Failure failure = {0};
    api_taken(request, control_change(request->control, change, request->call, &failure), &failure);
}

void api_sources_create(ApiRequest *request) {
    ChangeRequest change = {.kind = CHANGE_CREATE};
    start(request, &change);
}

void api_sinks_create(ApiRequest *request) {
    ChangeRequest change = {.kind = CHANGE_CREATE, .of_sink = true, .source_id = request->source_id};
    start(request, &change);
}

void api_change(ApiRequest *request, ChangeKind kind, bool discard) {
    ChangeRequest change = {
        .kind = kind,
        .of_sink = request->sink_id != NULL,
        .source_id = request->source_id,
        .sink_id = request->sink_id,
        .discard = discard,
    };
    start(request, &change);
}

void api_patch(ApiRequest *request) {
    api_change(request, CHANGE_PATCH, false);
}

void api_sinks_patch(ApiRequest *request) {
    ChangeRequest change = {.kind = CHANGE_PATCH, .of_sink = true, .source_id = request->source_id, .sink_id = request->sink_id};
    if (api_keep_positions(request, request->parameters[0], &change.keep_positions)) start(request, &change);
}

void api_delete(ApiRequest *request) {
    bool discard = false;
    if (!api_boolean(request, "discard", request->parameters[0], &discard)) return;
    api_change(request, CHANGE_DELETE, discard);
}

void api_enable(ApiRequest *request) {
    api_change(request, CHANGE_ENABLE, false);
}

void api_disable(ApiRequest *request) {
    api_change(request, CHANGE_DISABLE, false);
}

void api_undelete(ApiRequest *request) {
    api_change(request, CHANGE_UNDELETE, false);
}

void api_pause(ApiRequest *request) {
    api_change(request, CHANGE_PAUSE, false);
}

void api_resume(ApiRequest *request) {
    api_change(request, CHANGE_RESUME, false);
}
