/*
 * A bridge before a durable consumer: the stream, its consumer, the writer and all time are the
 * test's. The writer keeps rows and marks in one step, as life's does. The server delivers again
 * what is not acked in time, and after a kill what it forgot to be acked.
 */
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/random.h"
#include "config/source_kind.h"
#include "gateway/sources/bridge.h"
#include "gateway/sources/nats_token.h"

const SourceKind *const source_kinds[] = {&source_kind_http, &source_kind_nats, NULL};
const char *const source_kind_names[] = {"http", "nats", NULL};
const char *const kinds_not_built[] = {NULL};

#define MOST 4000

typedef enum Kind { OF_OTHERS, GOOD, BROKEN } Kind;

static struct {
    usec_t now;
    Usage usage;
    const char *definition, *sink_settings;
    bool is_paused;
    /* the stream and its consumer */
    uint8_t kinds[MOST];
    int64_t end; /* the next sequence */
    const char *stream_id;
    int64_t next; /* that is delivered first */
    bool delivered[MOST], acked[MOST];
    unsigned times[MOST]; /* deliveries, as the server counts */
    usec_t due[MOST];     /* when it is delivered again; 0: it is not on its way */
    uint64_t consumer_sequence;
    usec_t ack_wait;
    bool is_down;
    /* the client */
    bool is_open, is_paused_there, ended;
    unsigned opened, acks, working;
    uint64_t order, last_consumer_sequence, last_sequence;
    bool was_first;
    int64_t sought;
    Buffer token;
    char value[32];
    /* the writer: what is durable */
    unsigned rows[MOST];
    unsigned rejects;
    Buffer marks[3]; /* by generation */
    uint32_t generation_stored;
    AppendResult result;
    bool holds;
    Message *held[200];
    size_t held_count, appends, max_at_once;
    uint64_t waiting_bytes;
    bool imports;
    /* the bridge */
    Mailbox *writer, *gone, *control;
    BridgeBoard *board;
    Bridge *bridge;
    SnapshotSource *source;
    uint64_t generation;
} w;

static usec_t tell_now(Clock *clock) {
    (void)clock;
    return w.now;
}
static Clock test_clock = {.wall = tell_now, .boot = tell_now};

/* ---- the broker ------------------------------------------------------------------------------ */

struct BridgeClient {
    int unused;
};
static BridgeClient the_client;

static int client_open(const Source *source, const Connection *connection, const char *data_directory, uint32_t project,
                       const SinkPatience *patience, BridgeClient **ret_client, SinkFault *ret_fault, Error *error) {
    (void)source, (void)connection, (void)data_directory, (void)project, (void)patience, (void)ret_fault, (void)error;
    assert_false(w.is_open);
    w.is_open = true;
    w.is_paused_there = w.was_first = w.ended = false;
    w.opened++;
    w.order += 10;
    w.sought = -1;
    *ret_client = &the_client;
    return 0;
}

static bool client_close(BridgeClient *client, usec_t limit) {
    (void)client, (void)limit;
    assert_true(w.is_open);
    w.is_open = false;
    return true;
}

static int64_t floor_of(void) {
    int64_t floor = 0;
    for (int64_t i = 1; i < w.next && (w.kinds[i] == OF_OTHERS || w.acked[i]); i++) floor = i;
    return floor;
}

static ClientEventKind give(int64_t sequence, ClientEvent *event) {
    static const char *const values[] = {NULL, "{\"a\":\"x\"}", "{"};
    bool first = ++w.times[sequence] == 1;
    w.delivered[sequence] = true;
    w.due[sequence] = w.now + w.ack_wait;
    w.consumer_sequence++;
    bool follows = w.was_first && w.consumer_sequence == w.last_consumer_sequence + 1 && (uint64_t)sequence > w.last_sequence;
    SeenMessage seen = {.sequence = (uint64_t)sequence, .time_nsec = sequence};
    if (first) seen.order = w.order += follows ? 1 : 2;
    w.was_first = first;
    w.last_consumer_sequence = w.consumer_sequence;
    w.last_sequence = (uint64_t)sequence;
    buffer_clear(&w.token);
    nats_token_put(&seen, "reply", &w.token);
    event->index = 0;
    event->offset = sequence;
    event->record = (ClientRecord){.offset = sequence,
                                   .timestamp = w.now,
                                   .value = span_of(values[w.kinds[sequence]]),
                                   .token = buffer_span(&w.token),
                                   .subject = SPAN("s")};
    w.ended = false;
    return CLIENT_RECORD;
}

