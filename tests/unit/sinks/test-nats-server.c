/* The NATS client against a real nats-server. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "sinks/nats_test.h"
#include "tests/support/nats.h"
#include "tests/unit/sinks/nats-case.h"

static TestNats *server;

static void fill(int first, int count) {
    for (int i = first; i < first + count; i++) {
        char subject[32], body[32];
        (void)snprintf(subject, sizeof subject, "orders.%s", i % 2 ? "odd" : "even");
        (void)snprintf(body, sizeof body, "{\"id\":%d}", i);
        test_nats_publish(server, subject, NULL, body, strlen(body));
    }
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

static int each_stream_is_new(void **state) {
    make_stream("");
    return 0;
}

static json_int_t config_number(const char *consumer, const char *name) {
    char subject[128];
    (void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.INFO.ORDERS.%s", consumer);
    char *text = test_nats_ask(server, subject, "");
    json_t *json = json_loads(text, 0, NULL);
    free(text);
    json_int_t number = json_integer_value(json_object_get(json_object_get(json, "config"), name));
    json_decref(json);
    return number;
}

static NatsConsumerOptions durable_options(void) {
    return (NatsConsumerOptions){.stream = "ORDERS", .durable = "sluice", .batch = 100, .ack_wait = 30 * USEC_SECOND};
}

static void expect(NatsConsumer *consumer, uint64_t sequence, bool acks, NatsClient *client) {
    NatsMessage *message = case_next(consumer);
    char body[32];
    (void)snprintf(body, sizeof body, "{\"id\":%d}", (int)sequence);
    assert_int_equal(message->delivery.stream_sequence, sequence);
    assert_true(span_equal(message->data, span_of(body)));
    assert_string_equal(message->subject, sequence % 2 ? "orders.odd" : "orders.even");
    if (acks) assert_true(nats_client_ack(client, message->reply));
    nats_message_free(message);
}

static void a_durable_consumer_goes_on_where_it_was(void **state) {
    NatsClient *client = case_connected(server->port);
    NatsConsumerOptions options = durable_options();
    fill(1, 450);
    NatsConsumer *consumer = case_consumer(client, &options);
    NatsConsumerInfo info;
    assert_int_equal(nats_consumer_info(consumer, &info, NULL), NATS_RESULT_DONE);
    assert_int_equal(info.pending, 450);
    for (uint64_t i = 1; i <= 250; i++) expect(consumer, i, true, client);
    for (usec_t end = case_now() + CASE_DEADLINE; info.acked_stream_sequence != 250 && case_now() < end;)
        assert_int_equal(nats_consumer_info(consumer, &info, NULL), NATS_RESULT_DONE);
    assert_int_equal(info.acked_stream_sequence, 250);
    assert_true(info.pending <= 200 && info.pending >= 100);
    assert_int_equal(config_number("sluice", "max_deliver"), -1);
    assert_int_equal(config_number("sluice", "max_ack_pending"), 1000);
    nats_consumer_close(consumer);
    case_close(client);

    /* What was delivered and not acked comes again; another batch and wait are taken over, where it
     * starts is not. */
    client = case_connected(server->port);
    options.batch = 2000;
    options.ack_wait = USEC_SECOND;
    options.start = NATS_START_NEW;
    consumer = case_consumer(client, &options);
    assert_int_equal(config_number("sluice", "max_ack_pending"), 4000);
    assert_int_equal(config_number("sluice", "ack_wait"), 1000000000);
    bool seen[451] = {false};
    for (int left = 200; left > 0;) {
        NatsMessage *message = case_next(consumer);
        uint64_t sequence = message->delivery.stream_sequence;
        assert_in_range(sequence, 251, 450);
        left -= !seen[sequence];
        seen[sequence] = true;
        assert_true(nats_client_ack(client, message->reply));
        nats_message_free(message);
    }
    nats_consumer_close(consumer);
    case_close(client);
}

