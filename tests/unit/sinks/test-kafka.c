/* The Kafka client on librdkafka's mock cluster: brokers inside this process that can be told to
 * fail. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <cmocka.h>
/* clang-format on */

#include "base/metrics.h"
#include "base/text.h"
#include "sinks/kafka.h"
#include "sinks/kafka_parts.h"
#include "sinks/kafka_test.h"
#include "tests/support/kafka.h"

#define DEADLINE (60 * USEC_SECOND)
#define API_FETCH 1

static usec_t now(void) {
    return clock_system()->boot(clock_system());
}

static KafkaConsumer *open_group(MockCluster *cluster, const char *group, const char *topic) {
    KafkaConsumer *consumer;
    Error error = {0};
    KafkaOptions options = {.group = group, .topics = &topic, .topic_count = group ? 1 : 0};
    if (kafka_consumer_open(&cluster->connection, "/nonexistent", &options, &consumer, NULL, &error) < 0) fail_msg("%s", error.text);
    return consumer;
}

static KafkaConsumer *open_assigned(MockCluster *cluster, const char *topic, int32_t partitions, int64_t offset) {
    KafkaConsumer *consumer = open_group(cluster, NULL, NULL);
    KafkaPartition list[8];
    Error error = {0};
    for (int32_t i = 0; i < partitions; i++) list[i] = (KafkaPartition){topic, i, offset};
    if (kafka_consumer_assign(consumer, 0, list, (size_t)partitions, &error) < 0) fail_msg("%s", error.text);
    return consumer;
}

static void close_in_time(KafkaConsumer *consumer) {
    assert_true(kafka_consumer_close(consumer, DEADLINE));
}

/* The next event of this kind; all others are passed over. */
static void await(KafkaConsumer *consumer, KafkaEventKind kind, KafkaEvent *ret_event) {
    for (usec_t deadline = now() + DEADLINE; now() < deadline;)
        if (kafka_consumer_poll(consumer, 100 * USEC_MS, ret_event) == kind) return;
    fail_msg("event %d did not come", kind);
}

/* The next event but trouble that passes by itself. */
static KafkaEventKind next_event(KafkaConsumer *consumer, KafkaEvent *ret_event) {
    for (usec_t deadline = now() + DEADLINE; now() < deadline;) {
        KafkaEventKind kind = kafka_consumer_poll(consumer, 100 * USEC_MS, ret_event);
        if (kind != KAFKA_NOTHING && (kind != KAFKA_TROUBLE || ret_event->verdict != KAFKA_PASSES)) return kind;
    }
    fail_msg("nothing came");
    return KAFKA_NOTHING;
}

static void expect_record(KafkaConsumer *consumer, size_t index, int64_t offset, const char *value) {
    KafkaEvent event;
    assert_int_equal(next_event(consumer, &event), KAFKA_RECORD);
    assert_int_equal(event.index, index);
    assert_int_equal(event.offset, offset);
    assert_int_equal(event.value.size, strlen(value));
    assert_memory_equal(event.value.data, value, event.value.size);
    assert_int_equal(kafka_consumer_position(consumer, index), offset + 1);
}

static void expect_end(KafkaConsumer *consumer, size_t index, int64_t offset) {
    KafkaEvent event;
    assert_int_equal(next_event(consumer, &event), KAFKA_END);
    assert_int_equal(event.index, index);
    assert_int_equal(event.offset, offset);
    assert_int_equal(kafka_consumer_position(consumer, index), offset);
}

/* ---- records --------------------------------------------------------------------------------- */

