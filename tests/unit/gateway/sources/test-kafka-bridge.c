/* The client of Kafka sources, as a bridge sees it, on librdkafka's mock cluster. Sources of type
 * kafka are of this program's list of kinds. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include "base/cleanup.h"
#include "base/log.h"
#include "config/source_kafka.h"
#include "config/source_nats.h"
#include "gateway/sources/kafka_bridge.h"
#include "tests/support/kafka.h"

#define DEADLINE (60 * USEC_SECOND)
#define PROJECT 7

enum { API_FETCH = 1, API_LIST_OFFSETS = 2, API_METADATA = 3, API_FIND_COORDINATOR = 10 };

const SourceKind *const source_kinds[] = {&source_kind_http, &source_kind_kafka, &source_kind_nats, NULL};
const char *const source_kind_names[] = {"http", "kafka", "nats", NULL};
const char *const kinds_not_built[] = {NULL};

static const BridgeClientType *const type = &bridge_client_kafka;

static usec_t now(void) {
    return clock_system()->boot(clock_system());
}

/* ---- a source and its client ----------------------------------------------------------------- */

static Source *source_from(const char *text) {
    Error error = {0};
    Source *source = NULL;
    json_t *body = json_loads(text, 0, NULL);
    assert_non_null(body);
    if (source_from_request(body, &source, &error) < 0) fail_msg("%s: %s", text, error.text);
    json_decref(body);
    return source;
}

static Source *source_of(const char *fields) {
    char text[1024];
    (void)snprintf(text, sizeof text, "{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"events\",%s}}", fields);
    return source_from(text);
}

static BridgeClient *open_with(const MockCluster *cluster, const char *fields, const SinkPatience *patience) {
    Source *source = source_of(fields);
    assert_ptr_equal(bridge_client_of(source), type);
    BridgeClient *client;
    SinkFault fault;
    Error error = {0};
    if (type->open(source, &cluster->connection, "/nonexistent", PROJECT, patience, &client, &fault, &error) < 0)
        fail_msg("%s", error.text);
    source_unref(source); /* the client has its own reference */
    return client;
}

#define ONCE ",\"loop\":false"

static BridgeClient *open_assigned(const MockCluster *cluster, const char *topic, int32_t partitions, int64_t offset) {
    char fields[200];
    (void)snprintf(fields, sizeof fields, "\"topics\":[\"%s\"]" ONCE, topic);
    BridgeClient *client = open_with(cluster, fields, NULL);
    ClientPartition list[8];
    Error error = {0};
    for (int32_t i = 0; i < partitions; i++) list[i] = (ClientPartition){topic, i, offset};
    if (type->assign(client, 0, list, (size_t)partitions, &error) < 0) fail_msg("%s", error.text);
    return client;
}

static void close_in_time(BridgeClient *client) {
    assert_true(type->close(client, DEADLINE));
}

/* The next event but trouble that passes. */
static ClientEventKind next_event(BridgeClient *client, ClientEvent *ret_event) {
    for (usec_t deadline = now() + DEADLINE; now() < deadline;) {
        ClientEventKind kind = type->poll(client, 100 * USEC_MS, ret_event);
        assert_int_equal(kind, ret_event->kind);
        if (kind != CLIENT_NOTHING && kind != CLIENT_PASSING_TROUBLE) return kind;
    }
    fail_msg("nothing came");
    return CLIENT_NOTHING;
}

static void await(BridgeClient *client, ClientEventKind kind, ClientEvent *ret_event) {
    for (usec_t deadline = now() + DEADLINE; now() < deadline;)
        if (type->poll(client, 100 * USEC_MS, ret_event) == kind) return;
    fail_msg("event %d did not come", kind);
}

static void expect_record(BridgeClient *client, size_t index, int64_t offset, const char *value) {
    ClientEvent event;
    assert_int_equal(next_event(client, &event), CLIENT_RECORD);
    assert_int_equal(event.index, index);
    assert_int_equal(event.record.offset, offset);
    assert_int_equal(event.offset, offset);
    assert_true(span_equal(event.record.value, span_of(value)));
}

