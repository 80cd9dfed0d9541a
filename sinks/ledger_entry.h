/* The row of one imported file in the ledger at a destination, as text. All SQL destinations have
 * the same columns and the same comparison. */
#pragma once

#include "sinks/driver.h"

#define LEDGER_COLUMNS "file_id, instance, sink, table_name, first_row, rows, bytes, checksum"
#define LEDGER_COLUMNS_OF_RUNS LEDGER_COLUMNS ", left_out, outcomes"
enum { LEDGER_COLUMN_COUNT = 8, LEDGER_COLUMNS_OF_RUNS_COUNT = 10 };

typedef struct LedgerEntry {
    const char *values[LEDGER_COLUMNS_OF_RUNS_COUNT]; /* in the order of the columns; they point here and into the job; NULL: null */
    size_t count;                                     /* of the values: the last two only of a file with runs */
    const char *columns;                              /* LEDGER_COLUMNS or LEDGER_COLUMNS_OF_RUNS */
    char file[UUID_TEXT_SIZE + 1], instance[UUID_TEXT_SIZE + 1];
    char first_row[24], rows[24], bytes[24], checksum[24], left_out[24];
    Buffer outcomes;
} LedgerEntry;

/* Makes the row of a file. `entry` must not move afterwards. If the file has runs, they must be
 * decided, and left_out must be set. */
void ledger_entry_init(LedgerEntry *entry, const ImportJob *job, const ImportFile *file);
void ledger_entry_deinit(LedgerEntry *entry);
/*
 * Compares the row with the existing one (a value may be NULL). Only `rows` of the existing row may
 * be higher, by up to file->damaged_rows: these rows were imported before they were damaged, and
 * file->rows is set to the existing number. The rows that were left out may differ: file->left_out
 * and the outcomes of the runs are set to those of the earlier import. Any other difference is
 * SINK_REFUSED: ledgerConflict.
 */
SinkResult ledger_entry_compare(const LedgerEntry *entry, ImportFile *file, const char *const *there, Error *error);
/* The id of a file as text, NUL-terminated. */
void ledger_file_text(const Uuid *file, char out[static UUID_TEXT_SIZE + 1]);