static void records_come_whole(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 1);
    static const char key[] = "k\0\xff";
    assert_int_equal(rd_kafka_producev(cluster.handle, RD_KAFKA_V_TOPIC("t"), RD_KAFKA_V_PARTITION(0),
                                       RD_KAFKA_V_KEY((void *)(uintptr_t)key, 3), RD_KAFKA_V_VALUE((void *)(uintptr_t) "", 0),
                                       RD_KAFKA_V_TIMESTAMP(1700000000123), RD_KAFKA_V_HEADER("a", "1", 1), RD_KAFKA_V_HEADER("a", "2", 1),
                                       RD_KAFKA_V_HEADER("b", NULL, 0), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(
        rd_kafka_producev(cluster.handle, RD_KAFKA_V_TOPIC("t"), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE(NULL, 0), RD_KAFKA_V_END),
        RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(cluster.handle, 30000), RD_KAFKA_RESP_ERR_NO_ERROR);
    KafkaConsumer *consumer = open_assigned(&cluster, "t", 1, KAFKA_EARLIEST);
    KafkaEvent event;
    const KafkaHeader *headers;
    assert_int_equal(next_event(consumer, &event), KAFKA_RECORD);
    assert_int_equal(event.key.size, 3);
    assert_memory_equal(event.key.data, key, 3);
    assert_non_null(event.value.data);
    assert_int_equal(event.value.size, 0);
    assert_int_equal(event.timestamp, 1700000000123);
    assert_string_equal(event.topic, "t");
    assert_int_equal(event.partition, 0);
    assert_int_equal(kafka_consumer_headers(consumer, &headers), 3);
    assert_string_equal(headers[0].name, "a");
    assert_memory_equal(headers[0].value.data, "1", 1);
    assert_string_equal(headers[1].name, "a");
    assert_memory_equal(headers[1].value.data, "2", 1);
    assert_string_equal(headers[2].name, "b");
    assert_null(headers[2].value.data);
    assert_int_equal(next_event(consumer, &event), KAFKA_RECORD); /* a tombstone without a key */
    assert_null(event.key.data);
    assert_null(event.value.data);
    assert_int_equal(kafka_consumer_headers(consumer, &headers), 0);
    expect_end(consumer, 0, 2);
    assert_int_equal(kafka_consumer_headers(consumer, &headers), 0);
    close_in_time(consumer);
    mock_cluster_end(&cluster);
}

static void each_partition_has_an_end(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 3);
    mock_cluster_produce_many(&cluster, "t", 1, 0, 5);
    KafkaConsumer *consumer = open_assigned(&cluster, "t", 3, 0);
    int64_t ends[3] = {-1, -1, -1};
    size_t records = 0;
    KafkaEvent event;
    while (ends[0] < 0 || ends[1] < 0 || ends[2] < 0) {
        KafkaEventKind kind = next_event(consumer, &event);
        records += kind == KAFKA_RECORD;
        if (kind == KAFKA_END) ends[event.index] = event.offset;
    }
    assert_int_equal(records, 5);
    assert_true(ends[0] == 0 && ends[1] == 5 && ends[2] == 0);
    int64_t first, end;
    kafka_consumer_bounds(consumer, 1, &first, &end);
    assert_int_equal(end, 5);
    mock_cluster_produce_many(&cluster, "t", 2, 0, 1); /* more came: another end */
    expect_record(consumer, 2, 0, "0");
    expect_end(consumer, 2, 1);
    close_in_time(consumer);
    mock_cluster_end(&cluster);
}

static void a_seek_goes_anywhere(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 2);
    mock_cluster_produce_many(&cluster, "t", 0, 0, 100);
    KafkaConsumer *consumer = open_assigned(&cluster, "t", 1, 10);
    expect_record(consumer, 0, 10, "10");
    kafka_consumer_seek(consumer, 0, 50);
    expect_record(consumer, 0, 50, "50");
    kafka_consumer_seek(consumer, 0, 3);
    for (int i = 3; i < 100; i++) {
        char value[16];
        (void)snprintf(value, sizeof value, "%d", i);
        expect_record(consumer, 0, i, value);
    }
    expect_end(consumer, 0, 100);
    kafka_consumer_seek(consumer, 0, 99);
    expect_record(consumer, 0, 99, "99");
    expect_end(consumer, 0, 100);
    close_in_time(consumer);
    mock_cluster_end(&cluster);
}

static void a_pause_keeps_the_place(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 2);
    mock_cluster_produce_many(&cluster, "t", 0, 0, 20);
    KafkaConsumer *consumer = open_assigned(&cluster, "t", 2, 0);
    KafkaEvent event;
    do kafka_consumer_resume(consumer, 0); /* was not paused: nothing is read twice */
    while (next_event(consumer, &event) != KAFKA_RECORD);
    assert_int_equal(event.offset, 0);
    kafka_consumer_pause(consumer, 0);
    kafka_consumer_pause(consumer, 0);
    mock_cluster_produce_many(&cluster, "t", 1, 0, 3); /* the other one goes on, and its records show that time has passed */
    for (int left = 3; left > 0;) {
        KafkaEventKind kind = next_event(consumer, &event);
        assert_int_equal(event.index, 1);
        left -= kind == KAFKA_RECORD;
    }
    kafka_consumer_resume(consumer, 0);
    do next_event(consumer, &event);
    while (event.index != 0);
    assert_int_equal(event.kind, KAFKA_RECORD);
    assert_int_equal(event.offset, 1);
    /* Paused before anything came: it begins where it was assigned, though the library has thrown
     * away what it had fetched. */
    close_in_time(consumer);
    consumer = open_assigned(&cluster, "t", 2, 2);
    kafka_consumer_pause(consumer, 0);
    expect_record(consumer, 1, 2, "2");
    expect_end(consumer, 1, 3);
    kafka_consumer_resume(consumer, 0);
    kafka_consumer_pause(consumer, 0); /* and these two cost nothing */
    kafka_consumer_resume(consumer, 0);
    expect_record(consumer, 0, 2, "2");
    kafka_consumer_pause(consumer, 0);
    kafka_consumer_resume(consumer, 0);
    expect_record(consumer, 0, 3, "3");
    /* A seek of a paused partition counts at its resume. */
    kafka_consumer_pause(consumer, 0);
    kafka_consumer_seek(consumer, 0, 15);
    assert_int_equal(kafka_consumer_position(consumer, 0), 15);
    kafka_consumer_resume(consumer, 0);
    do next_event(consumer, &event);
    while (event.index != 0);
    assert_int_equal(event.offset, 15);
    close_in_time(consumer);
    mock_cluster_end(&cluster);
}