static ClientEventKind client_poll(BridgeClient *client, usec_t wait, ClientEvent *event) {
    (void)client, (void)wait;
    assert_true(w.is_open);
    if (w.is_down || w.is_paused_there) return CLIENT_NOTHING;
    for (int64_t i = 1; i < w.next; i++)
        if (w.due[i] != 0 && w.due[i] <= w.now) return give(i, event);
    for (; w.next < w.end; w.next++)
        if (w.kinds[w.next] != OF_OTHERS) return give(w.next++, event);
    for (int64_t i = 1; i < w.end; i++)
        if (w.due[i] != 0) return CLIENT_NOTHING;
    if (w.ended) return CLIENT_NOTHING;
    w.ended = true;
    event->index = 0;
    event->offset = w.end;
    return CLIENT_END;
}

static int client_topics(BridgeClient *client, Arena *arena, usec_t limit, ClientTopics *ret_topics, SinkFault *ret_fault, Error *error) {
    (void)client, (void)limit;
    *ret_fault = SINK_FAULT_UNREACHABLE;
    if (w.is_down) return error_set(error, -EHOSTUNREACH, "the server is down");
    ret_topics->items = arena_zalloc(arena, sizeof *ret_topics->items);
    ret_topics->items[0] = (ClientTopic){.name = "ORDERS", .partition_count = 1, .topic_id = w.stream_id};
    ret_topics->count = 1;
    ret_topics->cluster = "nats:events";
    return 0;
}

static int client_offsets(BridgeClient *client, ClientOffset *offsets, size_t count, usec_t limit, Error *error) {
    (void)client, (void)limit;
    if (w.is_down) return error_set(error, -EHOSTUNREACH, "the server is down");
    for (size_t i = 0; i < count; i++) offsets[i].offset = offsets[i].when == CLIENT_LATEST ? w.end : 1;
    return 0;
}

static int client_seek(BridgeClient *client, size_t index, int64_t offset, Error *error) {
    (void)client, (void)index, (void)error;
    w.sought = offset;
    return 0;
}

static int client_pause(BridgeClient *client, size_t index, Error *error) {
    (void)client, (void)index, (void)error;
    assert_false(w.is_paused_there);
    w.is_paused_there = true;
    return 0;
}

static int client_resume(BridgeClient *client, size_t index, Error *error) {
    (void)client, (void)index, (void)error;
    assert_true(w.is_paused_there);
    w.is_paused_there = false;
    return 0;
}

static void client_bounds(const BridgeClient *client, size_t index, int64_t *ret_first, int64_t *ret_end) {
    (void)client, (void)index;
    *ret_first = 1;
    *ret_end = w.end;
}

static bool client_ack(BridgeClient *client, const Span *tokens, size_t count) {
    (void)client;
    assert_true(w.is_open);
    if (w.is_down) return false;
    for (size_t i = 0; i < count; i++) {
        uint64_t sequence = nats_token_message(tokens[i]).sequence;
        assert_true(w.rows[sequence] == 1 || w.kinds[sequence] == BROKEN); /* never before it is committed */
        w.acked[sequence] = true;
        w.due[sequence] = 0;
        w.acks++;
    }
    return true;
}

static void client_working(BridgeClient *client, const Span *tokens, size_t count) {
    (void)client;
    if (w.is_down) return;
    for (size_t i = 0; i < count; i++) {
        uint64_t sequence = nats_token_message(tokens[i]).sequence;
        if (w.due[sequence] != 0) w.due[sequence] = w.now + w.ack_wait;
        w.working++;
    }
}

static void client_give_back(BridgeClient *client, const Span *tokens, size_t count) {
    (void)client;
    if (w.is_down) return;
    for (size_t i = 0; i < count; i++) {
        uint64_t sequence = nats_token_message(tokens[i]).sequence;
        if (w.due[sequence] != 0) w.due[sequence] = w.now;
    }
}

static int64_t client_acked(const BridgeClient *client) {
    (void)client;
    return floor_of();
}

