#include "gateway/delivery/writer/connections.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/delivery/writer/imports.h"

WriterConnection *connection_find(const ConnectionTable *connections, const char *name) {
    for (size_t i = 0; i < connections->count; i++)
        if (strcmp(connections->items[i]->name, name) == 0) return connections->items[i];
    return NULL;
}

WriterConnection *connection_added(ConnectionTable *connections, const char *name) {
    WriterConnection *connection = connection_find(connections, name);
    if (connection) return connection;
    connection = calloc(1, sizeof *connection);
    check(connection);
    connection->name = strdup(name);
    connections->items = realloc(connections->items, (connections->count + 1) * sizeof(WriterConnection *));
    check(connection->name && connections->items);
    connections->items[connections->count++] = connection;
    return connection;
}

bool connection_is_held(const WriterConnection *connection, usec_t boot) {
    return connection->paused || (connection->failures > 0 && connection->paused_until > boot);
}

void connection_join_queue(WriterConnection *connection, SinkState *sink) {
    SinkImports *imports = sink->imports;
    check(!imports->queued_on && !imports->next_queued);
    if (connection->last) {
        connection->last->imports->next_queued = sink;
    } else {
        connection->first = sink;
    }
    connection->last = sink;
    imports->queued_on = connection;
}

void connection_leave_queue(SinkState *sink) {
    WriterConnection *connection = sink->imports->queued_on;
    check(connection);
    SinkState *before = NULL;
    for (SinkState *at = connection->first; at != sink; at = at->imports->next_queued) {
        check(at); /* else the queue lost it */
        before = at;
    }
    if (before) {
        before->imports->next_queued = sink->imports->next_queued;
    } else {
        connection->first = sink->imports->next_queued;
    }
    if (connection->last == sink) connection->last = before;
    sink->imports->next_queued = NULL;
    sink->imports->queued_on = NULL;
}

void connection_table_check(const ConnectionTable *connections) {
    size_t paused = 0;
    for (size_t i = 0; i < connections->count; i++) {
        const WriterConnection *connection = connections->items[i];
        const SinkState *last = NULL;
        for (const SinkState *sink = connection->first; sink; sink = sink->imports->next_queued) {
            check(sink->imports->queued_on == connection);
            last = sink;
        }
        check(last == connection->last);
        paused += connection->paused;
    }
    check(paused == connections->paused);
}

void connection_table_deinit(ConnectionTable *connections) {
    for (size_t i = 0; i < connections->count; i++) {
        free(connections->items[i]->name);
        free(connections->items[i]);
    }
    free(connections->items);
    scheduler_deinit(&connections->timers);
    *connections = (ConnectionTable){0};
}
