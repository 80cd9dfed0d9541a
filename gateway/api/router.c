#include "gateway/api/router.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"

#define SEGMENTS_MAX 12
#define BRANCH "/v1/branches/{branch}"
#define SOURCE BRANCH "/sources/{source}"
#define SINK SOURCE "/sinks/{sink}"

static const ApiRoute routes[] = {
    {"GET", "/v1", ROLE_READ, API_NO_BODY, API_PUBLIC, api_about, {0}},
    {"GET", "/health-check", ROLE_READ, API_NO_BODY, API_PUBLIC | API_ALWAYS, api_health, {0}},
    {"GET", "/health", ROLE_READ, API_NO_BODY, API_PUBLIC | API_ALWAYS, api_health, {0}},
    {"GET", "/ready", ROLE_READ, API_NO_BODY, API_PUBLIC | API_ALWAYS, api_ready, {0}},
    {"GET", "/metrics", ROLE_READ, API_NO_BODY, API_ALWAYS, api_metrics, {0}},
    {"GET", "/v1/tasks/{task}", ROLE_READ, API_NO_BODY, 0, api_tasks_get, {0}},
    {"POST", "/v1/backup", ROLE_ADMIN, API_NO_BODY, 0, api_backup, {"name"}},
    {"GET", BRANCH "/connections", ROLE_READ, API_NO_BODY, 0, api_connections, {0}},
    {"PUT", BRANCH "/connections/{connection}", ROLE_ADMIN, API_JSON, 0, api_connections_declare, {"dryRun"}},
    {"DELETE", BRANCH "/connections/{connection}", ROLE_ADMIN, API_NO_BODY, 0, api_connections_withdraw, {0}},
    {"PUT", BRANCH "/connections/{connection}/pause", ROLE_OPERATOR, API_NO_BODY, 0, api_connections_pause, {0}},
    {"PUT", BRANCH "/connections/{connection}/resume", ROLE_OPERATOR, API_NO_BODY, 0, api_connections_resume, {0}},
    {"POST", BRANCH "/connections/{connection}/test", ROLE_OPERATOR, API_NO_BODY, 0, api_connections_test, {0}},
    {"GET", BRANCH "/status", ROLE_READ, API_NO_BODY, 0, api_status, {0}},
    {"GET", BRANCH "/aggregation/sources", ROLE_READ, API_NO_BODY, 0, api_aggregation, {"afterId", "limit"}},
    {"GET", BRANCH "/events/{event}", ROLE_READ, API_NO_BODY, 0, api_events_get, {"sourceId"}},
    {"GET", BRANCH "/sources", ROLE_READ, API_NO_BODY, 0, api_sources_list, {"afterId", "limit"}},
    {"POST", BRANCH "/sources", ROLE_ADMIN, API_JSON, 0, api_sources_create, {0}},
    {"GET", SOURCE, ROLE_READ, API_NO_BODY, 0, api_sources_get, {0}},
    {"PATCH", SOURCE, ROLE_ADMIN, API_JSON, 0, api_patch, {0}},
    {"DELETE", SOURCE, ROLE_ADMIN, API_NO_BODY, 0, api_delete, {"discard"}},
    {"PUT", SOURCE "/enable", ROLE_ADMIN, API_NO_BODY, 0, api_enable, {0}},
    {"PUT", SOURCE "/disable", ROLE_ADMIN, API_NO_BODY, 0, api_disable, {0}},
    {"PUT", SOURCE "/undelete", ROLE_ADMIN, API_NO_BODY, API_DELETED, api_undelete, {0}},
    {"PUT",
     SOURCE "/manifest",
     ROLE_ADMIN,
     API_MANIFEST,
     API_NO_LOOK,
     api_manifest,
     {"dryRun", "prune", "positions", "assumed", "resetSettings"}},
    {"PUT", SOURCE "/pause", ROLE_OPERATOR, API_NO_BODY, 0, api_pause, {0}},
    {"PUT", SOURCE "/resume", ROLE_OPERATOR, API_NO_BODY, 0, api_resume, {0}},
    {"GET", SOURCE "/settings", ROLE_READ, API_NO_BODY, 0, api_settings_get, {0}},
    {"PATCH", SOURCE "/settings", ROLE_OPERATOR, API_JSON, 0, api_settings_patch, {0}},
    {"POST", SOURCE "/test", ROLE_OPERATOR, API_ANY_BODY, 0, api_test, {"meta"}},
    {"GET", SOURCE "/bridge", ROLE_READ, API_NO_BODY, 0, api_bridge_get, {"afterId", "limit"}},
    {"POST", SOURCE "/bridge/seek", ROLE_OPERATOR, API_JSON, 0, api_bridge_seek, {"duplicates"}},
    {"POST", SOURCE "/bridge/skip", ROLE_OPERATOR, API_JSON, 0, api_bridge_skip, {0}},
    {"GET", SOURCE "/tasks/{task}", ROLE_READ, API_NO_BODY, API_NO_LOOK, api_tasks_get, {0}},
    {"GET", SOURCE "/sinks", ROLE_READ, API_NO_BODY, 0, api_sinks_list, {"afterId", "limit"}},
    {"POST", SOURCE "/sinks", ROLE_ADMIN, API_JSON, 0, api_sinks_create, {0}},
    {"GET", SINK, ROLE_READ, API_NO_BODY, 0, api_sinks_get, {0}},
    {"PATCH", SINK, ROLE_ADMIN, API_JSON, 0, api_sinks_patch, {"positions"}},
    {"DELETE", SINK, ROLE_ADMIN, API_NO_BODY, 0, api_delete, {"discard"}},
    {"PUT", SINK "/enable", ROLE_ADMIN, API_NO_BODY, 0, api_enable, {0}},
    {"PUT", SINK "/disable", ROLE_ADMIN, API_NO_BODY, 0, api_disable, {0}},
    {"PUT", SINK "/undelete", ROLE_ADMIN, API_NO_BODY, API_DELETED, api_undelete, {0}},
    {"PUT", SINK "/pause", ROLE_OPERATOR, API_NO_BODY, 0, api_pause, {0}},
    {"PUT", SINK "/resume", ROLE_OPERATOR, API_NO_BODY, 0, api_resume, {0}},
    {"GET", SINK "/settings", ROLE_READ, API_NO_BODY, 0, api_settings_get, {0}},
    {"PATCH", SINK "/settings", ROLE_OPERATOR, API_JSON, 0, api_settings_patch, {0}},
    {"POST", SINK "/flush", ROLE_OPERATOR, API_NO_BODY, 0, api_sinks_flush, {0}},
    {"GET", SINK "/statistics/total", ROLE_READ, API_NO_BODY, 0, api_statistics_total, {0}},
    {"GET", SINK "/statistics/files", ROLE_READ, API_NO_BODY, 0, api_statistics_files, {"failedFiles", "limit"}},
    {"POST", SINK "/files/{file}/retry", ROLE_OPERATOR, API_NO_BODY, 0, api_files_retry, {0}},
    {"DELETE", SINK "/files/{file}", ROLE_ADMIN, API_NO_BODY, 0, api_files_delete, {0}},
    {"GET", SINK "/rejects", ROLE_READ, API_NO_BODY, 0, api_rejects_list, {"afterId", "limit", "format", "kind", "reason", "from", "to"}},
    {"DELETE", SINK "/rejects", ROLE_ADMIN, API_NO_BODY, 0, api_rejects_delete, {"upToId"}},
};

