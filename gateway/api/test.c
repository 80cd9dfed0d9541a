/* The dry run of one request: POST …/sources/{s}/test. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "gateway/api/router.h"
#include "gateway/rows/dry_run.h"
#include "mapping/meta.h"
#include "mapping/row.h"

#define HEADERS_MAX 200
#define ANSWER_BYTES_MAX (8u << 20)
#define EVENTS_MAX 1000
#define RUNS_MAX 64 /* that wait for their templates: each holds its body and rows */

typedef struct Test {
    PendingRequest pending; /* first */
    DryRun *run;
    Plan *plan; /* of all sinks; a reference */
    /* filled by the visit */
    json_t *tables; /* one a sink, in the plan's order */
    size_t row_bytes;
    RowReader reader;
    char failure[1024]; /* of the first event that could not be mapped; "" none */
    int failure_status;
} Test;

static void test_drop(PendingRequest *pending) {
    Test *test = (Test *)pending;
    dry_run_free(test->run);
    plan_unref(test->plan);
    json_decref(test->tables);
    row_reader_deinit(&test->reader);
}

/* NULL: no row is left in the reader. */
static json_t *next_row(Test *test, const Sink *sink) {
    _cleanup_free_ RowCell *cells = calloc(sink_target_cells(&sink->target), sizeof *cells);
    check(cells);
    int r = row_read(&test->reader, cells, sink_target_cells(&sink->target));
    if (r == ROW_READ_END) return NULL;
    check(r == 0);
    json_t *columns = json_array();
    for (size_t i = 0; i < sink->target.column_count; i++) {
        json_t *column = json_pack("{s:s, s:o}", "name", sink->target.columns[i].name, "value", dry_run_cell_json(&cells[i]));
        check(column && json_array_append_new(columns, column) == 0);
    }
    json_t *json = json_pack("{s:o}", "columns", columns);
    check(json);
    if (sink_target_deletes(&sink->target) && !cells[sink->target.column_count].is_null)
        check(json_object_set_new(json, "deletes", json_true()) == 0);
    return json;
}

static json_t *table_of(Test *test, const Sink *sink) {
    size_t i;
    json_t *table;
    json_array_foreach(test->tables, i, table) {
        if (strcmp(json_string_value(json_object_get(table, "sinkId")), sink->sink_id) == 0) return table;
    }
    table = json_pack("{s:s, s:s, s:[]}", "sinkId", sink->sink_id, "tableId", sink->target.table.table_id, "rows");
    check(table && json_array_append_new(test->tables, table) == 0);
    return table;
}

static void visit(void *context, size_t event, const Sink *sink, const MapFailure *failure, Span rows) {
    Test *test = context;
    if (test->failure_status) return;
    if (failure) {
        test->failure_status = failure->error == MAP_ROW_TOO_LARGE ? 413 : 422;
        (void)snprintf(test->failure, sizeof test->failure, "Event %zu, sink \"%s\": %s", event, sink->sink_id, failure->message);
        return;
    }
    test->row_bytes += rows.size;
    if (test->row_bytes > ANSWER_BYTES_MAX) {
        test->failure_status = 413;
        (void)snprintf(test->failure, sizeof test->failure, "The rows are larger than %u MB: test fewer events.", ANSWER_BYTES_MAX >> 20);
        return;
    }
    json_t *list = json_object_get(table_of(test, sink), "rows"), *row;
    test->reader.text = rows;
    while ((row = next_row(test, sink))) check(json_array_append_new(list, row) == 0);
}

/* Answers the call; `batch` is NULL when there was no template. */
static void answer(Test *test, const TemplateBatch *batch) {
    for (size_t i = 0; batch && i < batch->count; i++) {
        if (!batch->events[i].unavailable) continue;
        ApiCall *refused = steal(test->pending.call);
        refused->retry_after = 1;
        api_call_fail(refused, 503, "templatesUnavailable", "The templates cannot be evaluated at present: try again.");
        return;
    }
    for (size_t i = 0; i < dry_run_events(test->run) && !test->failure_status; i++) dry_run_map(test->run, i, batch, visit, test);
    ApiCall *call = steal(test->pending.call);
    if (test->failure_status) {
        api_call_fail(call, test->failure_status, test->failure_status == 413 ? "payloadTooLarge" : "unprocessableContent", test->failure);
        return;
    }
    json_t *body = json_pack("{s:O}", "tables", test->tables);
    check(body);
    api_call_answer(call, 200, body);
}

