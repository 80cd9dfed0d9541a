/* Threads of bridges: started by snapshots, ended with their source or by a drain, before a broker
 * and a writer that are threads' own. */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "config/source_kind.h"
#include "gateway/delivery/positions_job.h"
#include "gateway/sources/bridge_runner.h"

const SourceKind *const source_kinds[] = {&source_kind_http, &source_kind_kafka, &source_kind_nats, NULL};
const char *const source_kind_names[] = {"http", "kafka", "nats", NULL};
const char *const kinds_not_built[] = {NULL};

#define DEADLINE (60 * USEC_SECOND)
#define RECORDS 1000

static usec_t now(void) {
    return clock_system()->boot(clock_system());
}

static void nap(void) {
    (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* ---- a broker with one partition of RECORDS records for each client -------------------------- */

struct BridgeClient {
    const SinkPatience *patience;
    int64_t at;
    bool offers, assigned, told;
};

static atomic_bool broker_hangs;
static atomic_uint clients;

static int client_open(const Source *source, const Connection *connection, const char *data_directory, uint32_t project,
                       const SinkPatience *patience, BridgeClient **ret_client, SinkFault *ret_fault, Error *error) {
    (void)source, (void)connection, (void)data_directory, (void)project, (void)ret_fault, (void)error;
    BridgeClient *client = calloc(1, sizeof *client);
    assert_non_null(client);
    client->offers = true;
    client->patience = patience;
    (void)atomic_fetch_add(&clients, 1);
    *ret_client = client;
    return 0;
}

static bool client_close(BridgeClient *take_client, usec_t limit) {
    (void)limit;
    (void)atomic_fetch_sub(&clients, 1);
    free(take_client);
    return true;
}

static ClientEventKind client_poll(BridgeClient *client, usec_t wait, ClientEvent *event) {
    static const ClientPartition all[] = {{.topic = "t"}};
    if (client->offers) {
        client->offers = false;
        *event = (ClientEvent){.partitions = all, .partition_count = 1, .generation = 1};
        return CLIENT_ASSIGNED;
    }
    if (client->assigned && client->at < RECORDS) {
        event->record = (ClientRecord){.offset = client->at++, .timestamp = CLIENT_NO_TIME, .value = SPAN("{\"a\":1}")};
        return CLIENT_RECORD;
    }
    if (wait > 0) nap();
    return CLIENT_NOTHING;
}

static int client_topics(BridgeClient *client, Arena *arena, usec_t limit, ClientTopics *ret_topics, SinkFault *ret_fault, Error *error) {
    usec_t until = now() + limit;
    *ret_fault = SINK_FAULT_UNREACHABLE;
    while (atomic_load(&broker_hangs)) {
        if (now() >= until || sink_patience_is_over(client->patience)) return error_set(error, -ECANCELED, "the broker hangs");
        nap();
    }
    ret_topics->items = arena_zalloc(arena, sizeof *ret_topics->items);
    ret_topics->items[0] = (ClientTopic){.name = "t", .partition_count = 1};
    ret_topics->count = 1;
    ret_topics->cluster = "c";
    return 0;
}

static int client_offsets(BridgeClient *client, ClientOffset *offsets, size_t count, usec_t limit, Error *error) {
    (void)client, (void)limit, (void)error;
    for (size_t i = 0; i < count; i++) offsets[i].offset = 0;
    return 0;
}

static int client_assign(BridgeClient *client, uint64_t generation, const ClientPartition *partitions, size_t count, Error *error) {
    (void)generation, (void)error;
    client->assigned = count == 1;
    if (count == 1) client->at = partitions[0].offset;
    return 0;
}

static int client_seek(BridgeClient *client, size_t index, int64_t offset, Error *error) {
    (void)index, (void)error;
    client->at = offset;
    return 0;
}

static int client_pause(BridgeClient *client, size_t index, Error *error) {
    (void)client, (void)index, (void)error;
    return 0;
}

static void client_bounds(const BridgeClient *client, size_t index, int64_t *ret_first, int64_t *ret_end) {
    (void)client, (void)index;
    *ret_first = 0;
    *ret_end = RECORDS;
}

static void client_commit(BridgeClient *client, const ClientPartition *offsets, size_t count) {
    (void)client, (void)offsets, (void)count;
}

static const BridgeClientType client_type = {.name = "threads",
                                             .open = client_open,
                                             .close = client_close,
                                             .poll = client_poll,
                                             .topics = client_topics,
                                             .offsets = client_offsets,
                                             .assign = client_assign,
                                             .seek = client_seek,
                                             .pause = client_pause,
                                             .resume = client_pause,
                                             .bounds = client_bounds,
                                             .commit = client_commit};

const BridgeClientType *bridge_client_of(const Source *source) {
    (void)source;
    return &client_type;
}

/* ---- a writer that keeps ends, and destinations without positions ---------------------------- */

#define SINKS 8

static Mailbox *writer;
static atomic_bool writer_ends, writer_hangs;
static atomic_llong ends[SINKS];

static void answer(Message *message) {
    switch (message->kind) {
    case MESSAGE_APPEND: {
        Append *append = (Append *)message;
        for (size_t i = 0; i < append->sink_count; i++)
            atomic_store(&ends[append->sinks[i].sink], append->sinks[i].runs[append->sinks[i].run_count - 1].next);
        append->result = APPEND_DONE;
        mailbox_post(append->reply, message);
        return;
    }
    case MESSAGE_PROGRESS: {
        Progress *progress = (Progress *)message;
        for (size_t i = 0; i < progress->sink_count; i++) {
            SinkProgress *sink = &progress->sinks[i];
            int64_t end = atomic_load(&ends[sink->sink]);
            sink->partitions = arena_alloc(&progress->arena, (progress->partition_count + 1) * sizeof *sink->partitions);
            for (size_t k = 0; k < progress->partition_count; k++)
                sink->partitions[k] = (PartitionProgress){.from = end < 0 ? -1 : 0, .end = end, .left = -1, .position = -1};
        }
        request_answer(&progress->request);
        return;
    }
    default: request_answer((Request *)message);
    }
}

static void *run_writer(void *context) {
    (void)context;
    while (!atomic_load(&writer_ends)) {
        while (atomic_load(&writer_hangs) && !atomic_load(&writer_ends)) nap();
        for (Message *message = mailbox_take(writer), *next; message; message = next) {
            next = message->next;
            answer(message);
        }
        (void)mailbox_wait(writer, 10 * USEC_MS);
    }
    return NULL;
}

static void post_job(void *context, LoadJob *take_job) {
    (void)context;
    take_job->claimed = true;
    for (size_t i = 0; i < take_job->claim_count; i++) take_job->claims[i].next = 0;
    request_answer(&take_job->request);
}

/* ---- the runner ------------------------------------------------------------------------------ */

static Usage usage;
static Mailbox *control;
static BridgeRunner runner;
static pthread_t writer_thread;
static uint64_t generation;
static Connection connection_items[2];
static Connections connections;

static int set_up(void **state) {
    (void)state;
    usage = (Usage){.in_flight_limit = 1u << 30};
    control = mailbox_new(NULL, NULL);
    writer = mailbox_new(NULL, NULL);
    connection_items[0] = (Connection){.name = (char *)"local", .type = &connection_type_sqlite};
    connection_items[1] = (Connection){.name = (char *)"events", .type = &connection_type_kafka};
    connections = (Connections){.items = connection_items, .count = 2};
    atomic_store(&writer_ends, false);
    atomic_store(&writer_hangs, false);
    atomic_store(&broker_hangs, false);
    for (size_t i = 0; i < SINKS; i++) atomic_store(&ends[i], -1);
    assert_int_equal(pthread_create(&writer_thread, NULL, run_writer, NULL), 0);
    BridgeOptions options = {.clock = clock_system(),
                             .usage = &usage,
                             .connections = &connections,
                             .data_directory = "/nowhere",
                             .writer = writer,
                             .post_job = post_job,
                             .project = 1,
                             .event_bytes = 100000,
                             .row_bytes = 100000,
                             .rows_bytes = 64 << 20};
    bridge_runner_init(&runner, &source_kind_kafka, &options, control);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    bridge_runner_stop(&runner);
    assert_int_equal(atomic_load(&clients), 0);
    atomic_store(&writer_ends, true);
    assert_int_equal(pthread_join(writer_thread, NULL), 0);
    mailbox_pass(writer);
    for (Message *message = mailbox_take(writer), *next; message; message = next) {
        next = message->next;
        answer(message); /* too late */
    }
    bridge_runner_free(&runner);
    for (Message *message = mailbox_take(control), *next; message; message = next) {
        next = message->next;
        if (message->kind == MESSAGE_SNAPSHOT_GONE)
            snapshot_gone_free((SnapshotGone *)message);
        else
            free(message);
    }
    mailbox_free(writer);
    mailbox_free(control);
    return 0;
}

/* Shows a snapshot with the first `count` sources; `disabled`: of all. */
static void show(size_t count, bool disabled) {
    SnapshotSource *sources[SINKS] = {0};
    for (size_t i = 0; i < count; i++) {
        Error error = {0};
        Source *source;
        Sink *sink;
        Plan *plan;
        SinkGate *gate = sink_gate_new();
        const bool wait = true;
        json_t *body = json_pack("{s:s+, s:s, s:{s:s, s:[s], s:i}}", "sourceId", "s",
                                 i == 0   ? "a"
                                 : i == 1 ? "b"
                                          : "c",
                                 "type", "kafka", "kafka", "connection", "events", "topics", "t", "batchSize", 100);
        assert_int_equal(source_from_request(body, &source, &error), 0);
        json_decref(body);
        source->number = (uint32_t)i + 1;
        source->disabled = disabled;
        body = json_pack("{s:s, s:s, s:{s:s, s:{s:[{s:s, s:s}]}}}", "sinkId", "k", "type", "table", "table", "tableId", "t", "mapping",
                         "columns", "name", "body", "type", "body");
        assert_int_equal(sink_from_request(body, false, &sink, &error), 0);
        json_decref(body);
        sink->number = (uint32_t)i + 1;
        assert_int_equal(plan_compile(source, &sink, 1, &plan, &error), 0);
        sources[i] = snapshot_source_new(source, disabled ? NULL : plan, &gate, &wait, NULL, 0, NULL);
        plan_unref(plan);
        sink_unref(sink);
        sink_gate_unref(gate);
        source_unref(source);
    }
    Snapshot *snapshot = snapshot_new(++generation, sources, count, control);
    for (size_t i = 0; i < count; i++) snapshot_source_unref(sources[i]);
    runner.runner.show(&runner.runner, snapshot);
    snapshot_unref(snapshot);
}

static void wait_read(size_t sink) {
    usec_t until = now() + DEADLINE;
    while (atomic_load(&ends[sink]) < RECORDS) {
        assert_true(now() < until);
        nap();
    }
}

/* Is nobody left who runs the generation? */
static bool is_gone(uint64_t of) {
    static bool gone[10000];
    for (Message *message = mailbox_take(control), *next; message; message = next) {
        next = message->next;
        assert_int_equal(message->kind, MESSAGE_SNAPSHOT_GONE);
        gone[((SnapshotGone *)message)->generation] = true;
        snapshot_gone_free((SnapshotGone *)message);
    }
    return gone[of];
}

static void wait_fence(void) {
    usec_t until = now() + DEADLINE;
    while (!is_gone(generation - 1)) {
        assert_true(now() < until);
        nap();
    }
}

static void sources_come_and_go(void **state) {
    (void)state;
    show(2, false);
    wait_read(1);
    wait_read(2);
    assert_int_equal(atomic_load(&clients), 2);
    usec_t until = now() + DEADLINE;
    for (uint64_t records = 0; records < RECORDS;) {
        BridgeStatus *status = runner.runner.status(&runner.runner, 2);
        if (status) records = status->records;
        bridge_status_unref(status);
        assert_true(now() < until);
        nap();
    }
    assert_null(runner.runner.status(&runner.runner, 3));

    show(1, false); /* the second one is gone */
    wait_fence();
    while (atomic_load(&clients) > 1) nap();
    show(1, true);
    wait_fence();
    while (atomic_load(&clients) > 0) nap();
    atomic_store(&ends[1], -1);
    show(1, false);
    wait_read(1);
    Request request = {.reply = control};
    assert_false(runner.runner.ask(&runner.runner, 2, &request));
}

static void skip_drop(Request *request) {
    free(((BridgeSkip *)request)->topic);
    free(request);
}

static bool ask_to_skip(Mailbox *reply) {
    BridgeSkip *skip = calloc(1, sizeof *skip);
    assert_non_null(skip);
    skip->request = (Request){.message.kind = MESSAGE_BRIDGE_SKIP, .reply = reply, .drop = skip_drop};
    skip->topic = strdup("t");
    bool taken = runner.runner.ask(&runner.runner, 1, &skip->request);
    if (!taken) request_drop(&skip->request);
    return taken;
}

static size_t take_answers(Mailbox *from) {
    size_t count = 0;
    for (Message *message = mailbox_take(from), *next; message; message = next, count++) {
        next = message->next;
        assert_int_equal(((BridgeSkip *)message)->request.result < 0, true);
        request_drop((Request *)message);
    }
    return count;
}

/* Whoever was asked while its source went: no other snapshot has to come before the answer does. */
static void what_was_asked_comes_back(void **state) {
    (void)state;
    Mailbox *asker = mailbox_new(NULL, NULL);
    for (int round = 0; round < 200; round++) {
        size_t asked = 0;
        show(1, false);
        show(0, false);
        while (ask_to_skip(asker)) asked++;
        usec_t until = now() + DEADLINE;
        for (size_t back = 0; back < asked; back += take_answers(asker))
            if (now() >= until) fail_msg("round %d: %zu of %zu came back", round, back, asked);
    }
    mailbox_free(asker);
}

static size_t count_drained(void) {
    size_t count = 0;
    for (Message *message = mailbox_take(control), *next; message; message = next) {
        next = message->next;
        if (message->kind == MESSAGE_DRAINED) {
            count++;
            free(message);
        } else {
            assert_int_equal(message->kind, MESSAGE_SNAPSHOT_GONE);
            snapshot_gone_free((SnapshotGone *)message);
        }
    }
    return count;
}

static void a_drain_ends_all(void **state) {
    (void)state;
    show(3, false);
    for (size_t i = 1; i <= 3; i++) wait_read(i);
    usec_t until = now() + DEADLINE;
    size_t count = runner.runner.drain(&runner.runner, until), drained = 0;
    assert_int_equal(count, 3);
    while ((drained += count_drained()) < count) {
        assert_true(now() < until);
        nap();
    }
    assert_int_equal(atomic_load(&clients), 0);
}

static void a_broker_that_hangs_holds_up_no_end(void **state) {
    (void)state;
    atomic_store(&broker_hangs, true);
    show(1, false);
    while (atomic_load(&clients) == 0) nap();
    usec_t began = now();
    assert_int_equal(runner.runner.drain(&runner.runner, began + 20 * USEC_SECOND), 1);
    while (count_drained() == 0) nap();
    assert_true(now() - began < 8 * USEC_SECOND); /* a question to the broker may take 10 s */
}

static void a_broker_that_hangs_holds_up_no_change(void **state) {
    (void)state;
    atomic_store(&broker_hangs, true);
    show(1, false);
    while (atomic_load(&clients) == 0) nap();
    usec_t began = now();
    show(1, true);
    while (atomic_load(&clients) > 0) nap();
    assert_true(now() - began < 8 * USEC_SECOND);
}

static void a_writer_that_hangs_holds_up_no_end(void **state) {
    (void)state;
    show(1, false);
    wait_read(1);
    atomic_store(&writer_hangs, true);
    usec_t began = now();
    assert_int_equal(runner.runner.drain(&runner.runner, began + USEC_SECOND), 1);
    while (count_drained() == 0) nap();
    assert_true(now() - began < 20 * USEC_SECOND);
}

static void an_end_without_a_drain(void **state) {
    (void)state;
    show(2, false);
    wait_read(1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sources_come_and_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_asked_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_drain_ends_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broker_that_hangs_holds_up_no_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broker_that_hangs_holds_up_no_change, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_writer_that_hangs_holds_up_no_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_end_without_a_drain, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
