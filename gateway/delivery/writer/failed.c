#include "gateway/delivery/writer/failed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "gateway/delivery/writer/connections.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/repaired.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/slices.h"
#include "gateway/delivery/writer/space.h"
#include "gateway/delivery/writer/space_state.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/transaction.h"
#include "gateway/delivery/writer/waiters.h"
#include "gateway/delivery/writer/waiting.h"
#include "storage/copies.h"

/* ---- rejects of the destination -------------------------------------------------------------- */

/* Each file's rejects replace what an earlier try left pending for it, also when there are none
 * now. */
static int put_pending(Writer *writer, Txn *txn, const PendingRejects *message, Error *error) {
    SinkState *sink = writer_sink(writer, message->sink);
    Reject *rejects = calloc(message->count + 1, sizeof *rejects);
    check(rejects && sink);
    int r = 0;
    for (size_t f = 0; f < message->file_count && r == 0; f++) {
        const WaitingFile *waiting = waiting_find(sink->waiting, &message->files[f]);
        size_t count = 0;
        for (size_t i = 0; i < message->count; i++) {
            const SinkReject *from = &message->rejects[i];
            if (!uuid_equal(from->file, &message->files[f])) continue;
            rejects[count++] = (Reject){.sink = message->sink,
                                        .at = writer->now->wall,
                                        .running = writer->now->running,
                                        .is_row = true,
                                        .id = message->files[f],
                                        .row = from->row,
                                        .mapping_version = waiting ? waiting->mapping_version : 0,
                                        .reason = span_of(from->reason),
                                        .data = from->csv};
        }
        r = count ? rejects_put_pending(txn, &message->files[f], rejects, count, error)
                  : rejects_drop_pending(txn, &message->files[f], error);
    }
    free(rejects);
    if (r == 0 && message->count > 0 && rejects_bytes(txn) > writer->options.rejects_bytes)
        r = error_set(
            error, -ENOSPC,
            "rejectsFull: with the %zu rows that the destination refuses now, rejects would take more than their limit of %" PRIu64
            " bytes",
            message->count, writer->options.rejects_bytes);
    return r;
}

void writer_pending_rejects(Writer *writer, PendingRejects *message) {
    (void)failpoint_hit("writer.pending-rejects");
    Txn *txn;
    Error *error = &message->request.error;
    int r = writer->broken ? error_set(error, -EROFS, "the writer is broken") : txn_begin_write(writer->options.environment, &txn, error);
    if (r == 0) {
        r = put_pending(writer, txn, message, error);
        if (r < 0) {
            txn_abort(txn);
        } else {
            r = writer_end_txn(writer, txn, error);
            if (r < 0 && r != -ENOSPC) writer_break(writer, "cannot store rejects", error);
        }
    }
    message->request.result = r;
    request_answer(&message->request);
}

/* A file is set aside only after so many tries since this start, and when the gateway has run for
 * so long: whatever was wrong while it was off may be well again. */
#define EXPIRY_TRIES_MIN 5
#define EXPIRY_SETTLED USEC_HOUR
/* Of a copy that could not be written. Its rows wait meanwhile, and are tried. */
#define EXPIRY_AGAIN (10 * USEC_MINUTE)

/* ---- files that failed for too long ---------------------------------------------------------- */

void expire_free(Expire *expire) {
    if (!expire) return;
    free(expire->slices);
    free(expire);
}

/* Since when its tries fail, in running time; USEC_NEVER: too few of them, since this start, to say
 * so. */
static usec_t failing_since(const WaitingFile *file) {
    const WriterConnection *connection = file->connection;
    usec_t own = USEC_NEVER, shared = USEC_NEVER;
    if (file->tries >= EXPIRY_TRIES_MIN && file->first_failed > 0) own = file->first_failed;
    if (connection->failures >= EXPIRY_TRIES_MIN)
        shared = connection->failing_since > file->waits_since ? connection->failing_since : file->waits_since;
    return own < shared ? own : shared;
}

usec_t writer_expires(const Writer *writer, const WaitingFile *file) {
    usec_t since = failing_since(file), kept = writer->options.retain_failed;
    if (since == USEC_NEVER) return USEC_NEVER;
    usec_t settled = writer->now->opened + (kept < EXPIRY_SETTLED ? kept : EXPIRY_SETTLED);
    usec_t expires = since + kept > settled ? since + kept : settled;
    usec_t at = writer->now->boot + expires - writer->now->running;
    return at > file->expire_after ? at : file->expire_after;
}