static void test_back(Control *control, PendingRequest *pending, Message *take_message) {
    (void)control;
    Test *test = (Test *)pending;
    TemplateBatch *batch = (TemplateBatch *)take_message;
    answer(test, batch);
    template_batch_free(batch);
    pending_request_end(pending);
}

/* The call's headers: name, NUL, value, NUL, … */
static size_t read_headers(const ApiCall *call, EventHeader headers[static HEADERS_MAX]) {
    size_t count = 0;
    const char *at = call->headers.data, *end = at ? at + call->headers.size : at;
    while (at < end && count < HEADERS_MAX) {
        Span name = span_of(at), value = span_of(at + name.size + 1);
        headers[count++] = (EventHeader){.name = name, .value = value};
        at = value.data + value.size + 1;
    }
    return count;
}

/* The parameter: a JSON object of fields and their values, texts or numbers. `texts` keeps them. */
static int read_meta(const ApiRequest *request, EventMeta *meta, Arena *texts, Error *error) {
    const Source *source = request->source->source;
    *meta = (EventMeta){.fields = source_meta_fields(source)};
    if (!request->parameters[0]) return 0;
    json_error_t place;
    json_t *given = json_loads(request->parameters[0], JSON_REJECT_DUPLICATES, &place);
    const char *name;
    json_t *value;
    int r = 0;
    if (!json_is_object(given)) r = error_set(error, -EINVAL, "Parameter \"meta\" is a JSON object of meta fields.");
    json_object_foreach(given, name, value) {
        char digits[24];
        Span text = {json_string_value(value), json_string_length(value)};
        if (json_is_integer(value)) {
            (void)snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(value));
            text = span_of(digits);
        } else if (json_is_null(value)) {
            continue;
        } else if (!json_is_string(value)) {
            r = error_set(error, -EINVAL, "Parameter \"meta\": the value of \"%.60s\" must be a text or a whole number.", name);
            break;
        }
        text = (Span){arena_copy(texts, text), text.size};
        r = event_meta_set(meta, source, span_of(name), text, error);
        if (r < 0) {
            r = error_set(error, r, "Parameter \"meta\": %s.", error->text);
            break;
        }
    }
    json_decref(given);
    return r;
}

static int start(ApiRequest *request, Plan *plan, DryRun **ret_run, Error *error) {
    const ApiCall *call = request->call;
    EventMeta meta;
    _cleanup_(arena_deinit) Arena texts = {0};
    int r = read_meta(request, &meta, &texts, error);
    if (r < 0) return r;
    const Options *options = request->view->options;
    EventHeader headers[HEADERS_MAX];
    UuidSource ids = {0};
    DryRunRequest dry = {
        .body = buffer_span(&call->body),
        .content_type = span_of(call->body_type),
        .headers = headers,
        .header_count = read_headers(call, headers),
        .meta = meta.fields ? &meta : NULL,
        .bridge = source_bridge(request->source->source),
        .ip = span_of(call->peer),
        .received = request->view->clock->wall(request->view->clock),
        .ids = &ids,
        .events_max = EVENTS_MAX,
        .body_bytes = options->body_bytes,
        .event_bytes = options->event_bytes,
        .row_bytes = options->row_bytes,
    };
    return dry_run_new(plan, source_framing(request->source->source), &dry, ret_run, error);
}

void api_test(ApiRequest *request) {
    if (!api_has_room(request, test_back, RUNS_MAX, "dry runs")) return;
    Plan *plan;
    DryRun *run;
    Error error = {0};
    int r = registry_compile_all(request->view->registry, request->source, &plan, &error);
    if (r == 0 && !plan) {
        api_answer(request, 200, json_pack("{s:[]}", "tables"));
        return;
    }
    if (r == 0) r = start(request, plan, &run, &error);
    if (r < 0) {
        plan_unref(plan);
        switch (r) {
        case -EFBIG: api_fail(request, 413, "payloadTooLarge", "%s", error.text); return;
        case -EOPNOTSUPP: api_fail(request, 415, "unsupportedMediaType", "%s", error.text); return;
        default: api_fail(request, 400, "badRequest", "%s", error.text); return;
        }
    }
    Test *test = pending_request_new(sizeof *test, test_back, test_drop, api_keep(request));
    test->run = run;
    test->plan = plan;
    test->tables = json_array();
    check(test->tables);
    for (size_t i = 0; i < plan_sink_count(plan); i++) (void)table_of(test, plan_sink(plan, i));
    TemplateBatch *batch = dry_run_batch(run, NULL, MESSAGE_TEMPLATES);
    if (!batch) {
        answer(test, NULL);
        pending_request_end(&test->pending);
        return;
    }
    control_ask_templates(request->control, &test->pending, batch);
}