static void what_is_out_of_range_waits_for_a_seek(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 2);
    mock_cluster_produce_many(&cluster, "t", 0, 0, 5);
    mock_cluster_produce_many(&cluster, "t", 1, 0, 5);
    KafkaConsumer *consumer = open_group(&cluster, NULL, NULL);
    Error error = {0};
    KafkaEvent event;
    const KafkaPartition partitions[] = {{"t", 0, 1000}, {"t", 1, 0}};
    assert_int_equal(kafka_consumer_assign(consumer, 0, partitions, 2, &error), 0);
    bool out = false, ended = false;
    while (!out || !ended) {
        KafkaEventKind kind = next_event(consumer, &event);
        if (kind == KAFKA_OUT_OF_RANGE) {
            assert_int_equal(event.index, 0);
            assert_int_equal(event.offset, 1000);
            out = true;
        } else {
            assert_int_equal(event.index, 1);
            ended = kind == KAFKA_END;
        }
    }
    kafka_consumer_pause(consumer, 1);
    kafka_consumer_seek(consumer, 0, 2); /* it was stopped: all is assigned anew, the other one from its place */
    expect_record(consumer, 0, 2, "2");
    expect_record(consumer, 0, 3, "3");
    expect_record(consumer, 0, 4, "4");
    expect_end(consumer, 0, 5);
    mock_cluster_produce_many(&cluster, "t", 1, 5, 1);
    mock_cluster_produce_many(&cluster, "t", 0, 5, 1);
    expect_record(consumer, 0, 5, "5"); /* and it is still paused */
    expect_end(consumer, 0, 6);
    kafka_consumer_resume(consumer, 1);
    expect_record(consumer, 1, 5, "5");
    close_in_time(consumer);
    mock_cluster_end(&cluster);
}

static void a_small_queue_loses_nothing(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 1);
    enum { COUNT = 200, SIZE = 50000 };
    char *value = malloc(SIZE);
    memset(value, 'x', SIZE);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(rd_kafka_producev(cluster.handle, RD_KAFKA_V_TOPIC("t"), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE(value, SIZE),
                                           RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
                         RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(cluster.handle, 60000), RD_KAFKA_RESP_ERR_NO_ERROR);
    free(value);
    KafkaConsumer *consumer;
    Error error = {0};
    KafkaEvent event;
    int64_t first, next = 0;
    assert_int_equal(kafka_consumer_open(&cluster.connection, "/", &(KafkaOptions){.queued_bytes = 1 << 20}, &consumer, NULL, &error), 0);
    KafkaOffset offset = {.topic = "t", .at = KAFKA_EARLIEST}; /* the mock drops old records */
    assert_int_equal(kafka_consumer_offsets(consumer, &offset, 1, DEADLINE, NULL, &error), 0);
    first = next = offset.offset;
    assert_int_equal(kafka_consumer_assign(consumer, 0, &(KafkaPartition){"t", 0, first}, 1, &error), 0);
    while (next_event(consumer, &event) == KAFKA_RECORD) assert_int_equal(event.offset, next++);
    assert_int_equal(event.kind, KAFKA_END);
    assert_int_equal(next, COUNT);
    assert_true(next > first);
    close_in_time(consumer);
    mock_cluster_end(&cluster);
}

/* ---- groups ---------------------------------------------------------------------------------- */

typedef struct Member {
    KafkaConsumer *consumer;
    size_t partitions; /* that it has */
    size_t revokes;
} Member;

