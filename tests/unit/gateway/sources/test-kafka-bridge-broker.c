/* The client of Kafka sources on a real broker, which tests/system/test_kafka_connections.py
 * starts: what librdkafka's mock cluster cannot do. */
/* clang-format off */
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

#include "base/log.h"
#include "config/source_kafka.h"
#include "gateway/sources/kafka_bridge.h"
#include "tests/support/kafka.h"

#define DEADLINE (90 * USEC_SECOND)

const SourceKind *const source_kinds[] = {&source_kind_http, &source_kind_kafka, NULL};
const char *const source_kind_names[] = {"http", "kafka", NULL};
const char *const kinds_not_built[] = {NULL};

static const BridgeClientType *const type = &bridge_client_kafka;
static Connection connection;
static rd_kafka_t *admin; /* a producer as well */

static usec_t now(void) {
    return clock_system()->boot(clock_system());
}

/* ---- the broker's side ----------------------------------------------------------------------- */

static void set_up_connection(const char *brokers, const char *login) {
    kafka_connection_set(&connection, "brokers", getenv(brokers));
    kafka_connection_set(&connection, "securityProtocol", login ? "sasl_plaintext" : "plaintext");
    kafka_connection_set(&connection, "saslMechanism", login ? "PLAIN" : NULL);
    kafka_connection_set(&connection, "saslUsername", login);
    kafka_connection_set(&connection, "saslPasswordFile", login ? getenv("KAFKA_PASSWORD_FILE") : NULL);
    /* What is new at the brokers is noticed after 5 min by default. */
    kafka_connection_set(&connection, "properties", "topic.metadata.refresh.interval.ms=300\n");
}

static int delivered, refused;

static void on_delivery(rd_kafka_t *handle, const rd_kafka_message_t *message, void *context) {
    (void)handle, (void)context;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        delivered++;
    else
        refused++;
}

static void open_admin(void) {
    char words[256];
    rd_kafka_conf_t *configuration = rd_kafka_conf_new();
    assert_int_equal(rd_kafka_conf_set(configuration, "bootstrap.servers", getenv("KAFKA_BROKERS"), words, sizeof words), RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(configuration, "message.max.bytes", "30000000", words, sizeof words), RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(configuration, "topic.metadata.refresh.interval.ms", "300", words, sizeof words), RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(configuration, "allow.auto.create.topics", "false", words, sizeof words), RD_KAFKA_CONF_OK);
    rd_kafka_conf_set_dr_msg_cb(configuration, on_delivery);
    admin = rd_kafka_new(RD_KAFKA_PRODUCER, configuration, words, sizeof words);
    assert_non_null(admin);
}

static void await_result(rd_kafka_queue_t *queue) {
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, (int)(DEADLINE / USEC_MS));
    assert_non_null(event);
    if (rd_kafka_event_error(event)) fail_msg("%s", rd_kafka_event_error_string(event));
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
}

static void create_topic(const char *name) {
    char words[256];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin);
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(name, 1, 1, words, sizeof words);
    assert_non_null(topic);
    assert_int_equal(rd_kafka_NewTopic_set_config(topic, "max.message.bytes", "30000000"), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_CreateTopics(admin, &topic, 1, NULL, queue);
    await_result(queue);
    rd_kafka_NewTopic_destroy(topic);
}

static void delete_topic(const char *name) {
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin);
    rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(name);
    rd_kafka_DeleteTopics(admin, &topic, 1, NULL, queue);
    await_result(queue);
    rd_kafka_DeleteTopic_destroy(topic);
}

/* As retention does it. */
static void delete_records(const char *name, int64_t before) {
    rd_kafka_queue_t *queue = rd_kafka_queue_new(admin);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, name, 0)->offset = before;
    rd_kafka_DeleteRecords_t *records = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(admin, &records, 1, NULL, queue);
    await_result(queue);
    rd_kafka_DeleteRecords_destroy(records);
    rd_kafka_topic_partition_list_destroy(list);
}

/* Until the broker has it: a topic that is new takes a moment to be known. */
static void produce(const char *topic, const void *value, size_t size, int64_t timestamp) {
    usec_t deadline = now() + DEADLINE;
    for (int before = delivered; delivered == before;) {
        assert_true(now() < deadline);
        int failed = refused;
        rd_kafka_resp_err_t code = rd_kafka_producev(admin, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                                                     RD_KAFKA_V_VALUE((void *)(uintptr_t)value, size), RD_KAFKA_V_TIMESTAMP(timestamp),
                                                     RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            (void)rd_kafka_poll(admin, 100);
            continue;
        }
        while (delivered == before && refused == failed) {
            assert_true(now() < deadline);
            (void)rd_kafka_poll(admin, 100);
        }
    }
}

