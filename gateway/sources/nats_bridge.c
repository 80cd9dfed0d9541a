#include "gateway/sources/nats_bridge_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "config/source_nats.h"
#include "gateway/sources/nats_token.h"

#define SLACK USEC_SECOND           /* how much longer a poll may take when the server does not answer */
#define ACK_WAIT (30 * USEC_SECOND) /* and the batch's own time */

bool nats_bridge_call_is_over(void *context) {
    const BridgeClient *bridge = context;
    return sink_patience_is_over(bridge->patience) || nats_bridge_now() >= bridge->call_end;
}

void nats_bridge_begin(BridgeClient *bridge, usec_t limit) {
    bridge->call_end = nats_bridge_now() + limit;
}

void nats_bridge_rest(const BridgeClient *bridge, usec_t wait) {
    if (wait > SINK_PATIENCE_TURN) wait = SINK_PATIENCE_TURN;
    if (wait > 0 && !sink_patience_is_over(bridge->patience)) (void)nanosleep(&(struct timespec){.tv_nsec = wait * 1000}, NULL);
}

char *nats_bridge_cluster(const Connection *connection) {
    Buffer text = {0};
    buffer_printf(&text, "nats:%s", connection->name);
    return buffer_take(&text);
}

/* ---- open and close ---- */

static int open_nats(const Source *source, const Connection *connection, const char *data_directory, uint32_t project,
                     const SinkPatience *patience, BridgeClient **ret_client, SinkFault *ret_fault, Error *error) {
    (void)ret_fault; /* the secrets are read at each connect, not here */
    (void)error;
    const NatsSource *nats = source_nats(source);
    BridgeClient *bridge = calloc(1, sizeof *bridge);
    check(nats && bridge);
    bridge->patience = patience;
    bridge->limits = (SinkPatience){.is_over = nats_bridge_call_is_over, .context = bridge};
    bridge->stream = text_copy(nats->stream);
    bridge->subject = text_copy(nats->subject);
    bridge->durable = nats_source_durable(source, project);
    bridge->cluster = nats_bridge_cluster(connection);
    bridge->connection = text_copy(connection->name);
    bridge->start = nats->bridge.start;
    bridge->batch = nats->bridge.batch_size;
    bridge->ack_wait = nats->bridge.batch_timeout + ACK_WAIT;
    bridge->acks = bridge->durable;
    bridge->next = bridge->end_given = bridge->acked = -1;
    bridge->order = (uint64_t)nats_bridge_now(); /* above all of a client before */
    (void)snprintf(bridge->name, sizeof bridge->name, "sluice %.150s", source->source_id);
    NatsClientOptions options = {
        .connection = connection, .data_directory = data_directory, .name = bridge->name, .patience = &bridge->limits};
    bridge->client = nats_client_new(&options);
    *ret_client = bridge;
    return 0;
}

static bool close_nats(BridgeClient *take_client, usec_t limit) {
    BridgeClient *bridge = take_client;
    if (!bridge) return true;
    nats_message_free(bridge->message);
    nats_bridge_close_consumer(bridge);
    bool done = nats_client_close(bridge->client, limit);
    free(bridge->stream);
    free(bridge->subject);
    free(bridge->durable);
    free(bridge->cluster);
    free(bridge->connection);
    free(bridge->headers);
    buffer_deinit(&bridge->token);
    free(bridge);
    return done;
}

/* ---- events ---- */

/* The connection is another one than before: what was read may be another stream. */
static bool is_new_connection(BridgeClient *bridge) {
    uint64_t connects = nats_client_connects(bridge->client);
    bool is_new = connects != bridge->connects;
    bridge->connects = connects;
    if (is_new) bridge->end_given = -1; /* it is told again, and says that all is well */
    return is_new;
}

static bool is_reading(const BridgeClient *bridge) {
    return (bridge->acks || bridge->assigned) && !bridge->paused && !bridge->out;
}

static ClientEventKind turn(BridgeClient *bridge, usec_t wait, ClientEvent *ret_event) {
    if (!nats_client_poll(bridge->client, wait)) return nats_bridge_not_connected(bridge, ret_event);
    if (is_new_connection(bridge)) {
        bridge->was_first = false; /* deliveries may have been lost with the one before */
        ClientEventKind kind = bridge->is_known && bridge->consumer ? nats_bridge_look(bridge, ret_event) : CLIENT_NOTHING;
        if (kind != CLIENT_NOTHING) return kind;
    }
    bool waits = bridge->retry_at > 0 && bridge->retry_at > nats_bridge_now();
    if (bridge->stopped && !waits) return nats_bridge_try_again(bridge, ret_event);
    if (bridge->stopped || waits || !is_reading(bridge)) {
        nats_bridge_rest(bridge, wait);
        return CLIENT_NOTHING;
    }
    if (!bridge->consumer) return nats_bridge_begin_reading(bridge, ret_event);
    return nats_bridge_read(bridge, wait, ret_event);
}

