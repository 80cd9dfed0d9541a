/* Sources that read a broker, by the API: how they are, seek and skip, statistics and metrics. Who
 * runs them is the test. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "config/source_kafka.h"
#include "config/source_nats.h"
#include "sinks/driver.h"
#include "tests/unit/gateway/control/harness.h"

const SourceKind *const source_kinds[] = {&source_kind_http, &source_kind_kafka, &source_kind_nats, NULL};
const char *const source_kind_names[] = {"http", "kafka", "nats", NULL};
const char *const kinds_not_built[] = {NULL};

#define BRANCH "/v1/branches/default"
#define SOURCES BRANCH "/sources"
#define BRIDGE SOURCES "/s/bridge"
#define SINK(id)                                                                                                                           \
    "{\"sinkId\":\"" id "\",\"table\":{\"connection\":\"local\",\"tableId\":\"" id                                                         \
    "\",\"mapping\":{\"columns\":[{\"name\":\"b\",\"type\":\"meta\",\"field\":\"bridge\"}]}}}"
#define KAFKA(id) "{\"sourceId\":\"" id "\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"events\",\"topics\":[\"orders\"]}}"
#define NATS(id, more) "{\"sourceId\":\"" id "\",\"type\":\"nats\",\"nats\":{\"connection\":\"jet\",\"stream\":\"ORDERS\"" more "}}"

/* ---- who runs them --------------------------------------------------------------------------- */

static BridgeStatus *shown; /* of every source; NULL: nothing yet */
static bool nobody;
static Request *asked[64];
static size_t asked_count;

static BridgeStatus *say_status(SourceRunner *runner, uint32_t source) {
    (void)runner, (void)source;
    return shown ? bridge_status_ref(shown) : NULL;
}

static bool take(SourceRunner *runner, uint32_t source, Request *take_request) {
    (void)runner, (void)source;
    if (nobody) return false;
    assert_in_range(asked_count, 0, 63);
    asked[asked_count++] = take_request;
    return true;
}

static Request *next_asked(Harness *harness) {
    for (int i = 0; i < 10 && asked_count == 0; i++) harness_turn(harness);
    assert_int_equal(asked_count, 1);
    asked_count = 0;
    return asked[0];
}

static int start(void **state) {
    Harness *harness = calloc(1, sizeof *harness);
    assert_non_null(harness);
    harness->config = "connections:\n"
                      "  events: {type: kafka, brokers: \"127.0.0.1:9\"}\n"
                      "  jet: {type: nats, servers: \"nats://127.0.0.1:9\"}\n";
    harness_start(harness);
    for (size_t i = 0; harness->others[i].kind; i++) {
        harness->others[i].status = say_status;
        harness->others[i].ask = take;
    }
    assert_string_equal(harness_task(harness, "POST", SOURCES, KAFKA("s"), NULL), "success");
    assert_string_equal(harness_task(harness, "POST", SOURCES "/s/sinks", SINK("k"), NULL), "success");
    assert_string_equal(harness_task(harness, "POST", SOURCES "/s/sinks", SINK("l"), NULL), "success");
    nobody = false;
    *state = harness;
    return 0;
}