static void produce_numbers(const char *topic, int from, int count) {
    for (int i = from; i < from + count; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        produce(topic, text, strlen(text), 0);
    }
}

/* ---- the client's side ----------------------------------------------------------------------- */

static BridgeClient *open_with(const char *fields) {
    char text[1024];
    Error error = {0};
    Source *source = NULL;
    (void)snprintf(text, sizeof text, "{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"events\",%s}}", fields);
    json_t *body = json_loads(text, 0, NULL);
    assert_non_null(body);
    if (source_from_request(body, &source, &error) < 0) fail_msg("%s: %s", text, error.text);
    json_decref(body);
    BridgeClient *client;
    SinkFault fault;
    if (type->open(source, &connection, "/", 1, NULL, &client, &fault, &error) < 0) fail_msg("%s", error.text);
    source_unref(source);
    return client;
}

static BridgeClient *open_assigned(const char *topic, int64_t offset) {
    char fields[200];
    Error error = {0};
    (void)snprintf(fields, sizeof fields, "\"topics\":[\"%s\"],\"loop\":false", topic);
    BridgeClient *client = open_with(fields);
    if (type->assign(client, 0, &(ClientPartition){topic, 0, offset}, 1, &error) < 0) fail_msg("%s", error.text);
    return client;
}

static void await(BridgeClient *client, ClientEventKind kind, const char *id, ClientEvent *ret_event) {
    for (usec_t deadline = now() + DEADLINE; now() < deadline;)
        if (type->poll(client, 100 * USEC_MS, ret_event) == kind && (!id || (ret_event->id && strcmp(ret_event->id, id) == 0))) return;
    fail_msg("event %d %s did not come", kind, id ? id : "");
}

static void expect_number(BridgeClient *client, int64_t offset, const char *text) {
    ClientEvent event;
    await(client, CLIENT_RECORD, NULL, &event);
    assert_int_equal(event.offset, offset);
    assert_true(span_equal(event.record.value, span_of(text)));
}

static void a_record_of_20_megabytes(void **state) {
    enum { SIZE = 20000000 };
    create_topic("large");
    char *value = malloc(SIZE);
    assert_non_null(value);
    for (size_t i = 0; i < SIZE; i++) value[i] = (char)('a' + i % 26);
    produce("large", "0", 1, 0);
    produce("large", value, SIZE, 0);
    produce("large", "2", 1, 0);
    BridgeClient *client = open_assigned("large", 0);
    ClientEvent event;
    expect_number(client, 0, "0");
    await(client, CLIENT_RECORD, NULL, &event);
    assert_int_equal(event.offset, 1);
    assert_int_equal(event.record.value.size, SIZE);
    assert_memory_equal(event.record.value.data, value, SIZE);
    expect_number(client, 2, "2");
    await(client, CLIENT_END, NULL, &event);
    assert_int_equal(event.offset, 3);
    assert_true(type->close(client, DEADLINE));
    free(value);
}

/* It is named, and read as soon as it is there. */
static void a_topic_that_comes_later(void **state) {
    BridgeClient *client = open_with("\"topics\":[\"later\"],\"groupId\":\"bridge-later\"");
    ClientEvent event;
    Arena arena = {0};
    ClientTopics topics;
    SinkFault fault;
    Error error = {0};
    await(client, CLIENT_PASSING_TROUBLE, "topicMissing", &event);
    assert_int_equal(event.index, CLIENT_NO_INDEX);
    assert_int_equal(event.fault, SINK_FAULT_TOPIC);
    assert_non_null(strstr(event.error.text, "later"));
    assert_int_equal(type->topics(client, &arena, DEADLINE, &topics, &fault, &error), 0);
    assert_int_equal(topics.count, 1);
    assert_int_equal(topics.items[0].fault, SINK_FAULT_TOPIC);
    create_topic("later");
    do await(client, CLIENT_ASSIGNED, NULL, &event);
    while (event.partition_count == 0);
    assert_string_equal(event.partitions[0].topic, "later");
    const ClientPartition list = {"later", 0, 0};
    assert_int_equal(type->assign(client, event.generation, &list, 1, &error), 0);
    produce_numbers("later", 0, 1);
    expect_number(client, 0, "0");
    arena_deinit(&arena);
    assert_true(type->close(client, DEADLINE));
}

