#include "gateway/intake/intake.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "gateway/http/origin.h"
#include "gateway/intake/cors.h"
#include "gateway/intake/parts.h"

/* ---- waiters --------------------------------------------------------------------------------- */

static void on_request_died(void *memory) {
    Waiter **guard = memory;
    if (*guard) (*guard)->request = NULL;
}

void waiter_init(Waiter *waiter, h2o_req_t *request) {
    waiter->request = request;
    waiter->guard = h2o_mem_alloc_shared(&request->pool, sizeof *waiter->guard, on_request_died);
    *waiter->guard = waiter;
}

h2o_req_t *waiter_release(Waiter *waiter) {
    h2o_req_t *request = waiter->request;
    if (request) *waiter->guard = NULL;
    waiter->request = NULL;
    return request;
}

/* ---- routes ---------------------------------------------------------------------------------- */

static bool method_is(Span method, Span name) {
    return span_equal(method, name);
}

static void refuse(Intake *intake, h2o_req_t *request, int status, const char *name, const char *message) {
    CallRefusal refusal = {.status = status, .name = name, .retry_after = status == 503 ? RETRY_AFTER_OVERLOAD : 0};
    (void)snprintf(refusal.message, sizeof refusal.message, "%s", message);
    intake_refuse(intake, request, NULL, &refusal);
}

/* What a request is told by its head alone: also while its body is still arriving. */
static const HttpRefusal no_route = {404, "routeNotFound",
                                     "There is nothing here: events are sent to /stream/{projectId}/{sourceId}/{secret}.", NULL};
static const HttpRefusal no_source = {404, "noSourceFound", "The specified combination of projectID, sourceID and secret was not found.",
                                      NULL};
static const HttpRefusal no_project = {400, "badRequest", "Invalid project ID: it must be a number.", NULL};
static const HttpRefusal no_credential = {401, "unauthorized", "The source is not known, or its secret is missing or wrong.",
                                          "WWW-Authenticate: Bearer realm=\"sluice\"\r\nWWW-Authenticate: Basic realm=\"sluice\"\r\n"};
static const HttpRefusal no_origin = {403, "originNotAllowed",
                                      "The source accepts no events from pages of this origin (field cors.origins).", NULL};
#define WRONG_METHOD "The method is not allowed: see the Allow header."
static const HttpRefusal stream_method = {405, "methodNotAllowed", WRONG_METHOD, "Allow: OPTIONS, POST\r\n"};
static const HttpRefusal probe_method = {405, "methodNotAllowed", WRONG_METHOD, "Allow: OPTIONS, GET, HEAD\r\n"};
static const HttpRefusal no_body_wanted = {400, "badRequest", "A request with this method must not have a body.", NULL};

static void refuse_as(Intake *intake, h2o_req_t *request, const HttpRefusal *answer) {
    CallRefusal refusal = {.status = answer->status, .name = answer->name, .headers = answer->headers, .hides = answer == &no_origin};
    (void)snprintf(refusal.message, sizeof refusal.message, "%s", answer->message);
    intake_refuse(intake, request, NULL, &refusal);
}

/* Looked at once a turn of the loop. */
static bool is_stalled(Intake *intake) {
    usec_t turn = http_loop_now(intake->loop);
    if (turn != intake->stall_looked_at)
        intake->stalled = usage_is_stalled(intake->options.usage, intake->options.clock->boot(intake->options.clock));
    intake->stall_looked_at = turn;
    return intake->stalled;
}

typedef struct NotReady {
    const char *name, *message;
} NotReady;

/* Why the gateway can take no events now; name NULL: it can. */
static NotReady why_not_ready(Intake *intake) {
    const Usage *usage = intake->options.usage;
    if (intake->http_drained || intake->stopped || atomic_load_explicit(&usage->broken, memory_order_relaxed))
        return (NotReady){"shutdown", "The gateway is shutting down."};
    if (atomic_load_explicit(&usage->intake_stopped, memory_order_relaxed))
        return (NotReady){"overloaded", "The disk budget is used up; no events are accepted until there is space."};
    if (is_stalled(intake)) return (NotReady){"overloaded", "The local disk hangs; no events are accepted until it has finished a commit."};
    return (NotReady){0};
}