static const BridgeClientType client_type = {.name = "world",
                                             .acks = true,
                                             .open = client_open,
                                             .close = client_close,
                                             .poll = client_poll,
                                             .topics = client_topics,
                                             .offsets = client_offsets,
                                             .seek = client_seek,
                                             .pause = client_pause,
                                             .resume = client_resume,
                                             .bounds = client_bounds,
                                             .ack = client_ack,
                                             .working = client_working,
                                             .give_back = client_give_back,
                                             .acked = client_acked};

const BridgeClientType *bridge_client_of(const Source *source) {
    (void)source;
    return &client_type;
}

static void put(unsigned count, Kind kind) {
    for (unsigned i = 0; i < count; i++) {
        assert_true(w.end < MOST);
        w.kinds[w.end++] = (uint8_t)kind;
    }
}

/* A kill: acks of the last moments are forgotten, and deliveries. */
static void kill_server(Random *random) {
    for (int64_t i = 1; i < w.next; i++) {
        if (w.kinds[i] == OF_OTHERS || !w.delivered[i]) continue;
        if (w.acked[i] && random_below(random, 4) == 0) {
            w.acked[i] = false;
            w.due[i] = w.now + 1;
        }
    }
    if (random_below(random, 2) == 0 && w.next > 10) { /* it forgot the last deliveries, too */
        int64_t back = w.next - (int64_t)random_below(random, 10);
        for (int64_t i = back; i < w.next; i++) w.due[i] = 0, w.acked[i] = false, w.times[i] = 0;
        w.consumer_sequence -= (uint64_t)(w.next - back) < w.consumer_sequence ? (uint64_t)(w.next - back) : 0;
        w.next = back;
    }
}

/* ---- the writer ------------------------------------------------------------------------------ */

static void store(const Append *append) {
    assert_string_equal(append->partitions[0].topic, "ORDERS");
    assert_string_equal(append->partitions[0].cluster, "nats:events");
    assert_true(append->mark.size > 0);
    for (size_t i = 0; i < append->sink_count; i++) {
        const AppendSink *sink = &append->sinks[i];
        const char *at = sink->rows.data, *end = sink->rows.data + sink->rows.size;
        assert_int_equal(sink->run_count, 0);
        for (long long sequence; at < end; at = strchr(at, '\n') + 1) {
            assert_int_equal(sscanf(at, "%lld,x", &sequence), 1);
            if (w.rows[sequence]++ != 0) fail_msg("%lld comes twice", sequence);
        }
    }
    w.rejects += (unsigned)append->reject_count;
    uint32_t generation = append->partitions[0].generation;
    assert_in_range(generation, 0, 2);
    w.generation_stored = generation;
    buffer_clear(&w.marks[generation]);
    buffer_append_span(&w.marks[generation], append->mark);
}

static void answer(Message *message) {
    if (message->kind == MESSAGE_APPEND) {
        Append *append = (Append *)message;
        append->result = w.result;
        w.result = APPEND_DONE;
        w.appends++;
        if (append->result == APPEND_DONE) store(append);
        mailbox_post(append->reply, message);
    } else if (message->kind == MESSAGE_PROGRESS) {
        Progress *progress = (Progress *)message;
        for (size_t i = 0; i < progress->sink_count; i++) {
            progress->sinks[i].partitions = arena_zalloc(&progress->arena, (progress->partition_count + 1) * sizeof(PartitionProgress));
            for (size_t k = 0; k < progress->partition_count; k++)
                progress->sinks[i].partitions[k] = (PartitionProgress){-1, -1, -1, -1, false, false};
            progress->sinks[i].waiting_bytes = w.waiting_bytes;
        }
        const Buffer *mark = &w.marks[progress->partitions[0].generation];
        progress->mark = (Span){arena_copy(&progress->arena, buffer_span(mark)), mark->size};
        request_answer(&progress->request);
    } else {
        assert_int_equal(message->kind, MESSAGE_CLOSE);
        Close *close = (Close *)message;
        if (close->wait_imported && !w.imports) close->request.result = -ECANCELED;
        request_answer(&close->request);
    }
}

static void release(void) {
    size_t count = w.held_count, appends = 0;
    w.held_count = 0;
    for (size_t i = 0; i < count; i++) appends += w.held[i]->kind == MESSAGE_APPEND;
    if (appends > w.max_at_once) w.max_at_once = appends;
    for (size_t i = 0; i < count; i++) answer(w.held[i]);
}

