/* Tests of connections: a loader opens a session of its own and asks the destination. */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "gateway/api/router.h"
#include "gateway/delivery/load_job.h"

#define TESTS_MOST 64 /* on their way at once: they are run one after another */

typedef struct Testing {
    Errand errand;                /* first */
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

static void testing_back(Control *control, Errand *errand, Message *take_message) {
    Testing *testing = (Testing *)errand;
    LoadJob *job = (LoadJob *)take_message;
    if (job->request.result == SINK_DONE)
        api_call_answer(steal(errand->call), 200, answer_json(control_view(control), testing, job));
    else
        api_call_fail(steal(errand->call), 503, "shutdown", "The gateway is shutting down.");
    load_job_free(job);
    errand_end(errand);
}

/* The tables of all sinks that are there. */
static void find_tables(const Registry *registry, const char *connection, LoadJob *job) {
    size_t capacity = 0;
    for (size_t i = 0; i < registry->count; i++) {
        const RegistrySource *source = registry->sources[i];
        for (size_t k = 0; source->source->deleted == 0 && k < source->sink_count; k++) {
            const Sink *sink = source->sinks[k]->sink;
            if (sink->deleted != 0 || strcmp(sink->target.connection, connection) != 0) continue;
            array_reserve(job->tables, job->table_count, capacity);
            job->tables[job->table_count++] = text_copy(sink->target.table.table_id);
        }
    }
}

void api_connections_test(ApiRequest *request) {
    const Connection *connection = connections_find(&request->view->options->list, request->connection);
    if (!connection) {
        api_fail(request, 404, "connectionNotFound", "There is no connection \"%.60s\".", request->connection);
        return;
    }
    if (!api_has_room(request, testing_back, TESTS_MOST, "tests of connections")) return;
    Testing *testing = errand_new(sizeof *testing, testing_back, NULL, api_keep(request));
    testing->connection = connection;
    testing->began = request->view->clock->boot(request->view->clock);
    LoadJob *job = load_job_new(MESSAGE_TEST_CONNECTION, NULL, NULL);
    job->connection = text_copy(connection->name);
    job->label = text_copy("test");
    job->test = calloc(1, sizeof *job->test);
    check(job->test);
    find_tables(request->view->registry, connection->name, job);
    control_ask_loaders(request->control, &testing->errand, job);
}
