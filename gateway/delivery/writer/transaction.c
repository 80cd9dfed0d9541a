#include "gateway/delivery/writer/transaction.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "gateway/delivery/writer/damage.h"
#include "gateway/delivery/writer/lending.h"
#include "gateway/delivery/writer/stored.h"

void writer_break(Writer *writer, const char *what, const Error *error) {
    if (writer->broken) return;
    log_failure(LOG_ERROR, what, error);
    writer->broken = true;
    atomic_store(&writer->options.usage->broken, true);
    Message *message = calloc(1, sizeof *message);
    check(message);
    message->kind = MESSAGE_BROKEN;
    mailbox_post(writer->options.control, message);
}

int writer_end_txn(Writer *writer, Txn *take_txn, Error *error) {
    Clock *clock = writer->options.clock;
    lending_begin(writer->lending);
    int r = txn_commit(take_txn, error);
    lending_end(writer->lending);
    atomic_store(&writer->options.usage->busy_since, clock->boot(clock));
    return r;
}

bool writer_record_begin(Writer *writer, Txn **ret_txn) {
    Error error = {0};
    if (writer->broken) return false;
    if (txn_begin_write(writer->options.environment, ret_txn, &error) == 0) return true;
    writer_break(writer, "cannot begin a transaction", &error);
    return false;
}

bool writer_record_end(Writer *writer, Txn *take_txn, int result, const char *what, Error *error) {
    if (result == 0) result = writer_store_totals(writer, take_txn, error);
    if (result < 0) {
        Error why = {0};
        txn_abort(take_txn);
        /* Or the next start would end in the same way. */
        if (result == -EBADMSG && writer_repair_for_next(writer, &why) < 0)
            log_failure(LOG_ERROR, "damaged records cannot be repaired", &why);
    } else {
        result = writer_end_txn(writer, take_txn, error);
    }
    if (result < 0) {
        writer_break(writer, what, error);
        return false;
    }
    writer_totals_stored(writer);
    return true;
}
