/* All sinks that the writer ever heard of, by number, and when each is evaluated again. */
#pragma once

#include "gateway/delivery/writer/sink_queue.h"
#include "gateway/delivery/writer/state.h"

typedef struct SinkTable {
    SinkState **items; /* by number; NULL: never heard of */
    size_t capacity;
    Scheduler timers;
    SinkQueue changed; /* in this step */
} SinkTable;

SinkState *writer_sink(const Writer *writer, uint32_t number); /* NULL: never heard of */
SinkState *writer_sink_added(Writer *writer, uint32_t number); /* made when missing */
void writer_sink_remove(Writer *writer, SinkState *sink);      /* frees it; it is in no queue any more */
/* The error of the last import, whole, so that the statements at its end are; "": it succeeded. */
void sink_set_error(SinkState *sink, const char *why); /* copies; "": none */
const char *sink_error(const SinkState *sink);
void writer_schedule(Writer *writer, SinkState *sink);     /* evaluate it in this step */
void writer_note_changed(Writer *writer, SinkState *sink); /* what it is is checked at the end of the step */
/* Frees all sinks, wherever they are queued. */
void sinks_deinit(SinkTable *sinks);
