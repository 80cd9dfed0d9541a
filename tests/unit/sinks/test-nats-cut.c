/* Connections that end at each byte of what a server sends: a consumer without a durable gives
 * every message once, in order. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/sinks/nats-case.h"
#include "tests/unit/sinks/nats-script.h"

#define MESSAGES 3
#define CUTS_MAX 1000
#define END_SIZE 2 /* "\r\n" behind the last message, which libnats need not wait for */

/* A stream of MESSAGES messages; a consumer begins where it is told. */
typedef struct Stream {
    uint64_t next;     /* of the consumer that was made last */
    uint64_t delivery; /* its last */
} Stream;

static void serve(void *context, Script *script, const char *subject, const char *reply, const char *body) {
    Stream *stream = context;
    if (strncmp(subject, "$JS.API.CONSUMER.CREATE.", 24) == 0) {
        const char *start = strstr(body, "\"opt_start_seq\":");
        stream->next = start ? strtoull(start + 16, NULL, 10) : 1;
        stream->delivery = 0;
        script_send(script, reply, reply, "", NULL, "{\"name\":\"one\",\"config\":{}}");
    } else if (strncmp(subject, "$JS.API.CONSUMER.MSG.NEXT.", 26) == 0) {
        for (; stream->next <= MESSAGES; stream->next++) {
            char ack[128], data[32];
            (void)snprintf(ack, sizeof ack, "$JS.ACK.S.one.1.%" PRIu64 ".%" PRIu64 ".1700000000000000000.%" PRIu64, stream->next,
                           ++stream->delivery, MESSAGES - stream->next);
            (void)snprintf(data, sizeof data, "message %" PRIu64, stream->next);
            script_send(script, reply, "orders.a", ack, stream->next == 2 ? "NATS/1.0\r\nname: value\r\n" : NULL, data);
        }
    }
}

/* Everything that the server sends behind the login, with the first connection cut behind `cut`
 * bytes. How many connections that took. No limit is so short that a slow machine causes another
 * request. */
static unsigned read_all(Script *script, Stream *stream, size_t cut) {
    ScriptRules rules = {.cut = cut, .publish = serve, .context = stream};
    script_change(script, &rules);
    *stream = (Stream){0};
    unsigned before = script_connects(script);
    NatsClient *client = case_client(script_port(script), CASE_DEADLINE, CASE_DEADLINE);
    assert_true(nats_client_poll(client, CASE_DEADLINE));
    NatsConsumerOptions options = {.stream = "S", .batch = 10, .expires = 2 * CASE_DEADLINE, .heartbeat = CASE_DEADLINE};
    NatsConsumer *consumer = case_consumer(client, &options);
    for (uint64_t i = 1; i <= MESSAGES; i++) {
        NatsMessage *message = case_next(consumer);
        char data[32];
        (void)snprintf(data, sizeof data, "message %" PRIu64, i);
        assert_int_equal(message->delivery.stream_sequence, i);
        assert_true(span_equal(message->data, span_of(data)));
        assert_int_equal(message->header_count, i == 2);
        nats_message_free(message);
    }
    nats_consumer_close(consumer);
    case_close(client);
    return script_connects(script) - before;
}

static void cut_at_each_byte(void **state) {
    Stream stream = {0};
    Script *script = script_start(&(ScriptRules){0});
    unsigned connects[CUTS_MAX] = {0};
    size_t cut = 0;
    do {
        assert_true(++cut < CUTS_MAX);
        connects[cut] = read_all(script, &stream, cut);
    } while (script_was_cut(script));
    size_t total = cut - 1;
    assert_in_range(total, 250, CUTS_MAX); /* an answer and three messages */
    /* A cut behind the text of the last message is seen before that message is given, or after. */
    for (cut = 1; cut < total - END_SIZE; cut++) assert_true(connects[cut] >= 2);
    assert_int_equal(connects[total + 1], 1);
    script_stop(script);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cut_at_each_byte)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (nats_left_behind() > 0 || !nats_end(10 * USEC_SECOND)) failed++;
    return failed;
}
