/* The connections that files go to, as the writer sees them: whether they can be reached, and the
 * sinks with a file that may go, in a queue. */
#pragma once

#include "gateway/delivery/scheduler.h"
#include "gateway/delivery/writer/state.h"

typedef struct WriterConnection {
    Timer timer; /* first: looked at again when the pause ends */
    char *name;
    unsigned running;     /* jobs that are not back */
    unsigned failures;    /* in a row: could not be reached */
    usec_t failing_since; /* running: the first of these */
    usec_t failing_boot;  /* boot: the same */
    bool paused;          /* by an admin */
    usec_t paused_since;  /* running */
    usec_t paused_until;
    char last_error[256];    /* while it is failing */
    SinkState *first, *last; /* sinks with a file that may go, in order of arrival */
} WriterConnection;

typedef struct ConnectionTable {
    WriterConnection **items;
    size_t count;
    size_t paused; /* of these, by an admin */
    Scheduler timers;
} ConnectionTable;

WriterConnection *connection_find(const ConnectionTable *connections, const char *name); /* NULL: never heard of */
WriterConnection *connection_added(ConnectionTable *connections, const char *name);      /* made when missing */
bool connection_is_held(const WriterConnection *connection, usec_t boot);                /* by an admin, or after a failure */
/* A sink is in the queue of one connection at most (SinkImports.queued_on). */
void connection_join_queue(WriterConnection *connection, SinkState *sink);
void connection_leave_queue(SinkState *sink); /* that it is in */
/* Asserts that the queue is whole, and that the sums hold. */
void connection_table_check(const ConnectionTable *connections);
void connection_table_deinit(ConnectionTable *connections);