static void expect_end(BridgeClient *client, size_t index, int64_t offset) {
    ClientEvent event;
    assert_int_equal(next_event(client, &event), CLIENT_END);
    assert_int_equal(event.index, index);
    assert_int_equal(event.offset, offset);
}

static void each_source_has_its_client(void **state) {
    static const struct {
        const char *source;
        const BridgeClientType *client;
    } cases[] = {
        {"{\"sourceId\":\"s\"}", NULL},
        {"{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"c\",\"topics\":[\"t\"]}}", &bridge_client_kafka},
        {"{\"sourceId\":\"s\",\"type\":\"nats\",\"nats\":{\"connection\":\"c\",\"stream\":\"S\"}}", &bridge_client_nats_durable},
        {"{\"sourceId\":\"s\",\"type\":\"nats\",\"nats\":{\"connection\":\"c\",\"stream\":\"S\",\"durable\":\"none\"}}",
         &bridge_client_nats},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Source *source = source_from(cases[i].source);
        assert_ptr_equal(bridge_client_of(source), cases[i].client);
        source_unref(source);
    }
}

/* ---- records --------------------------------------------------------------------------------- */

static void a_record_is_as_it_was_sent(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 1);
    static const char key[] = "k\0\xff";
    assert_int_equal(rd_kafka_producev(cluster.handle, RD_KAFKA_V_TOPIC("t"), RD_KAFKA_V_PARTITION(0),
                                       RD_KAFKA_V_KEY((void *)(uintptr_t)key, 3), RD_KAFKA_V_VALUE((void *)(uintptr_t) "", 0),
                                       RD_KAFKA_V_TIMESTAMP(1700000000123), RD_KAFKA_V_HEADER("b", "1", 1),
                                       RD_KAFKA_V_HEADER("Authorization", "secret", 6), RD_KAFKA_V_HEADER("a", NULL, 0),
                                       RD_KAFKA_V_HEADER("b", "2\xff", 2), RD_KAFKA_V_HEADER("x-API-key", "secret", 6),
                                       RD_KAFKA_V_HEADER("", "3", 1), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_producev(cluster.handle, RD_KAFKA_V_TOPIC("t"), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE(NULL, 0),
                                       RD_KAFKA_V_TIMESTAMP(INT64_MAX), RD_KAFKA_V_END),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(cluster.handle, 30000), RD_KAFKA_RESP_ERR_NO_ERROR);
    BridgeClient *client = open_assigned(&cluster, "t", 1, 0);
    ClientEvent event;
    assert_int_equal(next_event(client, &event), CLIENT_RECORD);
    const ClientRecord *record = &event.record;
    assert_int_equal(record->offset, 0);
    assert_int_equal(record->timestamp, INT64_C(1700000000123000));
    assert_int_equal(record->key.size, 3);
    assert_memory_equal(record->key.data, key, 3);
    assert_non_null(record->value.data);
    assert_int_equal(record->value.size, 0);
    assert_null(record->subject.data);
    assert_null(record->token.data);
    static const EventHeader headers[] = {{SPAN("b"), SPAN("1")}, {SPAN("a"), SPAN("")}, {SPAN("b"), SPAN("2\xff")}, {SPAN(""), SPAN("3")}};
    assert_int_equal(record->header_count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(span_equal(record->headers[i].name, headers[i].name));
        assert_true(span_equal(record->headers[i].value, headers[i].value));
        assert_non_null(record->headers[i].value.data);
    }
    assert_int_equal(next_event(client, &event), CLIENT_RECORD);
    assert_null(record->key.data);
    assert_null(record->value.data);
    assert_int_equal(record->header_count, 0);
    assert_int_equal(record->timestamp, CLIENT_NO_TIME); /* one that no clock shows */
    expect_end(client, 0, 2);
    int64_t first, end;
    type->bounds(client, 0, &first, &end);
    assert_int_equal(first, 0);
    assert_int_equal(end, 2);
    close_in_time(client);
    mock_cluster_end(&cluster);
}

/* ---- groups ---------------------------------------------------------------------------------- */

typedef struct Member {
    BridgeClient *client;
    size_t partitions;
    unsigned revokes;
} Member;