/* ---- for handlers ---------------------------------------------------------------------------- */

ApiCall *api_keep(ApiRequest *request) {
    ApiCall *call = steal(request->call);
    check(call);
    return call;
}

void api_taken(ApiRequest *request, int result, const Failure *failure) {
    if (result == 0) {
        request->call = NULL;
        return;
    }
    check(failure->status >= 400 && failure->name);
    request->call->retry_after = failure->retry_after;
    api_fail(request, failure->status, failure->name, "%s", failure->error.text);
}

void api_answer(ApiRequest *request, int status, json_t *take_json) {
    api_call_answer(api_keep(request), status, take_json);
}

void api_fail(ApiRequest *request, int status, const char *name, const char *format, ...) {
    char message[ERROR_TEXT_SIZE + 256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    api_call_fail(api_keep(request), status, name, message);
}

bool api_has_room(ApiRequest *request, void (*back)(Control *control, PendingRequest *pending, Message *take_message), size_t most,
                  const char *what) {
    if (control_pending_requests(request->control, back) < most) return true;
    request->call->retry_after = 5;
    api_fail(request, 503, "overloaded", "%zu %s are in progress already: try again later.", most, what);
    return false;
}

bool api_page(ApiRequest *request, const char *after_id, const char *limit, ApiPage *ret_page) {
    *ret_page = (ApiPage){.after_id = after_id && after_id[0] ? after_id : NULL, .limit = 100};
    if (!limit) return true;
    char *end;
    unsigned long value = limit[0] >= '0' && limit[0] <= '9' ? strtoul(limit, &end, 10) : 0;
    if (value < 1 || value > 100 || *end) {
        api_fail(request, 400, "badRequest", "Parameter \"limit\" must be 1 to 100.");
        return false;
    }
    ret_page->limit = value;
    return true;
}

json_t *api_page_json(const ApiPage *page, size_t total, const char *last_id) {
    json_t *json = json_pack("{s:I, s:I, s:s, s:s}", "limit", (json_int_t)page->limit, "totalCount", (json_int_t)total, "afterId",
                             page->after_id ? page->after_id : "", "lastId", last_id ? last_id : "");
    check(json);
    return json;
}

bool api_boolean(ApiRequest *request, const char *name, const char *text, bool *value) {
    if (!text) return true;
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
        api_fail(request, 400, "badRequest", "Parameter \"%s\" must be true or false.", name);
        return false;
    }
    *value = text[0] == 't';
    return true;
}

