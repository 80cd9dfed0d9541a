/* The clients of sources of type nats against a real nats-server, and against one that says
 * nothing. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
/* clang-format on */

#include "base/text.h"
#include "config/source_nats.h"
#include "gateway/sources/nats_bridge.h"
#include "gateway/sources/nats_token.h"
#include "sinks/nats.h"
#include "tests/support/nats.h"
#include "tests/unit/sinks/nats-script.h"

const SourceKind *const source_kinds[] = {&source_kind_http, &source_kind_nats, NULL};
const char *const source_kind_names[] = {"http", "nats", NULL};
const char *const kinds_not_built[] = {NULL};

#define DEADLINE (60 * USEC_SECOND)
#define TURN (20 * USEC_MS)

static TestNats *server;

static usec_t now(void) {
    return clock_system()->boot(clock_system());
}

/* ---- a client of a definition ---- */

typedef struct Reader {
    const BridgeClientType *type;
    BridgeClient *client;
    Source *source;
    Connection connection;
    char *values[16];
    bool expedited;
    SinkPatience patience;
    ClientEvent event;
    /* of the last record, which is gone with the next poll */
    char value[64], subject[64];
    Buffer token;
} Reader;

static bool is_expedited(void *context) {
    return ((Reader *)context)->expedited;
}

static Source *source_of(const char *fields) {
    char text[512];
    Error error = {0};
    Source *source = NULL;
    (void)snprintf(text, sizeof text,
                   "{\"sourceId\":\"orders\",\"type\":\"nats\",\"nats\":{\"connection\":\"events\",\"stream\":\"ORDERS\"%s}}", fields);
    json_t *body = json_loads(text, 0, NULL);
    assert_non_null(body);
    if (source_from_request(body, &source, &error) < 0) fail_msg("%s: %s", text, error.text);
    json_decref(body);
    return source;
}

static void open_at(Reader *reader, const BridgeClientType *type, const char *uri, const char *fields) {
    *reader = (Reader){.type = type, .source = source_of(fields)};
    reader->values[0] = text_copy(uri);
    reader->connection = (Connection){.name = (char *)(uintptr_t) "events", .type = &connection_type_nats, .values = reader->values};
    reader->patience = (SinkPatience){.is_over = is_expedited, .context = reader};
    SinkFault fault = SINK_SOUND;
    Error error = {0};
    assert_int_equal(type->open(reader->source, &reader->connection, "/nonexistent", 7, &reader->patience, &reader->client, &fault, &error),
                     0);
}

static void open_reader(Reader *reader, const char *fields) {
    char all[256];
    (void)snprintf(all, sizeof all, ",\"durable\":\"none\"%s", fields);
    open_at(reader, &bridge_client_nats, server->uri, all);
}

static void open_durable(Reader *reader, const char *fields) {
    open_at(reader, &bridge_client_nats_durable, server->uri, fields);
}

static void close_reader(Reader *reader) {
    assert_true(reader->type->close(reader->client, 10 * USEC_SECOND));
    source_unref(reader->source);
    free(reader->values[0]);
    buffer_deinit(&reader->token);
}

static ClientEventKind next_event(Reader *reader, usec_t wait) {
    ClientEventKind kind = reader->type->poll(reader->client, wait, &reader->event);
    assert_int_equal(kind, reader->event.kind);
    if (kind == CLIENT_RECORD) {
        const ClientRecord *record = &reader->event.record;
        (void)snprintf(reader->value, sizeof reader->value, "%.*s", (int)(record->value.size < 60 ? record->value.size : 60),
                       record->value.data);
        (void)snprintf(reader->subject, sizeof reader->subject, "%.*s", (int)record->subject.size, record->subject.data);
        buffer_clear(&reader->token);
        buffer_append_span(&reader->token, record->token);
    }
    return kind;
}

/* The next event of this kind. Before it, only ends and trouble that passes. */
static void expect(Reader *reader, ClientEventKind kind) {
    for (usec_t end = now() + DEADLINE; now() < end;) {
        ClientEventKind got = next_event(reader, TURN);
        if (got == kind) return;
        if (got == CLIENT_NOTHING || got == CLIENT_PASSING_TROUBLE || (got == CLIENT_END && kind != CLIENT_END)) continue;
        fail_msg("%d in the place of %d, offset %ld: %s", got, kind, (long)reader->event.offset, reader->event.error.text);
    }
    fail_msg("no event %d", kind);
}

static void expect_record(Reader *reader, int64_t offset) {
    char value[32];
    expect(reader, CLIENT_RECORD);
    (void)snprintf(value, sizeof value, "{\"id\":%ld}", (long)offset);
    assert_int_equal(reader->event.offset, offset);
    assert_int_equal(reader->event.record.offset, offset);
    assert_int_equal(reader->event.index, 0);
    assert_string_equal(reader->value, value);
}

static void expect_end(Reader *reader, int64_t offset) {
    do expect(reader, CLIENT_END);
    while (reader->event.offset < offset);
    assert_int_equal(reader->event.offset, offset);
    assert_int_equal(reader->event.index, 0);
}