static void a_message_that_is_not_acked_comes_again(void **state) {
    NatsClient *client = case_connected(server->port);
    NatsConsumerOptions options = durable_options();
    options.ack_wait = 700 * USEC_MS;
    fill(1, 2);
    NatsConsumer *consumer = case_consumer(client, &options);
    NatsMessage *first = case_next(consumer), *second = case_next(consumer);
    assert_int_equal(first->delivery.delivered, 1);
    /* The one is worked on for three times as long, the other is not. */
    usec_t end = case_now() + 2100 * USEC_MS;
    NatsMessage *again = NULL;
    unsigned times = 0;
    while (case_now() < end) {
        assert_true(nats_client_working(client, first->reply));
        if (nats_consumer_next(consumer, 100 * USEC_MS, &again, NULL) != NATS_NEXT_MESSAGE) continue;
        assert_int_equal(again->delivery.stream_sequence, 2);
        assert_true(again->delivery.delivered >= 2);
        times++;
        nats_message_free(again);
    }
    assert_true(times >= 1);
    nats_message_free(first);
    nats_message_free(second);
    nats_consumer_close(consumer);
    case_close(client);
}

static uint64_t first_of(NatsClient *client, NatsConsumerOptions options) {
    NatsConsumer *consumer = case_consumer(client, &options);
    NatsMessage *message = case_next(consumer);
    uint64_t sequence = message->delivery.stream_sequence;
    assert_true(span_equal(message->delivery.stream, SPAN("ORDERS")));
    nats_message_free(message);
    nats_consumer_close(consumer);
    return sequence;
}

static void where_a_consumer_starts(void **state) {
    NatsClient *client = case_connected(server->port);
    fill(1, 10);
    struct timespec now;
    (void)nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);
    fill(11, 5);
    int64_t then = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    for (int durable = 0; durable < 2; durable++) {
        const char *names[] = {"a", "b", "c", "d"};
        NatsConsumerOptions options = durable_options();
        options.durable = durable ? names[0] : NULL;
        assert_int_equal(first_of(client, options), 1);
        options.durable = durable ? names[1] : NULL;
        options.start = NATS_START_SEQUENCE;
        options.sequence = 7;
        assert_int_equal(first_of(client, options), 7);
        options.durable = durable ? names[2] : NULL;
        options.subject = "orders.even";
        assert_int_equal(first_of(client, options), 8);
        options.durable = durable ? names[3] : NULL;
        options.subject = NULL;
        options.start = NATS_START_TIME;
        options.time_nsec = then;
        assert_int_equal(first_of(client, options), 11);
    }
    NatsConsumerOptions options = {.stream = "ORDERS", .batch = 10, .start = NATS_START_NEW};
    NatsConsumer *consumer = case_consumer(client, &options);
    fill(16, 1);
    expect(consumer, 16, false, client);
    nats_consumer_close(consumer);
    case_close(client);
}

static void which_message_a_time_begins_with(void **state) {
    NatsClient *client = case_connected(server->port);
    uint64_t sequence = 0;
    Error error = {0};
    struct timespec now;
    fill(1, 10);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    int64_t then = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    (void)nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);
    fill(11, 5);
    const struct {
        int64_t time;
        uint64_t sequence;
    } cases[] = {{INT64_MIN, 1}, {-1, 1}, {0, 1}, {then, 11}, {then + (int64_t)3600 * 1000000000, 16}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(nats_client_sequence_at(client, "ORDERS", cases[i].time, &sequence, &error), NATS_RESULT_DONE);
        assert_int_equal(sequence, cases[i].sequence);
    }
    uint64_t count = 0;
    assert_int_equal(nats_client_count(client, "ORDERS", NULL, 0, &count, &error), NATS_RESULT_DONE);
    assert_int_equal(count, 15);
    assert_int_equal(nats_client_count(client, "ORDERS", "orders.odd", 12, &count, &error), NATS_RESULT_DONE);
    assert_int_equal(count, 2);
    assert_int_equal(nats_client_count(client, "ORDERS", "orders.even", 15, &count, &error), NATS_RESULT_DONE);
    assert_int_equal(count, 0);
    assert_int_equal(nats_client_count(client, "ORDERS", NULL, 16, &count, &error), NATS_RESULT_DONE);
    assert_int_equal(count, 0);
    free(test_nats_ask(server, "$JS.API.STREAM.PURGE.ORDERS", ""));
    assert_int_equal(nats_client_count(client, "ORDERS", NULL, 3, &count, &error), NATS_RESULT_DONE);
    assert_int_equal(count, 0);
    assert_int_equal(nats_client_count(client, "NONE", NULL, 3, &count, &error), NATS_RESULT_MISSING);
    assert_int_equal(nats_client_sequence_at(client, "ORDERS", then, &sequence, &error), NATS_RESULT_DONE);
    assert_int_equal(sequence, 16);
    assert_int_equal(nats_client_sequence_at(client, "NONE", then, &sequence, &error), NATS_RESULT_MISSING);
    assert_string_equal(error.text, "Connection \"events\": there is no stream \"NONE\".");
    char *names = test_nats_ask(server, "$JS.API.CONSUMER.NAMES.ORDERS", "");
    assert_non_null(strstr(names, "\"consumers\":[]"));
    free(names);
    case_close(client);
}

