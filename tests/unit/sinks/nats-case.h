/* What tests of the NATS client share: clients, and waiting for messages. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sinks/nats.h"

#define CASE_DEADLINE (60 * USEC_SECOND)

/* To 127.0.0.1; `pauses` shorter than in life. It owns its connection: case_close. */
NatsClient *case_client(int port, usec_t connect_limit, usec_t request_limit);
NatsClient *case_client_with(int port, usec_t connect_limit, usec_t request_limit, const SinkPatience *patience);
void case_forget(NatsClient *client); /* that was closed; its connection is freed */
NatsClient *case_connected(int port); /* and connected */
void case_close(NatsClient *client);  /* within 10 s */
usec_t case_now(void);
/* The next message; the test fails on anything but quiet and down before it. */
NatsMessage *case_next(NatsConsumer *consumer);
/* What comes instead of a message, quiet and down aside. */
NatsNext case_end(NatsConsumer *consumer, Error *error);
NatsConsumer *case_consumer(NatsClient *client, const NatsConsumerOptions *options);
