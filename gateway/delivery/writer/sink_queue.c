#include "gateway/delivery/writer/sink_queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"

void sink_queue_add(SinkQueue *queue, struct SinkState *sink) {
    array_reserve(queue->items, queue->count, queue->capacity);
    queue->items[queue->count++] = sink;
}

void sink_queue_drop_front(SinkQueue *queue, size_t count) {
    check(count <= queue->count);
    queue->count -= count;
    if (queue->count > 0) memmove(queue->items, queue->items + count, queue->count * sizeof *queue->items);
}

void sink_queue_remove(SinkQueue *queue, const struct SinkState *sink) {
    size_t at = 0;
    while (at < queue->count && queue->items[at] != sink) at++;
    check(at < queue->count);
    queue->count--;
    memmove(queue->items + at, queue->items + at + 1, (queue->count - at) * sizeof *queue->items);
}

void sink_queue_deinit(SinkQueue *queue) {
    free(queue->items);
    *queue = (SinkQueue){0};
}
