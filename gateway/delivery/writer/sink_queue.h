/* Sinks that wait for the same thing, oldest first. The queue owns none of them. */
#pragma once

#include <stddef.h>

typedef struct SinkQueue {
    struct SinkState **items;
    size_t count, capacity;
} SinkQueue;

void sink_queue_add(SinkQueue *queue, struct SinkState *sink);
void sink_queue_drop_front(SinkQueue *queue, size_t count);
void sink_queue_remove(SinkQueue *queue, const struct SinkState *sink); /* that is in it */
void sink_queue_deinit(SinkQueue *queue);