static void serve(Member *member) {
    ClientEvent event;
    Error error = {0};
    switch (type->poll(member->client, 20 * USEC_MS, &event)) {
    case CLIENT_ASSIGNED: {
        ClientPartition list[16];
        assert_true(event.partition_count <= 16);
        for (size_t i = 0; i < event.partition_count; i++) {
            list[i] = event.partitions[i];
            list[i].offset = 0;
        }
        assert_int_equal(type->assign(member->client, event.generation + 1, list, event.partition_count, &error), CLIENT_ASSIGN_STALE);
        assert_int_equal(type->assign(member->client, event.generation, list, event.partition_count, &error), 0);
        member->partitions = event.partition_count;
        break;
    }
    case CLIENT_REVOKED:
        member->partitions = 0;
        member->revokes++;
        break;
    default: break;
    }
}

static void await_share(Member *members, size_t count, size_t share) {
    for (usec_t deadline = now() + DEADLINE; now() < deadline;) {
        bool done = true;
        for (size_t i = 0; i < count; i++) {
            serve(&members[i]);
            done = done && members[i].partitions == share;
        }
        if (done) return;
    }
    fail_msg("the partitions were not shared");
}

/* The offset that a tool for lag sees. */
static int64_t committed(const MockCluster *cluster, const char *group, const char *topic) {
    char words[256];
    rd_kafka_conf_t *configuration = rd_kafka_conf_new();
    assert_int_equal(rd_kafka_conf_set(configuration, "group.id", group, words, sizeof words), RD_KAFKA_CONF_OK);
    assert_int_equal(
        rd_kafka_conf_set(configuration, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(cluster->mock), words, sizeof words),
        RD_KAFKA_CONF_OK);
    rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_CONSUMER, configuration, words, sizeof words);
    assert_non_null(handle);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0);
    assert_int_equal(rd_kafka_committed(handle, list, 30000), RD_KAFKA_RESP_ERR_NO_ERROR);
    int64_t offset = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(handle);
    return offset;
}

static void a_group_shares_its_topics(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "shop.a", 2);
    mock_cluster_topic(&cluster, "shop.b", 2);
    mock_cluster_topic(&cluster, "other", 3);
    static const char fields[] = "\"topics\":[\"^shop\\\\.\"]";
    Member members[2] = {{.client = open_with(&cluster, fields, NULL)}};
    await_share(members, 1, 4);
    members[1].client = open_with(&cluster, fields, NULL);
    await_share(members, 2, 2);
    unsigned revokes = members[0].revokes;
    assert_true(revokes > 0);
    close_in_time(members[1].client);
    await_share(members, 1, 4);
    assert_true(members[0].revokes > revokes);
    /* For lag tools, under the source's own group. */
    const ClientPartition position = {"shop.a", 0, 42};
    type->commit(members[0].client, &position, 1);
    type->commit(members[0].client, NULL, 0);
    for (usec_t deadline = now() + DEADLINE; committed(&cluster, "sluice-7-s", "shop.a") != 42;) {
        serve(&members[0]);
        assert_true(now() < deadline);
    }
    close_in_time(members[0].client);
    /* Without a group all is assigned by the caller, and nothing is committed. */
    BridgeClient *client = open_with(&cluster, "\"topics\":[\"^shop\\\\.\"]" ONCE, NULL);
    Error error = {0};
    const ClientPartition list[] = {{"shop.b", 1, 0}, {"shop.a", 0, 0}};
    assert_int_equal(type->assign(client, 0, list, 2, &error), 0);
    for (bool ended[2] = {false}; !ended[0] || !ended[1];) {
        ClientEvent event;
        assert_int_equal(next_event(client, &event), CLIENT_END);
        ended[event.index] = true;
    }
    type->commit(client, &(ClientPartition){"shop.a", 0, 43}, 1);
    close_in_time(client);
    assert_int_equal(committed(&cluster, "sluice-7-s", "shop.a"), 42);
    mock_cluster_end(&cluster);
}

/* ---- what is there --------------------------------------------------------------------------- */

