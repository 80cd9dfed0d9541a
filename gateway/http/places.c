/*
 * Who goes when there are more connections than places. By rank, and in a rank the one that was
 * heard last the longest ago, of all loops:
 *
 * - RANK_SILENT: it never sent a whole request, and what it sent is nothing, a part of a head, or a head that the handler would refuse;
 * - RANK_IDLE: it is kept between two requests, or has a part of a later one that shows neither a source with its secret nor bytes at the least
 *   rate;
 * - RANK_STALLED: its first request is on its way, with a source and its secret, but brings nothing for a while; or it shows nothing yet,
 *   but brings bytes at the least rate that a body may have.
 *
 * Nobody else goes: who has a request with the handler, an answer on its way, or a request that is
 * known and goes on. A new connection is then refused; each of the others has its own deadline
 * (sweep.c).
 *
 * Only a connection's own loop can end it. Each loop publishes when its first of each rank was
 * heard last. Where another loop has the one that must go, the new one is taken above the limit,
 * and that loop ends its own in its next turn, which comes soon while all places are taken.
 */
#include "gateway/http/places.h"

#include "base/error.h"
#include "base/metrics.h"
#include "gateway/http/peers.h"
#include "gateway/http/refuse.h"

/* Within this time each loop had a turn and a sweep, even if nothing happens to it. */
#define EVERY_LOOP_TURNS (250 * USEC_MS)
/* A known request that brings nothing for so long is stalled. */
#define STALL (2 * USEC_SECOND)
/* Between loops the order is as exact as this: nobody waits for another loop to end one that is
 * hardly older. */
#define ORDER_SLACK (20 * USEC_MS)
#define ANY_ADDRESS USAGE_ADDRESS_SLOTS
_Static_assert(RANK_KEPT == USAGE_RANKS, "a rank is published");

/* ---- ranks ----------------------------------------------------------------------------------- */

/* Its head is whole, and the handler would take the request: a source and its secret are right. */
static bool is_known(HttpConnection *connection) {
    const HttpHandler *handler = &connection->loop->handler;
    if (!connection->may_send && connection->head_at && handler->may_send)
        connection->may_send = !handler->may_send(handler->context, (Span){connection->socket->input->bytes, connection->head.size});
    return connection->may_send;
}

static bool comes_fast(const HttpConnection *connection, usec_t now) {
    const h2o_buffer_t *input = connection->socket->input;
    usec_t since = connection->served ? connection->heard : connection->opened, age = now > since ? now - since : 0;
    uint64_t wanted = connection->loop->limits.body_rate_min * (uint64_t)age / (uint64_t)USEC_SECOND;
    return input->size > wanted;
}

static PlaceRank rank_of(HttpConnection *connection, usec_t now) {
    if (connection->doomed) return RANK_KEPT;
    ConnectionState state = http_connection_state(connection);
    if (connection->served) {
        bool shows_nothing = state == CONNECTION_UNFINISHED && !is_known(connection) && !comes_fast(connection, now);
        return state == CONNECTION_IDLE || shows_nothing ? RANK_IDLE : RANK_KEPT;
    }
    if (state == CONNECTION_IDLE) return RANK_SILENT;
    if (state != CONNECTION_UNFINISHED) return RANK_KEPT;
    if (is_known(connection)) return now - connection->heard > STALL ? RANK_STALLED : RANK_KEPT;
    return comes_fast(connection, now) ? RANK_STALLED : RANK_SILENT;
}

/* The first of a rank, of one address or of any, that is not spared; NULL: none. Bytes that the
 * kernel still holds for it are a request, too. */
static HttpConnection *find(HttpLoop *loop, PlaceRank rank, unsigned slot, bool spare, usec_t now) {
    h2o_linklist_t *list = rank == RANK_IDLE ? &loop->served : &loop->silent;
    for (h2o_linklist_t *link = list->next; link != list; link = link->next) {
        HttpConnection *connection = http_connection_of_link(link);
        check(connection->served == (rank == RANK_IDLE));
        if (slot != ANY_ADDRESS && connection->address_slot != slot) continue;
        if (spare && connection->spared_until > now) continue;
        if (rank_of(connection, now) == rank && !http_connection_unread(connection)) return connection;
    }
    return NULL;
}

static void give_up(HttpConnection *connection) {
    check(!connection->doomed && !connection->answered && !connection->deferred && !connection->parked_reads);
    static const HttpRefusal refusal = {503, "overloaded",
                                        "Others needed the place before the request was whole (option limits.connections).", NULL};
    metrics_add(METRIC_CONNECTIONS_EVICTED, 1);
    if (http_connection_state(connection) == CONNECTION_UNFINISHED) {
        http_connection_end(connection, &refusal);
    } else { /* an idle one knows that it may be closed at any moment; a new one may just be about to send */
        if (!connection->served) http_loop_send_raw(connection->loop, h2o_socket_get_fd(connection->socket), &refusal, (Span){0});
        http_connection_end(connection, NULL);
    }
}

/* ---- the order of all loops ------------------------------------------------------------------ */

static void publish(HttpLoop *loop, PlaceRank rank, const HttpConnection *first) {
    check(rank < RANK_KEPT && loop->index < USAGE_LOOPS_MAX && (!first || first->heard > 0));
    atomic_store_explicit(&loop->usage->first_heard[rank][loop->index], first ? first->heard : 0, memory_order_relaxed);
}