/* Positions of the topic that is gone lie behind the end of the new one. */
static void a_topic_that_is_made_anew(void **state) {
    create_topic("anew");
    produce_numbers("anew", 0, 5);
    BridgeClient *client = open_assigned("anew", 3);
    ClientEvent event;
    Error error = {0};
    expect_number(client, 3, "3");
    expect_number(client, 4, "4");
    delete_topic("anew");
    await(client, CLIENT_PASSING_TROUBLE, "topicMissing", &event); /* the library does not say it of the partition */
    assert_non_null(strstr(event.error.text, "anew"));
    assert_int_equal(event.fault, SINK_FAULT_TOPIC);
    create_topic("anew");
    produce_numbers("anew", 10, 2);
    await(client, CLIENT_OUT_OF_RANGE, NULL, &event);
    assert_int_equal(event.index, 0);
    assert_int_equal(event.offset, 5);
    ClientOffset end = {.topic = "anew", .when = CLIENT_LATEST};
    assert_int_equal(type->offsets(client, &end, 1, DEADLINE, &error), 0);
    assert_int_equal(end.offset, 2);
    assert_int_equal(type->seek(client, 0, 0, &error), 0);
    expect_number(client, 0, "10");
    expect_number(client, 1, "11");
    assert_true(type->close(client, DEADLINE));
}

static void retention_overtakes_the_position(void **state) {
    create_topic("retained");
    produce_numbers("retained", 0, 10);
    delete_records("retained", 6);
    BridgeClient *client = open_assigned("retained", 2);
    ClientEvent event;
    Error error = {0};
    await(client, CLIENT_OUT_OF_RANGE, NULL, &event);
    assert_int_equal(event.offset, 2);
    ClientOffset bounds[] = {{.topic = "retained", .when = CLIENT_EARLIEST}, {.topic = "retained", .when = CLIENT_LATEST}};
    assert_int_equal(type->offsets(client, bounds, 2, DEADLINE, &error), 0);
    assert_int_equal(bounds[0].offset, 6);
    assert_int_equal(bounds[1].offset, 10);
    assert_int_equal(type->seek(client, 0, 6, &error), 0);
    expect_number(client, 6, "6");
    assert_true(type->close(client, DEADLINE));
}

static void a_source_begins_at_a_time(void **state) {
    create_topic("begun");
    int64_t base = clock_system()->wall(clock_system()) / USEC_SECOND * 1000 - 3600000; /* whole seconds */
    for (int i = 0; i < 5; i++) produce("begun", "x", 1, base + i * 1000);
    char time[40], fields[200];
    time_t second = (time_t)(base / 1000 + 2);
    struct tm parts;
    (void)strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&second, &parts));
    (void)snprintf(fields, sizeof fields, "\"topics\":[\"begun\"],\"startFrom\":\"%s\",\"loop\":false", time);
    BridgeClient *client = open_with(fields);
    Error error = {0};
    ClientOffset offsets[] = {{.topic = "begun", .when = CLIENT_START},
                              {.topic = "begun", .when = CLIENT_AT_TIME, .time = base + 3001},
                              {.topic = "begun", .when = CLIENT_AT_TIME, .time = base + 4001},
                              {.topic = "begun", .when = CLIENT_AT_TIME, .time = -5}};
    static const int64_t wanted[] = {2, 4, 5, 0};
    for (size_t i = 0; i < 4; i++) {
        if (type->offsets(client, &offsets[i], 1, DEADLINE, &error) < 0) fail_msg("%s", error.text);
        assert_int_equal(offsets[i].offset, wanted[i]);
    }
    assert_true(type->close(client, DEADLINE));
}

static void rights_that_are_missing(void **state) {
    set_up_connection("KAFKA_LOGIN_BROKERS", "alice");
    BridgeClient *client = open_assigned("described", 0); /* alice may describe it, and nothing else */
    ClientEvent event;
    await(client, CLIENT_PARTITION_TROUBLE, "noRights", &event);
    assert_int_equal(event.index, 0);
    assert_int_equal(event.fault, SINK_FAULT_RIGHTS);
    assert_true(type->close(client, DEADLINE));
    client = open_with("\"topics\":[\"readable\"],\"groupId\":\"not-hers\""); /* she may read it, but not in this group */
    await(client, CLIENT_END_OF_CLIENT, NULL, &event);
    assert_int_equal(event.fault, SINK_FAULT_RIGHTS);
    assert_non_null(strstr(event.error.text, "roup authorization failed"));
    assert_true(type->close(client, DEADLINE));
    set_up_connection("KAFKA_BROKERS", NULL);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_of_20_megabytes),  cmocka_unit_test(a_topic_that_comes_later),
        cmocka_unit_test(a_topic_that_is_made_anew), cmocka_unit_test(retention_overtakes_the_position),
        cmocka_unit_test(a_source_begins_at_a_time), cmocka_unit_test(rights_that_are_missing),
    };
    log_setup((LogLevel)(LOG_ERROR + 1), 2);
    set_up_connection("KAFKA_BROKERS", NULL);
    open_admin();
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rd_kafka_destroy(admin);
    kafka_connection_free(&connection);
    return failed;
}