static void topics_and_offsets_are_found(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 2);
    mock_cluster_topic(&cluster, "shop.a", 2);
    mock_cluster_topic(&cluster, "shop.b", 3);
    mock_cluster_topic(&cluster, "shop.hidden", 1);
    mock_cluster_topic(&cluster, "other", 1);
    mock_cluster_produce_many(&cluster, "shop.a", 1, 0, 7);
    mock_cluster_topic(&cluster, "missing", 1); /* the mock would make it when somebody asks */
    rd_kafka_mock_topic_set_error(cluster.mock, "missing", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    rd_kafka_mock_topic_set_error(cluster.mock, "shop.hidden", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    BridgeClient *client = open_with(
        &cluster, "\"topics\":[\"shop.hidden\",\"missing\",\"^shop\\\\.\"],\"startFrom\":\"2100-11-20T17:46:40Z\"" ONCE, NULL);
    Arena arena = {0};
    ClientTopics topics;
    SinkFault fault = SINK_SOUND;
    Error error = {0};
    if (type->topics(client, &arena, DEADLINE, &topics, &fault, &error) < 0) fail_msg("%s", error.text);
    static const struct {
        const char *name;
        size_t partitions;
        SinkFault fault;
    } wanted[] = {
        {"missing", 0, SINK_FAULT_TOPIC}, {"shop.a", 2, SINK_SOUND}, {"shop.b", 3, SINK_SOUND}, {"shop.hidden", 0, SINK_FAULT_RIGHTS}};
    assert_int_equal(topics.count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(topics.items[i].name, wanted[i].name);
        assert_int_equal(topics.items[i].partition_count, wanted[i].partitions);
        assert_int_equal(topics.items[i].fault, wanted[i].fault);
        assert_null(topics.items[i].topic_id);
    }
    assert_true(topics.cluster[0]);
    arena_deinit(&arena);

    ClientOffset offsets[] = {
        {.topic = "shop.a", .partition = 1, .when = CLIENT_EARLIEST},
        {.topic = "shop.a", .partition = 1, .when = CLIENT_LATEST},
        {.topic = "shop.a", .partition = 1, .when = CLIENT_START}, /* a time beyond the end: all are, here */
        {.topic = "shop.a", .partition = 1, .when = CLIENT_AT_TIME, .time = 1},
        {.topic = "shop.a", .partition = 1, .when = CLIENT_AT_TIME, .time = -2}, /* before there were clocks; not "earliest" */
        {.topic = "shop.b", .partition = 2, .when = CLIENT_LATEST},
    };
    static const int64_t found[] = {0, 7, 7, 7, 7, 0};
    if (type->offsets(client, offsets, 6, DEADLINE, &error) < 0) fail_msg("%s", error.text);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(offsets[i].offset, found[i]);
        assert_false(offsets[i].failed);
    }
    ClientOffset unknown[] = {{.topic = "shop.a", .partition = 9, .when = CLIENT_LATEST}};
    assert_true(type->offsets(client, unknown, 1, USEC_SECOND, &error) < 0);
    assert_true(unknown[0].failed);
    assert_non_null(strstr(error.text, "shop.a, partition 9"));
    close_in_time(client);

    static const struct {
        const char *start;
        int64_t offset;
    } starts[] = {{"earliest", 0}, {"latest", 7}};
    for (size_t i = 0; i < 2; i++) {
        char fields[100];
        (void)snprintf(fields, sizeof fields, "\"topics\":[\"shop.a\"],\"startFrom\":\"%s\"" ONCE, starts[i].start);
        client = open_with(&cluster, fields, NULL);
        ClientOffset start = {.topic = "shop.a", .partition = 1, .when = CLIENT_START};
        if (type->offsets(client, &start, 1, DEADLINE, &error) < 0) fail_msg("%s", error.text);
        assert_int_equal(start.offset, starts[i].offset);
        close_in_time(client);
    }
    mock_cluster_end(&cluster);
}

static bool is_over(void *context) {
    return now() > *(const usec_t *)context;
}

