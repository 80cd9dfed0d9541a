#include "sinks/ledger_entry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMN_ROWS = 5, COLUMN_LEFT_OUT = 8, COLUMN_OUTCOMES = 9 };
static const char *const names[LEDGER_COLUMNS_OF_RUNS_COUNT] = {"file_id", "instance", "sink",     "table_name", "first_row",
                                                                "rows",    "bytes",    "checksum", "left_out",   "outcomes"};

void ledger_file_text(const Uuid *file, char out[static UUID_TEXT_SIZE + 1]) {
    uuid_format(file, out);
    out[UUID_TEXT_SIZE] = '\0';
}

void ledger_entry_init(LedgerEntry *entry, const ImportJob *job, const ImportFile *file) {
    check(file->left_out <= file->rows && (file->runs || file->left_out == 0));
    *entry = (LedgerEntry){.count = file->runs ? LEDGER_COLUMNS_OF_RUNS_COUNT : LEDGER_COLUMN_COUNT,
                           .columns = file->runs ? LEDGER_COLUMNS_OF_RUNS : LEDGER_COLUMNS};
    ledger_file_text(&file->id, entry->file);
    ledger_file_text(&job->instance, entry->instance);
    (void)snprintf(entry->first_row, sizeof entry->first_row, "%" PRIu64, file->first_row);
    (void)snprintf(entry->rows, sizeof entry->rows, "%" PRIu64, file->rows - file->left_out);
    (void)snprintf(entry->bytes, sizeof entry->bytes, "%" PRIu64, file->bytes);
    (void)snprintf(entry->checksum, sizeof entry->checksum, "%016" PRIx64, file->checksum);
    (void)snprintf(entry->left_out, sizeof entry->left_out, "%" PRIu64, file->left_out);
    bool all_taken = true;
    for (size_t i = 0; i < file->run_count; i++) all_taken = all_taken && file->runs[i].outcome == RUN_TAKEN;
    if (!all_taken) runs_put_outcomes(file->runs, file->run_count, &entry->outcomes);
    const char *const values[] = {entry->file,      entry->instance,
                                  job->sink_label,  sink_target_name(job->target),
                                  entry->first_row, entry->rows,
                                  entry->bytes,     entry->checksum,
                                  entry->left_out,  all_taken ? NULL : buffer_text(&entry->outcomes)};
    memcpy(entry->values, values, sizeof values);
    for (size_t i = 0; i < LEDGER_COLUMN_COUNT; i++) check(entry->values[i]);
}

void ledger_entry_deinit(LedgerEntry *entry) {
    buffer_deinit(&entry->outcomes);
}

static SinkResult conflict(const LedgerEntry *entry, size_t column, const char *there, const char *wanted, Error *error) {
    (void)error_set(error, -EEXIST, "ledgerConflict: file %s is in the ledger with %s %s instead of %s.", entry->file, names[column],
                    there ? there : "NULL", wanted ? wanted : "NULL");
    return SINK_REFUSED;
}

static bool parse(const char *text, uint64_t *ret_number) {
    if (!text || *text < '0' || *text > '9') return false;
    char *end;
    errno = 0;
    *ret_number = strtoull(text, &end, 10);
    return *end == '\0' && errno == 0;
}

/* The rows that went on and those that were left out: together the file's, or more when some were
 * damaged since. */
static SinkResult compare_rows(const LedgerEntry *entry, ImportFile *file, const char *const *there, Error *error) {
    const char *rows_there = there[COLUMN_ROWS], *left_out_there = file->runs ? there[COLUMN_LEFT_OUT] : NULL;
    uint64_t rows, left_out = 0;
    if (!parse(rows_there, &rows)) return conflict(entry, COLUMN_ROWS, rows_there, entry->values[COLUMN_ROWS], error);
    if (file->runs && !parse(left_out_there, &left_out))
        return conflict(entry, COLUMN_LEFT_OUT, left_out_there, entry->values[COLUMN_LEFT_OUT], error);
    if (left_out > UINT64_MAX - rows || rows + left_out < file->rows || rows + left_out - file->rows > file->damaged_rows)
        return conflict(entry, COLUMN_ROWS, rows_there, entry->values[COLUMN_ROWS], error);
    file->rows = rows + left_out;
    file->left_out = left_out;
    return SINK_DONE;
}

static SinkResult take_outcomes(const LedgerEntry *entry, ImportFile *file, const char *there, Error *error) {
    for (size_t i = 0; i < file->run_count && !there; i++) file->runs[i].outcome = RUN_TAKEN;
    if (!there || runs_take_outcomes(file->runs, file->run_count, there)) return SINK_DONE;
    return conflict(entry, COLUMN_OUTCOMES, there, entry->values[COLUMN_OUTCOMES], error);
}

SinkResult ledger_entry_compare(const LedgerEntry *entry, ImportFile *file, const char *const *there, Error *error) {
    for (size_t i = 0; i < LEDGER_COLUMN_COUNT; i++) {
        if (i != COLUMN_ROWS && (!there[i] || strcmp(there[i], entry->values[i]) != 0))
            return conflict(entry, i, there[i], entry->values[i], error);
    }
    SinkResult result = compare_rows(entry, file, there, error);
    return result == SINK_DONE && file->runs ? take_outcomes(entry, file, there[COLUMN_OUTCOMES], error) : result;
}
