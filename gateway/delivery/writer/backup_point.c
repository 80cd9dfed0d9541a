#include "gateway/delivery/writer/backup_point.h"

#include <errno.h>
#include <inttypes.h>

#include "base/log.h"
#include "base/metrics.h"
#include "gateway/delivery/writer/backup_state.h"
#include "gateway/delivery/writer/drain_state.h"
#include "gateway/delivery/writer/log_state.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/settled.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/stage.h"
#include "gateway/delivery/writer/staging.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/transaction.h"
#include "gateway/delivery/writer/waiters.h"
#include "gateway/delivery/writer/waiting.h"

#define SETTLE_TIME (60 * USEC_SECOND)
#define HOLD_TIME (2 * USEC_SECOND) /* senders wait as long, at most, and again for the next */
#define HELD_TIME (2 * USEC_SECOND)

uint64_t writer_backup_of(const Writer *writer, const SinkState *sink, uint64_t first_row) {
    const BackupMarks *marks = &writer->backup->marks;
    return marks->count > 0 && first_row < sink->settled->backup_row ? marks->items[marks->count - 1].number : 0;
}

/* ---- the point ------------------------------------------------------------------------------- */

/* Rows that cannot be staged, because a record of the sink is damaged, do not hold a backup up: they
 * stay in the log, there and here. */
static bool is_settled(const SinkState *sink) {
    return !writer_can_stage(sink) || (sink->log->rows == 0 && !sink->open->exists && !sink->stage->staging);
}

static void close_all(Writer *writer) {
    for (size_t i = 0; i < writer->sinks->capacity; i++) {
        SinkState *sink = writer->sinks->items[i];
        if (!sink || is_settled(sink)) continue;
        sink->waiters->close_row = sink->totals.next_row;
        sink->waiters->close_reason = CLOSE_FLUSH;
        writer_schedule(writer, sink);
    }
}

/* Has every sink closed what was asked for? NULL: yes; else one that has not. */
static const SinkState *find_unclosed(const Writer *writer) {
    for (size_t i = 0; i < writer->sinks->capacity; i++) {
        const SinkState *sink = writer->sinks->items[i];
        if (sink && !is_settled(sink) && sink->waiters->close_row > 0) return sink;
    }
    return NULL;
}

static const SinkState *find_unsettled(const Writer *writer) {
    for (size_t i = 0; i < writer->sinks->capacity; i++) {
        const SinkState *sink = writer->sinks->items[i];
        if (sink && !is_settled(sink)) return sink;
    }
    return NULL;
}

static void answer(BackupOrder *order, int result) {
    order->request.result = result;
    request_answer(&order->request);
}

/* Before the point: nothing of it is left. */
static void refuse_asked(Writer *writer, int code, const char *text) {
    BackupState *backup = writer->backup;
    BackupOrder *order = backup->asked;
    backup->asked = NULL;
    backup->phase = BACKUP_IDLE;
    answer(order, error_set(&order->request.error, code, "%s", text));
}

static void enter(Writer *writer, BackupPhase phase, usec_t longest) {
    writer->backup->phase = phase;
    writer->backup->until = writer->now->boot + longest;
}

/* The ids of the files that wait now stay at their destinations from here on, whether the backup
 * succeeds or not. The copy has this record, too, so a restored directory keeps them as well. */
static bool reach_point(Writer *writer) {
    BackupState *backup = writer->backup;
    BackupMarks *marks = &backup->marks;
    BackupOrder *order = backup->asked;
    Txn *txn;
    Error error = {0};
    backup->number = marks->count > 0 ? marks->items[marks->count - 1].number + 1 : 1;
    if (marks->count == BACKUP_MARKS_MAX) backup_marks_remove(marks, marks->items[0].number);
    backup_marks_add(marks, &(BackupMark){.number = backup->number, .running = writer->now->running});
    marks->row_count = 0;
    order->rows = 0;
    for (size_t i = 0; i < writer->sinks->capacity; i++) {
        SinkState *sink = writer->sinks->items[i];
        if (!sink || sink->totals.next_row == 1) continue;
        sink->settled->backup_row = sink->totals.next_row;
        settled_keep_last(sink->settled, backup->number);
        backup_marks_add_row(marks, sink->totals.sink, sink->totals.next_row);
        order->rows += sink->waiting->rows;
    }
    if (!writer_record_begin(writer, &txn)) return false;
    int r = backup_marks_store(txn, marks, &error);
    if (!writer_record_end(writer, txn, r, "cannot record a backup", &error)) return false;
    order->number = backup->number;
    order->commit = writer->log->last_commit;
    backup->asked = NULL;
    backup->keeps_packs = true;
    enter(writer, BACKUP_HELD, HELD_TIME);
    answer(order, 0);
    return true;
}

static void refuse_unclosed(Writer *writer, const SinkState *sink) {
    Error why = {0};
    const char *reason = sink_error(sink);
    (void)error_set(&why, -ETIMEDOUT, "the rows of sink %s could not be brought into staging files in time%s%s",
                    sink->label ? sink->label : "?", reason[0] ? ": " : "", reason);
    refuse_asked(writer, -ETIMEDOUT, why.text);
}

void writer_mind_backup(Writer *writer) {
    BackupState *backup = writer->backup;
    if (backup->phase == BACKUP_IDLE || backup->phase == BACKUP_RUNS) return;
    if (writer->broken) {
        writer_backup_give_up(writer);
        return;
    }
    bool late = writer->now->boot >= backup->until;
    if (backup->phase == BACKUP_HELD) {
        if (late) backup->phase = BACKUP_RUNS;
        return;
    }
    if (backup->phase == BACKUP_SETTLES) {
        const SinkState *unclosed = find_unclosed(writer);
        if (unclosed && late) refuse_unclosed(writer, unclosed);
        if (unclosed) return;
        enter(writer, BACKUP_HOLDS, HOLD_TIME);
        close_all(writer);
        late = false;
    }
    const SinkState *unsettled = find_unsettled(writer);
    if (unsettled && late) refuse_unclosed(writer, unsettled);
    if (!unsettled && !reach_point(writer)) writer_backup_give_up(writer);
}