static ClientEventKind poll_nats(BridgeClient *bridge, usec_t wait, ClientEvent *ret_event) {
    nats_message_free(steal(bridge->message));
    *ret_event = (ClientEvent){.index = CLIENT_NO_INDEX, .offset = -1};
    usec_t now = nats_bridge_now(), end = now + wait;
    for (;; now = nats_bridge_now()) {
        usec_t left = now < end ? end - now : 0;
        bridge->call_end = now + left + SLACK;
        if (bridge->is_over) nats_bridge_rest(bridge, left);
        ClientEventKind kind = bridge->is_over ? CLIENT_NOTHING : turn(bridge, left, ret_event);
        ret_event->kind = kind;
        if (kind != CLIENT_NOTHING || left == 0 || sink_patience_is_over(bridge->patience)) return kind;
    }
}

/* ---- what is read ---- */

static void read_from(BridgeClient *bridge, int64_t offset) {
    nats_message_free(steal(bridge->message));
    nats_bridge_close_consumer(bridge);
    bridge->next = offset;
    bridge->end_given = -1;
    bridge->out = false;
    bridge->stopped = false;
    bridge->said[0] = '\0';
    bridge->beyond = 0;
    bridge->retry_at = bridge->look_at = bridge->count_at = 0;
}

static int assign_nats(BridgeClient *bridge, uint64_t generation, const ClientPartition *partitions, size_t count, Error *error) {
    check(generation == 0); /* there are no groups */
    if (count > 1 ||
        (count == 1 && (strcmp(partitions->topic, bridge->stream) != 0 || partitions->partition != 0 || partitions->offset < 0)))
        return error_set(error, -EINVAL, "Connection \"%s\": the stream \"%s\" has only partition 0.", bridge->connection, bridge->stream);
    read_from(bridge, count > 0 ? partitions->offset : -1);
    bridge->assigned = count > 0;
    bridge->paused = false;
    return 0;
}

static int seek_nats(BridgeClient *bridge, size_t index, int64_t offset, Error *error) {
    if (index != NATS_PART || offset < 0)
        return error_set(error, -EINVAL, "Connection \"%s\": the stream \"%s\" has only partition 0.", bridge->connection, bridge->stream);
    if (bridge->acks)
        bridge->next = offset;
    else
        read_from(bridge, offset);
    return 0;
}

static int pause_nats(BridgeClient *bridge, size_t index, Error *error) {
    (void)error;
    check(index == NATS_PART);
    bridge->paused = true;
    return 0;
}

static int resume_nats(BridgeClient *bridge, size_t index, Error *error) {
    (void)error;
    check(index == NATS_PART);
    bridge->paused = false;
    return 0;
}

static void bounds_nats(const BridgeClient *bridge, size_t index, int64_t *ret_first, int64_t *ret_end) {
    check(index == NATS_PART);
    *ret_first = bridge->is_known ? (int64_t)nats_bridge_within(&bridge->known, 0) : -1;
    *ret_end = bridge->is_known ? (int64_t)bridge->known.last_sequence + 1 : -1;
}

/* The server has no place for the position of one without a durable, and a durable has its acks. */
static void commit_nats(BridgeClient *bridge, const ClientPartition *offsets, size_t count) {
    (void)bridge;
    (void)offsets;
    (void)count;
}

static bool ack_nats(BridgeClient *bridge, const Span *tokens, size_t count) {
    bool done = true;
    for (size_t i = 0; i < count && done; i++) done = nats_client_ack(bridge->client, nats_token_reply(tokens[i]));
    return done;
}

static void working_nats(BridgeClient *bridge, const Span *tokens, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!nats_client_working(bridge->client, nats_token_reply(tokens[i]))) return;
}

static void give_back_nats(BridgeClient *bridge, const Span *tokens, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!nats_client_give_back(bridge->client, nats_token_reply(tokens[i]))) return;
}

static int64_t acked_nats(const BridgeClient *bridge) {
    return bridge->acked;
}

const BridgeClientType bridge_client_nats = {
    .name = "nats",
    .open = open_nats,
    .close = close_nats,
    .poll = poll_nats,
    .topics = nats_bridge_topics,
    .offsets = nats_bridge_offsets,
    .assign = assign_nats,
    .seek = seek_nats,
    .pause = pause_nats,
    .resume = resume_nats,
    .bounds = bounds_nats,
    .commit = commit_nats,
};

const BridgeClientType bridge_client_nats_durable = {
    .name = "nats",
    .acks = true,
    .open = open_nats,
    .close = close_nats,
    .poll = poll_nats,
    .topics = nats_bridge_topics,
    .offsets = nats_bridge_offsets,
    .seek = seek_nats,
    .pause = pause_nats,
    .resume = resume_nats,
    .bounds = bounds_nats,
    .commit = commit_nats,
    .ack = ack_nats,
    .working = working_nats,
    .give_back = give_back_nats,
    .acked = acked_nats,
};
