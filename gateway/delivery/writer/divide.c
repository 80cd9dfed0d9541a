#include "gateway/delivery/writer/divide.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "gateway/delivery/writer/closed.h"
#include "gateway/delivery/writer/drain_state.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/slices.h"
#include "gateway/delivery/writer/space_state.h"
#include "gateway/delivery/writer/staging.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/transaction.h"
#include "gateway/delivery/writer/waiters.h"
#include "gateway/delivery/writer/waiting.h"
#include "storage/rejects.h"

#define PARTS 8

void divide_free(Divide *divide) {
    if (!divide) return;
    free(divide->description);
    free(divide->slices);
    offset_runs_deinit(&divide->runs);
    free(divide->slice_damaged);
    free(divide->parts);
    free(divide);
}

static uint64_t rows_of(const SliceRecord *slices, size_t count) {
    uint64_t rows = 0;
    for (size_t i = 0; i < count; i++) rows += slices[i].rows;
    return rows;
}

/* Rows of the slice that may go to a part that has room for `room`, and the runs that have them:
 * those behind its last row go with that. */
static uint64_t cut_slice(const SliceRecord *slice, uint64_t at, const OffsetRun *runs, size_t run_count, uint64_t room,
                          uint32_t *ret_runs) {
    uint64_t rows = room < slice->rows - at ? room : slice->rows - at;
    *ret_runs = 0;
    if (run_count == 0) return rows;
    size_t taken = offset_runs_cut(runs, run_count, rows, &rows);
    *ret_runs = (uint32_t)(at + rows == slice->rows ? run_count : taken);
    return rows;
}

/* Cuts the slices so that each part has an equal share of the rows that can be read, as far as runs
 * let it. The first keeps the file's id: if the proof were wrong, that would be a ledgerConflict
 * and not a second copy. */
static void cut(Writer *writer, Divide *divide) {
    uint64_t rows = rows_of(divide->slices, divide->slice_count), parts = rows < PARTS ? rows : PARTS, part = 0, before = 0;
    Uuid id = divide->file;
    divide->parts = calloc(divide->slice_count + PARTS, sizeof *divide->parts);
    check(divide->parts);
    const OffsetRun *runs = divide->runs.items;
    for (size_t i = 0; i < divide->slice_count; i++) {
        const SliceRecord *slice = &divide->slices[i];
        size_t runs_left = slice->run_count;
        for (uint64_t at = 0; at < slice->rows;) {
            uint64_t end = (part + 1) * rows / parts; /* of this part, in rows that can be read */
            uint32_t taken;
            uint64_t count = cut_slice(slice, at, runs, runs_left, end - before, &taken);
            SliceRecord *cut_off = &divide->parts[divide->part_count++];
            *cut_off = (SliceRecord){.sink = slice->sink,
                                     .mapping_version = slice->mapping_version,
                                     .first_row = slice->first_row + at,
                                     .rows = count,
                                     .first_time = slice->first_time,
                                     .last_time = slice->last_time,
                                     .file = id,
                                     .ids = slice->ids,
                                     .run_count = taken};
            if (taken > 0) runs += taken;
            runs_left -= taken;
            at += count;
            before += count;
            if (before < end) continue;
            while (part < parts && (part + 1) * rows / parts <= before) part++;
            if (part < parts) uuid_next(&writer->ids, writer->now->wall, &id);
        }
    }
    check(before == rows && part == parts);
}

static int read_file(Writer *writer, Divide *divide, Error *error) {
    FileRecord file = {0};
    Txn *txn;
    int r = txn_begin_read(writer->options.environment, &txn, error);
    if (r < 0) return r;
    r = ledger_find_file(txn, &divide->file, &file, error);
    if (r == LEDGER_NOT_FOUND) r = error_set(error, -EBADMSG, "a file that waits is not in the ledger");
    if (r == 0) r = slices_read(txn, &file, &divide->slices, &divide->slice_count, error);
    if (r == 0) r = ledger_file_runs(txn, &file, &divide->runs, error);
    txn_abort(txn);
    if (r == 0 && rows_of(divide->slices, divide->slice_count) < 2) r = error_set(error, -EINVAL, "a file of one row cannot be divided");
    if (r == 0) {
        divide->description = strdup(file.target);
        check(divide->description);
    }
    file_record_deinit(&file);
    return r;
}

static void failed(Writer *writer, SinkState *sink, const Uuid *file, const Error *error) {
    WaitingFile *waiting = waiting_find(sink->waiting, file);
    check(waiting);
    log_failure(LOG_WARNING, "a file that takes too long cannot be divided; it is tried again as a whole", error);
    if (waiting->dividing) waiting_come_back(&waiting->dividing);
    sink->imports->failures++;
    sink->imports->paused_until = writer->now->boot + writer_backoff(writer, sink->imports->failures);
    sink_waiters_fail(sink, waiting->first_row, -ECANCELED, sink_error(sink));
    writer_schedule(writer, sink);
}