static int finish(void **state) {
    bridge_status_unref(steal(shown));
    for (size_t i = 0; i < asked_count; i++) request_drop(asked[i]);
    asked_count = 0;
    return harness_teardown(state);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void holds(const char *what, int status, const char *text, int wanted, const char *part) {
    if (status != wanted || !strstr(text, part)) fail_msg("%s: %d %s, not %d %s", what, status, text, wanted, part);
}

static void answers(Harness *harness, const char *method, const char *path, const char *body, int wanted, const char *part) {
    json_t *answer;
    int status = harness_call(harness, method, path, body, &answer);
    _cleanup_free_ char *text = json_dumps(answer, JSON_COMPACT);
    assert_non_null(text);
    holds(path, status, text, wanted, part);
    json_decref(answer);
}

/* To the call that was sent before. */
static void answered(Harness *harness, int wanted, const char *part) {
    ApiCall *call = NULL;
    for (int i = 0; i < 10 && !call; i++) {
        harness_turn(harness);
        call = harness_answer(harness);
    }
    assert_non_null(call);
    holds("the answer", call->status, buffer_text(&call->response), wanted, part);
    assert_true((call->retry_after > 0) == (wanted == 503));
    api_call_free(call);
}

static BridgeStatus *make_status(size_t partitions) {
    static const char *const topics[] = {"orders.b", "orders.a"}; /* not in order, as a broker assigns them */
    BridgeStatus *status = bridge_status_new();
    status->state = BRIDGE_RUNNING;
    status->cluster = "cluster";
    status->group = "sluice-1-s";
    status->records = 11, status->bytes = 12, status->poisoned = 13, status->skipped = 14, status->tombstones = 15;
    status->lost = 7; /* one more than the partitions that are assigned: it was of one that went */
    status->rebalances = 16;
    status->at = USEC_SECOND;
    status->sink_count = 2;
    status->sinks = arena_zalloc(&status->arena, 2 * sizeof *status->sinks);
    status->sinks[0] = (BridgeSinkStatus){.sink = 1, .name = "k", .delays = true};
    status->sinks[1] = (BridgeSinkStatus){.sink = 2, .name = "l"};
    status->partition_count = partitions;
    status->partitions = arena_zalloc(&status->arena, (partitions + 1) * sizeof *status->partitions);
    for (size_t i = 0; i < partitions; i++) {
        BridgePartitionStatus *part = &status->partitions[i];
        *part = (BridgePartitionStatus){.topic = topics[i % 2],
                                        .partition = (int32_t)(i / 2),
                                        .read = 100,
                                        .first = 5,
                                        .end = 120,
                                        .lag = 40,
                                        .lag_seconds = 1.5,
                                        .lost = 2,
                                        .sinks = arena_zalloc(&status->arena, 2 * sizeof *part->sinks)};
        part->sinks[0] = (BridgeSinkPosition){.next = 100, .position = 80};
        part->sinks[1] = (BridgeSinkPosition){.next = 100, .position = 110};
    }
    return status;
}

static void show_status(BridgeStatus *take_status) {
    bridge_status_unref(shown);
    shown = take_status;
}

/* ---- how it is ------------------------------------------------------------------------------- */

static void others_have_no_bridge(void **state) {
    Harness *harness = *state;
    assert_string_equal(harness_task(harness, "POST", SOURCES, "{\"name\":\"h\"}", NULL), "success");
    const char *part =
        "\"error\":\"stream.api.notABridge\",\"message\":\"Source \\\"h\\\" is of type http, which does not read a broker.\"";
    answers(harness, "GET", SOURCES "/h/bridge", NULL, 404, part);
    answers(harness, "POST", SOURCES "/h/bridge/seek", "{\"to\":\"latest\"}", 404, part);
    answers(harness, "POST", SOURCES "/h/bridge/skip", "{\"topic\":\"a\",\"partition\":0,\"offset\":1}", 404, part);
    answers(harness, "GET", SOURCES "/none/bridge", NULL, 404, "sourceNotFound");
}

static void a_state_is_there_before_it_runs(void **state) {
    Harness *harness = *state;
    answers(harness, "GET", BRIDGE, NULL, 200,
            "{\"state\":\"starting\",\"stopped\":null,\"reason\":null,\"error\":null,\"lag\":{\"records\":null,");
    assert_string_equal(harness_task(harness, "PUT", SOURCES "/s/pause", NULL, NULL), "success");
    answers(harness, "GET", BRIDGE, NULL, 200, "{\"state\":\"paused\"");
    assert_string_equal(harness_task(harness, "PUT", SOURCES "/s/disable", NULL, NULL), "success");
    answers(harness, "GET", BRIDGE, NULL, 200, "{\"state\":\"idle\",\"stopped\":null,\"reason\":\"The source is disabled.\"");
}

static void it_shows_what_the_bridge_said(void **state) {
    Harness *harness = *state;
    show_status(make_status(3));
    shown->partitions[1].stopped = "poisonRecord";
    shown->partitions[1].stopped_at = 100;
    shown->partitions[1].reason = "not \xff JSON";
    shown->state = BRIDGE_STOPPED;
    shown->stopped = "poisonRecord";
    shown->error = "gone";
    shown->error_at = 2 * USEC_SECOND;
    answers(
        harness, "GET", BRIDGE, NULL, 200,
        "{\"state\":\"stopped\",\"stopped\":{\"id\":\"poisonRecord\",\"reason\":\"not ? JSON\",\"topic\":\"orders.a\",\"partition\":0,"
        "\"offset\":100},\"reason\":null,\"error\":\"gone\",\"lag\":{\"records\":120,\"seconds\":1.5},\"partitionsCount\":3,"
        "\"sourceId\":\"s\",\"type\":\"kafka\",\"cluster\":\"cluster\",\"group\":\"sluice-1-s\",\"run\":null,\"at\":\"1970-01-01T00:00:01."
        "000Z\","
        "\"errorAt\":\"1970-01-01T00:00:02.000Z\",\"counts\":{\"records\":11,\"bytes\":12,\"poisoned\":13,\"skipped\":14,"
        "\"tombstones\":15,\"lost\":7,\"rebalances\":16},\"sinks\":[{\"sinkId\":\"k\",\"delays\":true,\"stopped\":null,\"reason\":null},"
        "{\"sinkId\":\"l\",\"delays\":false,\"stopped\":null,\"reason\":null}],\"partitions\":[{\"partitionId\":\"orders.a:0\","
        "\"topic\":\"orders.a\",\"partition\":0,\"generation\":0,\"read\":100,\"first\":5,\"end\":120,\"lag\":40,\"lagSeconds\":1.5,"
        "\"stopped\":{\"id\":\"poisonRecord\",\"offset\":100,\"reason\":\"not ? JSON\"},\"lost\":2,"
        "\"sinks\":[{\"sinkId\":\"k\",\"next\":100,\"position\":80,\"lag\":40},"
        "{\"sinkId\":\"l\",\"next\":100,\"position\":110,\"lag\":10}]},{\"partitionId\":\"orders.b:0\",");
    show_status(make_status(0));
    answers(harness, "GET", BRIDGE, NULL, 200, "\"lag\":{\"records\":0,\"seconds\":0.0},\"partitionsCount\":0");
    shown->state = BRIDGE_PAUSED;
    answers(harness, "GET", BRIDGE, NULL, 200, "\"lag\":{\"records\":null,\"seconds\":null},\"partitionsCount\":0");
}

static void what_is_not_known_is_null(void **state) {
    Harness *harness = *state;
    show_status(make_status(2));
    BridgePartitionStatus *part = &shown->partitions[0];
    part->read = part->first = part->end = part->lag = -1;
    part->lag_seconds = -1;
    part->sinks[0] = (BridgeSinkPosition){-1, -1};
    answers(harness, "GET", BRIDGE, NULL, 200, "\"lag\":{\"records\":null,\"seconds\":null},\"partitionsCount\":2");
    answers(harness, "GET", BRIDGE, NULL, 200,
            "\"read\":null,\"first\":null,\"end\":null,\"lag\":null,\"lagSeconds\":null,\"stopped\":null,\"lost\":2,\"sinks\":"
            "[{\"sinkId\":\"k\",\"next\":null,\"position\":null,\"lag\":null}");
}

/* All partitions once, in their order, however they were assigned. */
static void partitions_are_paged(void **state) {
    Harness *harness = *state;
    size_t seen = 0;
    char after[64] = "", before[64] = "";
    show_status(make_status(25));
    for (int pages = 0; seen < 25; pages++) {
        json_t *answer;
        char path[160];
        assert_in_range(pages, 0, 5);
        (void)snprintf(path, sizeof path, BRIDGE "?limit=7&afterId=%s", after);
        assert_int_equal(harness_call(harness, "GET", path, NULL, &answer), 200);
        json_t *list = json_object_get(answer, "partitions"), *page = json_object_get(answer, "page");
        assert_int_equal(json_array_size(list), pages == 3 ? 4 : 7);
        assert_int_equal(json_integer_value(json_object_get(page, "totalCount")), 25);
        for (size_t i = 0; i < json_array_size(list); i++, seen++) {
            (void)snprintf(before, sizeof before, "orders.%s:%zu", seen < 12 ? "a" : "b", seen < 12 ? seen : seen - 12);
            assert_string_equal(json_string_value(json_object_get(json_array_get(list, i), "partitionId")), before);
        }
        (void)snprintf(after, sizeof after, "%s", json_string_value(json_object_get(page, "lastId")));
        assert_string_equal(after, before);
        json_decref(answer);
    }
    answers(harness, "GET", BRIDGE "?afterId=nonsense", NULL, 200, "\"partitionId\":\"orders.a:0\"");
    answers(harness, "GET", BRIDGE "?afterId=zz", NULL, 200, "\"partitions\":[]");
    answers(harness, "GET", BRIDGE "?limit=0", NULL, 400, "limit");
}

/* ---- seek ------------------------------------------------------------------------------------ */

static void wrong_bodies_name_their_place(void **state) {
    static const struct {
        const char *path, *body, *part;
    } cases[] = {
        {"/seek", "{}", "Field \\\"to\\\""},
        {"/seek", "{\"to\":\"newest\"}", "Field \\\"to\\\" must be \\\"earliest\\\", \\\"latest\\\", {\\\"offset\\\": N} or"},
        {"/seek", "{\"to\":7}", "Field \\\"to\\\" must be"},
        {"/seek", "{\"to\":{}}", "Field \\\"to\\\" needs one of \\\"offset\\\" and \\\"time\\\""},
        {"/seek", "{\"to\":{\"offset\":1,\"time\":\"2026-01-01T00:00:00Z\"}}", "Field \\\"to\\\" needs one of"},
        {"/seek", "{\"to\":{\"offset\":-1}}", "Field \\\"to.offset\\\""},
        {"/seek", "{\"to\":{\"offset\":1.5}}", "Field \\\"to.offset\\\""},
        {"/seek", "{\"to\":{\"offset\":1,\"of\":2}}", "Field \\\"to.of\\\" is not known"},
        {"/seek", "{\"to\":{\"time\":\"yesterday\"}}", "Field \\\"to.time\\\" must be a time such as"},
        {"/seek", "{\"to\":{\"time\":\"1969-12-31T23:59:59Z\"}}", "Field \\\"to.time\\\" must not be before 1970"},
        {"/seek", "{\"to\":\"latest\",\"partition\":-1}", "Field \\\"partition\\\""},
        {"/seek", "{\"to\":\"latest\",\"partition\":2147483648}", "Field \\\"partition\\\""},
        {"/seek", "{\"to\":\"latest\",\"topic\":\"\"}", "Field \\\"topic\\\""},
        {"/seek", "{\"to\":\"latest\",\"topics\":\"a\"}", "Field \\\"topics\\\" is not known"},
        {"/seek", "{\"to\":\"latest\",\"sink\":{}}", "Field \\\"sink\\\""},
        {"/seek?duplicates=yes", "{\"to\":\"latest\"}", "Parameter \\\"duplicates\\\" must be true or false"},
        {"/skip", "{}", "Field \\\"topic\\\""},
        {"/skip", "{\"topic\":\"a\",\"offset\":1}", "Field \\\"partition\\\""},
        {"/skip", "{\"topic\":\"a\",\"partition\":0}", "Field \\\"offset\\\""},
        {"/skip", "{\"topic\":\"a\",\"partition\":0,\"offset\":\"1\"}", "Field \\\"offset\\\""},
        {"/skip", "{\"topic\":\"a\",\"partition\":0,\"offset\":1,\"to\":1}", "Field \\\"to\\\" is not known"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, BRIDGE "%s", cases[i].path);
        answers(*state, "POST", path, cases[i].body, 400, cases[i].part);
    }
    assert_int_equal(asked_count, 0);
}

static BridgeSeek *sought(Harness *harness, const char *query, const char *body) {
    char path[128];
    (void)snprintf(path, sizeof path, BRIDGE "/seek%s", query);
    (void)harness_send(harness, "POST", path, body, 0);
    BridgeSeek *seek = (BridgeSeek *)next_asked(harness);
    assert_int_equal(seek->request.message.kind, MESSAGE_BRIDGE_SEEK);
    assert_null(harness_answer(harness));
    return seek;
}

static void add_sinks(BridgeSeek *seek, int first, int second) {
    seek->sinks = calloc(2, sizeof *seek->sinks);
    assert_non_null(seek->sinks);
    seek->sinks[0] = (BridgeSeekSink){.sink = 1, .result = first == 0 ? SINK_DONE : SINK_RETRY};
    seek->sinks[1] = (BridgeSeekSink){.sink = 2, .result = second == 0 ? SINK_DONE : SINK_RETRY};
    if (first != 0) (void)error_set(&seek->sinks[0].error, first, "It is down.");
    if (second != 0) (void)error_set(&seek->sinks[1].error, second, "It is down, too.");
    seek->sink_count = 2;
    seek->partitions = 3;
}

static void a_seek_asks_the_bridge(void **state) {
    Harness *harness = *state;
    BridgeSeek *seek = sought(harness, "?duplicates=true", "{\"topic\":\"orders\",\"partition\":3,\"to\":{\"offset\":17},\"sink\":\"l\"}");
    assert_string_equal(seek->topic, "orders");
    assert_int_equal(seek->partition, 3);
    assert_int_equal(seek->to, SEEK_OFFSET);
    assert_int_equal(seek->at, 17);
    assert_int_equal(seek->sink, 2);
    assert_true(seek->backwards);
    add_sinks(seek, 0, 0);
    request_answer(&seek->request);
    answered(harness, 200,
             "{\"sourceId\":\"s\",\"partitions\":3,\"sinks\":[{\"sinkId\":\"k\",\"done\":true,\"message\":null},"
             "{\"sinkId\":\"l\",\"done\":true,\"message\":null}]}");

    seek = sought(harness, "", "{\"to\":{\"time\":\"1970-01-01T01:00:02.0001+01:00\"}}");
    assert_null(seek->topic);
    assert_int_equal(seek->partition, -1);
    assert_int_equal(seek->to, SEEK_TIME);
    assert_int_equal(seek->at, 2001); /* no record before that time */
    assert_int_equal(seek->sink, 0);
    assert_false(seek->backwards);
    add_sinks(seek, 0, 0);
    request_answer(&seek->request);
    answered(harness, 200, "\"partitions\":3");
    static const char *const words[] = {"earliest", "latest"};
    for (size_t i = 0; i < 2; i++) {
        char body[64];
        (void)snprintf(body, sizeof body, "{\"to\":\"%s\"}", words[i]);
        seek = sought(harness, "", body);
        assert_int_equal(seek->to, i == 0 ? SEEK_EARLIEST : SEEK_LATEST);
        request_answer(&seek->request);
        answered(harness, 200, "\"sinks\":[]");
    }
}

static void a_seek_says_what_became_of_each_sink(void **state) {
    Harness *harness = *state;
    BridgeSeek *seek = sought(harness, "", "{\"to\":\"latest\"}");
    add_sinks(seek, 0, -EIO);
    seek->request.result = 1;
    request_answer(&seek->request);
    answered(
        harness, 503,
        "\"sinks\":[{\"sinkId\":\"k\",\"done\":true,\"message\":null},{\"sinkId\":\"l\",\"done\":false,\"message\":\"It is down, too.\"}]");
    seek = sought(harness, "", "{\"to\":\"earliest\"}");
    add_sinks(seek, -ERANGE, -ERANGE);
    seek->request.result = -ERANGE;
    request_answer(&seek->request);
    answered(
        harness, 409,
        "\"error\":\"stream.api.seekGoesBack\",\"message\":\"The position would go back, so records would come twice: use duplicates=true");
    seek = sought(harness, "", "{\"to\":\"earliest\"}");
    add_sinks(seek, 0, -ERANGE);
    seek->request.result = 1;
    request_answer(&seek->request);
    answered(harness, 409, "stream.api.seekGoesBack");
}

static void what_cannot_be_sought_says_why(void **state) {
    static const struct {
        int result, status;
        const char *name;
    } cases[] = {
        {-EINVAL, 409, "stream.api.bridgeNotRunning"},    {-ENOENT, 404, "stream.api.partitionNotFound"},
        {-ENOTCONN, 503, "stream.api.brokerUnreachable"}, {-EBUSY, 503, "stream.api.overloaded"},
        {-ECANCELED, 409, "stream.api.bridgeNotRunning"},
    };
    Harness *harness = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        BridgeSeek *seek = sought(harness, "", "{\"to\":\"latest\"}");
        seek->request.result = error_set(&seek->request.error, cases[i].result, "That is why.");
        request_answer(&seek->request);
        char part[128];
        (void)snprintf(part, sizeof part, "\"error\":\"%s\",\"message\":\"That is why.\"", cases[i].name);
        answered(harness, cases[i].status, part);
    }
    answers(harness, "POST", BRIDGE "/seek", "{\"to\":\"latest\",\"sink\":\"m\"}", 404, "Source \\\"s\\\" has no sink \\\"m\\\".");
    nobody = true;
    answers(harness, "POST", BRIDGE "/seek", "{\"to\":\"latest\"}", 409, "Source \\\"s\\\" is not read at present: try again later.");
    nobody = false;
    assert_string_equal(harness_task(harness, "PUT", SOURCES "/s/disable", NULL, NULL), "success");
    answers(harness, "POST", BRIDGE "/seek", "{\"to\":\"latest\"}", 409, "Source \\\"s\\\" is not read at present: it is disabled.");
    assert_string_equal(harness_task(harness, "POST", SOURCES, NATS("d", ""), NULL), "success");
    answers(harness, "POST", SOURCES "/d/bridge/seek", "{\"to\":\"latest\"}", 409, "stream.api.noPositions");
    assert_int_equal(asked_count, 0);
}