/* Nothing but ends and trouble that passes for a while. */
static void expect_silence(Reader *reader, usec_t wait) {
    for (usec_t end = now() + wait; now() < end;) {
        ClientEventKind kind = next_event(reader, TURN);
        if (kind != CLIENT_NOTHING && kind != CLIENT_END && kind != CLIENT_PASSING_TROUBLE)
            fail_msg("%d: %ld %s", kind, (long)reader->event.offset, reader->event.error.text);
    }
}

static void assign_at(Reader *reader, int64_t offset) {
    Error error = {0};
    ClientPartition partition = {.topic = "ORDERS", .offset = offset};
    if (reader->type->assign(reader->client, 0, &partition, 1, &error) != 0) fail_msg("%s", error.text);
}

static int64_t offset_of(Reader *reader, ClientWhen when, int64_t time) {
    ClientOffset offset = {.topic = "ORDERS", .when = when, .time = time};
    Error error = {0};
    if (reader->type->offsets(reader->client, &offset, 1, DEADLINE, &error) != 0 || offset.failed) fail_msg("%s", error.text);
    return offset.offset;
}

static ClientTopic topic_of(Reader *reader, char id[static 64]) {
    Arena arena = {0};
    ClientTopics topics = {0};
    SinkFault fault = SINK_SOUND;
    Error error = {0};
    if (reader->type->topics(reader->client, &arena, DEADLINE, &topics, &fault, &error) != 0) fail_msg("%s", error.text);
    assert_int_equal(topics.count, 1);
    assert_string_equal(topics.cluster, "nats:events");
    assert_string_equal(topics.items->name, "ORDERS");
    ClientTopic topic = *topics.items;
    (void)snprintf(id, 64, "%s", topic.topic_id ? topic.topic_id : "");
    arena_deinit(&arena);
    return topic;
}

static void make_stream(const char *more) {
    char body[256];
    free(test_nats_ask(server, "$JS.API.STREAM.DELETE.ORDERS", ""));
    (void)snprintf(body, sizeof body, "{\"name\":\"ORDERS\",\"subjects\":[\"orders.>\"],\"storage\":\"file\",\"retention\":\"limits\"%s}",
                   more);
    char *answer = test_nats_ask(server, "$JS.API.STREAM.CREATE.ORDERS", body);
    assert_null(strstr(answer, "\"error\""));
    free(answer);
}

static void fill(int first, int count) {
    for (int i = first; i < first + count; i++) {
        char subject[32], body[32];
        (void)snprintf(subject, sizeof subject, "orders.%s", i % 2 ? "odd" : "even");
        (void)snprintf(body, sizeof body, "{\"id\":%d}", i);
        test_nats_publish(server, subject, NULL, body, strlen(body));
    }
}

static int each_stream_is_new(void **state) {
    (void)state;
    make_stream("");
    return 0;
}

/* ---- without a durable ---- */

static void it_reads_from_a_position(void **state) {
    (void)state;
    Reader reader;
    char id[64];
    fill(1, 10);
    open_reader(&reader, "");
    ClientTopic topic = topic_of(&reader, id);
    assert_true(topic.partition_count == 1 && topic.fault == SINK_SOUND && strlen(id) == 30);
    expect_silence(&reader, 100 * USEC_MS); /* nothing is assigned */
    assign_at(&reader, 4);
    for (int64_t i = 4; i <= 10; i++) expect_record(&reader, i);
    expect_end(&reader, 11);
    int64_t first, end;
    reader.type->bounds(reader.client, 0, &first, &end);
    assert_true(first == 1 && end == 11);
    fill(11, 2);
    expect_record(&reader, 11);
    expect_record(&reader, 12);
    expect_end(&reader, 13);
    expect_silence(&reader, 300 * USEC_MS);
    /* Back, and to the end; nothing of before is handed out. */
    fill(13, 100);
    expect_record(&reader, 13);
    assert_int_equal(reader.type->seek(reader.client, 0, 2, NULL), 0);
    for (int64_t i = 2; i <= 20; i++) expect_record(&reader, i);
    assert_int_equal(reader.type->seek(reader.client, 0, 113, NULL), 0);
    expect_end(&reader, 113);
    assert_int_equal(reader.type->seek(reader.client, 0, 0, NULL), 0); /* before all: a generation begins at 0 */
    expect_record(&reader, 1);
    /* A pause, and a seek in it. */
    assert_int_equal(reader.type->pause(reader.client, 0, NULL), 0);
    expect_silence(&reader, 300 * USEC_MS);
    assert_int_equal(reader.type->seek(reader.client, 0, 50, NULL), 0);
    expect_silence(&reader, 200 * USEC_MS);
    assert_int_equal(reader.type->resume(reader.client, 0, NULL), 0);
    expect_record(&reader, 50);
    assert_int_equal(reader.type->pause(reader.client, 0, NULL), 0);
    expect_silence(&reader, 200 * USEC_MS);
    assert_int_equal(reader.type->resume(reader.client, 0, NULL), 0);
    for (int64_t i = 51; i <= 112; i++) expect_record(&reader, i);
    /* Nothing is assigned. */
    assert_int_equal(reader.type->assign(reader.client, 0, NULL, 0, NULL), 0);
    fill(113, 1);
    expect_silence(&reader, 300 * USEC_MS);
    close_reader(&reader);
    char *names = test_nats_ask(server, "$JS.API.CONSUMER.NAMES.ORDERS", "");
    assert_non_null(strstr(names, "\"consumers\":[]"));
    free(names);
}

