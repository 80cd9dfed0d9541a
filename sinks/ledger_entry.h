/* What the ledger at a destination has of one imported file, as text: the same columns and the same
 * comparison for every SQL destination. */
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

/* `entry` must not move afterwards. The runs of the file, if it has any, are decided, and left_out
 * is set. */
void ledger_entry_init(LedgerEntry *entry, const ImportJob *job, const ImportFile *file);
void ledger_entry_deinit(LedgerEntry *entry);
/*
 * Compares with what is there (a value may be NULL: nothing). Only the rows may be more, by up to
 * file->damaged_rows: they were imported before they were damaged, and file->rows becomes what is
 * there. What was left out may differ: file->left_out and the outcomes of the runs become those of
 * the import that was. SINK_REFUSED: ledgerConflict.
 */
SinkResult ledger_entry_compare(const LedgerEntry *entry, ImportFile *file, const char *const *there, Error *error);
/* The id of a file as text, NUL-terminated. */
void ledger_file_text(const Uuid *file, char out[static UUID_TEXT_SIZE + 1]);