static void seeks_on_their_way_are_bounded(void **state) {
    Harness *harness = *state;
    for (int i = 0; i < 32; i++) (void)harness_send(harness, "POST", BRIDGE "/seek", "{\"to\":\"latest\"}", 0);
    for (int i = 0; i < 10; i++) harness_turn(harness);
    assert_int_equal(asked_count, 32);
    (void)harness_send(harness, "POST", BRIDGE "/seek", "{\"to\":\"latest\"}", 0);
    answered(harness, 503, "32 seeks are in progress already");
    for (size_t i = 0; i < 32; i++) request_refuse(asked[i], "The source is not read any more.");
    asked_count = 0;
    for (size_t i = 0; i < 32; i++) answered(harness, 409, "The source is not read any more.");
    request_answer(&sought(harness, "", "{\"to\":\"latest\"}")->request);
    answered(harness, 200, "\"sourceId\":\"s\"");
}

static void an_answer_is_there_in_time(void **state) {
    Harness *harness = *state;
    BridgeSeek *seek = sought(harness, "", "{\"to\":\"latest\"}");
    harness->time_passed += 59 * USEC_SECOND;
    harness_turn(harness);
    assert_null(harness_answer(harness));
    assert_true(control_turn(harness->control) <= USEC_SECOND);
    harness->time_passed += USEC_SECOND;
    answered(harness, 503, "\"error\":\"stream.api.notYetDone\"");
    add_sinks(seek, 0, 0);
    request_answer(&seek->request); /* to nobody */
    for (int i = 0; i < 3; i++) harness_turn(harness);
    assert_null(harness_answer(harness));
    request_answer(&sought(harness, "", "{\"to\":\"latest\"}")->request);
    answered(harness, 200, "\"sourceId\":\"s\"");
    harness->time_passed += USEC_MINUTE;
    harness_turn(harness);
    assert_null(harness_answer(harness));
}