void writer_begin_expire(Writer *writer, SinkState *sink, WaitingFile *file) {
    Error error = {0};
    Txn *txn;
    Expire *expire = calloc(1, sizeof *expire);
    check(expire);
    expire->request.message.kind = MESSAGE_EXPIRE;
    expire->request.reply = writer->mailbox;
    expire->sink = sink->totals.sink;
    expire->file = file->id;
    FileRecord record = {0};
    int r = txn_begin_read(writer->options.environment, &txn, &error);
    if (r == 0) {
        r = ledger_find_file(txn, &file->id, &record, &error);
        if (r == LEDGER_NOT_FOUND) r = error_set(&error, -EBADMSG, "a file that waits is not in the ledger");
        if (r == 0) r = slices_read(txn, &record, &expire->slices, &expire->slice_count, &error);
        txn_abort(txn);
    }
    file_record_deinit(&record);
    for (size_t i = 0; r == 0 && i < expire->slice_count && !file->bridge; i++) file->bridge = expire->slices[i].run_count > 0;
    if (file->bridge) { /* nobody knew, since the ends of its partitions were lost */
        file->keyed = true;
        expire_free(expire);
        return;
    }
    if (r < 0) {
        log_failure(LOG_ERROR, "cannot copy a file that failed for too long: it keeps waiting", &error);
        expire_free(expire);
        if (writer_repaired(writer, &error)) return;
        file->expire_after = writer->now->boot + EXPIRY_AGAIN;
        return;
    }
    waiting_leave_rest(file, &file->expiring);
    writer->imports->expiring++;
    mailbox_post(writer->options.stager, &expire->request.message);
}

static int note_copy(Writer *writer, Txn *txn, const Uuid *file, uint64_t rows, Error *error) {
    char path[80];
    writer_expired_path(file, path);
    return copies_note(txn, path, writer->now->running, rows, error);
}

static int record_expired(Writer *writer, Txn *txn, SinkState *sink, const Expire *expire, Error *error) {
    WaitingFile *waiting = waiting_find(sink->waiting, &expire->file);
    check(waiting && waiting->expiring);
    FileRecord file;
    int r = failpoint_error("expiry.before-record", error);
    if (r < 0) return r;
    r = ledger_find_file(txn, &expire->file, &file, error);
    if (r != 0) return r < 0 ? r : error_set(error, -EBADMSG, "a file that waits is not in the ledger");
    uint64_t rows = file_readable_rows(&file);
    log_error("file of %s with %" PRIu64 " rows failed for too long (%s): moved to staging/expired/", file.label, rows,
              file.last_error ? file.last_error : "its connection cannot be reached");
    r = ledger_end_file(txn, &file, FILE_EXPIRED, writer->now->wall, writer->now->running, error);
    if (r == 0) r = rejects_drop_pending(txn, &expire->file, error);
    if (r == 0) r = note_copy(writer, txn, &expire->file, rows, error);
    file_record_deinit(&file);
    if (r < 0) return r;
    sink->totals.dropped_rows += rows;
    sink_waiters_fail(sink, waiting->first_row, -ECANCELED, "The file failed for too long and was moved to staging/expired/.");
    waiting_remove(sink->waiting, waiting);
    if (sink->waiting->count == 0) sink->imports->failures = 0;
    writer_mark_dirty(writer, sink);
    return 0;
}

void writer_expire_ended(Writer *writer, Expire *take_expire) {
    Expire *expire = take_expire;
    SinkState *sink = writer_sink(writer, expire->sink);
    Txn *txn;
    Error error = {0};
    check(writer->imports->expiring > 0);
    writer->imports->expiring--;
    if (expire->request.result < 0) {
        log_failure(LOG_ERROR, "cannot copy a file that failed for too long: it keeps waiting", &expire->request.error);
        WaitingFile *waiting = waiting_find(sink->waiting, &expire->file);
        check(waiting);
        waiting_come_back(&waiting->expiring);
        waiting->expire_after = writer->now->boot + EXPIRY_AGAIN;
        writer_schedule(writer, sink);
    } else if (writer_record_begin(writer, &txn)) {
        int r = record_expired(writer, txn, sink, expire, &error);
        if (writer_record_end(writer, txn, r, "cannot record an expired file", &error)) writer->space->expired_bytes += expire->bytes;
        writer_schedule(writer, sink);
    }
    expire_free(expire);
}