void writer_begin_divide(Writer *writer, SinkState *sink, WaitingFile *file) {
    Error error = {0};
    Divide *divide = calloc(1, sizeof *divide);
    check(divide);
    divide->request.message.kind = MESSAGE_DIVIDE;
    divide->request.reply = writer->mailbox;
    divide->sink = sink->totals.sink;
    divide->file = file->id;
    if (read_file(writer, divide, &error) < 0) {
        failed(writer, sink, &divide->file, &error);
        divide_free(divide);
        return;
    }
    uuid_next(&writer->ids, writer->now->wall, &divide->pack);
    cut(writer, divide);
    if (uuid_equal(&divide->parts[divide->part_count - 1].file, &divide->file)) {
        (void)error_set(&error, -EINVAL, "a file of one run of records cannot be divided");
        failed(writer, sink, &divide->file, &error);
        divide_free(divide);
        return;
    }
    waiting_leave_rest(file, &file->dividing);
    writer->stages->in_flight++; /* it keeps the stager busy, and a drain waits for it */
    mailbox_post(writer->options.stager, &divide->request.message);
}

/* Its parts wait in its place. */
static int replace_waiting(Writer *writer, Txn *txn, SinkState *sink, const Divide *divide, Error *error) {
    WaitingFile *old = waiting_find(sink->waiting, &divide->file);
    check(old && old->dividing);
    usec_t waits_since = old->waits_since;
    bool runs = old->bridge;
    waiting_remove(sink->waiting, old);
    for (size_t i = 0; i < divide->part_count; i++) {
        FileRecord file = {0};
        if (i > 0 && uuid_equal(&divide->parts[i].file, &divide->parts[i - 1].file)) continue;
        int r = ledger_find_file(txn, &divide->parts[i].file, &file, error);
        if (r != 0) return r < 0 ? r : error_set(error, -EBADMSG, "a part of a file is not in the ledger");
        WaitingFile *added = writer_add_waiting(writer, sink, &file, runs, error);
        file_record_deinit(&file);
        if (!added) return -EBADMSG;
        added->waits_since = waits_since;
        added->alone = true; /* together they would take as long as before */
    }
    return 0;
}

static int record(Writer *writer, Txn *txn, SinkState *sink, const Divide *divide, Error *error) {
    int r = failpoint_error("divide.before-record", error);
    if (r == 0) r = ledger_add_pack(txn, &divide->record, error);
    if (r == 0)
        r = ledger_divide_file(txn, &divide->file, divide->parts, divide->part_count, divide->runs.items, writer->now->running, error);
    if (r == 0) r = rejects_drop_pending(txn, &divide->file, error);
    return r == 0 ? replace_waiting(writer, txn, sink, divide, error) : r;
}

static int record_damage(Txn *txn, SinkState *sink, WaitingFile *waiting, const Divide *divide, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {0};
    int r = ledger_find_file(txn, &divide->file, &file, error);
    if (r == LEDGER_NOT_FOUND) return error_set(error, -EBADMSG, "a file that waits is not in the ledger");
    if (r < 0) return r;
    return slices_quarantine(txn, sink, waiting, &file, divide->slices, divide->slice_damaged, divide->slice_count, error);
}

/* An import might never come to these slices in the time that it has. The rest is divided at once:
 * no import ran meanwhile, so the proof holds. */
static void leave_out_damaged(Writer *writer, SinkState *sink, const Divide *divide) {
    Txn *txn;
    Error error = {0};
    if (!writer_record_begin(writer, &txn)) return;
    WaitingFile *waiting = waiting_find(sink->waiting, &divide->file);
    check(waiting && waiting->dividing);
    writer_mark_dirty(writer, sink);
    int r = record_damage(txn, sink, waiting, divide, &error);
    if (!writer_record_end(writer, txn, r, "cannot record damaged rows", &error)) return;
    if (waiting->dividing) waiting_come_back(&waiting->dividing);
    if (waiting->rows - waiting->damaged > 1 && !writer->drain->begun) writer_begin_divide(writer, sink, waiting);
    writer_schedule(writer, sink);
}

void writer_divide_ended(Writer *writer, Divide *take_divide) {
    Divide *divide = take_divide;
    SinkState *sink = writer_sink(writer, divide->sink);
    Txn *txn;
    Error error = {0};
    check(writer->stages->in_flight > 0);
    writer->stages->in_flight--;
    if (divide->slice_damaged) {
        leave_out_damaged(writer, sink, divide);
    } else if (divide->request.result < 0) {
        failed(writer, sink, &divide->file, &divide->request.error);
    } else if (writer_record_begin(writer, &txn)) {
        int r = record(writer, txn, sink, divide, &error);
        if (writer_record_end(writer, txn, r, "cannot record a divided file", &error)) {
            writer->space->staging_bytes += divide->record.bytes;
            log_info("a file of %s is divided into parts: it took too long", sink->label ? sink->label : "a sink");
            writer_schedule(writer, sink);
        }
    }
    divide_free(divide);
}