/* ---- skip ------------------------------------------------------------------------------------ */

static BridgeSkip *skipped(Harness *harness) {
    (void)harness_send(harness, "POST", BRIDGE "/skip", "{\"topic\":\"orders\",\"partition\":2,\"offset\":99}", 0);
    BridgeSkip *skip = (BridgeSkip *)next_asked(harness);
    assert_int_equal(skip->request.message.kind, MESSAGE_BRIDGE_SKIP);
    assert_string_equal(skip->topic, "orders");
    assert_int_equal(skip->partition, 2);
    assert_int_equal(skip->offset, 99);
    return skip;
}

static void a_skip_names_the_record(void **state) {
    Harness *harness = *state;
    BridgeSkip *skip = skipped(harness);
    request_answer(&skip->request);
    answered(harness, 200, "{\"sourceId\":\"s\",\"topic\":\"orders\",\"partition\":2,\"offset\":99}");
    skip = skipped(harness);
    skip->request.result = error_set(&skip->request.error, -ENOENT, "The partition stopped at offset 98, not at 99.");
    request_answer(&skip->request);
    answered(harness, 409, "\"error\":\"stream.api.notStoppedThere\",\"message\":\"The partition stopped at offset 98, not at 99.\"");
    skip = skipped(harness);
    skip->request.result = error_set(&skip->request.error, -ENXIO, "The source does not read such a topic or partition.");
    request_answer(&skip->request);
    answered(harness, 404,
             "\"error\":\"stream.api.partitionNotFound\",\"message\":\"The source does not read such a topic or partition.\"");
    request_refuse(&skipped(harness)->request, "The source is not read any more.");
    answered(harness, 409, "stream.api.bridgeNotRunning");
    nobody = true;
    answers(harness, "POST", BRIDGE "/skip", "{\"topic\":\"orders\",\"partition\":2,\"offset\":99}", 409, "stream.api.bridgeNotRunning");
}