static void a_message_is_whole(void **state) {
    static const char body[] = "a\0b\r\n\xff";
    NatsClient *client = case_connected(server->port);
    NatsConsumerOptions options = {.stream = "ORDERS", .batch = 10};
    NatsConsumer *consumer = case_consumer(client, &options);
    test_nats_publish(server, "orders.x", "z: 1\r\na: first\r\nb: x: y\r\na: second\r\n", body, sizeof body - 1);
    test_nats_publish(server, "orders.y", "Status: 404\r\n", "", 0);
    test_nats_publish(server, "orders.z", "empty: \r\n", "z", 1);
    NatsMessage *message = case_next(consumer);
    assert_true(span_equal(message->data, (Span){body, sizeof body - 1}));
    assert_int_equal(message->header_count, 4);
    static const char *const expected[][2] = {{"a", "first"}, {"a", "second"}, {"b", "x: y"}, {"z", "1"}};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(message->headers[i].name, expected[i][0]);
        assert_string_equal(message->headers[i].value, expected[i][1]);
    }
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    int64_t age = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - message->delivery.time_nsec;
    assert_true(age >= 0 && age < 60000000000);
    nats_message_free(message);
    /* It only looks like a word of the server's. */
    message = case_next(consumer);
    assert_string_equal(message->subject, "orders.y");
    assert_int_equal(message->data.size, 0);
    assert_int_equal(message->header_count, 1);
    nats_message_free(message);
    message = case_next(consumer); /* libnats before 3.11 loses the header */
    assert_true(span_equal(message->data, SPAN("z")));
    nats_message_free(message);
    nats_consumer_close(consumer);
    case_close(client);
}

static void large_messages_come_alone(void **state) {
    NatsClient *client = case_connected(server->port);
    NatsConsumerOptions options = {.stream = "ORDERS", .batch = 10, .bytes_max = 3000};
    static const size_t sizes[] = {100, 1000, 1000, 50000, 10, 2500, 2500, 100000, 200000, 1};
    static char body[200000];
    memset(body, 'x', sizeof body);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) test_nats_publish(server, "orders.x", NULL, body, sizes[i]);
    NatsConsumer *consumer = case_consumer(client, &options);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        NatsMessage *message = case_next(consumer);
        assert_int_equal(message->data.size, sizes[i]);
        assert_int_equal(message->delivery.stream_sequence, i + 1);
        nats_message_free(message);
    }
    nats_consumer_close(consumer);
    case_close(client);
}

