#include "gateway/delivery/writer/asked.h"

#include <errno.h>

#include "gateway/delivery/writer/connections.h"
#include "gateway/delivery/writer/drain_state.h"
#include "gateway/delivery/writer/figures.h"
#include "gateway/delivery/writer/import.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/log_state.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/pause.h"
#include "gateway/delivery/writer/positions_alone.h"
#include "gateway/delivery/writer/rules.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/space.h"
#include "gateway/delivery/writer/space_state.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/transaction.h"
#include "gateway/delivery/writer/waiters.h"
#include "gateway/delivery/writer/waiting.h"

/* ---- Close ----------------------------------------------------------------------------------- */

static void answer_close(Close *close, int result) {
    close->request.result = result;
    request_answer(&close->request);
}

void writer_close_asked(Writer *writer, Close *close) {
    SinkState *sink = writer_sink(writer, close->sink);
    close->rows = close->refused = 0;
    close->refusal[0] = '\0';
    if (!sink || !sink->rules->known) {
        answer_close(close, error_set(&close->request.error, -ENOENT, "There is no sink number %u.", close->sink));
        return;
    }
    if (writer->broken || writer->drain->begun) {
        answer_close(close, error_set(&close->request.error, -ECANCELED, "The gateway is shutting down."));
        return;
    }
    if (sink->stopped) {
        answer_close(close, error_set(&close->request.error, -EBADMSG, "%s", sink_error(sink)));
        return;
    }
    if (close->reason == CLOSE_FLUSH && writer_is_paused(writer, sink)) {
        answer_close(close, error_set(&close->request.error, -EBUSY, "The sink, its source or a connection that it goes to is paused."));
        return;
    }
    close->up_to_row = sink->totals.next_row;
    close->up_to_commit = writer->log->last_commit;
    close->rows = sink->totals.imported.rows;
    close->refused = sink->totals.rejected_rows;
    if (sink->log->idle_from > 0) sink->log->idle_since = 0; /* the positions as well */
    if (sink->log->rows > 0 || sink->open->exists) {
        sink->waiters->close_row = close->up_to_row;
        sink->waiters->close_reason = close->reason;
    }
    if (close->reason == CLOSE_FLUSH) writer_expedite(writer, sink);
    writer_schedule(writer, sink);
    if (!close->wait_imported) {
        close->rows = close->refused = 0;
        answer_close(close, 0);
        return;
    }
    sink_waiters_add(sink, close);
    sink_waiters_answer(sink);
}

/* ---- statistics ------------------------------------------------------------------------------ */

void writer_answer_totals(Writer *writer, TotalsQuery *query) {
    writer_fill_statistics(writer, query);
    request_answer(&query->request);
}

/* ---- rejects and files ----------------------------------------------------------------------- */

/* A transaction that changes no memory: what fails is told, and only a commit that left the disk
 * unknown breaks the writer. */
static int end_small(Writer *writer, Txn *txn, int result, const char *what, Error *error) {
    if (result < 0) {
        txn_abort(txn);
        return result;
    }
    result = writer_end_txn(writer, txn, error);
    if (result < 0 && result != -ENOSPC) writer_break(writer, what, error);
    return result;
}

void writer_remove_rejects(Writer *writer, RejectsRemove *remove) {
    Txn *txn;
    int r = writer->broken ? error_set(&remove->request.error, -EROFS, "the writer cannot write any more")
                           : txn_begin_write(writer->options.environment, &txn, &remove->request.error);
    if (r == 0) {
        r = rejects_remove(txn, remove->sink, remove->up_to_number, &remove->removed, &remove->request.error);
        r = end_small(writer, txn, r, "cannot remove rejects", &remove->request.error);
    }
    if (r < 0) remove->removed = 0;
    remove->request.result = r;
    request_answer(&remove->request);
}

static int find_record(Writer *writer, const Uuid *id, FileRecord *ret_file, Error *error) {
    Txn *txn;
    int r = txn_begin_read(writer->options.environment, &txn, error);
    if (r < 0) return r;
    r = ledger_find_file(txn, id, ret_file, error);
    txn_abort(txn);
    return r == LEDGER_NOT_FOUND ? error_set(error, -ENOENT, "There is no such file.") : r;
}

static int delete_file(Writer *writer, SinkState *sink, size_t index, FileRecord *file, Error *error) {
    Txn *txn;
    if (!writer_record_begin(writer, &txn)) return error_set(error, -EROFS, "the writer cannot write any more");
    int r = ledger_end_file(txn, file, FILE_DELETED, writer->now->wall, writer->now->running, error);
    if (r == 0) r = rejects_drop_pending(txn, &file->id, error);
    if (r == 0) {
        sink->totals.dropped_rows += file_readable_rows(file);
        waiting_remove(sink->waiting, &sink->waiting->items[index]);
        if (sink->waiting->count == 0) sink->imports->failures = 0;
        writer_mark_dirty(writer, sink);
    }
    if (!writer_record_end(writer, txn, r, "cannot delete a file", error)) return -EIO;
    sink_waiters_fail(sink, file->first_row, -ECANCELED, "The file was deleted.");
    writer_schedule(writer, sink);
    return 0;
}

enum { ACTION_BEGUN = 1 }; /* answered later */

static int act_on_waiting(Writer *writer, FileAction *action, FileRecord *file) {
    SinkState *sink = writer_sink(writer, file->sink);
    for (size_t i = 0; sink && i < sink->waiting->count; i++) {
        WaitingFile *waiting = &sink->waiting->items[i];
        if (!uuid_equal(&waiting->id, &action->file)) continue;
        if (!waiting_is_at_rest(waiting)) return error_set(&action->request.error, -EBUSY, "The file is being imported.");
        if (action->remove && waiting->bridge) {
            int r = writer_begin_delete(writer, sink, waiting, action);
            return r < 0 ? r : ACTION_BEGUN;
        }
        if (action->remove) return delete_file(writer, sink, i, file, &action->request.error);
        waiting->next_try = 0;
        waiting->connection->paused_until = 0;
        sink->imports->paused_until = 0;
        writer_schedule(writer, sink);
        return 0;
    }
    return error_set(&action->request.error, -EINVAL, "The file does not wait for an import.");
}

/* Of an expired file the copy is what is left. */
static int remove_expired(Writer *writer, FileAction *action) {
    char path[80];
    FileInfo info;
    writer_expired_path(&action->file, path);
    int r = writer->options.files->info(writer->options.files, path, &info, &action->request.error);
    if (r == 0) r = writer->options.files->remove(writer->options.files, path, &action->request.error);
    if (r == 0) writer->space->expired_bytes -= info.bytes < writer->space->expired_bytes ? info.bytes : writer->space->expired_bytes;
    return r;
}

void writer_file_action(Writer *writer, FileAction *action) {
    FileRecord file = {0};
    int r = find_record(writer, &action->file, &file, &action->request.error);
    if (r == 0) {
        action->rows = file.rows;
        if (file.state == FILE_CLOSED) {
            r = act_on_waiting(writer, action, &file);
        } else if (file.state == FILE_EXPIRED && action->remove) {
            r = remove_expired(writer, action);
        } else {
            r = error_set(&action->request.error, -EINVAL, "The file is %s.", file.state == FILE_OPEN ? "still open" : "no longer waiting");
        }
        file_record_deinit(&file);
    }
    if (r == ACTION_BEGUN) return;
    action->request.result = r;
    request_answer(&action->request);
}