/* What is on its way when the gateway ends is freed. */
static void an_end_leaves_nothing_behind(void **state) {
    Harness *harness = *state;
    BridgeSeek *seek = sought(harness, "", "{\"to\":\"latest\",\"topic\":\"a\"}");
    BridgeSkip *skip = skipped(harness);
    add_sinks(seek, 0, 0);
    request_answer(&seek->request);
    request_answer(&skip->request);
    assert_int_equal(asked_count, 0);
}

/* ---- statistics and metrics ------------------------------------------------------------------ */

static void statistics_have_the_lag(void **state) {
    Harness *harness = *state;
    show_status(make_status(2));
    answers(harness, "GET", SOURCES "/s/sinks/k/statistics/total", NULL, 200, "\"lag\":{\"records\":80,\"seconds\":1.5}");
    answers(harness, "GET", SOURCES "/s/sinks/l/statistics/total", NULL, 200, "\"lag\":{\"records\":20,\"seconds\":1.5}");
    answers(harness, "GET", BRANCH "/aggregation/sources", NULL, 200,
            "\"bridge\":{\"state\":\"running\",\"stopped\":null,\"reason\":null,\"error\":null,\"lag\":{\"records\":80,\"seconds\":1.5},"
            "\"partitionsCount\":2}");
    answers(harness, "GET", BRANCH "/aggregation/sources", NULL, 200, "\"lag\":{\"records\":20,\"seconds\":1.5}");
    for (size_t i = 0; i < 2; i++) shown->partitions[i].sinks[1].position = 120; /* all is imported */
    answers(harness, "GET", SOURCES "/s/sinks/l/statistics/total", NULL, 200, "\"lag\":{\"records\":0,");
    shown->sink_count = 1; /* the bridge does not know that sink yet */
    answers(harness, "GET", SOURCES "/s/sinks/l/statistics/total", NULL, 200, "\"lag\":{\"records\":null,\"seconds\":null}");
    shown->sink_count = 2;
    show_status(NULL);
    answers(harness, "GET", SOURCES "/s/sinks/k/statistics/total", NULL, 200, "\"lag\":{\"records\":null,\"seconds\":null}");
    assert_string_equal(harness_task(harness, "POST", SOURCES, "{\"name\":\"h\"}", NULL), "success");
    assert_string_equal(harness_task(harness, "POST", SOURCES "/h/sinks", harness_sink, NULL), "success");
    json_t *answer;
    assert_int_equal(harness_call(harness, "GET", SOURCES "/h/sinks/orders/statistics/total", NULL, &answer), 200);
    assert_null(json_object_get(answer, "lag"));
    json_decref(answer);
}