bool api_keep_positions(ApiRequest *request, const char *text, bool *value) {
    *value = text != NULL;
    if (!text || strcmp(text, "keep") == 0) return true;
    api_fail(request, 400, "badRequest", "Parameter \"positions\" must be keep.");
    return false;
}

/* ---- the path -------------------------------------------------------------------------------- */

typedef struct Path {
    char *text; /* owned; cut at the slashes */
    const char *segments[SEGMENTS_MAX];
    size_t count; /* 0: no path of ours */
} Path;

static void path_split(Path *path, const char *text) {
    path->text = strdup(text);
    check(path->text);
    path->count = 0;
    if (path->text[0] != '/') return;
    char *rest = path->text + 1;
    for (char *segment; (segment = strsep(&rest, "/"));) {
        if (path->count == SEGMENTS_MAX || !segment[0]) {
            path->count = 0;
            return;
        }
        path->segments[path->count++] = segment;
    }
}

typedef struct PathNames {
    const char *branch, *source, *sink, *task, *connection, *file, *event;
} PathNames;

static bool path_matches(const Path *path, const char *pattern, PathNames *ret_names) {
    PathNames names = {0};
    const char *at = pattern;
    for (size_t i = 0; i < path->count; i++) {
        if (*at++ != '/') return false;
        size_t size = strcspn(at, "/");
        const char *segment = path->segments[i];
        if (strncmp(at, "{branch}", size) == 0) {
            names.branch = segment;
        } else if (strncmp(at, "{source}", size) == 0) {
            names.source = segment;
        } else if (strncmp(at, "{sink}", size) == 0) {
            names.sink = segment;
        } else if (strncmp(at, "{task}", size) == 0) {
            names.task = segment;
        } else if (strncmp(at, "{connection}", size) == 0) {
            names.connection = segment;
        } else if (strncmp(at, "{file}", size) == 0) {
            names.file = segment;
        } else if (strncmp(at, "{event}", size) == 0) {
            names.event = segment;
        } else if (strlen(segment) != size || strncmp(at, segment, size) != 0) {
            return false;
        }
        at += size;
    }
    if (*at) return false;
    *ret_names = names;
    return true;
}