static void a_killed_server_costs_nothing(void **state) {
    NatsClient *client = case_connected(server->port);
    NatsConsumerOptions ordered = {.stream = "ORDERS", .batch = 50}, durable = durable_options();
    durable.ack_wait = USEC_SECOND;
    fill(1, 300);
    NatsConsumer *reader = case_consumer(client, &ordered), *worker = case_consumer(client, &durable);
    bool seen[601] = {false};
    unsigned left = 600;
    uint64_t next = 1;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 80; i++) expect(reader, next++, false, client);
        for (int i = 0; i < 80; i++) {
            NatsMessage *message = case_next(worker);
            left -= !seen[message->delivery.stream_sequence];
            seen[message->delivery.stream_sequence] = true;
            (void)nats_client_ack(client, message->reply);
            nats_message_free(message);
        }
        NatsClientStatus status;
        nats_client_status(client, &status);
        uint64_t connects = status.connects;
        test_nats_kill(server);
        NatsMessage *message = NULL;
        while (nats_client_poll(client, 0))
            if (nats_consumer_next(reader, 100 * USEC_MS, &message, NULL) == NATS_NEXT_MESSAGE) {
                assert_int_equal(message->delivery.stream_sequence, next++);
                nats_message_free(message);
            }
        nats_client_status(client, &status);
        assert_false(status.connected);
        assert_int_equal(status.fault, SINK_FAULT_UNREACHABLE);
        assert_non_null(strstr(status.error.text, "\"events\""));
        test_nats_run(server);
        fill(301 + round * 100, 100);
        assert_true(nats_client_poll(client, CASE_DEADLINE));
        nats_client_status(client, &status);
        assert_true(status.connects > connects && status.fault == SINK_SOUND);
    }
    while (next <= 600) expect(reader, next++, false, client);
    while (left > 0) {
        NatsMessage *message = case_next(worker);
        left -= !seen[message->delivery.stream_sequence];
        seen[message->delivery.stream_sequence] = true;
        (void)nats_client_ack(client, message->reply);
        nats_message_free(message);
    }
    assert_true(nats_consumer_counts(reader).remade >= 3);
    nats_consumer_close(reader);
    nats_consumer_close(worker);
    case_close(client);
}

static void a_stream_that_changes_is_noticed(void **state) {
    NatsClient *client = case_connected(server->port);
    NatsStream first, now;
    Error error = {0};
    assert_int_equal(nats_client_stream(client, "ORDERS", &first, NULL), NATS_RESULT_DONE);
    assert_true(first.messages == 0 && first.first_sequence == 1 && first.last_sequence == 0 && first.keeps_messages);
    fill(1, 10);
    assert_int_equal(nats_client_stream(client, "ORDERS", &now, NULL), NATS_RESULT_DONE);
    assert_true(now.messages == 10 && now.first_sequence == 1 && now.last_sequence == 10);
    assert_int_equal(nats_stream_change(&first, &now, 5), NATS_STREAM_GOES_ON);
    NatsConsumerOptions options = durable_options();
    NatsConsumer *consumer = case_consumer(client, &options);
    for (uint64_t i = 1; i <= 10; i++) expect(consumer, i, true, client);

    free(test_nats_ask(server, "$JS.API.STREAM.PURGE.ORDERS", ""));
    first = now;
    assert_int_equal(nats_client_stream(client, "ORDERS", &now, NULL), NATS_RESULT_DONE);
    assert_true(now.messages == 0 && now.first_sequence == 11 && now.last_sequence == 10);
    assert_int_equal(nats_stream_change(&first, &now, 5), NATS_STREAM_CUT);
    assert_int_equal(nats_stream_change(&first, &now, 11), NATS_STREAM_GOES_ON);

    make_stream("");
    assert_int_equal(nats_client_stream(client, "ORDERS", &now, NULL), NATS_RESULT_DONE);
    assert_int_equal(nats_stream_change(&first, &now, 11), NATS_STREAM_ANEW);
    assert_int_equal(case_end(consumer, &error), NATS_NEXT_GONE);
    nats_consumer_close(consumer);
    assert_int_equal(nats_client_stream(client, "NONE", &now, &error), NATS_RESULT_MISSING);
    assert_string_equal(error.text, "Connection \"events\": there is no stream \"NONE\".");
    assert_int_equal(nats_client_stream(client, "NO NE", &now, &error), NATS_RESULT_REFUSED);
    char account[NATS_ACCOUNT_SIZE];
    NatsResult result = nats_client_account(client, account, &error);
    assert_true(result == NATS_RESULT_DONE || result == NATS_RESULT_MISSING); /* the server of Debian 12 does not say it */
    case_close(client);
}

