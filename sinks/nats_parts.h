/* What the files of the NATS client share. libnats' own types stand in here, and go no further. */
#pragma once

#include <jansson.h>
#include <nats/nats.h>
#include <stdbool.h>

#include "base/thread.h"
#include "sinks/nats.h"

/* What libnats says on its own thread, by the number that its callbacks get: a connection may
 * outlive the client that made it. */
typedef struct NatsNotes NatsNotes;
struct NatsNotes {
    NatsNotes *next;
    uintptr_t number;
    /* under the lock of nats.c */
    uint64_t violations; /* how often the server said that the login may not */
    char violation[384]; /* its words of the last one */
};

typedef struct NatsTask NatsTask; /* a connect or close on a thread of its own */

struct NatsClient {
    ThreadOwner owner;
    NatsClientOptions options;
    char *name;
    NatsNotes *notes;
    NatsTask *attempt; /* NULL: none is on its way */
    usec_t attempt_end;
    size_t server; /* index of the one that is tried */
    size_t tried;  /* in this round */
    usec_t retry_at;
    usec_t pause;
    natsConnection *connection; /* NULL: none */
    uint64_t generation;        /* of the connection */
    natsSubscription *answers;  /* of this connection, once a request was sent */
    char inbox[48];
    uint64_t requests;
    NatsClientStatus status;
};

/* Sets the login and TLS of a connection; the secrets are read now or by libnats at the connect. A
 * fault with the error, or SINK_SOUND. */
SinkFault nats_login_set(const NatsClient *client, natsOptions *options, Span server, Error *error);
bool nats_login_demands_tls(const NatsClient *client, Span server);

/* Says why there is no connection. */
NatsResult nats_not_connected(const NatsClient *client, Error *error);
/* A request to any subject; see nats_request. */
NatsResult nats_ask(NatsClient *client, const char *subject, const json_t *body, json_t **ret_answer, Error *error);
/* A request of the JetStream API ("STREAM.INFO.name"), its answer as an object: json_decref. `body`
 * may be NULL. */
NatsResult nats_request(NatsClient *client, const char *what, const json_t *body, json_t **ret_answer, Error *error);
/* Publishes; false: not connected. */
bool nats_publish(NatsClient *client, const char *subject, const char *reply, Span data);
/* Did the server refuse `subject` since there were `before` violations? Then the error names it. */
bool nats_violated(NatsClient *client, uint64_t before, const char *subject, Error *error);
uint64_t nats_violations(NatsClient *client);
usec_t nats_now(void);
void nats_make_inbox(char out[static 48]);
uint64_t nats_number(const json_t *object, const char *name);

/* Before the first use of libnats; again and from any thread. */
void nats_library_begin(void);
