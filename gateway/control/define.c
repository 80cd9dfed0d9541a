#include "gateway/control/define.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

static void drop(Request *request) {
    define_free((Define *)request);
}

Define *define_new(Mailbox *reply, void *context) {
    Define *define = calloc(1, sizeof *define);
    check(define);
    define->request.message.kind = MESSAGE_DEFINE;
    define->request.reply = reply;
    define->request.context = context;
    define->request.drop = drop;
    return define;
}

void define_free(Define *define) {
    if (!define) return;
    for (size_t i = 0; i < define->sink_count; i++) {
        source_unref(define->sinks[i].source);
        sink_unref(define->sinks[i].sink);
        sink_gate_unref(define->sinks[i].gate);
    }
    arena_deinit(&define->arena);
    free(define);
}

/* The arena's arrays grow by doubling: what is left behind goes with it. */
static void *grown(Define *define, const void *items, size_t count, size_t item_bytes) {
    if ((count & (count - 1)) != 0) return (void *)(uintptr_t)items; /* room up to the next power of two */
    void *room = arena_zalloc(&define->arena, (count ? 2 * count : 1) * item_bytes);
    if (count > 0) memcpy(room, items, count * item_bytes);
    return room;
}

static void add(Define *define, Collection collection, Span key, Span document) {
    check(key.size > 0);
    define->changes = grown(define, define->changes, define->change_count, sizeof *define->changes);
    define->changes[define->change_count++] = (CatalogChange){
        .collection = collection, .key = {.data = arena_copy(&define->arena, key), .size = key.size}, .document = document};
}

void define_put(Define *define, Collection collection, Span key, const json_t *document) {
    _cleanup_free_ char *text = json_dumps(document, JSON_COMPACT | JSON_ENCODE_ANY);
    check(text);
    Span span = span_of(text);
    add(define, collection, key, (Span){.data = arena_copy(&define->arena, span), .size = span.size});
}

void define_remove(Define *define, Collection collection, Span key) {
    add(define, collection, key, (Span){0});
}

SinkOrder *define_order(Define *define, const Source *source, const Sink *sink, SinkGate *gate) {
    check(source->number > 0 && sink->number > 0);
    define->sinks = grown(define, define->sinks, define->sink_count, sizeof *define->sinks);
    SinkOrder *order = &define->sinks[define->sink_count++];
    *order = (SinkOrder){.source = source_ref(source), .sink = sink_ref(sink), .gate = sink_gate_ref(gate)};
    return order;
}

void define_erase_sink(Define *define, uint32_t sink) {
    check(sink > 0);
    define->erased = grown(define, define->erased, define->erased_count, sizeof *define->erased);
    define->erased[define->erased_count++] = sink;
}

void define_order_connection(Define *define, const char *connection, const Pause *pause) {
    define->connections = grown(define, define->connections, define->connection_count, sizeof *define->connections);
    define->connections[define->connection_count++] = (ConnectionOrder){
        .name = arena_copy(&define->arena, (Span){.data = connection, .size = strlen(connection) + 1}),
        .paused = pause->at != 0,
        .running = pause->running};
}
