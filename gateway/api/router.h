/*
 * From a request to its handler: one table of routes (method, path, role, query parameters, kind of
 * body), checked in one place, so that a handler sees only what is sound. Handlers are in the other
 * files of this folder. Control thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "gateway/control/service.h"

#define API_BODY_BYTES_MAX (1u << 20)     /* of JSON */
#define API_MANIFEST_BYTES_MAX (8u << 20) /* of JSON that holds many sinks */
#define API_PARAMETERS_MAX 7

typedef struct ApiRequest {
    Control *control;
    const ControlView *view; /* of it */
    ApiCall *call;           /* owned; NULL once it is answered or kept */
    Role role;
    const char *by; /* description of the token */
    /* from the path; NULL unless the route names them. The definitions are there and not deleted,
     * unless the route takes deleted ones */
    const char *source_id, *sink_id, *task_id, *connection, *file_id, *event_id;
    RegistrySource *source;
    RegistrySink *sink;
    const char *parameters[API_PARAMETERS_MAX]; /* values in the order of the route's names, decoded; NULL: not given */
    json_t *body;                               /* owned; an object, for routes that take JSON */
} ApiRequest;

typedef enum ApiBody {
    API_NO_BODY,  /* nothing, or {} */
    API_JSON,     /* an object */
    API_MANIFEST, /* an object that may be larger */
    API_ANY_BODY, /* an event: the handler looks itself */
} ApiBody;

enum {
    API_PUBLIC = 1,  /* without a token */
    API_DELETED = 2, /* deleted definitions, too */
    API_NO_LOOK = 4, /* the definitions that the path names need not be there */
    API_ALWAYS = 8,  /* also while the gateway shuts down */
};

typedef struct ApiRoute {
    const char *method;
    const char *path; /* "/v1/branches/{branch}/sources/{source}" */
    Role role;        /* at least */
    ApiBody body;
    unsigned flags;
    void (*handle)(ApiRequest *request);
    const char *parameters[API_PARAMETERS_MAX + 1]; /* allowed in the query */
} ApiRoute;

/* Answers the call, now or later. */
void api_route(Control *control, ApiCall *take_call);

/* For handlers; each takes the request's call. */
void api_answer(ApiRequest *request, int status, json_t *take_json);
void api_fail(ApiRequest *request, int status, const char *name, const char *format, ...) __attribute__((format(printf, 4, 5)));
ApiCall *api_keep(ApiRequest *request); /* to answer later */
/* Behind a function of control that takes the call (service.h): `result` 0: it has it; else the
 * failure is answered. */
void api_taken(ApiRequest *request, int result, const Failure *failure);

/* May one more go there (PendingRequest.back) and wait? false: answered with 503. `what`: "tests of
 * connections". */
bool api_has_room(ApiRequest *request, void (*back)(Control *control, PendingRequest *pending, Message *take_message), size_t most,
                  const char *what);

/* The page that a list asks for. false: answered with 400. */
typedef struct ApiPage {
    const char *after_id; /* NULL: from the start */
    size_t limit;
} ApiPage;
bool api_page(ApiRequest *request, const char *after_id, const char *limit, ApiPage *ret_page);
json_t *api_page_json(const ApiPage *page, size_t total, const char *last_id);
/* "true" or "false", else 400 (false). NULL leaves *value. */
bool api_boolean(ApiRequest *request, const char *name, const char *text, bool *value);
/* The parameter "positions", which is keep or not given. */
bool api_keep_positions(ApiRequest *request, const char *text, bool *value);

/* sources.c */
void api_sources_create(ApiRequest *request);
void api_sources_list(ApiRequest *request);
void api_sources_get(ApiRequest *request);
/* `If-Match: "3"`: the version, else 0. false: answered. */
bool api_if_match(ApiRequest *request, uint32_t *ret_version);
void api_change(ApiRequest *request, ChangeKind kind, bool discard); /* of the source or sink that the path names */
void api_patch(ApiRequest *request);
void api_sinks_patch(ApiRequest *request);
void api_delete(ApiRequest *request); /* parameter 0: discard */
void api_enable(ApiRequest *request);
void api_disable(ApiRequest *request);
void api_undelete(ApiRequest *request);
void api_pause(ApiRequest *request);
void api_resume(ApiRequest *request);
/* bridge.c */
void api_bridge_get(ApiRequest *request);
void api_bridge_seek(ApiRequest *request); /* parameter 0: duplicates */
void api_bridge_skip(ApiRequest *request);
/* sinks.c */
void api_sinks_create(ApiRequest *request);
void api_sinks_list(ApiRequest *request);
void api_sinks_get(ApiRequest *request);
void api_sinks_flush(ApiRequest *request);
/* settings.c */
void api_settings_get(ApiRequest *request);
void api_settings_patch(ApiRequest *request);
/* backup.c */
void api_backup(ApiRequest *request); /* parameter 0: name */
/* tasks.c */
void api_tasks_get(ApiRequest *request);
/* statistics.c */
void api_statistics_total(ApiRequest *request);
void api_statistics_files(ApiRequest *request);
void api_files_retry(ApiRequest *request);
void api_files_delete(ApiRequest *request);
/* events.c */
void api_events_get(ApiRequest *request); /* parameter 0: sourceId */
/* rejects.c */
void api_rejects_list(ApiRequest *request);
void api_rejects_delete(ApiRequest *request);
/* test.c */
void api_test(ApiRequest *request);
/* system.c */
void api_about(ApiRequest *request);
void api_health(ApiRequest *request);
void api_ready(ApiRequest *request);
/* Why no event is taken at present: the id of an error, its sentence, and when to ask again
 * (seconds); NULL: it is ready. */
const char *api_not_ready(const Control *control, const char **ret_message, unsigned *ret_retry_after);
/* metrics.c */
void api_metrics(ApiRequest *request);
/* manifest.c */
void api_manifest(ApiRequest *request); /* parameters 0: dryRun, 1: prune, 2: positions, 3: assumed, 4: resetSettings */
/* connections.c */
void api_connections(ApiRequest *request);
void api_connections_declare(ApiRequest *request); /* parameter 0: dryRun */
void api_connections_withdraw(ApiRequest *request);
void api_connections_pause(ApiRequest *request);
void api_connections_resume(ApiRequest *request);
/* connection_test.c */
void api_connections_test(ApiRequest *request);
/* status.c */
void api_status(ApiRequest *request);
void api_aggregation(ApiRequest *request);
