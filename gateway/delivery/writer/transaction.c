#include "gateway/delivery/writer/transaction.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "gateway/delivery/writer/asked.h"
#include "gateway/delivery/writer/damage.h"
#include "gateway/delivery/writer/stored.h"

struct Lending {
    pthread_mutex_t lock; /* held by who looks at the writer's memory while it is lent, and to begin and end that */
    bool lends;           /* under it */
};

struct Lending *lending_new(void) {
    struct Lending *lending = calloc(1, sizeof *lending);
    check(lending);
    check(pthread_mutex_init(&lending->lock, NULL) == 0);
    return lending;
}

void lending_free(struct Lending *lending) {
    check(!lending->lends);
    check(pthread_mutex_destroy(&lending->lock) == 0);
    free(lending);
}

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

static void set_lending(struct Lending *lending, bool lends) {
    check(pthread_mutex_lock(&lending->lock) == 0);
    check(lending->lends != lends);
    lending->lends = lends;
    check(pthread_mutex_unlock(&lending->lock) == 0);
}

int writer_end_txn(Writer *writer, Txn *take_txn, Error *error) {
    Clock *clock = writer->options.clock;
    set_lending(writer->lending, true);
    int r = txn_commit(take_txn, error);
    set_lending(writer->lending, false);
    atomic_store(&writer->options.usage->busy_since, clock->boot(clock));
    return r;
}

bool writer_lent_statistics(Writer *writer, TotalsQuery *query) {
    check(pthread_mutex_lock(&writer->lending->lock) == 0);
    bool lent = writer->lending->lends;
    if (lent) writer_fill_statistics(writer, query);
    check(pthread_mutex_unlock(&writer->lending->lock) == 0);
    return lent;
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