/* The route of method and path; NULL: `ret_allow` has the methods of that path (free(), NULL: there
 * is no such path). */
static const ApiRoute *find_route(const Path *path, const char *method, PathNames *ret_names, char **ret_allow) {
    _cleanup_(buffer_deinit) Buffer allow = {0};
    *ret_allow = NULL;
    for (size_t i = 0; path->count > 0 && i < sizeof routes / sizeof *routes; i++) {
        if (!path_matches(path, routes[i].path, ret_names)) continue;
        if (strcmp(routes[i].method, method) == 0) return &routes[i];
        buffer_printf(&allow, "%s%s", allow.size ? ", " : "", routes[i].method);
    }
    if (allow.size > 0) *ret_allow = buffer_take(&allow);
    return NULL;
}

/* ---- the query ------------------------------------------------------------------------------- */

/* In place; false: not well-formed, or a NUL. */
static bool decode(char *text) {
    ptrdiff_t size = text_percent_decode(span_of(text), true, text, NULL);
    if (size < 0 || memchr(text, '\0', (size_t)size)) return false;
    text[size] = '\0';
    return true;
}

/* `query` is cut up and stays where it is. false: answered. */
static bool read_parameters(ApiRequest *request, const ApiRoute *route, char *query) {
    for (char *item; (item = strsep(&query, "&"));) {
        if (!item[0]) continue;
        char *value = strchr(item, '=');
        if (value) *value++ = '\0';
        if (!decode(item) || (value && (!decode(value) || !text_is_utf8(span_of(value))))) {
            api_fail(request, 400, "badRequest", "The query is not well-formed.");
            return false;
        }
        size_t at = 0;
        while (route->parameters[at] && strcmp(route->parameters[at], item) != 0) at++;
        if (!route->parameters[at]) {
            api_fail(request, 400, "badRequest", "Parameter \"%.60s\" is not known here.", item);
            return false;
        }
        if (request->parameters[at]) {
            api_fail(request, 400, "badRequest", "Parameter \"%s\" is given twice.", item);
            return false;
        }
        request->parameters[at] = value ? value : "";
    }
    return true;
}

/* ---- the body -------------------------------------------------------------------------------- */

static bool is_json_type(const char *type) {
    size_t size = strcspn(type, "; \t");
    if (size == 0) return true; /* none was sent */
    if (size == 16 && strncasecmp(type, "application/json", 16) == 0) return true;
    if (size == 9 && strncasecmp(type, "text/json", 9) == 0) return true;
    return size > 5 && memchr(type, '/', size) && strncasecmp(type + size - 5, "+json", 5) == 0;
}

