/*
 * A proxy between the PostgreSQL driver and a server, which breaks one connection at a chosen byte.
 * It knows the messages of the protocol: each one is passed on as a whole, except the one at which
 * the fault happens. One connection at a time is passed on, and others wait until it ends. Sessions
 * must not use TLS.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef enum ProxyFault {
    PROXY_NONE,
    PROXY_CUT,   /* both sides are closed */
    PROXY_HOLE,  /* nothing passes any more; both sides stay open until the client closes its side */
    PROXY_COUNT, /* the number that a COPY reports is one too small; everything passes */
} ProxyFault;

typedef struct ProxyTarget {
    ProxyFault fault;
    bool from_server; /* the direction */
    bool at_commit;   /* messages count from the one with COMMIT, or from the first answer to it */
    unsigned message; /* number of the message in its direction, from 0 */
    size_t byte;      /* so many bytes of the message pass before the fault */
} ProxyTarget;

typedef struct FaultProxy FaultProxy;

/* Listens on a free loopback port; connects to `port`. A failure ends the test. */
FaultProxy *fault_proxy_start(int port);
const char *fault_proxy_uri(const FaultProxy *proxy);
/* For the next connection, which must not have begun; PROXY_COUNT: for all COPY of it. */
void fault_proxy_arm(FaultProxy *proxy, const ProxyTarget *target);
/* Of the last connection, after its end. `at_commit` as in ProxyTarget: how many messages began
 * there, and the size of message `number` of these (0: none). */
bool fault_proxy_reached(FaultProxy *proxy);
unsigned fault_proxy_messages(FaultProxy *proxy, bool from_server, bool at_commit);
size_t fault_proxy_message_size(FaultProxy *proxy, bool from_server, unsigned number_at_commit);
void fault_proxy_stop(FaultProxy *proxy); /* after the last session's end; NULL-safe */