/* The brokers hang, and the bridge shall end. */
static void a_wait_ends_with_the_patience(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 1);
    usec_t end = USEC_NEVER;
    SinkPatience patience = {is_over, &end};
    BridgeClient *client = open_with(&cluster, "\"topics\":[\"t\"]" ONCE, &patience);
    Arena arena = {0};
    ClientTopics topics;
    SinkFault fault;
    Error error = {0};
    if (type->topics(client, &arena, DEADLINE, &topics, &fault, &error) < 0) fail_msg("%s", error.text);
    assert_int_equal(rd_kafka_mock_broker_set_rtt(cluster.mock, 1, 600000), RD_KAFKA_RESP_ERR_NO_ERROR);
    end = now() + 300 * USEC_MS;
    assert_int_equal(type->topics(client, &arena, 600 * USEC_SECOND, &topics, &fault, &error), -ECANCELED);
    end = now() + 300 * USEC_MS;
    ClientOffset offset = {.topic = "t", .when = CLIENT_LATEST};
    assert_int_equal(type->offsets(client, &offset, 1, 600 * USEC_SECOND, &error), -ECANCELED);
    assert_true(offset.failed);
    assert_int_equal(rd_kafka_mock_broker_set_rtt(cluster.mock, 1, 0), RD_KAFKA_RESP_ERR_NO_ERROR);
    arena_deinit(&arena);
    (void)type->close(client, 5 * USEC_SECOND);
    assert_true(type->close(NULL, 0));
    mock_cluster_end(&cluster);
}

static void a_file_that_is_missing_is_said_at_once(void **state) {
    Connection connection = {0};
    kafka_connection_set(&connection, "brokers", "127.0.0.1:1");
    kafka_connection_set(&connection, "saslPasswordFile", "gone");
    Source *source = source_of("\"topics\":[\"t\"]");
    BridgeClient *client;
    SinkFault fault = SINK_SOUND;
    Error error = {0};
    assert_true(type->open(source, &connection, "/nonexistent", PROJECT, NULL, &client, &fault, &error) < 0);
    assert_int_equal(fault, SINK_FAULT_LOGIN);
    assert_non_null(strstr(error.text, "/nonexistent/gone"));
    source_unref(source);
    kafka_connection_free(&connection);
}

/* ---- trouble --------------------------------------------------------------------------------- */

static void partitions_that_cannot_be_read(void **state) {
    static const struct {
        rd_kafka_resp_err_t code;
        const char *id;
        SinkFault fault;
        int64_t offset;
    } cases[] = {
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "noRights", SINK_FAULT_RIGHTS, 1},
        {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "recordUnreadable", SINK_FAULT_OTHER, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        MockCluster cluster;
        mock_cluster_start(&cluster, 1);
        mock_cluster_topic(&cluster, "t", 1);
        mock_cluster_produce_many(&cluster, "t", 0, 0, 3);
        rd_kafka_mock_push_request_errors(cluster.mock, API_FETCH, 1, cases[i].code);
        BridgeClient *client = open_assigned(&cluster, "t", 1, 1);
        ClientEvent event;
        Error error = {0};
        assert_int_equal(next_event(client, &event), CLIENT_PARTITION_TROUBLE);
        assert_int_equal(event.index, 0);
        assert_string_equal(event.id, cases[i].id);
        assert_int_equal(event.fault, cases[i].fault);
        assert_int_equal(event.offset, cases[i].offset);
        assert_true(event.error.text[0]);
        if (cases[i].fault == SINK_FAULT_OTHER) assert_int_equal(type->seek(client, 0, 2, &error), 0); /* behind it */
        expect_record(client, 0, cases[i].fault == SINK_FAULT_OTHER ? 2 : 1, cases[i].fault == SINK_FAULT_OTHER ? "2" : "1");
        close_in_time(client);
        mock_cluster_end(&cluster);
    }
}

static void a_group_without_rights_ends_the_client(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 1);
    for (int i = 0; i < 20; i++)
        rd_kafka_mock_push_request_errors(cluster.mock, API_FIND_COORDINATOR, 1, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    BridgeClient *client = open_with(&cluster, "\"topics\":[\"t\"]", NULL);
    ClientEvent event;
    await(client, CLIENT_END_OF_CLIENT, &event);
    assert_int_equal(event.fault, SINK_FAULT_RIGHTS);
    assert_non_null(strstr(event.error.text, "authorization failed"));
    close_in_time(client);
    mock_cluster_end(&cluster);
}