static char *metrics_of(Harness *harness) {
    (void)harness_send(harness, "GET", "/metrics", NULL, 0);
    ApiCall *call = NULL;
    for (int i = 0; i < 10 && !call; i++) {
        harness_turn(harness);
        call = harness_answer(harness);
    }
    assert_non_null(call);
    char *text = strdup(buffer_text(&call->response));
    api_call_free(call);
    return text;
}

static void has(const char *text, const char *line) {
    if (!strstr(text, line)) fail_msg("no %s in %s", line, strstr(text, "# HELP sluice_bridge"));
}

/* Nothing is imported into a broker, so that it is no connection that is up. */
static void a_broker_is_neither_up_nor_failing(void **state) {
    Harness *harness = *state;
    answers(harness, "GET", BRANCH "/connections", NULL, 200, "\"path\":\"tables.db\",\"failing\":false");
    answers(harness, "GET", BRANCH "/connections", NULL, 200, "\"brokers\":\"127.0.0.1:9\",\"failing\":null,\"lastError\":null");
    answers(harness, "GET", BRANCH "/status", NULL, 200, "\"servers\":\"nats://127.0.0.1:9\",\"failing\":null,\"lastError\":null");
    _cleanup_free_ char *text = metrics_of(harness);
    has(text, "\nsluice_connection_up{connection=\"local\"} 1\n");
    assert_null(strstr(text, "sluice_connection_up{connection=\"events\"}"));
    assert_null(strstr(text, "sluice_connection_up{connection=\"jet\"}"));
    has(text, "\nsluice_connection_paused{connection=\"events\"} 0\n");
}

