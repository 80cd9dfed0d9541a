#include "gateway/delivery/writer/give_up.h"

#include <errno.h>
#include <inttypes.h>

#include "base/log.h"
#include "gateway/delivery/writer/sinks.h"
#include "storage/missing.h"
#include "storage/pack.h"

/* Slices in one transaction: each rewrites the record of its file. */
#define GIVEN_UP_AT_ONCE 1000

static const char *label_of(const MissingSlices *missing, size_t at) {
    return missing->items[at].label;
}

/* One line a sink, so that somebody can decide. */
static void log_missing(const MissingSlices *missing) {
    for (size_t i = 0; i < missing->count;) {
        const SliceRecord *first = &missing->items[i].slice;
        uint64_t rows = 0;
        usec_t last_time = first->last_time;
        size_t end = i;
        for (; end < missing->count && missing->items[end].slice.sink == first->sink; end++) {
            rows += missing->items[end].slice.rows;
            last_time = missing->items[end].slice.last_time;
        }
        char from[25], to[25];
        clock_format_utc(first->first_time, from);
        clock_format_utc(last_time, to);
        log_error("the staging files of %" PRIu64 " rows of sink %s, received from %s to %s, are missing", rows, label_of(missing, i), from,
                  to);
        i = end;
    }
}

static int refuse(const MissingSlices *missing, Error *error) {
    char path[64];
    pack_path(&missing->items[0].slice.pack, path);
    log_missing(missing);
    return error_set(error, -EILSEQ,
                     "%zu staging files with %" PRIu64
                     " rows that wait for their import are missing or too short, such as \"%s\" with rows of sink %s: mount the file "
                     "system of staging/ or put the files back, and start again; if they are lost, one start of `sluice serve "
                     "--give-up-missing-packs` quarantines these rows",
                     missing->packs, missing->rows, path, label_of(missing, 0));
}

static int quarantine(Writer *writer, Txn *txn, const MissingSlices *missing, size_t from, size_t to, Error *error) {
    for (size_t i = from; i < to; i++) {
        const SliceRecord *slice = &missing->items[i].slice;
        FileRecord file = {.id = slice->file};
        SinkTotals *totals = &writer_sink_added(writer, slice->sink)->totals;
        RangeState state;
        int r = ledger_lose_slice(txn, &file, slice, &state, error);
        if (r < 0) return r;
        totals_lose(totals, state, slice->rows);
        bool last = i + 1 == to || missing->items[i + 1].slice.sink != slice->sink;
        if (last) r = totals_store(txn, totals, error);
        if (r < 0) return r;
    }
    return 0;
}

static void report(Writer *writer, const MissingSlices *missing) {
    for (size_t i = 0; i < missing->count;) {
        const SliceRecord *first = &missing->items[i].slice;
        uint64_t rows;
        size_t count = missing_run(missing, i, &rows);
        GivenUp given_up = {.label = label_of(missing, i),
                            .first_row = first->first_row,
                            .rows = rows,
                            .first_time = first->first_time,
                            .last_time = missing->items[i + count - 1].slice.last_time};
        char from[25], to[25];
        clock_format_utc(given_up.first_time, from);
        clock_format_utc(given_up.last_time, to);
        log_error("rows %" PRIu64 " to %" PRIu64
                  " of sink %s, received from %s to %s, are given up and quarantined: their staging files are "
                  "missing",
                  given_up.first_row, given_up.first_row + rows - 1, given_up.label, from, to);
        if (writer->options.given_up) writer->options.given_up(writer->options.given_up_context, &given_up);
        i += count;
    }
}

static int give_up(Writer *writer, const MissingSlices *missing, Error *error) {
    for (size_t from = 0; from < missing->count;) {
        size_t to = missing->count - from > GIVEN_UP_AT_ONCE ? from + GIVEN_UP_AT_ONCE : missing->count;
        Txn *txn;
        int r = txn_begin_write(writer->options.environment, &txn, error);
        if (r < 0) return r;
        r = quarantine(writer, txn, missing, from, to, error);
        if (r < 0) {
            txn_abort(txn);
            return r;
        }
        r = txn_commit(txn, error);
        if (r < 0) return r;
        from = to;
    }
    report(writer, missing);
    return 0;
}

int writer_mind_missing(Writer *writer, Error *error) {
    MissingSlices missing = {0};
    Txn *txn;
    int r = txn_begin_read(writer->options.environment, &txn, error);
    if (r < 0) return r;
    r = missing_find(writer->options.files, txn, &missing, error);
    txn_abort(txn);
    if (r < 0) return r;
    if (missing.count > 0) r = writer->options.give_up_missing ? give_up(writer, &missing, error) : refuse(&missing, error);
    missing_deinit(&missing);
    return r;
}