/* The broker removed what was not read; and a position behind the end. */
static void what_is_out_of_range_waits_for_a_seek(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 2);
    enum { SIZE = 500000, COUNT = 30 }; /* the mock keeps 5 MB a partition */
    char *value = calloc(1, SIZE);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(rd_kafka_producev(cluster.handle, RD_KAFKA_V_TOPIC("t"), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE(value, SIZE),
                                           RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
                         RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(cluster.handle, 60000), RD_KAFKA_RESP_ERR_NO_ERROR);
    free(value);
    BridgeClient *client = open_with(&cluster, "\"topics\":[\"t\"]" ONCE, NULL);
    Error error = {0};
    ClientEvent event;
    const ClientPartition list[] = {{"t", 0, 3}, {"t", 1, 500}};
    assert_int_equal(type->assign(client, 0, list, 2, &error), 0);
    for (unsigned out = 0; out != 3;) {
        assert_int_equal(next_event(client, &event), CLIENT_OUT_OF_RANGE);
        assert_int_equal(event.offset, list[event.index].offset);
        assert_true((out & 1u << event.index) == 0); /* said once */
        out |= 1u << event.index;
    }
    ClientOffset bounds[] = {{.topic = "t", .when = CLIENT_EARLIEST}, {.topic = "t", .partition = 1, .when = CLIENT_LATEST}};
    if (type->offsets(client, bounds, 2, DEADLINE, &error) < 0) fail_msg("%s", error.text);
    assert_true(bounds[0].offset > 3 && bounds[0].offset < COUNT);
    assert_int_equal(bounds[1].offset, 0);
    assert_int_equal(type->seek(client, 0, bounds[0].offset, &error), 0);
    assert_int_equal(next_event(client, &event), CLIENT_RECORD);
    assert_int_equal(event.index, 0);
    assert_int_equal(event.offset, bounds[0].offset);
    assert_int_equal(type->pause(client, 0, &error), 0);
    assert_int_equal(type->seek(client, 1, 0, &error), 0);
    expect_end(client, 1, 0);
    assert_int_equal(type->resume(client, 0, &error), 0);
    assert_int_equal(next_event(client, &event), CLIENT_RECORD);
    assert_int_equal(event.offset, bounds[0].offset + 1);
    close_in_time(client);
    mock_cluster_end(&cluster);
}