usec_t writer_backup_next(const Writer *writer) {
    const BackupState *backup = writer->backup;
    if (backup->phase != BACKUP_IDLE && backup->phase != BACKUP_RUNS) return backup->until;
    return backup->first ? writer->now->boot : USEC_NEVER;
}

/* ---- orders ---------------------------------------------------------------------------------- */

static void begin(Writer *writer, BackupOrder *order) {
    BackupState *backup = writer->backup;
    if (writer->broken || writer->drain->begun) {
        answer(order, error_set(&order->request.error, -ECANCELED, "the gateway is shutting down"));
        return;
    }
    check(backup->phase == BACKUP_IDLE && !backup->asked);
    backup->asked = order;
    enter(writer, BACKUP_SETTLES, SETTLE_TIME);
    close_all(writer);
}

static void release(Writer *writer, BackupOrder *order) {
    BackupState *backup = writer->backup;
    bool in_time = backup->phase == BACKUP_HELD && order->number == backup->number && writer->now->boot < backup->until;
    backup->phase = BACKUP_RUNS;
    answer(order, in_time ? 0 : error_set(&order->request.error, -ETIMEDOUT, "the copy of the database did not begin in time"));
}

static void end(Writer *writer, BackupOrder *order) {
    BackupState *backup = writer->backup;
    Txn *txn;
    check(order->number == backup->number);
    backup->phase = BACKUP_IDLE;
    backup->keeps_packs = false;
    if (order->complete)
        backup_marks_complete(&backup->marks, order->number, writer->options.backups_kept > 0 ? writer->options.backups_kept : 1);
    else
        backup_marks_remove(&backup->marks, order->number);
    int r = writer_record_begin(writer, &txn) ? 0 : error_set(&order->request.error, -EROFS, "the writer cannot write any more");
    if (r == 0) {
        r = backup_marks_store(txn, &backup->marks, &order->request.error);
        if (!writer_record_end(writer, txn, r, "cannot record a backup", &order->request.error)) r = -EROFS;
    }
    answer(order, r);
}

void writer_backup_order(Writer *writer, BackupOrder *order) {
    switch (order->step) {
    case BACKUP_POINT: begin(writer, order); break;
    case BACKUP_RELEASE: release(writer, order); break;
    case BACKUP_END: end(writer, order); break;
    default: unreachable();
    }
}

/* ---- messages that wait ---------------------------------------------------------------------- */

/* Those that bring something new, or take files away. What comes back from the stager and the
 * loaders is needed to get to the point. */
static bool is_new(const Message *message) {
    switch (message->kind) {
    case MESSAGE_APPEND:
    case MESSAGE_DEFINE:
    case MESSAGE_CLOSE:
    case MESSAGE_REJECTS_REMOVE:
    case MESSAGE_FILE_ACTION: return true;
    default: return false;
    }
}

bool writer_backup_keeps(Writer *writer, Message *message) {
    BackupState *backup = writer->backup;
    /* A loader waits for its rejects within a transaction of the destination. */
    bool passes = message->kind == MESSAGE_BACKUP_ORDER || message->kind == MESSAGE_DRAIN || message->kind == MESSAGE_PENDING_REJECTS;
    if (passes) return false;
    bool held = backup->phase == BACKUP_HELD, holds = backup->phase == BACKUP_HOLDS;
    /* Behind others that wait, all wait: they are handled in the order in which they came. */
    bool keeps = held || (holds ? is_new(message) : backup->first != NULL);
    if (!keeps) return false;
    message->next = NULL;
    if (backup->last)
        backup->last->next = message;
    else
        backup->first = message;
    backup->last = message;
    return true;
}

Message *writer_backup_let_go(Writer *writer) {
    BackupState *backup = writer->backup;
    if (backup->phase == BACKUP_HELD || backup->phase == BACKUP_HOLDS) return NULL;
    Message *first = backup->first;
    backup->first = backup->last = NULL;
    return first;
}

bool writer_backup_is_held(const Writer *writer) {
    return writer->backup->phase == BACKUP_HELD;
}

/* ---- start and end --------------------------------------------------------------------------- */

void writer_backup_give_up(Writer *writer) {
    BackupState *backup = writer->backup;
    if (backup->asked) refuse_asked(writer, -ECANCELED, "the gateway is shutting down");
    if (backup->phase == BACKUP_HELD) backup->phase = BACKUP_RUNS;
}

int writer_backup_load(Writer *writer, Txn *txn, Error *error) {
    BackupMarks *marks = &writer->backup->marks;
    Error why = {0};
    backup_marks_deinit(marks); /* a start may be repeated after a repair */
    int r = backup_marks_load(txn, marks, &why);
    if (r == -EBADMSG) {
        metrics_add(METRIC_DAMAGED_RECORDS, 1);
        log_error("%s: make a new backup; earlier ones are not safe to restore any more", why.text);
        return 0;
    }
    if (r < 0) return error_set(error, r, "%s", why.text);
    for (size_t i = 0; i < marks->row_count; i++) {
        SinkState *sink = writer_sink(writer, marks->rows[i].sink);
        if (sink) sink->settled->backup_row = marks->rows[i].row;
    }
    return 0;
}

void writer_backup_deinit(Writer *writer) {
    backup_marks_deinit(&writer->backup->marks);
}