static void every_bridge_has_series(void **state) {
    Harness *harness = *state;
    show_status(make_status(4));
    shown->partitions[3].stopped = "poisonRecord";
    shown->partitions[2].lag_seconds = 65.9;
    _cleanup_free_ char *text = metrics_of(harness);
    has(text, "\nsluice_bridge_state{source=\"s\",state=\"running\"} 1\n");
    has(text, "\nsluice_bridge_state{source=\"s\",state=\"stopped\"} 0\n");
    has(text, "\nsluice_bridge_lag_records{source=\"s\"} 160\n");
    has(text, "\nsluice_bridge_lag_seconds{source=\"s\"} 65\n");
    has(text, "\nsluice_bridge_partitions{source=\"s\"} 4\n");
    has(text, "\nsluice_bridge_stopped_partitions{source=\"s\"} 1\n");
    has(text, "\nsluice_bridge_records_total{source=\"s\"} 11\n");
    has(text, "\nsluice_bridge_bytes_total{source=\"s\"} 12\n");
    has(text, "\nsluice_bridge_exceptions_total{source=\"s\",kind=\"poisoned\"} 13\n");
    has(text, "\nsluice_bridge_exceptions_total{source=\"s\",kind=\"skipped\"} 14\n");
    has(text, "\nsluice_bridge_exceptions_total{source=\"s\",kind=\"tombstone\"} 15\n");
    has(text, "\nsluice_bridge_exceptions_total{source=\"s\",kind=\"lost\"} 7\n");
    has(text, "\nsluice_bridge_rebalances_total{source=\"s\"} 16\n");
    for (MetricFamily family = 0; family < FAMILY_COUNT_; family++) {
        const MetricFamilyInfo *info = metrics_family(family);
        _cleanup_free_ char *head = NULL;
        assert_true(asprintf(&head, "\n# TYPE %s %s\n%s{source=\"s\"", info->name, info->type, info->name) > 0);
        if (info->scope == SCOPE_BRIDGE) has(text, head);
    }
    show_status(NULL);
    _cleanup_free_ char *before = metrics_of(harness);
    has(before, "\nsluice_bridge_state{source=\"s\",state=\"starting\"} 1\n");
    assert_null(strstr(before, "\nsluice_bridge_lag_records{"));
}