static void probe(Intake *intake, h2o_req_t *request, const Route *route, Span method) {
    if (method_is(method, SPAN("OPTIONS"))) {
        intake_answer_plain(intake, request, "Allow: OPTIONS, GET, HEAD\r\n", SPAN(""));
        return;
    }
    if (!method_is(method, SPAN("GET")) && !method_is(method, SPAN("HEAD"))) {
        refuse_as(intake, request, &probe_method);
        return;
    }
    if (route->kind == ROUTE_READY) {
        const Usage *usage = intake->options.usage;
        const char *name = http_loop_draining(intake->loop) ? "shutdown" : why_not_ready(intake).name;
        if (!name && atomic_load_explicit(&usage->in_flight_bytes, memory_order_relaxed) >= usage->in_flight_limit) name = "overloaded";
        if (name) {
            refuse(intake, request, 503, name, "The gateway accepts no events at present.");
            return;
        }
    }
    intake_answer_plain(intake, request, NULL, SPAN("OK"));
}

/* Decimal, without sign; false: it is no number. Numbers that are too large are one that no project
 * has. */
static bool project_of(Span text, uint64_t *ret_project) {
    uint64_t project = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        if (project <= UINT32_MAX) project = project * 10 + (uint64_t)(text.data[i] - '0');
    }
    *ret_project = project;
    return text.size > 0;
}

/* The source that the route and its secret name, NULL if there is none: the same work is done for
 * both. */
static SnapshotSource *find_source(const Intake *intake, const Route *route, uint64_t project, Span authorization, Span api_key) {
    SnapshotSource *source = snapshot_find(intake->snapshot, route->source);
    const HttpSource *http = source ? http_of(source) : NULL;
    bool known = http && project == intake->options.project && source->source->deleted == 0;
    const char *expected = known ? http->secret : NULL;
    if (route->secret_in_url) return credential_matches(expected, route->secret) ? source : NULL;
    return credential_in_headers(expected, authorization, api_key) ? source : NULL;
}

static Span header_value(const h2o_header_t *header) {
    return (Span){header->value.base, header->value.len};
}

/* NULL: it was refused. */
static SnapshotSource *authorize(Intake *intake, h2o_req_t *request, const Route *route) {
    uint64_t project;
    if (!project_of(route->project, &project)) {
        refuse_as(intake, request, &no_project);
        return NULL;
    }
    Span authorization = {0}, api_key = {0};
    if (!route->secret_in_url) {
        ssize_t at = h2o_find_header(&request->headers, H2O_TOKEN_AUTHORIZATION, -1);
        if (at >= 0) authorization = header_value(&request->headers.entries[at]);
        at = h2o_find_header_by_str(&request->headers, H2O_STRLIT("x-api-key"), -1);
        if (at >= 0) api_key = header_value(&request->headers.entries[at]);
    }
    SnapshotSource *source = find_source(intake, route, project, authorization, api_key);
    bool lists = source && http_of(source)->cors_origin_count > 0;
    if (lists && !cors_allows(http_of(source), http_request_origin(request))) {
        refuse_as(intake, request, &no_origin);
    } else if (source) {
        if (!source->source->disabled) return source;
        CallRefusal refusal = {.status = 404, .name = "disabledSource"};
        (void)snprintf(refusal.message, sizeof refusal.message, "Source \"%s\" is disabled.", source->source->source_id);
        intake_refuse(intake, request, source, &refusal);
    } else {
        refuse_as(intake, request, route->secret_in_url ? &no_source : &no_credential);
    }
    return NULL;
}

/* A browser asks without the credentials that are headers: then every source is the same to it,
 * whether there is one or not. */
static void preflight(Intake *intake, h2o_req_t *request, const Route *route) {
    uint64_t project;
    bool known = route->secret_in_url && project_of(route->project, &project);
    intake_answer_preflight(intake, request, known ? find_source(intake, route, project, (Span){0}, (Span){0}) : NULL);
}