static void run_writer(void) {
    for (Message *message = mailbox_take(w.writer), *next; message; message = next) {
        next = message->next;
        assert_true(w.held_count < 200);
        w.held[w.held_count++] = message;
    }
    if (!w.holds) release();
}

static void post_job(void *context, LoadJob *take_job) {
    (void)context, (void)take_job;
    fail(); /* nothing is claimed or sought */
}

static void post_templates(void *context, TemplateBatch *take_batch) {
    (void)context, (void)take_batch;
    fail();
}

/* ---- definitions, begin and end -------------------------------------------------------------- */

static json_t *json_of(const char *text) {
    json_t *value = json_loads(text, 0, NULL);
    assert_non_null(value);
    return value;
}

static Snapshot *make_snapshot(void) {
    Error error = {0};
    Source *source;
    Sink *sink;
    Plan *plan = NULL;
    char text[600];
    (void)snprintf(text, sizeof text,
                   "{\"sourceId\":\"s\",\"name\":\"s\",\"type\":\"nats\",\"nats\":{\"connection\":\"events\",\"stream\":\"ORDERS\","
                   "\"batchSize\":20%s}}",
                   w.definition ? w.definition : "");
    json_t *json = json_of(text);
    if (source_from_request(json, &source, &error) != 0) fail_msg("%s", error.text);
    json_decref(json);
    source->number = 5;
    if (w.is_paused) pause_begin(&source->paused, 1, 1, "somebody");
    (void)snprintf(text, sizeof text,
                   "{\"name\":\"k\",\"type\":\"table\",%s\"table\":{\"tableId\":\"t\",\"mapping\":{\"columns\":["
                   "{\"name\":\"o\",\"type\":\"meta\",\"field\":\"sequence\"},{\"name\":\"a\",\"type\":\"path\",\"path\":\"a\"}]}}}",
                   w.sink_settings ? w.sink_settings : "");
    json = json_of(text);
    if (sink_from_request(json, false, &sink, &error) != 0) fail_msg("%s", error.text);
    json_decref(json);
    sink->number = 1;
    sink->mapping_version = 1;
    SinkGate *gate = sink_gate_new();
    const bool waits = true;
    if (plan_compile(source, &sink, 1, &plan, &error) != 0) fail_msg("%s", error.text);
    SnapshotSource *made = snapshot_source_new(source, plan, &gate, &waits, NULL, 0, w.source);
    sink_unref(sink);
    sink_gate_unref(gate);
    plan_unref(plan);
    source_unref(source);
    snapshot_source_unref(w.source);
    w.source = made;
    return snapshot_new(++w.generation, &w.source, 1, w.gone);
}

static void take_gone(void) {
    for (Message *message = mailbox_take(w.gone), *next; message; message = next) {
        next = message->next;
        snapshot_gone_free((SnapshotGone *)message);
    }
}

static void show(void) {
    SnapshotNews *news = calloc(1, sizeof *news);
    assert_non_null(news);
    news->message.kind = MESSAGE_SNAPSHOT;
    news->snapshot = make_snapshot();
    mailbox_post(bridge_mailbox(w.bridge), &news->message);
}

static void begin(void) {
    memset(&w, 0, sizeof w);
    w.now = 1000 * USEC_SECOND;
    w.usage.in_flight_limit = 1u << 30;
    w.end = w.next = 1;
    w.stream_id = "2026-01-01T00:00:00.000000001Z";
    w.imports = true;
    w.ack_wait = 5 * USEC_SECOND;
    w.writer = mailbox_new(NULL, NULL);
    w.gone = mailbox_new(NULL, NULL);
    w.control = mailbox_new(NULL, NULL);
    w.board = bridge_board_new();
}

static void start(void) {
    static Connection items[2];
    static Connections all;
    items[0] = (Connection){.name = (char *)(uintptr_t) "local", .type = &connection_type_postgres};
    items[1] = (Connection){.name = (char *)(uintptr_t) "events", .type = &connection_type_nats};
    all = (Connections){.items = items, .count = 2};
    BridgeOptions options = {.clock = &test_clock,
                             .usage = &w.usage,
                             .connections = &all,
                             .data_directory = "/nowhere",
                             .writer = w.writer,
                             .post_job = post_job,
                             .post_templates = post_templates,
                             .board = w.board,
                             .project = 1,
                             .event_bytes = 100000,
                             .row_bytes = 100000,
                             .rows_bytes = 64 << 20};
    Snapshot *snapshot = make_snapshot();
    w.bridge = bridge_new(&options, snapshot, w.source);
    snapshot_unref(snapshot);
}

