#include "gateway/delivery/writer/repaired.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "gateway/delivery/writer/chains.h"
#include "gateway/delivery/writer/damage.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/sums.h"
#include "gateway/delivery/writer/transaction.h"
#include "gateway/delivery/writer/waiters.h"
#include "gateway/delivery/writer/waiting.h"

/* When a look at all records found nothing to repair, the next one is that much later. */
#define REPAIR_AGAIN USEC_HOUR

/* What the repair changed of the files that memory knows. */
static int reload(Writer *writer, Txn *txn, SinkState *sink, Error *error) {
    for (size_t i = 0; i < sink->waiting->count + (sink->open->exists ? 1 : 0); i++) {
        bool is_open = i == sink->waiting->count;
        FileRecord file;
        int r = ledger_find_file(txn, is_open ? &sink->open->file.id : &sink->waiting->items[i].id, &file, error);
        if (r == LEDGER_NOT_FOUND) r = error_set(error, -EBADMSG, "a file that waits is not in the ledger");
        if (r < 0) return r;
        if (file.state != (is_open ? FILE_OPEN : FILE_CLOSED)) {
            r = error_set(error, -EBADMSG, "a file that waits was given up");
        } else if (is_open) {
            sink->open->file.damaged_rows = file.damaged_rows;
            sink->open->file.left_out = file.left_out;
        } else {
            uint64_t damaged = file.rows - file_readable_rows(&file);
            check(damaged >= sink->waiting->items[i].damaged);
            waiting_lose_rows(sink->waiting, &sink->waiting->items[i], damaged - sink->waiting->items[i].damaged);
        }
        file_record_deinit(&file);
        if (r < 0) return r;
    }
    return 0;
}

static void apply(Writer *writer, Txn *txn, const Damage *damage) {
    Error error = {0};
    SinkState *sink = writer_sink(writer, damage->sink);
    if (!sink) return;
    damage_take_note(sink, damage->text, damage->stays);
    sink->totals.dropped_rows += damage->rows;
    sink->totals.returned_rows += damage->returned;
    writer_mark_dirty(writer, sink);
    if (!sink->stopped && reload(writer, txn, sink, &error) < 0) writer_stop_sink(sink, error.text);
    if (damage->returned > 0) chains_note_loss(sink);
    if (chains_store(txn, sink, &error) < 0) writer_stop_sink(sink, error.text);
    sums_note_repair(sink);
    if (sink->stopped || damage->rows > 0) sink_waiters_fail(sink, 0, -ECANCELED, sink->stopped ? sink_error(sink) : damage->text);
    writer_schedule(writer, sink);
}

bool writer_repaired(Writer *writer, const Error *met) {
    Damages damages = {0};
    Error error = {0};
    Txn *txn;
    if (met->code != -EBADMSG || writer->broken || writer->now->boot < writer->repair_after) return false;
    int r = damage_repair(writer, &damages, &error);
    if (r != 0) {
        if (r < 0) log_failure(LOG_ERROR, "damaged records cannot be repaired", &error);
        writer->repair_after = writer->now->boot + REPAIR_AGAIN;
        return false;
    }
    if (writer_record_begin(writer, &txn)) {
        for (size_t i = 0; i < damages.count; i++) apply(writer, txn, &damages.items[i]);
        (void)writer_record_end(writer, txn, 0, "cannot store the statistics", &error);
    }
    free(damages.items);
    return !writer->broken;
}
