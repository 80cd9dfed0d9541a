#include "gateway/delivery/writer/waiters.h"

#include <stdio.h>

#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/waiting.h"

void sink_waiters_add(SinkState *sink, Close *close) {
    check(close->sink == sink->totals.sink && close->up_to_row <= sink->totals.next_row);
    close->request.message.next = (Message *)sink->waiters->first;
    sink->waiters->first = close;
}

static void answer(SinkState *sink, Close *close, int result) {
    close->request.result = result;
    check(close->rows <= sink->totals.imported.rows);
    check(close->refused <= sink->totals.rejected_rows);
    close->rows = sink->totals.imported.rows - close->rows; /* both held the number at its arrival */
    close->refused = sink->totals.rejected_rows - close->refused;
    if (close->refused > 0) (void)snprintf(close->refusal, sizeof close->refusal, "%s", sink->last_refusal);
    request_answer(&close->request);
}

/* Of runs without rows, which are imported in their order. */
static bool positions_are_set(const SinkLog *log, uint64_t up_to_commit) {
    return (log->ahead_from == 0 || log->ahead_from > up_to_commit) && (log->idle_from == 0 || log->idle_from > up_to_commit);
}

static bool all_imported(const SinkState *sink, const Close *close) {
    uint64_t up_to_row = close->up_to_row;
    if (!positions_are_set(sink->log, close->up_to_commit)) return false;
    if (sink->totals.staged_row < up_to_row) return false;
    if (sink->open->exists && sink->open->file.first_row < up_to_row) return false;
    const WaitingFiles *waiting = sink->waiting;
    return waiting->count == 0 || waiting->items[0].first_row >= up_to_row; /* they are in row order */
}

void sink_waiters_answer(SinkState *sink) {
    Close *waiters = sink->waiters->first;
    sink->waiters->first = NULL;
    for (Close *close = waiters, *next; close; close = next) {
        next = (Close *)close->request.message.next;
        if (all_imported(sink, close)) {
            answer(sink, close, 0);
        } else {
            sink_waiters_add(sink, close);
        }
    }
}

void sink_waiters_fail(SinkState *sink, uint64_t from_row, int code, const char *text) {
    Close *waiters = sink->waiters->first;
    sink->waiters->first = NULL;
    for (Close *close = waiters, *next; close; close = next) {
        next = (Close *)close->request.message.next;
        if (close->up_to_row > from_row) {
            (void)error_set(&close->request.error, code, "%s", text);
            answer(sink, close, code);
        } else {
            sink_waiters_add(sink, close);
        }
    }
}

void sink_waiters_note_closed(SinkState *sink) {
    SinkWaiters *waiters = sink->waiters;
    if (waiters->close_row > 0 && sink->totals.staged_row >= waiters->close_row && !sink->open->exists) waiters->close_row = 0;
}