static void what_a_record_has(void **state) {
    (void)state;
    Reader reader;
    open_reader(&reader, ",\"loop\":false");
    test_nats_publish(server, "orders.a", "X-One: 1\r\nAuthorization: secret\r\nx-two: a\r\nx-two: b\r\n", "{\"id\":1}", 8);
    test_nats_publish(server, "orders.b", NULL, "", 0);
    static char large[8 << 20];
    memset(large, 'x', sizeof large);
    test_nats_publish(server, "orders.c", NULL, large, sizeof large);
    assign_at(&reader, 1);
    expect_record(&reader, 1);
    const ClientRecord *record = &reader.event.record;
    assert_string_equal(reader.subject, "orders.a");
    assert_true(record->key.data == NULL && record->token.size == 0);
    assert_int_equal(record->header_count, 3);
    assert_true(span_equal(record->headers[0].name, SPAN("X-One")) && span_equal(record->headers[0].value, SPAN("1")));
    assert_true(span_equal(record->headers[1].name, SPAN("x-two")) && span_equal(record->headers[1].value, SPAN("a")));
    assert_true(span_equal(record->headers[2].value, SPAN("b")));
    usec_t age = clock_system()->wall(clock_system()) - record->timestamp;
    assert_true(age >= 0 && age < DEADLINE);
    expect(&reader, CLIENT_RECORD);
    assert_int_equal(reader.event.record.value.size, 0);
    assert_non_null(reader.event.record.value.data); /* empty, not null */
    assert_int_equal(reader.event.record.header_count, 0);
    expect(&reader, CLIENT_RECORD);
    assert_int_equal(reader.event.offset, 3);
    assert_int_equal(reader.event.record.value.size, sizeof large);
    assert_memory_equal(reader.event.record.value.data, large, sizeof large);
    expect_end(&reader, 4);
    close_reader(&reader);
}