/* When the first of that rank of the other loops was heard last; USEC_NEVER: they have none. */
static usec_t first_of_others(const HttpLoop *loop, PlaceRank rank) {
    usec_t first = USEC_NEVER;
    unsigned loops = atomic_load_explicit(&loop->usage->loops, memory_order_relaxed);
    for (unsigned i = 0; i < loops; i++) {
        usec_t heard = atomic_load_explicit(&loop->usage->first_heard[rank][i], memory_order_relaxed);
        if (i != loop->index && heard > 0 && heard < first) first = heard;
    }
    return first;
}

void http_loop_join_places(HttpLoop *loop) {
    loop->index = atomic_fetch_add(&loop->usage->loops, 1);
    check(loop->index < USAGE_LOOPS_MAX);
}

void http_loop_publish_places(HttpLoop *loop, usec_t now) {
    loop->nobody_may_go = loop->nobody_old = false;
    for (PlaceRank rank = 0; rank < RANK_KEPT; rank++) publish(loop, rank, find(loop, rank, ANY_ADDRESS, false, now));
}

void http_loop_publish_new(HttpLoop *loop, const HttpConnection *connection) {
    if (atomic_load_explicit(&loop->usage->first_heard[RANK_SILENT][loop->index], memory_order_relaxed) == 0)
        publish(loop, RANK_SILENT, connection);
}

void http_loop_leave_places(HttpLoop *loop) {
    for (PlaceRank rank = 0; rank < RANK_KEPT; rank++) publish(loop, rank, NULL);
}

bool http_loop_places_are_scarce(const HttpLoop *loop) {
    return atomic_load_explicit(&loop->usage->connections, memory_order_relaxed) >= loop->usage->connections_limit;
}

/* ---- making room ----------------------------------------------------------------------------- */

typedef enum Room {
    ROOM_MADE,
    ROOM_OF_OTHERS, /* another loop has the one that must go */
    ROOM_NONE,
} Room;

/* Ends one connection of the rank, if it is this loop's turn. `spare`: new ones, of any loop, are
 * left. `alone`: whatever the others have. */
static Room end_one(HttpLoop *loop, PlaceRank rank, bool spare, bool alone, usec_t now) {
    usec_t others = first_of_others(loop, rank);
    if (spare && others > now - EVERY_LOOP_TURNS) others = USEC_NEVER;
    HttpConnection *first = find(loop, rank, ANY_ADDRESS, spare, now);
    if (!first || (!alone && others < first->heard - ORDER_SLACK)) {
        publish(loop, rank, first ? first : find(loop, rank, ANY_ADDRESS, false, now));
        return others < USEC_NEVER ? ROOM_OF_OTHERS : ROOM_NONE;
    }
    give_up(first);
    publish(loop, rank, find(loop, rank, ANY_ADDRESS, false, now));
    return ROOM_MADE;
}

usec_t http_connection_spare(bool above, usec_t now) {
    return now + (above ? 3 * EVERY_LOOP_TURNS : EVERY_LOOP_TURNS);
}

bool http_loop_has_room(HttpLoop *loop, bool *ret_above, usec_t now) {
    Usage *usage = loop->usage;
    unsigned open = atomic_load(&usage->connections);
    check_on_thread(&loop->owner);
    check(open > 0); /* the new one */
    *ret_above = false;
    if (open <= usage->connections_limit) return true;
    bool may_exceed = open <= usage->connections_limit + HTTP_CONNECTIONS_ABOVE;
    for (PlaceRank rank = 0; rank < RANK_KEPT; rank++) {
        Room room = loop->nobody_may_go ? first_of_others(loop, rank) < USEC_NEVER ? ROOM_OF_OTHERS : ROOM_NONE
                                        : end_one(loop, rank, false, !may_exceed, now);
        if (room == ROOM_MADE) return true;
        *ret_above = room == ROOM_OF_OTHERS;
        if (*ret_above && may_exceed) return true;
    }
    loop->nobody_may_go = true;
    return false;
}

void http_loop_make_room(HttpLoop *loop, usec_t now) {
    Usage *usage = loop->usage;
    check_on_thread(&loop->owner);
    if (loop->above_since == 0) loop->above_since = now;
    /* What the others published may be old, or they may be held up. */
    bool all_looked = now >= loop->above_since + 2 * EVERY_LOOP_TURNS;
    while (!loop->nobody_old && atomic_load(&usage->connections) > usage->connections_limit) {
        Room room = ROOM_NONE;
        for (PlaceRank rank = 0; rank < RANK_KEPT && room == ROOM_NONE; rank++) room = end_one(loop, rank, true, all_looked, now);
        if (room == ROOM_OF_OTHERS) return;
        if (room == ROOM_NONE) loop->nobody_old = true;
    }
}

bool http_loop_has_room_of_address(HttpLoop *loop, unsigned slot, usec_t now) {
    check_on_thread(&loop->owner);
    check(slot < USAGE_ADDRESS_SLOTS);
    for (PlaceRank rank = 0; rank < RANK_KEPT; rank++) {
        HttpConnection *first = find(loop, rank, slot, false, now);
        if (!first) continue;
        give_up(first);
        return true;
    }
    return false;
}