static void brokers_that_go_and_come(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 2);
    mock_cluster_topic(&cluster, "t", 1);
    assert_int_equal(rd_kafka_mock_partition_set_leader(cluster.mock, "t", 0, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    mock_cluster_produce_many(&cluster, "t", 0, 0, 1);
    BridgeClient *client = open_assigned(&cluster, "t", 1, 0);
    ClientEvent event;
    expect_record(client, 0, 0, "0");
    assert_int_equal(rd_kafka_mock_partition_set_leader(cluster.mock, "t", 0, 2), RD_KAFKA_RESP_ERR_NO_ERROR);
    mock_cluster_produce_many(&cluster, "t", 0, 1, 1);
    await(client, CLIENT_RECORD, &event);
    assert_int_equal(event.offset, 1);
    for (int broker = 1; broker <= 2; broker++)
        assert_int_equal(rd_kafka_mock_broker_set_down(cluster.mock, broker), RD_KAFKA_RESP_ERR_NO_ERROR);
    await(client, CLIENT_PASSING_TROUBLE, &event);
    assert_true(event.error.text[0]);
    for (int broker = 1; broker <= 2; broker++)
        assert_int_equal(rd_kafka_mock_broker_set_up(cluster.mock, broker), RD_KAFKA_RESP_ERR_NO_ERROR);
    mock_cluster_produce_many(&cluster, "t", 0, 2, 1);
    await(client, CLIENT_RECORD, &event);
    assert_int_equal(event.offset, 2);
    close_in_time(client);
    mock_cluster_end(&cluster);
}

/* ---- many partitions ------------------------------------------------------------------------- */

#ifdef __SANITIZE_THREAD__
enum { MANY = 1000 }; /* librdkafka searches lists, which takes it minutes then */
#else
enum { MANY = 10000 };
#endif

static void ten_thousand_partitions(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "wide", MANY);
    mock_cluster_produce_many(&cluster, "wide", MANY - 1, 0, 3);
    BridgeClient *client = open_with(&cluster, "\"topics\":[\"^wi.e$\"]" ONCE, NULL);
    Arena arena = {0};
    ClientTopics topics;
    SinkFault fault;
    Error error = {0};
    ClientEvent event;
    if (type->topics(client, &arena, DEADLINE, &topics, &fault, &error) < 0) fail_msg("%s", error.text);
    assert_int_equal(topics.count, 1);
    assert_int_equal(topics.items[0].partition_count, MANY);
    arena_deinit(&arena);
    ClientOffset *offsets = calloc(MANY, sizeof *offsets);
    ClientPartition *list = calloc(MANY, sizeof *list);
    bool *ended = calloc(MANY, sizeof *ended);
    for (int32_t i = 0; i < MANY; i++) offsets[i] = (ClientOffset){.topic = "wide", .partition = i, .when = CLIENT_START};
    if (type->offsets(client, offsets, MANY, DEADLINE, &error) < 0) fail_msg("%s", error.text);
    for (int32_t i = 0; i < MANY; i++) list[i] = (ClientPartition){"wide", i, offsets[i].offset};
    assert_int_equal(type->assign(client, 0, list, MANY, &error), 0);
    /* At once: nothing of it has been read yet. They are told to the library together: one by one
     * they take it 2 ms each. */
    usec_t began = now();
    for (size_t i = 0; i < MANY; i++) assert_int_equal(type->pause(client, i, &error), 0);
    for (size_t i = 0; i < MANY; i++) assert_int_equal(type->seek(client, i, 0, &error), 0);
    for (size_t i = 0; i < MANY; i++) assert_int_equal(type->resume(client, i, &error), 0);
    assert_true(now() - began < 5 * USEC_SECOND);
    size_t records = 0;
    for (size_t left = MANY; left > 0;) {
        ClientEventKind kind = next_event(client, &event);
        if (kind == CLIENT_RECORD) {
            assert_int_equal(event.index, MANY - 1);
            assert_int_equal(event.offset, records++);
        } else {
            assert_int_equal(kind, CLIENT_END);
            if (!ended[event.index]) left--;
            ended[event.index] = true;
        }
    }
    assert_int_equal(records, 3);
    /* Back-pressure, and its end. */
    began = now();
    for (size_t i = 0; i < MANY; i++) assert_int_equal(type->pause(client, i, &error), 0);
    for (size_t i = 0; i < MANY; i++) assert_int_equal(type->resume(client, i, &error), 0);
    for (size_t i = 0; i < MANY; i++) assert_int_equal(type->seek(client, i, 0, &error), 0);
    assert_true(now() - began < 5 * USEC_SECOND);
    do await(client, CLIENT_RECORD, &event);
    while (event.offset != 2);
    free(ended);
    free(list);
    free(offsets);
    close_in_time(client);
    mock_cluster_end(&cluster);
}

static int quiet(void **state) {
    log_setup((LogLevel)(LOG_ERROR + 1), 2);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_source_has_its_client),
        cmocka_unit_test(a_record_is_as_it_was_sent),
        cmocka_unit_test(a_group_shares_its_topics),
        cmocka_unit_test(topics_and_offsets_are_found),
        cmocka_unit_test(a_wait_ends_with_the_patience),
        cmocka_unit_test(a_file_that_is_missing_is_said_at_once),
        cmocka_unit_test(partitions_that_cannot_be_read),
        cmocka_unit_test(a_group_without_rights_ends_the_client),
        cmocka_unit_test(what_is_out_of_range_waits_for_a_seek),
        cmocka_unit_test(brokers_that_go_and_come),
        cmocka_unit_test(ten_thousand_partitions),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]); /* one test, by hand */
    return cmocka_run_group_tests(tests, quiet, NULL);
}