static void where_to_begin(void **state) {
    (void)state;
    Reader reader;
    open_reader(&reader, ",\"startFrom\":{\"sequence\":7}");
    assert_int_equal(offset_of(&reader, CLIENT_EARLIEST, 0), 1);
    assert_int_equal(offset_of(&reader, CLIENT_LATEST, 0), 1);
    assert_int_equal(offset_of(&reader, CLIENT_START, 0), 1); /* what is not there yet is the end */
    fill(1, 10);
    (void)nanosleep(&(struct timespec){.tv_nsec = 3 * 1000 * 1000}, NULL);
    int64_t then = clock_system()->wall(clock_system()) / 1000;
    (void)nanosleep(&(struct timespec){.tv_nsec = 3 * 1000 * 1000}, NULL);
    fill(11, 5);
    assert_int_equal(offset_of(&reader, CLIENT_EARLIEST, 0), 1);
    assert_int_equal(offset_of(&reader, CLIENT_LATEST, 0), 16);
    assert_int_equal(offset_of(&reader, CLIENT_AT_TIME, then), 11);
    assert_int_equal(offset_of(&reader, CLIENT_AT_TIME, INT64_MIN), 1);
    assert_int_equal(offset_of(&reader, CLIENT_AT_TIME, INT64_MAX), 16);
    assert_int_equal(offset_of(&reader, CLIENT_START, 0), 7);
    free(test_nats_ask(server, "$JS.API.STREAM.PURGE.ORDERS", "{\"seq\":9}"));
    assert_int_equal(offset_of(&reader, CLIENT_EARLIEST, 0), 9);
    assert_int_equal(offset_of(&reader, CLIENT_START, 0), 9);
    Error error = {0};
    ClientOffset wrong[] = {{.topic = "OTHER"}, {.topic = "ORDERS", .partition = 1}, {.topic = "ORDERS", .when = CLIENT_LATEST}};
    assert_true(reader.type->offsets(reader.client, wrong, 3, DEADLINE, &error) < 0);
    assert_true(wrong[0].failed && wrong[1].failed && !wrong[2].failed && wrong[2].offset == 16);
    assert_non_null(strstr(error.text, "OTHER"));
    close_reader(&reader);
    char start[96];
    struct tm parts;
    time_t seconds = (time_t)(then / 1000);
    size_t size = strftime(start, sizeof start, ",\"startFrom\":\"%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &parts));
    (void)snprintf(start + size, sizeof start - size, ".%03dZ\"", (int)(then % 1000));
    const struct {
        const char *start;
        int64_t offset;
    } cases[] = {{",\"startFrom\":\"earliest\"", 9}, {",\"startFrom\":\"latest\"", 16}, {start, 11}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_reader(&reader, cases[i].start);
        assert_int_equal(offset_of(&reader, CLIENT_START, 0), cases[i].offset);
        close_reader(&reader);
    }
}

/* The end of a part of a stream is the end of the stream, so that what others write there does not
 * pass for lost. */
static void a_part_of_a_stream(void **state) {
    (void)state;
    Reader reader;
    fill(1, 10);
    open_reader(&reader, ",\"subject\":\"orders.odd\"");
    assign_at(&reader, 1);
    for (int64_t i = 1; i <= 9; i += 2) expect_record(&reader, i);
    expect_end(&reader, 11);
    test_nats_publish(server, "orders.even", NULL, "x", 1);
    test_nats_publish(server, "orders.even", NULL, "x", 1);
    expect_end(&reader, 13);
    fill(13, 1);
    expect_record(&reader, 13);
    expect_end(&reader, 14);
    free(test_nats_ask(server, "$JS.API.STREAM.PURGE.ORDERS", ""));
    expect_silence(&reader, 1500 * USEC_MS);
    close_reader(&reader);
}

/* Messages that were deleted one by one are holes, and no loss. */
static void holes_are_no_loss(void **state) {
    (void)state;
    Reader reader;
    fill(1, 10);
    for (int i = 3; i <= 10; i += i == 5 ? 4 : 1) { /* 3 4 5 9 10 */
        char body[32];
        (void)snprintf(body, sizeof body, "{\"seq\":%d}", i);
        free(test_nats_ask(server, "$JS.API.STREAM.MSG.DELETE.ORDERS", body));
    }
    open_reader(&reader, "");
    assign_at(&reader, 1);
    static const int64_t left[] = {1, 2, 6, 7, 8};
    for (size_t i = 0; i < 5; i++) expect_record(&reader, left[i]);
    expect_end(&reader, 11);
    close_reader(&reader);
}

static void expect_out_of_range(Reader *reader, int64_t offset) {
    expect(reader, CLIENT_OUT_OF_RANGE);
    assert_int_equal(reader->event.offset, offset);
    assert_int_equal(reader->event.index, 0);
    expect_silence(reader, 300 * USEC_MS); /* not read until a seek */
}

static void an_offset_that_is_not_there(void **state) {
    (void)state;
    Reader reader;
    fill(1, 20);
    open_reader(&reader, "");
    assign_at(&reader, 1);
    for (int64_t i = 1; i <= 20; i++) expect_record(&reader, i);
    expect_end(&reader, 21);
    /* Purged while it waits: nothing is lost, then something is. */
    free(test_nats_ask(server, "$JS.API.STREAM.PURGE.ORDERS", ""));
    expect_silence(&reader, 1300 * USEC_MS);
    assert_int_equal(reader.type->pause(reader.client, 0, NULL), 0);
    fill(21, 10);
    free(test_nats_ask(server, "$JS.API.STREAM.PURGE.ORDERS", ""));
    assert_int_equal(reader.type->seek(reader.client, 0, 21, NULL), 0);
    assert_int_equal(reader.type->resume(reader.client, 0, NULL), 0);
    expect_out_of_range(&reader, 21);
    assert_int_equal(offset_of(&reader, CLIENT_EARLIEST, 0), 31);
    assert_int_equal(reader.type->seek(reader.client, 0, 31, NULL), 0);
    expect_end(&reader, 31);
    fill(31, 2);
    expect_record(&reader, 31);
    /* Above the end. */
    assert_int_equal(reader.type->seek(reader.client, 0, 34, NULL), 0);
    expect_out_of_range(&reader, 34);
    assert_int_equal(reader.type->seek(reader.client, 0, 33, NULL), 0);
    expect_end(&reader, 33);
    assert_int_equal(reader.type->seek(reader.client, 0, 5, NULL), 0);
    expect_out_of_range(&reader, 5);
    close_reader(&reader);
}

/* Messages that its limits removed before they were read. */
static void retention_overtakes_a_reader(void **state) {
    (void)state;
    make_stream(",\"max_msgs\":50");
    Reader reader;
    fill(1, 20);
    open_reader(&reader, ",\"batchSize\":5");
    assign_at(&reader, 1);
    for (int64_t i = 1; i <= 3; i++) expect_record(&reader, i);
    assert_int_equal(reader.type->pause(reader.client, 0, NULL), 0);
    fill(21, 100);
    assert_int_equal(reader.type->resume(reader.client, 0, NULL), 0);
    /* What was on its way is still given. */
    int64_t next = 4;
    for (;;) {
        for (usec_t end = now() + DEADLINE; next_event(&reader, TURN) == CLIENT_NOTHING || reader.event.kind == CLIENT_END;)
            assert_true(now() < end);
        if (reader.event.kind != CLIENT_RECORD) break;
        assert_int_equal(reader.event.offset, next++);
    }
    assert_int_equal(reader.event.kind, CLIENT_OUT_OF_RANGE);
    assert_int_equal(reader.event.offset, next);
    assert_in_range(next, 4, 16);
    assert_int_equal(offset_of(&reader, CLIENT_EARLIEST, 0), 71);
    assert_int_equal(reader.type->seek(reader.client, 0, 71, NULL), 0);
    for (int64_t i = 71; i <= 120; i++) expect_record(&reader, i);
    close_reader(&reader);
}

/* The stream is another one: the client ends before it gives anything of it. */
static void a_stream_that_is_made_anew(void **state) {
    (void)state;
    for (int how = 0; how < 3; how++) { /* while it reads; while it is paused; and the server is killed */
        Reader reader;
        char before[64], after[64];
        make_stream("");
        fill(1, 20);
        open_reader(&reader, ",\"loop\":false");
        (void)topic_of(&reader, before);
        assign_at(&reader, 1);
        for (int64_t i = 1; i <= 20; i++) expect_record(&reader, i);
        expect_end(&reader, 21);
        if (how == 1) assert_int_equal(reader.type->pause(reader.client, 0, NULL), 0);
        make_stream("");
        fill(1, 30); /* longer than the position */
        if (how == 1) assert_int_equal(reader.type->resume(reader.client, 0, NULL), 0);
        if (how == 2) {
            test_nats_kill(server);
            test_nats_run(server);
        }
        expect(&reader, CLIENT_END_OF_CLIENT);
        assert_int_equal(reader.event.fault, SINK_FAULT_TOPIC);
        assert_string_equal(reader.event.error.text, "Connection \"events\": the stream \"ORDERS\" was created again.");
        close_reader(&reader);
        open_reader(&reader, "");
        (void)topic_of(&reader, after);
        assert_string_not_equal(before, after);
        assign_at(&reader, 0);
        for (int64_t i = 1; i <= 30; i++) expect_record(&reader, i);
        close_reader(&reader);
    }
}

static void a_stream_that_is_missing(void **state) {
    (void)state;
    Reader reader;
    char id[64];
    free(test_nats_ask(server, "$JS.API.STREAM.DELETE.ORDERS", ""));
    open_reader(&reader, "");
    assert_int_equal(topic_of(&reader, id).fault, SINK_FAULT_TOPIC);
    ClientOffset offset = {.topic = "ORDERS"};
    assert_true(reader.type->offsets(reader.client, &offset, 1, USEC_SECOND, NULL) < 0 && offset.failed);
    make_stream("");
    fill(1, 3);
    assert_int_equal(topic_of(&reader, id).fault, SINK_SOUND);
    assign_at(&reader, 1);
    for (int64_t i = 1; i <= 3; i++) expect_record(&reader, i);
    /* Deleted while it is read. */
    free(test_nats_ask(server, "$JS.API.STREAM.DELETE.ORDERS", ""));
    expect(&reader, CLIENT_PARTITION_TROUBLE);
    assert_string_equal(reader.event.id, "topicMissing");
    assert_int_equal(reader.event.index, 0);
    assert_int_equal(reader.event.offset, 4);
    assert_int_equal(reader.type->pause(reader.client, 0, NULL), 0); /* as a bridge does */
    expect_silence(&reader, 1500 * USEC_MS);
    make_stream("");
    expect(&reader, CLIENT_END_OF_CLIENT);
    close_reader(&reader);
}

static void a_subject_that_is_not_of_the_stream(void **state) {
    (void)state;
    Reader reader;
    open_reader(&reader, ",\"subject\":\"elsewhere.>\"");
    assign_at(&reader, 1);
    expect(&reader, CLIENT_PARTITION_TROUBLE);
    assert_string_equal(reader.event.id, "consumerRefused");
    assert_non_null(strstr(reader.event.error.text, "filter"));
    close_reader(&reader);
}

static void it_reads_on_after_a_kill(void **state) {
    (void)state;
    Reader reader;
    fill(1, 100);
    open_reader(&reader, ",\"batchSize\":30");
    assign_at(&reader, 1);
    int64_t next = 1;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 40; i++) expect_record(&reader, next++);
        test_nats_kill(server);
        for (usec_t end = now() + DEADLINE;;) { /* what was on its way */
            ClientEventKind kind = next_event(&reader, TURN);
            if (kind == CLIENT_RECORD) assert_int_equal(reader.event.offset, next++);
            if (kind == CLIENT_PASSING_TROUBLE) break;
            assert_true(now() < end);
        }
        assert_int_equal(reader.event.fault, SINK_FAULT_UNREACHABLE);
        test_nats_run(server);
        fill(101 + 40 * round, 40);
    }
    while (next <= 220) expect_record(&reader, next++);
    expect_end(&reader, 221);
    close_reader(&reader);
}