static void consumers_that_cannot_be_had(void **state) {
    NatsClient *client = case_connected(server->port);
    NatsConsumerOptions options = durable_options();
    NatsConsumer *consumer;
    Error error = {0};
    options.stream = "NONE";
    assert_int_equal(nats_consumer_open(client, &options, &consumer, &error), NATS_RESULT_MISSING);
    options.durable = NULL;
    assert_int_equal(nats_consumer_open(client, &options, &consumer, &error), NATS_RESULT_MISSING);
    options = durable_options();
    options.subject = "orders..x";
    assert_int_equal(nats_consumer_open(client, &options, &consumer, &error), NATS_RESULT_REFUSED);
    options.subject = "elsewhere.>";
    assert_int_equal(nats_consumer_open(client, &options, &consumer, &error), NATS_RESULT_REFUSED);
    options = durable_options();
    options.durable = "a.b";
    assert_int_equal(nats_consumer_open(client, &options, &consumer, &error), NATS_RESULT_REFUSED);
    free(test_nats_ask(
        server, "$JS.API.CONSUMER.DURABLE.CREATE.ORDERS.pushed",
        "{\"stream_name\":\"ORDERS\",\"config\":{\"durable_name\":\"pushed\",\"deliver_subject\":\"x\",\"ack_policy\":\"explicit\"}}"));
    options.durable = "pushed";
    assert_int_equal(nats_consumer_open(client, &options, &consumer, &error), NATS_RESULT_REFUSED);
    assert_non_null(strstr(error.text, "belongs to another program: messages are pushed to it"));
    free(test_nats_ask(server, "$JS.API.CONSUMER.DURABLE.CREATE.ORDERS.unacked",
                       "{\"stream_name\":\"ORDERS\",\"config\":{\"durable_name\":\"unacked\",\"ack_policy\":\"none\"}}"));
    options.durable = "unacked";
    assert_int_equal(nats_consumer_open(client, &options, &consumer, &error), NATS_RESULT_REFUSED);
    assert_non_null(strstr(error.text, "not acked one by one"));
    /* A limit of the consumer that our requests are above. */
    free(test_nats_ask(server, "$JS.API.CONSUMER.DURABLE.CREATE.ORDERS.small",
                       "{\"stream_name\":\"ORDERS\",\"config\":{\"durable_name\":\"small\",\"ack_policy\":\"explicit\",\"max_batch\":5,"
                       "\"max_deliver\":-1}}"));
    options.durable = "small";
    consumer = case_consumer(client, &options);
    assert_int_equal(case_end(consumer, &error), NATS_NEXT_REFUSED);
    assert_non_null(strstr(error.text, "Exceeded MaxRequestBatch of 5"));
    nats_consumer_close(consumer);
    case_close(client);
}

static void a_test_of_rights_changes_nothing(void **state) {
    NatsClient *client = case_connected(server->port);
    NatsConsumerOptions options = durable_options();
    fill(1, 5);
    Error error = {0};
    assert_int_equal(nats_client_rights(client, "ORDERS", "sluice", &error), NATS_RESULT_DONE);
    char *names = test_nats_ask(server, "$JS.API.CONSUMER.NAMES.ORDERS", "");
    assert_non_null(strstr(names, "\"consumers\":[]"));
    free(names);
    NatsConsumer *consumer = case_consumer(client, &options);
    NatsConsumerInfo before, after;
    assert_int_equal(nats_consumer_info(consumer, &before, NULL), NATS_RESULT_DONE);
    assert_int_equal(nats_client_rights(client, "ORDERS", "sluice", &error), NATS_RESULT_DONE);
    assert_int_equal(nats_client_rights(client, "ORDERS", NULL, &error), NATS_RESULT_DONE);
    assert_int_equal(nats_consumer_info(consumer, &after, NULL), NATS_RESULT_DONE);
    assert_memory_equal(&before, &after, sizeof before);
    nats_consumer_close(consumer);
    case_close(client);
}

