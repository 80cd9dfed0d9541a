/* Tests of connections: a loader opens a session of its own and asks the destination. */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/source_bridge.h"
#include "gateway/api/router.h"
#include "gateway/delivery/load_job.h"

#define TESTS_MAX 64 /* on their way at once: they are run one after another */

typedef struct Testing {
    PendingRequest pending;       /* first */
    const Connection *connection; /* of the options: they last */
    usec_t began;                 /* boot */
} Testing;

/* The destination's words may be in any encoding. */
static json_t *words_json(const char *text) {
    char safe[sizeof((Error *)0)->text];
    if (!text[0]) return json_null();
    (void)snprintf(safe, sizeof safe, "%s", text);
    for (char *at = safe, *end = safe + strlen(safe); at < end;) {
        size_t size = (unsigned char)*at < 0x80 ? 1 : text_utf8_size(at, end);
        if (size == 0) *at = '?';
        at += size ? size : 1;
    }
    return json_string(safe);
}

static json_t *answer_json(const ControlView *view, const Testing *testing, const LoadJob *job) {
    const SinkTest *test = job->test;
    const char *fault = sink_fault_name(test->fault);
    Clock *clock = view->clock;
    json_t *json = json_pack("{s:s, s:s, s:b, s:s?, s:o, s:o, s:o, s:I}", "name", testing->connection->name, "type",
                             testing->connection->type->name, "ok", test->fault == SINK_SOUND, "fault", fault, "message",
                             words_json(job->request.error.text), "version", words_json(test->version), "note", words_json(test->note),
                             "duration", (json_int_t)((clock->boot(clock) - testing->began) / USEC_MS));
    check(json);
    return json;
}

static void testing_back(Control *control, PendingRequest *pending, Message *take_message) {
    Testing *testing = (Testing *)pending;
    LoadJob *job = (LoadJob *)take_message;
    if (job->request.result == SINK_DONE)
        api_call_answer(steal(pending->call), 200, answer_json(control_view(control), testing, job));
    else
        api_call_fail(steal(pending->call), 503, "shutdown", "The gateway is shutting down.");
    load_job_free(job);
    pending_request_end(pending);
}

typedef struct TestScope {
    const ControlView *view;
    const Connection *connection;
    LoadJob *job;
    size_t capacity;
} TestScope;

/* Each name once: sources may read the same topics. */
static void add_table(TestScope *scope, char *take_name, unsigned needs) {
    LoadJob *job = scope->job;
    for (size_t i = 0; i < job->table_count; i++) {
        if (strcmp(job->tables[i], take_name) != 0) continue;
        job->needs[i] |= needs;
        free(take_name);
        return;
    }
    array_reserve(job->tables, job->table_count, scope->capacity);
    job->needs = reallocarray(job->needs, scope->capacity, sizeof *job->needs);
    check(job->needs);
    job->needs[job->table_count] = needs;
    job->tables[job->table_count++] = take_name;
}

static unsigned needs_of(const SinkTarget *target) {
    unsigned needs = 0;
    if (target->table.strategy == STRATEGY_REPLACE) needs |= TABLE_IS_REPLACED;
    if (target->table.strategy == STRATEGY_MERGE) needs |= TABLE_IS_MERGED;
    if (sink_target_deletes(target)) needs |= TABLE_DELETES;
    for (size_t i = 0; i < target->column_count; i++)
        if (target->columns[i].primary_key) needs |= TABLE_IS_KEYED;
    return needs;
}

/* The tables of its sinks, when the connection is their destination. */
static void add_destinations(TestScope *scope, const RegistrySource *source) {
    for (size_t i = 0; i < source->sink_count; i++) {
        const Sink *sink = source->sinks[i]->sink;
        if (sink->deleted != 0 || strcmp(sink->target.connection, scope->connection->name) != 0) continue;
        add_table(scope, text_copy(sink->target.table.table_id), needs_of(&sink->target));
        scope->job->test->with_positions = scope->job->test->with_positions || source_keeps_positions(source->source);
        scope->job->test->with_columns = scope->job->test->with_columns || sink->target.infer;
    }
}

/* What it reads, when the connection is its broker. */
static void add_reads(TestScope *scope, const Source *source) {
    const BridgeSource *bridge = source_bridge(source);
    const char *type = scope->connection->type->name;
    if (!bridge || strcmp(bridge->connection, scope->connection->name) != 0 || strcmp(source->kind->bridge->connection_type, type) != 0)
        return;
    char *name;
    for (size_t i = 0; (name = source->kind->bridge->reads(source, scope->view->options->project, i)); i++) add_table(scope, name, 0);
}

/* Of all sources and sinks that are not deleted. */
static void find_tables(TestScope *scope) {
    const Registry *registry = scope->view->registry;
    for (size_t i = 0; i < registry->count; i++) {
        if (registry->sources[i]->source->deleted != 0) continue;
        add_destinations(scope, registry->sources[i]);
        add_reads(scope, registry->sources[i]->source);
    }
}

void api_connections_test(ApiRequest *request) {
    const Connection *connection = connections_find(&request->view->options->list, request->connection);
    if (!connection) {
        api_fail(request, 404, "connectionNotFound", "There is no connection \"%.60s\".", request->connection);
        return;
    }
    if (!api_has_room(request, testing_back, TESTS_MAX, "tests of connections")) return;
    Testing *testing = pending_request_new(sizeof *testing, testing_back, NULL, api_keep(request));
    testing->connection = connection;
    testing->began = request->view->clock->boot(request->view->clock);
    LoadJob *job = load_job_new(MESSAGE_TEST_CONNECTION, NULL, NULL);
    job->connection = text_copy(connection->name);
    job->label = text_copy("test");
    job->test = calloc(1, sizeof *job->test);
    check(job->test);
    find_tables(&(TestScope){.view = request->view, .connection = connection, .job = job});
    control_ask_loaders(request->control, &testing->pending, job);
}
