/* The Kafka client on a real broker, which tests/system/test_kafka_connections.py starts: what
 * librdkafka's mock cluster cannot do. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <librdkafka/rdkafka.h>
/* clang-format on */

#include "base/text.h"
#include "sinks/kafka.h"
#include "sinks/kafka_test.h"

#define DEADLINE (60 * USEC_SECOND)

static char *values[32];
static int64_t base_time; /* ms since 1970: not so old that the broker drops the records */
static Connection connection = {.name = (char *)(uintptr_t) "events", .type = &connection_type_kafka, .values = values};

static void set_value(const char *field, const char *value) {
    for (size_t i = 0; connection_type_kafka.fields[i].name; i++) {
        if (strcmp(connection_type_kafka.fields[i].name, field) != 0) continue;
        free(values[i]);
        values[i] = text_copy(value);
        return;
    }
    fail_msg("no field %s", field);
}

static usec_t now(void) {
    return clock_system()->boot(clock_system());
}

static KafkaConsumer *open_at(const char *topic, int64_t offset, size_t queued_bytes) {
    KafkaConsumer *consumer;
    Error error = {0};
    if (kafka_consumer_open(&connection, "/", &(KafkaOptions){.queued_bytes = queued_bytes}, &consumer, NULL, &error) < 0)
        fail_msg("%s", error.text);
    assert_int_equal(kafka_consumer_assign(consumer, 0, &(KafkaPartition){topic, 0, offset}, 1, &error), 0);
    return consumer;
}

static KafkaEventKind next_event(KafkaConsumer *consumer, KafkaEvent *ret_event) {
    for (usec_t deadline = now() + DEADLINE; now() < deadline;) {
        KafkaEventKind kind = kafka_consumer_poll(consumer, 100 * USEC_MS, ret_event);
        if (kind != KAFKA_NOTHING && kind != KAFKA_TROUBLE) return kind;
    }
    fail_msg("nothing came");
    return KAFKA_NOTHING;
}

static rd_kafka_t *open_producer(bool transactions) {
    char words[256];
    rd_kafka_conf_t *configuration = rd_kafka_conf_new();
    assert_int_equal(rd_kafka_conf_set(configuration, "bootstrap.servers", getenv("KAFKA_BROKERS"), words, sizeof words), RD_KAFKA_CONF_OK);
    if (transactions) assert_int_equal(rd_kafka_conf_set(configuration, "transactional.id", "test", words, sizeof words), RD_KAFKA_CONF_OK);
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, configuration, words, sizeof words);
    assert_non_null(producer);
    return producer;
}

static void produce(rd_kafka_t *producer, const char *topic, size_t size, int64_t timestamp) {
    char *value = malloc(size);
    memset(value, 'x', size);
    while (rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE(value, size),
                             RD_KAFKA_V_TIMESTAMP(timestamp), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                             RD_KAFKA_V_END) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        (void)rd_kafka_poll(producer, 100);
    free(value);
}

static void succeed(rd_kafka_error_t *error) {
    if (error) fail_msg("%s", rd_kafka_error_string(error));
}

/* Three transactions of ten records, the second one aborted; each ends with a record of the
 * broker's own: 33 offsets. */
static void aborted_transactions_are_gaps(void **state) {
    rd_kafka_t *producer = open_producer(true);
    succeed(rd_kafka_init_transactions(producer, 60000));
    for (int i = 0; i < 3; i++) {
        succeed(rd_kafka_begin_transaction(producer));
        for (int k = 0; k < 10; k++) produce(producer, "transactions", 10, base_time);
        assert_int_equal(rd_kafka_flush(producer, 30000), RD_KAFKA_RESP_ERR_NO_ERROR);
        succeed(i == 1 ? rd_kafka_abort_transaction(producer, 30000) : rd_kafka_commit_transaction(producer, 30000));
    }
    rd_kafka_destroy(producer);
    KafkaConsumer *consumer = open_at("transactions", 0, 0);
    KafkaEvent event;
    int64_t seen = 0;
    while (next_event(consumer, &event) == KAFKA_RECORD) {
        assert_int_equal(event.offset, seen < 10 ? seen : seen + 12);
        seen++;
    }
    assert_int_equal(event.kind, KAFKA_END);
    assert_int_equal(seen, 20);
    assert_int_equal(event.offset, 33); /* behind the last record of the broker's own */
    assert_int_equal(kafka_consumer_position(consumer, 0), 33);
    KafkaOffset end = {.topic = "transactions", .at = KAFKA_LATEST};
    Error error = {0};
    assert_int_equal(kafka_consumer_offsets(consumer, &end, 1, DEADLINE, NULL, &error), 0);
    assert_int_equal(end.offset, 33);
    assert_true(kafka_consumer_close(consumer, DEADLINE));
}