static void stream(Intake *intake, h2o_req_t *request, const Route *route, Span method) {
    if (method_is(method, SPAN("OPTIONS"))) {
        preflight(intake, request, route);
        return;
    }
    if (!method_is(method, SPAN("POST"))) {
        refuse_as(intake, request, &stream_method);
        return;
    }
    SnapshotSource *source = authorize(intake, request, route);
    if (!source) return;
    NotReady why = why_not_ready(intake);
    if (why.name) {
        CallRefusal refusal = {.status = 503, .name = why.name, .retry_after = RETRY_AFTER_OVERLOAD};
        (void)snprintf(refusal.message, sizeof refusal.message, "%s", why.message);
        intake_refuse(intake, request, source, &refusal);
        return;
    }
    Call call = {.request = request,
                 .source = source,
                 .snapshot = intake->snapshot,
                 .received = http_loop_now(intake->loop),
                 .verbose = route->verbose};
    ContentEncoding encoding = ENCODING_IDENTITY;
    for (size_t i = 0; i < request->headers.size; i++) {
        const h2o_header_t *header = &request->headers.entries[i];
        if (header->name == &H2O_TOKEN_CONTENT_TYPE->buf)
            call.content_type = header_value(header);
        else if (header->name == &H2O_TOKEN_CONTENT_ENCODING->buf && encoding == ENCODING_IDENTITY)
            encoding = content_encoding(header_value(header));
        else if (header->name == &H2O_TOKEN_CONTENT_ENCODING->buf && content_encoding(header_value(header)) != ENCODING_IDENTITY)
            encoding = ENCODING_UNSUPPORTED;
    }
    intake_take(intake, &call, encoding, http_request_head(request));
}

static void on_request(void *context, h2o_req_t *request) {
    Intake *intake = context;
    char scratch[ROUTE_BYTES_MAX];
    metrics_add(METRIC_REQUESTS, 1);
    Span method = {request->input.method.base, request->input.method.len};
    Route route = route_of((Span){request->input.path.base, request->input.path.len}, scratch);
    switch (route.kind) {
    case ROUTE_STREAM: stream(intake, request, &route, method); return;
    case ROUTE_HEALTH:
    case ROUTE_READY: probe(intake, request, &route, method); return;
    case ROUTE_SERVER:
        if (method_is(method, SPAN("OPTIONS"))) {
            intake_answer_plain(intake, request, "Allow: OPTIONS, GET, HEAD, POST\r\n", SPAN(""));
            return;
        }
        break;
    case ROUTE_NONE: break;
    }
    refuse_as(intake, request, &no_route);
}

/* May the sender of this head go on with its body? Only to a source that it knows the secret of. */
static const HttpRefusal *may_send(void *context, Span bytes) {
    Intake *intake = context;
    char scratch[ROUTE_BYTES_MAX];
    HttpHead head;
    uint64_t project;
    if (http_head_check(bytes, &head) != HEAD_OK) return &no_source; /* the loop has looked: it is sound */
    Route route = route_of(head.target, scratch);
    if (route.kind == ROUTE_NONE) return &no_route;
    bool reads = method_is(head.method, SPAN("GET")) || method_is(head.method, SPAN("HEAD")),
         asks = method_is(head.method, SPAN("OPTIONS"));
    if (route.kind == ROUTE_SERVER) return asks ? &no_body_wanted : &no_route;
    if (route.kind != ROUTE_STREAM) return asks || reads ? &no_body_wanted : &probe_method;
    if (asks) return &no_body_wanted;
    if (!method_is(head.method, SPAN("POST"))) return &stream_method;
    if (!project_of(route.project, &project)) return &no_project;
    if (find_source(intake, &route, project, http_head_find(&head, SPAN("authorization")), http_head_find(&head, SPAN("x-api-key"))))
        return NULL;
    return route.secret_in_url ? &no_source : &no_credential;
}

static bool unlimited(void *context, Span address) {
    Intake *intake = context;
    return trusted_proxies_hold(intake->proxies, address);
}

/* ---- messages and turns ---------------------------------------------------------------------- */

static void on_drained(void *context) {
    Intake *intake = context;
    intake->http_drained = true;
}

static void on_message(void *context, Message *message) {
    Intake *intake = context;
    switch (message->kind) {
    case MESSAGE_APPEND: intake_append_back(intake, (Append *)message); return;
    case INTAKE_MESSAGE_TEMPLATES: intake_long_templates_back(intake, (TemplateBatch *)message); return;
    case MESSAGE_TEMPLATES: intake_templates_back(intake, (TemplateBatch *)message); return;
    case MESSAGE_SNAPSHOT: {
        SnapshotNews *news = (SnapshotNews *)message;
        intake_flush(intake);
        snapshot_unref(intake->snapshot);
        intake->snapshot = steal(news->snapshot);
        free(news);
        return;
    }
    case INTAKE_MESSAGE_STOP:
        free(message);
        intake->stop_asked = true;
        return;
    case MESSAGE_DRAIN:
        http_loop_drain(intake->loop, ((Drain *)message)->until, on_drained, intake);
        free(message);
        return;
    default: unreachable();
    }
}

