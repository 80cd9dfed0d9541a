/* Who waits until rows of one sink are imported, and positions set, and which rows are to be closed
 * for it at once. */
#pragma once

#include "gateway/delivery/writer/state.h"

typedef struct SinkWaiters {
    uint64_t close_row; /* rows before this one are to be closed now; 0: nothing asked */
    CloseReason close_reason;
    Close *first; /* linked by message.next; its `rows` is how many were imported when it came */
} SinkWaiters;

void sink_waiters_add(SinkState *sink, Close *close);
/* Answers the Close messages of which all is imported, or all those that a failure concerns. */
void sink_waiters_answer(SinkState *sink);
void sink_waiters_fail(SinkState *sink, uint64_t from_row, int code, const char *text);
/* What was to be closed is closed? */
void sink_waiters_note_closed(SinkState *sink);