static void times_are_found(void **state) {
    rd_kafka_t *producer = open_producer(false);
    for (int i = 0; i < 10; i++) produce(producer, "times", 10, base_time + i * 1000);
    assert_int_equal(rd_kafka_flush(producer, 30000), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_destroy(producer);
    KafkaConsumer *consumer = open_at("times", 0, 0);
    const struct {
        int64_t at, offset;
    } cases[] = {
        {0, 0}, {base_time, 0}, {base_time + 1, 1}, {base_time + 9000, 9}, {base_time + 9001, 10}, {KAFKA_LATEST, 10}, {KAFKA_EARLIEST, 0}};
    Error error = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        KafkaOffset offset = {.topic = "times", .at = cases[i].at};
        if (kafka_consumer_offsets(consumer, &offset, 1, DEADLINE, NULL, &error) < 0) fail_msg("%s", error.text);
        assert_int_equal(offset.offset, cases[i].offset);
    }
    assert_true(kafka_consumer_close(consumer, DEADLINE));
}

/* The caller stops after each full queue, as a bridge whose destination is slow, and then goes on:
 * is more there at once? */
static void a_full_queue_is_filled_again_at_once(void **state) {
    enum { COUNT = 100000, SIZE = 1000, BURST = 9000 };
    rd_kafka_t *producer = open_producer(false);
    for (int i = 0; i < COUNT; i++) produce(producer, "many", SIZE, base_time);
    assert_int_equal(rd_kafka_flush(producer, 60000), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_destroy(producer);
    KafkaConsumer *consumer = open_at("many", 0, (size_t)8 << 20);
    KafkaEvent event;
    int64_t next = 0;
    usec_t waited = 0;
    for (usec_t before = now(); next_event(consumer, &event) == KAFKA_RECORD; before = now()) {
        waited += now() - before;
        assert_int_equal(event.offset, next++);
        if (next % BURST == 0) assert_int_equal(usleep(300000), 0); /* the queue fills */
    }
    print_message("%d records of %d bytes: %.2f s of waiting\n", COUNT, SIZE, (double)waited / (double)USEC_SECOND);
    assert_int_equal(event.kind, KAFKA_END);
    assert_int_equal(next, COUNT);
    assert_true(waited < 4 * USEC_SECOND); /* 0.4 s; and 6 s where the library's threads sleep on */
    assert_true(kafka_consumer_close(consumer, DEADLINE));
}

static void missing_rights_are_named(void **state) {
    static const struct {
        const char *topic;
        SinkFault fault;
        const char *words;
    } cases[] = {
        {"readable", SINK_SOUND, ""},
        {"described", SINK_FAULT_RIGHTS, "Connection \"events\": the user lacks Read on the topic \"described\"."},
        {"hidden", SINK_FAULT_RIGHTS, "Connection \"events\": the user lacks Describe on the topic \"hidden\"."},
        {"^reada.*", SINK_SOUND, ""},
    };
    set_value("brokers", getenv("KAFKA_LOGIN_BROKERS"));
    set_value("securityProtocol", "sasl_plaintext");
    set_value("saslMechanism", "PLAIN");
    set_value("saslUsername", "alice");
    set_value("saslPasswordFile", getenv("KAFKA_PASSWORD_FILE"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        SinkTest test = {.tables = &cases[i].topic, .table_count = 1};
        Error error = {0};
        assert_int_equal(kafka_test(&connection, "/", &test, &error), cases[i].fault);
        assert_string_equal(error.text, cases[i].words);
    }
    set_value("brokers", getenv("KAFKA_BROKERS"));
    set_value("securityProtocol", "plaintext");
    set_value("saslMechanism", NULL);
    set_value("saslUsername", NULL);
    set_value("saslPasswordFile", NULL);
    SinkTest test = {.tables = (const char *const[]){"no-such-topic"}, .table_count = 1};
    Error error = {0};
    assert_int_equal(kafka_test(&connection, "/", &test, &error), SINK_FAULT_TOPIC);
    assert_non_null(strstr(error.text, "\"no-such-topic\" is missing"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aborted_transactions_are_gaps),
        cmocka_unit_test(times_are_found),
        cmocka_unit_test(a_full_queue_is_filled_again_at_once),
        cmocka_unit_test(missing_rights_are_named),
    };
    set_value("brokers", getenv("KAFKA_BROKERS"));
    base_time = clock_system()->wall(clock_system()) / USEC_MS - 3600000;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) free(values[i]);
    return failed;
}