static void their_series_have_a_bound(void **state) {
    Harness *harness = *state;
    static const char *const ids[] = {"r", "q", "p"}; /* the ids descend: which have series of their own goes by age */
    for (size_t i = 0; i < 3; i++) {
        char body[160];
        (void)snprintf(body, sizeof body,
                       "{\"sourceId\":\"%s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"events\",\"topics\":[\"a\"]}}", ids[i]);
        assert_string_equal(harness_task(harness, "POST", SOURCES, body, NULL), "success");
    }
    show_status(make_status(1));
    harness->options.metrics_sinks = 2;
    _cleanup_free_ char *text = metrics_of(harness);
    has(text, "\nsluice_bridge_lag_records{source=\"s\"} 40\nsluice_bridge_lag_records{source=\"r\"} 40\n"
              "sluice_bridge_lag_records{source=\"(other)\"} 80\n");
    has(text, "\nsluice_bridge_lag_seconds{source=\"(other)\"} 1\n");
    has(text, "\nsluice_bridge_state{source=\"(other)\",state=\"running\"} 2\n");
    assert_null(strstr(text, "source=\"q\""));
    assert_string_equal(harness_task(harness, "DELETE", SOURCES "/s", NULL, NULL), "success");
    _cleanup_free_ char *less = metrics_of(harness);
    assert_null(strstr(less, "bridge_state{source=\"s\""));
    has(less, "\nsluice_bridge_lag_records{source=\"q\"} 40\n");
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, start, finish)
    const struct CMUnitTest cases[] = {
        CASE(others_have_no_bridge),
        CASE(a_state_is_there_before_it_runs),
        CASE(it_shows_what_the_bridge_said),
        CASE(what_is_not_known_is_null),
        CASE(partitions_are_paged),
        CASE(wrong_bodies_name_their_place),
        CASE(a_seek_asks_the_bridge),
        CASE(a_seek_says_what_became_of_each_sink),
        CASE(what_cannot_be_sought_says_why),
        CASE(seeks_on_their_way_are_bounded),
        CASE(an_answer_is_there_in_time),
        CASE(a_skip_names_the_record),
        CASE(an_end_leaves_nothing_behind),
        CASE(statistics_have_the_lag),
        CASE(a_broker_is_neither_up_nor_failing),
        CASE(every_bridge_has_series),
        CASE(their_series_have_a_bound),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