/* A long request must not hold its loop. Without one nothing is measured: the clock is a system
 * call. */
static void measure_turn(Intake *intake) {
    usec_t began = intake->turn_began;
    intake->turn_began = 0;
    if (began == 0 && intake->long_count == 0) return;
    struct timespec used;
    check(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0);
    usec_t now = (usec_t)used.tv_sec * USEC_SECOND + used.tv_nsec / 1000;
    if (intake->long_count > 0) intake->turn_began = now;
    atomic_int_fast64_t *longest = &intake->options.usage->turn_longest;
    int_fast64_t before = atomic_load_explicit(longest, memory_order_relaxed);
    while (began > 0 && now - began > before && !atomic_compare_exchange_weak(longest, &before, now - began)) continue;
}

static bool on_work(void *context) {
    measure_turn(context); /* once in each turn */
    return intake_work(context);
}

static void on_turn(void *context) {
    Intake *intake = context;
    if (intake->parked) intake_post_templates(intake);
    intake_flush(intake);
    if (intake->lost) intake_tell_lost(intake);
    if (intake->appends_out || intake->batches_out || intake->long_count) return;
    if (intake->stop_asked && !intake->stopped) {
        intake->stopped = true; /* from here on nothing is taken any more */
        (void)sem_post(&intake->may_stop);
    }
    if (!intake->http_drained || intake->drained_told) return;
    intake->drained_told = true;
    Drained *drained = calloc(1, sizeof *drained);
    check(drained);
    drained->message.kind = MESSAGE_DRAINED;
    drained->who = intake->options.index;
    mailbox_post(intake->options.control, &drained->message);
}

/* ---- start and stop -------------------------------------------------------------------------- */

static void intake_free(Intake *intake) {
    check(intake->long_count == 0);
    intake->lost_told_at = 0;
    intake_tell_lost(intake);
    row_maker_free(intake->rows);
    intake_parked_drop(intake);
    trusted_proxies_free(intake->proxies);
    snapshot_unref(intake->snapshot);
    decoder_free(intake->decoder);
    buffer_deinit(&intake->decoded);
    buffer_deinit(&intake->own_rejected);
    buffer_deinit(&intake->text);
    buffer_deinit(&intake->forwarded);
    free(intake->branch);
    (void)sem_destroy(&intake->may_stop);
    free(intake);
}

int intake_start(const IntakeOptions *options, const HttpListener *listener, Intake **ret_intake, Error *error) {
    Intake *intake = calloc(1, sizeof *intake);
    check(intake);
    intake->options = *options;
    intake->branch = strdup(options->branch ? options->branch : "default");
    check(intake->branch);
    intake->parked_tail = &intake->parked;
    intake->turn = &intake->own_turn;
    intake->rejected = &intake->own_rejected;
    check(sem_init(&intake->may_stop, 0, 0) == 0);
    int r = trusted_proxies_parse(options->trusted_proxies, &intake->proxies, error);
    if (r < 0) {
        intake_free(intake);
        return error_prefix(error, "trusted-proxies");
    }
    intake->snapshot = snapshot_ref(options->snapshot);
    intake->rows = row_maker_new(options->limits.row_bytes, options->limits.request_rows_bytes, options->usage);
    intake->own_turn.maker = intake->rows;
    intake->decoder = decoder_new();
    HttpHandler handler = {.on_request = on_request,
                           .on_message = on_message,
                           .on_work = on_work,
                           .on_turn = on_turn,
                           .may_send = may_send,
                           .error_body = intake_error_body,
                           .unlimited = unlimited,
                           .error_headers = intake_error_headers,
                           .context = intake};
    r = http_loop_start("intake", listener, &options->http, options->usage, &handler, &intake->loop, error);
    if (r < 0) {
        intake_free(intake);
        return r;
    }
    *ret_intake = intake;
    return 0;
}

Mailbox *intake_mailbox(Intake *intake) {
    return http_loop_mailbox(intake->loop);
}

void intake_stop(Intake *intake) {
    if (!intake) return;
    Message *message = calloc(1, sizeof *message);
    check(message);
    message->kind = INTAKE_MESSAGE_STOP;
    mailbox_post(http_loop_mailbox(intake->loop), message);
    while (sem_wait(&intake->may_stop) < 0) check(errno == EINTR);
    http_loop_stop(intake->loop);
    intake_free(intake);
}
