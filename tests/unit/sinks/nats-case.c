#include "tests/unit/sinks/nats-case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Clients borrow their connection: each has one of these. */
typedef struct Held {
    NatsClient *client;
    Connection connection;
    char *values[16];
} Held;
static Held held[16];

usec_t case_now(void) {
    return clock_system()->boot(clock_system());
}

NatsClient *case_client(int port, usec_t connect_limit, usec_t request_limit) {
    return case_client_with(port, connect_limit, request_limit, NULL);
}

NatsClient *case_client_with(int port, usec_t connect_limit, usec_t request_limit, const SinkPatience *patience) {
    Held *place = held;
    while (place->client) place++;
    assert_true(place < held + sizeof held / sizeof *held);
    char servers[64];
    (void)snprintf(servers, sizeof servers, "nats://127.0.0.1:%d", port);
    place->values[0] = text_copy(servers);
    place->connection = (Connection){.name = (char *)(uintptr_t) "events", .type = &connection_type_nats, .values = place->values};
    NatsClientOptions options = {.connection = &place->connection,
                                 .data_directory = "/nonexistent",
                                 .name = "test",
                                 .patience = patience,
                                 .connect_limit = connect_limit,
                                 .request_limit = request_limit,
                                 .retry_min = 5 * USEC_MS,
                                 .retry_max = 50 * USEC_MS};
    place->client = nats_client_new(&options);
    return place->client;
}

NatsClient *case_connected(int port) {
    NatsClient *client = case_client(port, 0, 0);
    assert_true(nats_client_poll(client, CASE_DEADLINE));
    return client;
}

void case_close(NatsClient *client) {
    assert_true(nats_client_close(client, 10 * USEC_SECOND));
    case_forget(client);
}

void case_forget(NatsClient *client) {
    for (size_t i = 0; i < sizeof held / sizeof *held; i++) {
        if (held[i].client != client) continue;
        free(held[i].values[0]);
        held[i] = (Held){0};
    }
}

NatsConsumer *case_consumer(NatsClient *client, const NatsConsumerOptions *options) {
    NatsConsumer *consumer = NULL;
    Error error = {0};
    usec_t end = case_now() + CASE_DEADLINE;
    NatsResult result;
    do result = nats_consumer_open(client, options, &consumer, &error);
    while (result == NATS_RESULT_RETRY && case_now() < end);
    if (result != NATS_RESULT_DONE) fail_msg("%d: %s", result, error.text);
    return consumer;
}

NatsMessage *case_next(NatsConsumer *consumer) {
    NatsMessage *message = NULL;
    Error error = {0};
    for (usec_t end = case_now() + CASE_DEADLINE; case_now() < end;) {
        NatsNext next = nats_consumer_next(consumer, 100 * USEC_MS, &message, &error);
        if (next == NATS_NEXT_MESSAGE) return message;
        if (next != NATS_NEXT_QUIET && next != NATS_NEXT_DOWN) fail_msg("%d: %s", next, error.text);
    }
    fail_msg("no message");
    return NULL;
}

NatsNext case_end(NatsConsumer *consumer, Error *error) {
    NatsMessage *message = NULL;
    for (usec_t end = case_now() + CASE_DEADLINE; case_now() < end;) {
        NatsNext next = nats_consumer_next(consumer, 100 * USEC_MS, &message, error);
        if (next == NATS_NEXT_MESSAGE) fail_msg("message %lu", (unsigned long)message->delivery.stream_sequence);
        if (next != NATS_NEXT_QUIET && next != NATS_NEXT_DOWN) return next;
    }
    fail_msg("nothing came");
    return NATS_NEXT_QUIET;
}