/* `committed`: what is on its way to the writer is stored; else it never was. */
static void stop(bool committed) {
    run_writer();
    if (!committed) {
        for (size_t i = 0; i < w.held_count; i++) {
            if (w.held[i]->kind != MESSAGE_APPEND) continue;
            w.result = APPEND_FAILED;
            answer(w.held[i]);
            w.held[i--] = w.held[--w.held_count];
        }
    }
    Drain *drain = calloc(1, sizeof *drain);
    assert_non_null(drain);
    drain->message.kind = MESSAGE_DRAIN;
    drain->until = w.now;
    mailbox_post(bridge_mailbox(w.bridge), &drain->message);
    for (int i = 0; i < 100 && !bridge_has_ended(w.bridge); i++) (void)bridge_step(w.bridge);
    assert_true(bridge_has_ended(w.bridge));
    assert_false(w.is_open);
    w.holds = false;
    run_writer();
    bridge_free(w.bridge);
    w.bridge = NULL;
    take_gone();
}

static int tear_down(void **state) {
    (void)state;
    stop(true);
    snapshot_source_unref(w.source);
    take_gone();
    mailbox_free(w.writer);
    mailbox_free(w.gone);
    mailbox_free(w.control);
    bridge_board_unref(w.board);
    for (size_t i = 0; i < 3; i++) buffer_deinit(&w.marks[i]);
    buffer_deinit(&w.token);
    assert_int_equal(w.usage.in_flight_bytes + w.usage.large_bytes, 0);
    return 0;
}

static void step(usec_t usec) {
    w.now += usec;
    (void)bridge_step(w.bridge);
    run_writer();
    take_gone();
}

static void run(unsigned steps, usec_t usec) {
    for (unsigned i = 0; i < steps; i++) step(usec);
}

static bool is_settled(void) {
    for (int64_t i = 1; i < w.end; i++)
        if (w.kinds[i] == GOOD && (w.rows[i] != 1 || !w.acked[i])) return false;
    return true;
}