static void serve(Member *member) {
    KafkaEvent event;
    Error error = {0};
    switch (kafka_consumer_poll(member->consumer, 20 * USEC_MS, &event)) {
    case KAFKA_ASSIGNED: {
        KafkaPartition *partitions = calloc(event.partition_count + 1, sizeof *partitions);
        assert_non_null(partitions);
        for (size_t i = 0; i < event.partition_count; i++) {
            partitions[i] = event.partitions[i];
            partitions[i].offset = 0;
        }
        member->partitions = event.partition_count;
        assert_int_equal(kafka_consumer_assign(member->consumer, event.generation, partitions, event.partition_count, &error), 0);
        free(partitions);
        break;
    }
    case KAFKA_REVOKED:
        member->partitions = 0;
        member->revokes++;
        assert_false(event.lost);
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

static void two_members_share(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 4);
    Member members[2] = {{.consumer = open_group(&cluster, "g", "t")}};
    await_share(members, 1, 4);
    members[1].consumer = open_group(&cluster, "g", "^t$");
    await_share(members, 2, 2);
    size_t revokes = members[0].revokes;
    assert_true(revokes > 0);
    close_in_time(members[1].consumer); /* leaves at once: the other one need not wait for the session's end */
    await_share(members, 1, 4);
    assert_true(members[0].revokes > revokes);
    close_in_time(members[0].consumer);
    mock_cluster_end(&cluster);
}

/* Who asks the brokers for something else does not hear of a revoke: the partitions may still be
 * spoken of. */
static void a_revoke_while_brokers_are_asked(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 2);
    Member members[2] = {{.consumer = open_group(&cluster, "g", "t")}};
    await_share(members, 1, 2);
    KafkaEvent event;
    for (int ends = 0; ends < 2;) ends += next_event(members[0].consumer, &event) == KAFKA_END;
    members[1].consumer = open_group(&cluster, "g", "t");
    int64_t first = 0, end = 0;
    for (usec_t deadline = now() + DEADLINE; end != KAFKA_NOT_THERE;) {
        SinkFault fault;
        Error error = {0};
        assert_true(now() < deadline);
        (void)kafka_consumer_trouble(members[0].consumer, true, &fault, &error);
        kafka_consumer_pause(members[0].consumer, 1);
        kafka_consumer_seek(members[0].consumer, 1, 0);
        kafka_consumer_resume(members[0].consumer, 1);
        kafka_consumer_bounds(members[0].consumer, 1, &first, &end);
        serve(&members[1]);
    }
    assert_int_equal(kafka_consumer_position(members[0].consumer, 1), KAFKA_NOT_THERE);
    assert_int_equal(next_event(members[0].consumer, &event), KAFKA_REVOKED);
    await_share(members, 2, 1);
    close_in_time(members[1].consumer);
    close_in_time(members[0].consumer);
    mock_cluster_end(&cluster);
}

static void a_stale_assignment_is_refused(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 2);
    mock_cluster_produce_many(&cluster, "t", 0, 0, 3);
    KafkaConsumer *consumer = open_group(&cluster, "g", "t");
    KafkaEvent event;
    Error error = {0};
    KafkaPartition none = {0};
    assert_int_equal(kafka_consumer_assign(consumer, 0, &none, 0, &error), KAFKA_ASSIGN_STALE);
    await(consumer, KAFKA_ASSIGNED, &event);
    assert_int_equal(event.partition_count, 2);
    uint64_t generation = event.generation;
    /* Nothing is read before the answer, and polling goes on meanwhile. */
    for (int i = 0; i < 5; i++) assert_int_equal(kafka_consumer_poll(consumer, 20 * USEC_MS, &event), KAFKA_NOTHING);
    const KafkaPartition partitions[] = {{"t", 1, 0}, {"t", 0, 1}}; /* in an order of the caller's */
    assert_int_equal(kafka_consumer_assign(consumer, generation + 1, partitions, 2, &error), KAFKA_ASSIGN_STALE);
    assert_int_equal(kafka_consumer_assign(consumer, generation, partitions, 2, &error), 0);
    do next_event(consumer, &event);
    while (event.kind != KAFKA_RECORD);
    assert_int_equal(event.index, 1);
    assert_int_equal(event.offset, 1);
    assert_int_equal(kafka_consumer_commit(consumer, &(KafkaPartition){"t", 0, 2}, 1, &error), 0);
    close_in_time(consumer);
    mock_cluster_end(&cluster);
}

/* Stopped longer than its session lasts, as by SIGSTOP, while the broker goes away: trouble and the
 * revoke wait together. */