/* Rights that are missing, and come. */
static void rights(void **state) {
    (void)state;
    char *before = server->settings;
    for (int acks = 0; acks < 2; acks++) {
        make_stream("");
        fill(1, 3);
        char *uri = NULL;
        assert_true(asprintf(&uri, "nats://shop:a@127.0.0.1:%d", server->port) > 0);
        server->settings = text_copy(
            "max_payload: 16MB\nauthorization { users: [ {user: any, password: any}, {user: shop, password: a, permissions: "
            "{publish: {allow: [\">\"], deny: [\"$JS.API.CONSUMER.MSG.NEXT.>\"]}}} ] }\nno_auth_user: any");
        test_nats_kill(server);
        test_nats_run(server);
        Reader reader;
        if (acks)
            open_at(&reader, &bridge_client_nats_durable, uri, "");
        else
            open_at(&reader, &bridge_client_nats, uri, ",\"durable\":\"none\"");
        if (!acks) assign_at(&reader, 1);
        expect(&reader, CLIENT_PARTITION_TROUBLE);
        assert_string_equal(reader.event.id, "noRights");
        assert_int_equal(reader.event.fault, SINK_FAULT_RIGHTS);
        assert_non_null(strstr(reader.event.error.text, "$JS.API.CONSUMER.MSG.NEXT.ORDERS."));
        free(server->settings);
        server->settings = text_copy(
            "max_payload: 16MB\nauthorization { users: [ {user: any, password: any}, {user: shop, password: a} ] }\nno_auth_user: any");
        test_nats_kill(server);
        test_nats_run(server);
        expect(&reader, CLIENT_END_OF_CLIENT);
        assert_non_null(strstr(reader.event.error.text, "can be read again"));
        close_reader(&reader);
        free(server->settings);
        server->settings = before;
        test_nats_kill(server);
        test_nats_run(server);
        free(uri);
    }
}