static void settle(unsigned seconds) {
    for (usec_t end = w.now + seconds * USEC_SECOND; !is_settled();) {
        step(20 * USEC_MS);
        if (w.now < end) continue;
        for (int64_t i = 1; i < w.end; i++)
            if (w.kinds[i] == GOOD && (w.rows[i] != 1 || !w.acked[i])) fail_msg("%ld: %u rows, acked %d", (long)i, w.rows[i], w.acked[i]);
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void messages_become_rows_and_are_acked(void **state) {
    (void)state;
    begin();
    put(100, GOOD);
    put(30, OF_OTHERS);
    put(55, GOOD);
    start();
    settle(60);
    put(3, GOOD);
    settle(60);
    run(60, 50 * USEC_MS);
    BridgeStatus *status = bridge_board_get(w.board);
    assert_int_equal(status->state, BRIDGE_RUNNING);
    assert_string_equal(status->group, "sluice-1-s");
    assert_int_equal(status->records, 158);
    assert_int_equal(status->partition_count, 1);
    assert_int_equal(status->partitions[0].lag, 0);
    bridge_status_unref(status);
    assert_int_equal(w.acks, 158);
    assert_int_equal(w.opened, 1);
    /* One interval. */
    SeenIntervals seen = {0};
    assert_int_equal(seen_intervals_get(&seen, buffer_span(&w.marks[0]), span_of(w.stream_id), SPAN(""), NULL), 0);
    assert_int_equal(seen.count, 1);
    assert_true(seen.items[0].first == 1 && seen.items[0].last == 188);
    seen_intervals_deinit(&seen);
}

/* The ack was lost with the process: what comes again is acked, and stored no second time. */
static void what_is_committed_is_left_out(void **state) {
    (void)state;
    begin();
    start();
    run(5, 20 * USEC_MS);
    put(20, GOOD);
    w.holds = true;
    run(10, 20 * USEC_MS);
    assert_int_equal(w.acks, 0);
    stop(true);
    assert_int_equal(w.rows[20], 1);
    memset(w.acked, 0, sizeof w.acked);
    for (int64_t i = 1; i < w.next; i++) w.due[i] = w.now + w.ack_wait;
    start();
    settle(60);
    assert_int_equal(w.sought, 21); /* a consumer that has to be made begins behind what is committed */
    assert_int_equal(w.appends, 1);
}

static void one_append_is_in_flight(void **state) {
    (void)state;
    begin();
    put(500, GOOD);
    start();
    w.holds = true;
    for (int i = 0; i < 30; i++) {
        run(10, 20 * USEC_MS);
        release();
    }
    w.holds = false;
    settle(60);
    assert_int_equal(w.max_at_once, 1);
}

/* Nothing of a refused Append is in a later mark. */
static void a_refused_append_comes_again(void **state) {
    (void)state;
    static const AppendResult results[] = {APPEND_FULL, APPEND_FAILED};
    begin();
    w.ack_wait = 1000 * USEC_SECOND; /* it is given back */
    start();
    for (size_t i = 0; i < 2; i++) {
        put(100, GOOD);
        w.result = results[i];
        settle(60);
    }
}

static void nothing_is_taken_while_there_is_no_room(void **state) {
    (void)state;
    begin();
    start();
    w.waiting_bytes = (uint64_t)1 << 40;
    run(30, 100 * USEC_MS);
    put(30, GOOD);
    run(100, 100 * USEC_MS);
    assert_int_equal(w.next, 1);
    BridgeStatus *status = bridge_board_get(w.board);
    assert_int_equal(status->state, BRIDGE_WAITING);
    bridge_status_unref(status);
    w.waiting_bytes = 0;
    settle(60);
}

/* The broker does not deliver again what is still worked on. */
static void a_slow_writer(void **state) {
    (void)state;
    begin();
    w.ack_wait = 30 * USEC_SECOND;
    start();
    run(5, 20 * USEC_MS);
    put(50, GOOD);
    w.holds = true;
    run(900, 100 * USEC_MS);
    assert_true(w.working > 0);
    for (int i = 1; i < 41; i++) assert_in_range(w.times[i], 1, 1);
    w.holds = false;
    settle(60);
    assert_int_equal(w.acks, 50);
}

static void a_message_that_is_refused_stops(void **state) {
    (void)state;
    begin();
    w.sink_settings = "\"onInvalid\":\"reject\",";
    w.ack_wait = 1000 * USEC_SECOND; /* what was dropped behind it is given back */
    put(30, GOOD);
    put(1, BROKEN);
    put(30, GOOD);
    start();
    run(100, 20 * USEC_MS);
    assert_int_equal(w.rows[30], 1);
    assert_int_equal(w.rows[32], 0);
    BridgeStatus *status = bridge_board_get(w.board);
    assert_string_equal(status->stopped, "poisonRecord");
    assert_int_equal(status->partitions[0].stopped_at, 31);
    bridge_status_unref(status);
    BridgeSkip skip = {
        .request = {.message = {.kind = MESSAGE_BRIDGE_SKIP}, .reply = w.control}, .topic = (char *)(uintptr_t) "ORDERS", .offset = 31};
    mailbox_post(bridge_mailbox(w.bridge), &skip.request.message);
    settle(60);
    assert_ptr_equal(mailbox_take(w.control), &skip);
    assert_int_equal(skip.request.result, 0);
    assert_true(w.acked[31]);
}

static void a_seek_is_refused(void **state) {
    (void)state;
    begin();
    start();
    run(5, 20 * USEC_MS);
    BridgeSeek seek = {.request = {.message = {.kind = MESSAGE_BRIDGE_SEEK}, .reply = w.control}, .partition = -1};
    mailbox_post(bridge_mailbox(w.bridge), &seek.request.message);
    step(0);
    assert_ptr_equal(mailbox_take(w.control), &seek);
    assert_int_equal(seek.request.result, -EINVAL);
    assert_non_null(strstr(seek.request.error.text, "durable"));
}

static void a_source_that_ends_is_finished(void **state) {
    (void)state;
    begin();
    w.definition = ",\"loop\":false";
    put(100, GOOD);
    start();
    run(4, 10 * USEC_MS);
    put(10, GOOD); /* too late: it stays at the broker */
    w.imports = false;
    run(100, 20 * USEC_MS);
    BridgeStatus *status = bridge_board_get(w.board);
    assert_int_equal(status->state, BRIDGE_RUNNING);
    bridge_status_unref(status);
    w.imports = true;
    run(100, 20 * USEC_MS);
    status = bridge_board_get(w.board);
    assert_int_equal(status->state, BRIDGE_FINISHED);
    bridge_status_unref(status);
    assert_false(w.is_open);
    assert_true(w.rows[100] == 1 && w.rows[101] == 0 && !w.acked[101]);
    stop(true);
    start();
    settle(60);
    run(100, 20 * USEC_MS);
    status = bridge_board_get(w.board);
    assert_int_equal(status->state, BRIDGE_FINISHED);
    bridge_status_unref(status);
}

/* What was committed of the old one says nothing about the sequences of the new one, which are a
 * generation of their own. */
static void a_stream_that_was_made_anew(void **state) {
    (void)state;
    static const char *const ids[] = {"2026-01-01T00:00:00.000000001Z", "2026-01-01T00:00:00.000000002Z", "2026-01-01T00:00:00.000000003Z"};
    begin();
    put(50, GOOD);
    for (uint32_t i = 0; i < 3; i++) {
        memset(w.rows, 0, sizeof w.rows);
        memset(w.acked, 0, sizeof w.acked);
        memset(w.due, 0, sizeof w.due);
        memset(w.times, 0, sizeof w.times);
        w.next = 1;
        w.stream_id = ids[i];
        start();
        settle(60);
        assert_int_equal(w.generation_stored, i);
        stop(true);
        start(); /* the same one again */
        put(10, GOOD);
        settle(60);
        assert_int_equal(w.generation_stored, i);
        stop(true);
    }
    start();
}

static void a_mark_that_is_damaged(void **state) {
    (void)state;
    begin();
    put(50, GOOD);
    start();
    settle(60);
    stop(true);
    w.marks[0].data[3] = (char)(w.marks[0].data[3] ^ 1);
    put(50, GOOD);
    start();
    settle(60);
}

static void each_message_once_whatever_happens(void **state) {
    (void)state;
    const char *only = getenv("SLUICE_BRIDGE_SEED");
    const char *many = getenv("SLUICE_BRIDGE_SEEDS");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1, last = only ? first : many ? strtoull(many, NULL, 10) : 300;
    for (uint64_t seed = first; seed <= last; seed++) {
        Random random = {.state = seed};
        if (only || many) print_message("seed %llu\n", (unsigned long long)seed);
        begin();
        start();
        for (int i = 0; i < 300; i++) {
            if (random_below(&random, 3) == 0) switch (random_below(&random, 11)) {
                case 0:
                case 1:
                case 2:
                    if (w.end < MOST - 100) put((unsigned)random_below(&random, 60), (Kind)random_below(&random, 3));
                    break;
                case 3: w.holds = !w.holds; break;
                case 4: w.result = (AppendResult)random_below(&random, 3); break;
                case 5:
                    stop(random_below(&random, 2) == 0);
                    start();
                    break;
                case 6: kill_server(&random); break;
                case 7: w.is_down = !w.is_down; break;
                case 8:
                    w.is_paused = !w.is_paused;
                    show();
                    break;
                case 9: w.waiting_bytes = random_below(&random, 2) ? (uint64_t)1 << 40 : 0; break;
                default: show();
                }
            step((usec_t)random_below(&random, 300) * USEC_MS);
        }
        w.holds = w.is_down = false;
        w.waiting_bytes = 0;
        w.is_paused = false;
        show();
        settle(120);
        if (seed < last) (void)tear_down(NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(messages_become_rows_and_are_acked, tear_down),
        cmocka_unit_test_teardown(what_is_committed_is_left_out, tear_down),
        cmocka_unit_test_teardown(one_append_is_in_flight, tear_down),
        cmocka_unit_test_teardown(a_refused_append_comes_again, tear_down),
        cmocka_unit_test_teardown(nothing_is_taken_while_there_is_no_room, tear_down),
        cmocka_unit_test_teardown(a_slow_writer, tear_down),
        cmocka_unit_test_teardown(a_message_that_is_refused_stops, tear_down),
        cmocka_unit_test_teardown(a_seek_is_refused, tear_down),
        cmocka_unit_test_teardown(a_source_that_ends_is_finished, tear_down),
        cmocka_unit_test_teardown(a_stream_that_was_made_anew, tear_down),
        cmocka_unit_test_teardown(a_mark_that_is_damaged, tear_down),
        cmocka_unit_test_teardown(each_message_once_whatever_happens, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