/* false: answered. */
static bool read_body(ApiRequest *request, const ApiRoute *route) {
    const ApiCall *call = request->call;
    if (route->body == API_ANY_BODY) return true;
    if (call->body.size == 0 && route->body == API_NO_BODY) return true;
    size_t most = route->body == API_MANIFEST ? API_MANIFEST_BYTES_MAX : API_BODY_BYTES_MAX;
    if (call->body.size > most) {
        api_fail(request, 413, "payloadTooLarge", "The body has %zu bytes, and at most %zu are read.", call->body.size, most);
        return false;
    }
    if (route->body != API_NO_BODY && !is_json_type(call->body_type)) {
        api_fail(request, 415, "unsupportedMediaType", "The body must be JSON: send Content-Type: application/json.");
        return false;
    }
    json_error_t place;
    json_t *body = json_loadb(call->body.data ? call->body.data : "", call->body.size, JSON_REJECT_DUPLICATES, &place);
    if (!body) {
        api_fail(request, 400, "badRequest", "The body is not JSON: line %d, column %d: %s.", place.line, place.column, place.text);
        return false;
    }
    request->body = body;
    if (!json_is_object(body)) {
        api_fail(request, 400, "badRequest", "The body must be a JSON object.");
        return false;
    }
    if (route->body == API_NO_BODY && json_object_size(body) > 0) {
        api_fail(request, 400, "badRequest", "Field \"%.60s\" is not known: this request has no body.",
                 json_object_iter_key(json_object_iter(body)));
        return false;
    }
    return true;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* Who asks? false: answered with 401. */
static bool authorize(ApiRequest *request) {
    ApiCall *call = request->call;
    const Token *token = control_find_token(request->control, span_of(call->token));
    if (!token) {
        call->challenge = true;
        api_fail(request, 401, "unauthorized", "%s",
                 call->token[0] ? "The token is not known."
                                : "A token is needed: send X-StorageApi-Token: TOKEN or Authorization: Bearer TOKEN.");
        return false;
    }
    request->role = token->role;
    request->by = token->description;
    return true;
}

/* What the path names; false: answered with 404. */
static bool look_up(ApiRequest *request, const ApiRoute *route, const PathNames *names) {
    const Options *options = request->view->options;
    request->source_id = names->source;
    request->sink_id = names->sink;
    request->task_id = names->task;
    request->connection = names->connection;
    request->file_id = names->file;
    request->event_id = names->event;
    if (names->branch && strcmp(names->branch, "default") != 0 && strcmp(names->branch, options->branch) != 0) {
        api_fail(request, 404, "branchNotFound", "There is no branch \"%.60s\".", names->branch);
        return false;
    }
    if (!names->source || (route->flags & API_NO_LOOK)) return true;
    bool deleted_too = (route->flags & API_DELETED) != 0;
    RegistrySource *source = registry_find(request->view->registry, names->source);
    /* A deleted sink is brought back in a source that is there. */
    if (!source || (source->source->deleted != 0 && !(deleted_too && !names->sink))) {
        api_fail(request, 404, "sourceNotFound", "There is no source \"%.60s\".", names->source);
        return false;
    }
    request->source = source;
    if (!names->sink) return true;
    RegistrySink *sink = registry_find_sink(source, names->sink);
    if (!sink || (sink->sink->deleted != 0 && !deleted_too)) {
        api_fail(request, 404, "sinkNotFound", "Source \"%.60s\" has no sink \"%.60s\".", names->source, names->sink);
        return false;
    }
    request->sink = sink;
    return true;
}

static void run(ApiRequest *request, const Path *path, char *query) {
    ApiCall *call = request->call;
    const char *method = strcmp(call->method, "HEAD") == 0 ? "GET" : call->method;
    PathNames names = {0};
    char *allow;
    const ApiRoute *route = find_route(path, method, &names, &allow);
    call->allow = allow;
    bool is_public = route && (route->flags & API_PUBLIC);
    if (!is_public && !authorize(request)) return;
    if (!route && allow) {
        api_fail(request, 405, "methodNotAllowed", "Here only %s.", allow);
        return;
    }
    if (!route) {
        api_fail(request, 404, "routeNotFound", "This path does not exist.");
        return;
    }
    if (request->view->draining && !(route->flags & API_ALWAYS)) {
        call->retry_after = 5;
        api_fail(request, 503, "shutdown", "The gateway is shutting down.");
        return;
    }
    if (!is_public && request->role < route->role) {
        api_fail(request, 403, "forbidden", "The token's role is \"%s\"; this needs \"%s\".", role_name(request->role),
                 role_name(route->role));
        return;
    }
    if (!read_parameters(request, route, query) || !read_body(request, route) || !look_up(request, route, &names)) return;
    check(!names.sink || request->sink || (route->flags & API_NO_LOOK));
    check(!request->sink || request->source);
    route->handle(request);
}

void api_route(Control *control, ApiCall *take_call) {
    ApiRequest request = {.control = control, .view = control_view(control), .call = take_call};
    Path path;
    path_split(&path, take_call->path);
    /* Names and parameters point into copies: the call may be gone while its handler still
     * works. */
    _cleanup_free_ char *query = strdup(take_call->query);
    check(query);
    run(&request, &path, query);
    check(!request.call);
    json_decref(request.body);
    free(path.text);
}