/* A durable needs no right that the documents do not name, wherever it begins. */
static void rights_of_a_durable(void **state) {
    (void)state;
    TestNats *own = test_nats_start(
        "authorization { users: [ {user: any, password: any}, {user: shop, password: a, permissions: {subscribe: [\"_INBOX.>\"], publish: "
        "[\"$JS.API.INFO\", \"$JS.API.STREAM.INFO.ORDERS\", \"$JS.API.CONSUMER.DURABLE.CREATE.ORDERS.sluice-7-orders\", "
        "\"$JS.API.CONSUMER.INFO.ORDERS.sluice-7-orders\", \"$JS.API.CONSUMER.MSG.NEXT.ORDERS.sluice-7-orders\", "
        "\"$JS.ACK.ORDERS.sluice-7-orders.>\"]}} ] }\nno_auth_user: any");
    free(test_nats_ask(own, "$JS.API.STREAM.CREATE.ORDERS", "{\"name\":\"ORDERS\",\"subjects\":[\"orders.>\"]}"));
    for (int i = 1; i <= 3; i++) test_nats_publish(own, "orders.a", NULL, "x", 1);
    char *uri = NULL, id[64];
    assert_true(asprintf(&uri, "nats://shop:a@127.0.0.1:%d", own->port) > 0);
    Reader reader;
    open_at(&reader, &bridge_client_nats_durable, uri, ",\"startFrom\":\"2001-01-01T00:00:00Z\"");
    assert_int_equal(topic_of(&reader, id).fault, SINK_SOUND);
    assert_int_equal(offset_of(&reader, CLIENT_START, 0), 1);
    for (int i = 1; i <= 3; i++) {
        expect(&reader, CLIENT_RECORD);
        Span token = buffer_span(&reader.token);
        assert_true(reader.type->ack(reader.client, &token, 1));
    }
    expect_end(&reader, 4);
    close_reader(&reader);
    free(uri);
    test_nats_stop(own);
}

static void an_account_without_jetstream(void **state) {
    (void)state;
    TestNats *own = test_nats_start("no_auth_user: any\naccounts { A { users: [{user: any, password: any}], jetstream: enabled }, "
                                    "B { users: [{user: shop, password: a}] } }");
    char *uri = NULL;
    assert_true(asprintf(&uri, "nats://shop:a@127.0.0.1:%d", own->port) > 0);
    Reader reader;
    open_at(&reader, &bridge_client_nats, uri, ",\"durable\":\"none\"");
    Arena arena = {0};
    ClientTopics topics;
    SinkFault fault = SINK_SOUND;
    Error error = {0};
    assert_true(reader.type->topics(reader.client, &arena, DEADLINE, &topics, &fault, &error) < 0);
    assert_int_equal(fault, SINK_FAULT_DATABASE);
    assert_non_null(strstr(error.text, "JetStream"));
    assign_at(&reader, 1);
    expect(&reader, CLIENT_PARTITION_TROUBLE);
    assert_string_equal(reader.event.id, "noJetStream");
    close_reader(&reader);
    arena_deinit(&arena);
    free(uri);
    test_nats_stop(own);
}

/* A server that takes the login and says no more. */
static void nothing_waits_longer_than_it_may(void **state) {
    (void)state;
    Script *script = script_start(&(ScriptRules){0});
    char uri[64];
    (void)snprintf(uri, sizeof uri, "nats://127.0.0.1:%d", script_port(script));
    Reader reader;
    open_at(&reader, &bridge_client_nats, uri, ",\"durable\":\"none\"");
    Arena arena = {0};
    ClientTopics topics;
    SinkFault fault = SINK_SOUND;
    Error error = {0};
    usec_t began = now();
    assert_true(reader.type->topics(reader.client, &arena, 300 * USEC_MS, &topics, &fault, &error) < 0);
    assert_int_equal(fault, SINK_FAULT_UNREACHABLE);
    assert_true(error.code < 0 && error.text[0]);
    assert_true(now() - began < 20 * USEC_SECOND);
    assign_at(&reader, 1);
    began = now();
    assert_int_equal(next_event(&reader, 0), CLIENT_NOTHING);
    assert_true(now() - began < 20 * USEC_SECOND);
    reader.expedited = true;
    assert_true(reader.type->topics(reader.client, &arena, 3600 * USEC_SECOND, &topics, &fault, &error) < 0);
    ClientOffset offset = {.topic = "ORDERS"};
    assert_true(reader.type->offsets(reader.client, &offset, 1, 3600 * USEC_SECOND, &error) < 0);
    assert_int_equal(next_event(&reader, 3600 * USEC_SECOND), CLIENT_NOTHING);
    script_stop(script);
    (void)reader.type->close(reader.client, 10 * USEC_SECOND);
    reader.client = NULL;
    close_reader(&reader);
    arena_deinit(&arena);
}

/* ---- with a durable ---- */

static SeenMessage seen_of(const Reader *reader) {
    return nats_token_message(buffer_span(&reader->token));
}

static void ack(Reader *reader) {
    Span token = buffer_span(&reader->token);
    assert_true(reader->type->ack(reader->client, &token, 1));
}