static void a_lost_assignment_is_known_before_the_trouble(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    kafka_connection_set(&cluster.connection, "properties",
                         "heartbeat.interval.ms=100\nreconnect.backoff.max.ms=200\nsession.timeout.ms=4000\n");
    mock_cluster_topic(&cluster, "t", 1);
    mock_cluster_produce(&cluster, "t", 0, "0");
    KafkaConsumer *consumer = open_group(&cluster, "g", "t");
    KafkaEvent event;
    Error error = {0};
    await(consumer, KAFKA_ASSIGNED, &event);
    assert_int_equal(kafka_consumer_assign(consumer, event.generation, &(KafkaPartition){"t", 0, 0}, 1, &error), 0);
    expect_record(consumer, 0, 0, "0");
    assert_int_equal(rd_kafka_mock_broker_set_down(cluster.mock, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    for (usec_t deadline = now() + DEADLINE; event.kind != KAFKA_REVOKED;) {
        assert_true(now() < deadline);
        /* The caller may look at any time as long as it has not heard of the revoke. */
        int64_t first, end;
        kafka_consumer_bounds(consumer, 0, &first, &end);
        assert_int_equal(kafka_consumer_position(consumer, 0), 1);
        (void)usleep(5000000);
        (void)kafka_consumer_poll(consumer, 0, &event);
    }
    assert_true(event.lost);
    assert_int_equal(rd_kafka_mock_broker_set_up(cluster.mock, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    await(consumer, KAFKA_ASSIGNED, &event);
    close_in_time(consumer);
    mock_cluster_end(&cluster);
}

/* How long a group waits for this member when it is alive and does not come back. */
static void polls_are_bounded(void **state) {
    static const struct {
        const char *properties, *longest;
    } cases[] = {{NULL, "60000"},
                 {"session.timeout.ms=30000\n", "60000"},
                 {"session.timeout.ms=90000\n", "90000"},
                 {"max.poll.interval.ms=250000\n", "250000"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        MockCluster cluster;
        rd_kafka_conf_t *configuration;
        Error error = {0};
        SinkFault fault;
        char value[32];
        size_t size = sizeof value;
        mock_cluster_start(&cluster, 1);
        if (cases[i].properties) kafka_connection_set(&cluster.connection, "properties", cases[i].properties);
        assert_int_equal(kafka_configuration_new(&cluster.connection, "/nonexistent", &configuration, &fault, &error), 0);
        assert_int_equal(rd_kafka_conf_get(configuration, "max.poll.interval.ms", value, &size), RD_KAFKA_CONF_OK);
        assert_string_equal(value, cases[i].longest);
        rd_kafka_conf_destroy(configuration);
        mock_cluster_end(&cluster);
    }
    (void)state;
}

/* ---- trouble --------------------------------------------------------------------------------- */

static void errors_are_told_apart(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 1);
    mock_cluster_produce_many(&cluster, "t", 0, 0, 3);
    rd_kafka_mock_push_request_errors(cluster.mock, API_FETCH, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    KafkaConsumer *consumer = open_assigned(&cluster, "t", 1, 0);
    KafkaEvent event;
    assert_int_equal(next_event(consumer, &event), KAFKA_TROUBLE);
    assert_int_equal(event.verdict, KAFKA_STOP_PARTITION);
    assert_int_equal(event.fault, SINK_FAULT_RIGHTS);
    assert_int_equal(event.index, 0);
    assert_string_equal(event.topic, "t");
    assert_non_null(strstr(event.error.text, "Connection \"events\": "));
    assert_non_null(strstr(event.error.text, "authorization failed"));
    expect_record(consumer, 0, 0, "0"); /* the right was given */
    close_in_time(consumer);

    rd_kafka_mock_push_request_errors(cluster.mock, API_FETCH, 2, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                      RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR);
    consumer = open_assigned(&cluster, "t", 1, 0);
    expect_record(consumer, 0, 0, "0"); /* by itself */
    close_in_time(consumer);
    mock_cluster_end(&cluster);

    static const struct {
        rd_kafka_resp_err_t code;
        const char *words;
        SinkFault fault;
        KafkaVerdict verdict;
    } cases[] = {
        {RD_KAFKA_RESP_ERR__TRANSPORT, "x: Connect to ipv4#127.0.0.1:1 failed: Connection refused", SINK_FAULT_UNREACHABLE, KAFKA_PASSES},
        {RD_KAFKA_RESP_ERR__RESOLVE, "x: Failed to resolve", SINK_FAULT_UNREACHABLE, KAFKA_PASSES},
        {RD_KAFKA_RESP_ERR__TRANSPORT, "might be caused by incorrect security.protocol configuration", SINK_FAULT_TLS, KAFKA_PASSES},
        {RD_KAFKA_RESP_ERR__TRANSPORT, "verify that security.protocol is correctly configured, broker might require SASL authentication",
         SINK_FAULT_LOGIN, KAFKA_PASSES},
        {RD_KAFKA_RESP_ERR__SSL, "SSL handshake failed", SINK_FAULT_TLS, KAFKA_STOP_ALL},
        {RD_KAFKA_RESP_ERR__AUTHENTICATION, "SASL", SINK_FAULT_LOGIN, KAFKA_STOP_ALL},
        {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, NULL, SINK_FAULT_RIGHTS, KAFKA_STOP_ALL},
        {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, NULL, SINK_FAULT_TOPIC, KAFKA_STOP_PARTITION},
        {RD_KAFKA_RESP_ERR__BAD_MSG, NULL, SINK_FAULT_OTHER, KAFKA_STOP_PARTITION},
        {RD_KAFKA_RESP_ERR__FATAL, NULL, SINK_FAULT_OTHER, KAFKA_STOP_ALL},
        {RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED, NULL, SINK_FAULT_OTHER, KAFKA_PASSES},
        {RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, NULL, SINK_FAULT_OTHER, KAFKA_PASSES},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(kafka_fault_of(cases[i].code, cases[i].words), cases[i].fault);
        assert_int_equal(kafka_verdict_of(cases[i].code), cases[i].verdict);
    }
}

static void words_become_one_sentence(void **state) {
    static const char *const cases[][2] = {
        {"[thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state "
         "CONNECT, 3 identical error(s) suppressed)",
         "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused"},
        {"a\nb.", "a b"},
        {"connecting to a SSL listener? (wrong) (after 1ms in state X)", "connecting to a SSL listener? (wrong)"},
        {NULL, "Broker: Unknown topic or partition"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[KAFKA_WORDS_SIZE];
        kafka_words(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, cases[i][0], words);
        assert_string_equal(words, cases[i][1]);
    }
}

static void a_broker_that_is_back_is_read_on(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 1);
    mock_cluster_produce_many(&cluster, "t", 0, 0, 2);
    KafkaConsumer *consumer = open_assigned(&cluster, "t", 1, 0);
    expect_record(consumer, 0, 0, "0");
    expect_record(consumer, 0, 1, "1");
    assert_int_equal(rd_kafka_mock_broker_set_down(cluster.mock, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    KafkaEvent event;
    await(consumer, KAFKA_TROUBLE, &event);
    assert_int_equal(event.verdict, KAFKA_PASSES);
    assert_int_equal(rd_kafka_mock_broker_set_up(cluster.mock, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    mock_cluster_produce(&cluster, "t", 0, "2");
    do next_event(consumer, &event);
    while (event.kind == KAFKA_END);
    assert_int_equal(event.kind, KAFKA_RECORD);
    assert_int_equal(event.offset, 2);
    close_in_time(consumer);
    mock_cluster_end(&cluster);
}

static void a_new_leader_is_read_on(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 2);
    mock_cluster_topic(&cluster, "t", 1);
    assert_int_equal(rd_kafka_mock_partition_set_leader(cluster.mock, "t", 0, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    mock_cluster_produce_many(&cluster, "t", 0, 0, 2);
    KafkaConsumer *consumer = open_assigned(&cluster, "t", 1, 0);
    expect_record(consumer, 0, 0, "0");
    expect_record(consumer, 0, 1, "1");
    assert_int_equal(rd_kafka_mock_partition_set_leader(cluster.mock, "t", 0, 2), RD_KAFKA_RESP_ERR_NO_ERROR);
    mock_cluster_produce(&cluster, "t", 0, "2");
    KafkaEvent event;
    do next_event(consumer, &event);
    while (event.kind == KAFKA_END);
    assert_int_equal(event.kind, KAFKA_RECORD);
    assert_int_equal(event.offset, 2);
    close_in_time(consumer);
    mock_cluster_end(&cluster);
}

/* ---- what is there --------------------------------------------------------------------------- */

static void topics_are_listed(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 2);
    mock_cluster_topic(&cluster, "shop.a", 2);
    mock_cluster_topic(&cluster, "shop.b", 3);
    mock_cluster_topic(&cluster, "other", 1);
    mock_cluster_topic(&cluster, "wide", 10000);
    KafkaConsumer *consumer = open_group(&cluster, NULL, NULL);
    static const char *const names[] = {"other", "^shop\\.", "wide"}, *const wrong[] = {"^("};
    KafkaTopics topics;
    SinkFault fault;
    Error error = {0};
    if (kafka_consumer_topics(consumer, names, 3, DEADLINE, NULL, &topics, &fault, &error) < 0) fail_msg("%s", error.text);
    assert_int_equal(topics.count, 4);
    static const struct {
        const char *name;
        size_t partitions;
    } expected[] = {{"other", 1}, {"shop.a", 2}, {"shop.b", 3}, {"wide", 10000}};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(topics.items[i].name, expected[i].name);
        assert_int_equal(topics.items[i].partition_count, expected[i].partitions);
        assert_int_equal(topics.items[i].fault, SINK_SOUND);
    }
    assert_int_equal(topics.broker_count, 2);
    assert_true(topics.cluster[0]);
    kafka_topics_deinit(&topics);
    assert_int_equal(kafka_consumer_topics(consumer, wrong, 1, DEADLINE, NULL, &topics, &fault, &error), -EINVAL);
    assert_non_null(strstr(error.text, "regular expression"));

    rd_kafka_mock_topic_set_error(cluster.mock, "other", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(kafka_consumer_topics(consumer, names, 1, DEADLINE, NULL, &topics, &fault, &error), 0);
    assert_int_equal(topics.count, 1);
    assert_int_equal(topics.items[0].fault, SINK_FAULT_RIGHTS);
    kafka_topics_deinit(&topics);
    close_in_time(consumer);
    mock_cluster_end(&cluster);
}

static void offsets_are_found(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 2);
    mock_cluster_topic(&cluster, "t", 3);
    mock_cluster_topic(&cluster, "wide", 10000);
    mock_cluster_produce_many(&cluster, "t", 0, 0, 7);
    mock_cluster_produce_many(&cluster, "t", 2, 0, 2);
    KafkaConsumer *consumer = open_group(&cluster, NULL, NULL);
    Error error = {0};
    KafkaOffset offsets[] = {
        {.topic = "t", .partition = 0, .at = KAFKA_EARLIEST},         {.topic = "t", .partition = 0, .at = KAFKA_LATEST},
        {.topic = "t", .partition = 1, .at = KAFKA_LATEST},           {.topic = "t", .partition = 2, .at = KAFKA_LATEST},
        {.topic = "t", .partition = 0, .at = INT64_C(9000000000000)}, /* the mock knows no times: all are beyond the end */
    };
    if (kafka_consumer_offsets(consumer, offsets, 5, DEADLINE, NULL, &error) < 0) fail_msg("%s", error.text);
    static const int64_t expected[] = {0, 7, 0, 2, 7};
    for (size_t i = 0; i < 5; i++) assert_int_equal(offsets[i].offset, expected[i]);
    KafkaOffset missing[] = {{.topic = "t", .partition = 99, .at = KAFKA_LATEST}, {.topic = "t", .partition = 2, .at = KAFKA_LATEST}};
    assert_true(kafka_consumer_offsets(consumer, missing, 2, 2 * USEC_SECOND, NULL, &error) < 0);
    assert_true(missing[0].failed);
    enum { WIDE = 10000 };
    KafkaOffset *wide = calloc(WIDE, sizeof *wide);
    for (int32_t i = 0; i < WIDE; i++) wide[i] = (KafkaOffset){.topic = "wide", .partition = i, .at = KAFKA_LATEST, .offset = -9};
    if (kafka_consumer_offsets(consumer, wide, WIDE, DEADLINE, NULL, &error) < 0) fail_msg("%s", error.text);
    for (int32_t i = 0; i < WIDE; i++) assert_int_equal(wide[i].offset, 0);
    free(wide);
    close_in_time(consumer);
    mock_cluster_end(&cluster);
}

/* ---- the test of a connection ---------------------------------------------------------------- */

/* Takes connections and never says a word: a broker that hangs. */
static int listen_silently(char place[static 32]) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(place, 32, "127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    return fd;
}

static bool is_over(void *context) {
    return now() > *(const usec_t *)context;
}

static void a_connection_is_tested(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 2);
    static const char *const topics[] = {"t"};
    SinkTest test = {.tables = topics, .table_count = 1};
    Error error = {0};
    assert_int_equal(kafka_test(&cluster.connection, "/", &test, &error), SINK_SOUND);
    assert_non_null(strstr(test.version, "Kafka, cluster "));
    assert_string_equal(test.note, "");
    test.table_count = 0;
    assert_int_equal(kafka_test(&cluster.connection, "/", &test, &error), SINK_SOUND);
    assert_non_null(strstr(test.note, "No source"));
    test.table_count = 1;
    rd_kafka_mock_topic_set_error(cluster.mock, "t", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(kafka_test(&cluster.connection, "/", &test, &error), SINK_FAULT_RIGHTS);
    assert_string_equal(error.text, "Connection \"events\": the user lacks Describe on the topic \"t\".");
    rd_kafka_mock_topic_set_error(cluster.mock, "t", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    assert_int_equal(kafka_test(&cluster.connection, "/", &test, &error), SINK_FAULT_TOPIC);
    assert_non_null(strstr(error.text, "\"t\" is missing"));

    kafka_connection_set(&cluster.connection, "saslPasswordFile", "gone");
    assert_int_equal(kafka_test(&cluster.connection, "/nonexistent", &test, &error), SINK_FAULT_LOGIN);
    assert_string_equal(error.text,
                        "Connection \"events\": the password file /nonexistent/gone cannot be read: No such file or directory.");
    mock_cluster_end(&cluster);
}

static void nobody_there_is_said_at_once(void **state) {
    Connection connection = {0};
    SinkTest test = {0};
    Error error = {0};
    kafka_connection_set(&connection, "brokers", "127.0.0.1:1,localhost:1");
    usec_t began = now();
    assert_int_equal(kafka_test(&connection, "/", &test, &error), SINK_FAULT_UNREACHABLE);
    assert_true(now() - began < 8 * USEC_SECOND);
    assert_non_null(strstr(error.text, "Connection refused"));
    assert_null(strstr(error.text, "identical"));
    assert_int_equal(error.text[strlen(error.text) - 1], '.');

    char place[32];
    int fd = listen_silently(place);
    kafka_connection_set(&connection, "brokers", place);
    began = now();
    error = (Error){0};
    assert_int_equal(kafka_test(&connection, "/", &test, &error), SINK_FAULT_UNREACHABLE);
    assert_true(now() - began < 15 * USEC_SECOND); /* it is 10 s; this machine may be busy */
    usec_t end = now() + USEC_SECOND;
    SinkPatience patience = {is_over, &end};
    test.patience = &patience;
    began = now();
    assert_int_equal(kafka_test(&connection, "/", &test, &error), SINK_FAULT_UNREACHABLE);
    assert_true(now() - began < 7 * USEC_SECOND);
    (void)close(fd);
    kafka_connection_free(&connection);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void a_broker_that_hangs_holds_up_no_close(void **state) {
    MockCluster cluster;
    mock_cluster_start(&cluster, 1);
    mock_cluster_topic(&cluster, "t", 2);
    mock_cluster_produce_many(&cluster, "t", 0, 0, 5);
    Member member = {.consumer = open_group(&cluster, "g", "t")};
    await_share(&member, 1, 2);
    assert_int_equal(rd_kafka_mock_broker_set_rtt(cluster.mock, 1, 600000), RD_KAFKA_RESP_ERR_NO_ERROR);
    KafkaEvent event;
    Error error = {0};
    while (kafka_consumer_poll(member.consumer, 0, &event) != KAFKA_NOTHING) {
    }
    assert_int_equal(kafka_consumer_commit(member.consumer, &(KafkaPartition){"t", 0, 1}, 1, &error), 0); /* its answer does not come */
    usec_t began = now();
    (void)kafka_consumer_close(member.consumer, 2 * USEC_SECOND);
    assert_true(now() - began < 10 * USEC_SECOND);
    assert_int_equal(rd_kafka_mock_broker_set_rtt(cluster.mock, 1, 0), RD_KAFKA_RESP_ERR_NO_ERROR);
    mock_cluster_end(&cluster);
    kafka_consumer_close(NULL, 0);
}

static sem_t let_go, was_freed;

static void hang(void *context) {
    while (sem_wait(&let_go) != 0) {
    }
    free(context);
    assert_int_equal(sem_post(&was_freed), 0);
}

static void the_watchdog_gives_up(void **state) {
    assert_int_equal(sem_init(&let_go, 0, 0), 0);
    assert_int_equal(sem_init(&was_freed, 0, 0), 0);
    uint64_t before = metrics_read(METRIC_CLIENTS_ABANDONED);
    for (int i = 0; i < 2; i++) {
        char words[256];
        rd_kafka_conf_t *configuration = rd_kafka_conf_new();
        assert_int_equal(rd_kafka_conf_set(configuration, "group.id", "g", words, sizeof words), RD_KAFKA_CONF_OK);
        rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_CONSUMER, configuration, words, sizeof words);
        assert_non_null(handle);
        if (i == 1) assert_int_equal(sem_post(&let_go), 0);
        assert_int_equal(kafka_end(handle, hang, malloc(10), "events", i == 0 ? 100 * USEC_MS : DEADLINE), i == 1);
        assert_int_equal(metrics_read(METRIC_CLIENTS_ABANDONED), before + 1);
        if (i == 0) assert_int_equal(sem_post(&let_go), 0);
        while (sem_wait(&was_freed) != 0) {
        } /* what was given up ends all the same when it can */
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_whole),
        cmocka_unit_test(each_partition_has_an_end),
        cmocka_unit_test(a_seek_goes_anywhere),
        cmocka_unit_test(a_pause_keeps_the_place),
        cmocka_unit_test(what_is_out_of_range_waits_for_a_seek),
        cmocka_unit_test(a_small_queue_loses_nothing),
        cmocka_unit_test(two_members_share),
        cmocka_unit_test(a_revoke_while_brokers_are_asked),
        cmocka_unit_test(a_stale_assignment_is_refused),
        cmocka_unit_test(a_lost_assignment_is_known_before_the_trouble),
        cmocka_unit_test(polls_are_bounded),
        cmocka_unit_test(errors_are_told_apart),
        cmocka_unit_test(words_become_one_sentence),
        cmocka_unit_test(a_broker_that_is_back_is_read_on),
        cmocka_unit_test(a_new_leader_is_read_on),
        cmocka_unit_test(topics_are_listed),
        cmocka_unit_test(offsets_are_found),
        cmocka_unit_test(a_connection_is_tested),
        cmocka_unit_test(nobody_there_is_said_at_once),
        cmocka_unit_test(a_broker_that_hangs_holds_up_no_close),
        cmocka_unit_test(the_watchdog_gives_up),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