static void each_missing_right_is_named(void **state) {
    /* All but one are allowed. */
    static const char *const subjects[] = {"$JS.API.STREAM.INFO.ORDERS", "$JS.API.CONSUMER.INFO.ORDERS.sluice",
                                           "$JS.API.CONSUMER.DURABLE.CREATE.ORDERS.sluice", "$JS.API.CONSUMER.MSG.NEXT.ORDERS.sluice",
                                           "$JS.ACK.ORDERS.sluice.>"};
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        char settings[512];
        (void)snprintf(
            settings, sizeof settings,
            "authorization { users: [ {user: admin, password: a}, {user: shop, password: a, permissions: {publish: {allow: [\">\"], "
            "deny: [\"%s\"]}}} ] }\nno_auth_user: admin",
            subjects[i]);
        TestNats *own = test_nats_start(settings);
        free(test_nats_ask(own, "$JS.API.STREAM.CREATE.ORDERS", "{\"name\":\"ORDERS\",\"subjects\":[\"orders.>\"]}"));
        char folder[] = "/tmp/sluice-nats-test-XXXXXX", path[64];
        assert_non_null(mkdtemp(folder));
        (void)snprintf(path, sizeof path, "%s/password", folder);
        FILE *file = fopen(path, "w");
        assert_true(file && fputs("a", file) >= 0 && fclose(file) == 0);
        char *values[16] = {own->uri, (char *)(uintptr_t) "shop", (char *)(uintptr_t) "password"};
        Connection connection = {.name = (char *)(uintptr_t) "events", .type = &connection_type_nats, .values = values};
        const char *const tables[] = {"ORDERS/sluice"};
        SinkTest test = {.tables = tables, .table_count = 1};
        Error error = {0};
        assert_int_equal(nats_test(&connection, folder, &test, &error), SINK_FAULT_RIGHTS);
        char expected[64];
        (void)snprintf(expected, sizeof expected, "may not publish to \"%.*s", (int)strcspn(subjects[i], ">"), subjects[i]);
        if (!strstr(error.text, expected)) fail_msg("%s: %s", expected, error.text);
        values[1] = (char *)(uintptr_t) "admin";
        error = (Error){0};
        if (nats_test(&connection, folder, &test, &error) != SINK_SOUND) fail_msg("%s", error.text);
        const char *const none[] = {"NONE"};
        test.tables = none;
        assert_int_equal(nats_test(&connection, folder, &test, &error), SINK_FAULT_TOPIC);
        (void)unlink(path);
        (void)rmdir(folder);
        test_nats_stop(own);
    }
}

int main(void) {
    server = test_nats_start("no_auth_user: any\nauthorization { users: [ {user: any, password: any} ] }");
    if (!server) {
        (void)fprintf(stderr, "there is no nats-server on this machine\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_durable_consumer_goes_on_where_it_was, each_stream_is_new),
        cmocka_unit_test_setup(a_message_that_is_not_acked_comes_again, each_stream_is_new),
        cmocka_unit_test_setup(where_a_consumer_starts, each_stream_is_new),
        cmocka_unit_test_setup(which_message_a_time_begins_with, each_stream_is_new),
        cmocka_unit_test_setup(a_message_is_whole, each_stream_is_new),
        cmocka_unit_test_setup(large_messages_come_alone, each_stream_is_new),
        cmocka_unit_test_setup(a_killed_server_costs_nothing, each_stream_is_new),
        cmocka_unit_test_setup(a_stream_that_changes_is_noticed, each_stream_is_new),
        cmocka_unit_test_setup(consumers_that_cannot_be_had, each_stream_is_new),
        cmocka_unit_test_setup(a_test_of_rights_changes_nothing, each_stream_is_new),
        cmocka_unit_test(each_missing_right_is_named),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_nats_stop(server);
    if (nats_left_behind() > 0 || !nats_end(10 * USEC_SECOND)) failed++;
    return failed;
}