static json_t *consumer_of(const char *name) {
    char subject[128];
    (void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.INFO.ORDERS.%s", name);
    char *text = test_nats_ask(server, subject, "");
    json_t *json = json_loads(text, 0, NULL);
    free(text);
    return json;
}

static void a_durable_acks(void **state) {
    (void)state;
    Reader reader;
    fill(1, 20);
    open_durable(&reader, ",\"batchSize\":700,\"batchTimeout\":\"2s\"");
    assert_true(reader.type->acks);
    uint64_t order = 0;
    Buffer tokens[20] = {{0}};
    for (int64_t i = 1; i <= 20; i++) {
        expect_record(&reader, i);
        SeenMessage seen = seen_of(&reader);
        assert_int_equal(seen.sequence, i);
        assert_true(seen.time_nsec / 1000 == reader.event.record.timestamp);
        if (i > 1) assert_int_equal(seen.order, order + 1);
        order = seen.order;
        buffer_append_span(&tokens[i - 1], buffer_span(&reader.token));
    }
    json_t *info = consumer_of("sluice-7-orders"), *config = json_object_get(info, "config");
    assert_int_equal(json_integer_value(json_object_get(config, "ack_wait")), 32000000000);
    assert_int_equal(json_integer_value(json_object_get(config, "max_ack_pending")), 1400);
    assert_int_equal(json_integer_value(json_object_get(config, "max_deliver")), -1);
    json_decref(info);
    Span spans[20];
    for (size_t i = 0; i < 20; i++) spans[i] = buffer_span(&tokens[i]);
    reader.type->working(reader.client, spans, 20);
    expect_silence(&reader, 200 * USEC_MS);
    assert_true(reader.type->ack(reader.client, spans, 12));
    for (usec_t end = now() + DEADLINE; reader.type->acked(reader.client) != 12; expect_silence(&reader, TURN)) assert_true(now() < end);
    close_reader(&reader);

    /* What was not acked comes again, and says so: its order is not known. */
    open_durable(&reader, ",\"batchTimeout\":\"2s\"");
    assert_true(reader.type->ack(reader.client, spans, 0));
    for (usec_t end = now() + DEADLINE; !reader.type->ack(reader.client, spans + 12, 1); (void)next_event(&reader, TURN))
        assert_true(now() < end);
    assert_true(reader.type->ack(reader.client, spans + 13, 7)); /* by the tokens of before */
    expect_end(&reader, 21);
    assert_int_equal(reader.type->acked(reader.client), 20);
    fill(21, 2);
    expect_record(&reader, 21);
    assert_true(seen_of(&reader).order > order + 1);
    order = seen_of(&reader).order;
    expect_record(&reader, 22);
    assert_int_equal(seen_of(&reader).order, order + 1);
    expect_silence(&reader, 1200 * USEC_MS); /* one is not acked: no end */
    close_reader(&reader);
    for (size_t i = 0; i < 20; i++) buffer_deinit(&tokens[i]);
}

/* A message that is delivered again says so, and what comes behind it does not pass for its
 * neighbour. */
static void what_is_delivered_again_has_no_order(void **state) {
    (void)state;
    Reader reader;
    fill(1, 3);
    open_durable(&reader, "");
    for (int64_t i = 1; i <= 3; i++) expect_record(&reader, i);
    uint64_t order = seen_of(&reader).order;
    Span token = buffer_span(&reader.token);
    reader.type->give_back(reader.client, &token, 1);
    expect_record(&reader, 3);
    assert_int_equal(seen_of(&reader).order, 0);
    fill(4, 1);
    expect_record(&reader, 4);
    assert_true(seen_of(&reader).order > order + 1);
    close_reader(&reader);
}

/* A durable that was deleted is made again where it was, wherever the definition would have it
 * begin. */
static void a_durable_that_is_deleted(void **state) {
    (void)state;
    Reader reader;
    open_durable(&reader, ",\"startFrom\":\"latest\",\"durable\":\"own\"");
    expect_end(&reader, 1);
    fill(1, 10);
    for (int64_t i = 1; i <= 10; i++) {
        expect_record(&reader, i);
        if (i <= 6) ack(&reader);
    }
    for (usec_t end = now() + DEADLINE; reader.type->acked(reader.client) != 6; expect_silence(&reader, TURN)) assert_true(now() < end);
    fill(11, 2);
    expect_record(&reader, 11);
    free(test_nats_ask(server, "$JS.API.CONSUMER.DELETE.ORDERS.own", ""));
    for (usec_t end = now() + DEADLINE; next_event(&reader, TURN) != CLIENT_PASSING_TROUBLE;) assert_true(now() < end);
    assert_non_null(strstr(reader.event.error.text, "\"own\" of stream \"ORDERS\" was deleted. It is created again."));
    for (int64_t i = 7; i <= 12; i++) expect_record(&reader, i);
    close_reader(&reader);
    /* Deleted while nobody reads: the bridge says where it was. */
    free(test_nats_ask(server, "$JS.API.CONSUMER.DELETE.ORDERS.own", ""));
    open_durable(&reader, ",\"startFrom\":\"latest\",\"durable\":\"own\"");
    assert_int_equal(reader.type->seek(reader.client, 0, 5, NULL), 0);
    for (int64_t i = 5; i <= 12; i++) expect_record(&reader, i);
    close_reader(&reader);
}

static void a_durable_of_a_stream_made_anew(void **state) {
    (void)state;
    Reader reader;
    fill(1, 5);
    open_durable(&reader, "");
    for (int64_t i = 1; i <= 5; i++) expect_record(&reader, i);
    make_stream("");
    fill(1, 9);
    for (;;) {
        for (usec_t end = now() + DEADLINE; next_event(&reader, TURN) == CLIENT_NOTHING;) assert_true(now() < end);
        if (reader.event.kind == CLIENT_END_OF_CLIENT) break;
        assert_true(reader.event.kind == CLIENT_PASSING_TROUBLE || reader.event.kind == CLIENT_PARTITION_TROUBLE);
    }
    close_reader(&reader);
    open_durable(&reader, "");
    for (int64_t i = 1; i <= 9; i++) expect_record(&reader, i);
    close_reader(&reader);
}

/* So that a test need not wait for half a minute. */
static void shorten_ack_wait(const char *name) {
    char subject[128];
    json_t *info = consumer_of(name), *config = json_object_get(info, "config");
    assert_int_equal(json_object_set_new(config, "ack_wait", json_integer(1000000000)), 0);
    json_t *body = json_pack("{s:s, s:O}", "stream_name", "ORDERS", "config", config);
    char *text = json_dumps(body, JSON_COMPACT);
    (void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DURABLE.CREATE.ORDERS.%s", name);
    char *answer = test_nats_ask(server, subject, text);
    assert_null(strstr(answer, "\"error\""));
    free(answer);
    free(text);
    json_decref(body);
    json_decref(info);
}

/* Each message is committed once over kills of the server that forget acks, by the set of what is
 * committed. */
static void seen_once_over_kills(void **state) {
    (void)state;
    Reader reader;
    SeenIntervals committed = {0};
    unsigned times[601] = {0}, left = 600, kills = 0;
    fill(1, 300);
    open_durable(&reader, ",\"batchSize\":50");
    for (usec_t end = now() + 2 * DEADLINE; left > 0;) {
        if (now() >= end) fail_msg("%u are missing", left);
        if (next_event(&reader, TURN) != CLIENT_RECORD) continue;
        SeenMessage seen = seen_of(&reader);
        if (left == 600) shorten_ack_wait("sluice-7-orders");
        if (!seen_intervals_has(&committed, &seen)) {
            seen_intervals_add(&committed, &seen);
            assert_int_equal(times[seen.sequence]++, 0);
            left--;
        }
        Span token = buffer_span(&reader.token);
        (void)reader.type->ack(reader.client, &token, 1);
        int64_t floor = reader.type->acked(reader.client);
        if (floor > 0) seen_intervals_join(&committed, (uint64_t)floor);
        assert_false(seen_intervals_is_full(&committed));
        if (left != 500 - 100 * kills || kills == 3) continue;
        test_nats_kill(server);
        test_nats_run(server);
        fill(301 + 100 * (int)kills++, 100);
    }
    for (int i = 1; i <= 600; i++) assert_int_equal(times[i], 1);
    seen_intervals_deinit(&committed);
    close_reader(&reader);
}

int main(void) {
    server = test_nats_start("max_payload: 16MB\nno_auth_user: any\nauthorization { users: [ {user: any, password: any} ] }");
    if (!server) {
        (void)fprintf(stderr, "there is no nats-server on this machine\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(it_reads_from_a_position, each_stream_is_new),
        cmocka_unit_test_setup(what_a_record_has, each_stream_is_new),
        cmocka_unit_test_setup(where_to_begin, each_stream_is_new),
        cmocka_unit_test_setup(a_part_of_a_stream, each_stream_is_new),
        cmocka_unit_test_setup(holes_are_no_loss, each_stream_is_new),
        cmocka_unit_test_setup(an_offset_that_is_not_there, each_stream_is_new),
        cmocka_unit_test(retention_overtakes_a_reader),
        cmocka_unit_test(a_stream_that_is_made_anew),
        cmocka_unit_test(a_stream_that_is_missing),
        cmocka_unit_test_setup(a_subject_that_is_not_of_the_stream, each_stream_is_new),
        cmocka_unit_test_setup(it_reads_on_after_a_kill, each_stream_is_new),
        cmocka_unit_test(rights),
        cmocka_unit_test(rights_of_a_durable),
        cmocka_unit_test(an_account_without_jetstream),
        cmocka_unit_test(nothing_waits_longer_than_it_may),
        cmocka_unit_test_setup(a_durable_acks, each_stream_is_new),
        cmocka_unit_test_setup(what_is_delivered_again_has_no_order, each_stream_is_new),
        cmocka_unit_test_setup(a_durable_that_is_deleted, each_stream_is_new),
        cmocka_unit_test_setup(a_durable_of_a_stream_made_anew, each_stream_is_new),
        cmocka_unit_test_setup(seen_once_over_kills, each_stream_is_new),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_nats_stop(server);
    for (usec_t end = now() + DEADLINE; nats_left_behind() > 0 && now() < end;)
        (void)nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    if (nats_left_behind() > 0 || !nats_end(10 * USEC_SECOND)) failed++;
    return failed;
}
