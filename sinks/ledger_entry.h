/* What the ledger at a destination has of one imported file, as text: the same columns and the same comparison for every SQL destination. */
#pragma once

#include "sinks/driver.h"

#define LEDGER_COLUMNS "file_id, instance, sink, table_name, first_row, rows, bytes, checksum"
enum { LEDGER_COLUMN_COUNT = 8 };

typedef struct LedgerEntry {
    const char *values[LEDGER_COLUMN_COUNT]; /* in the order of LEDGER_COLUMNS; they point here and into the job */
    char file[UUID_TEXT_SIZE + 1], instance[UUID_TEXT_SIZE + 1];
    char first_row[24], rows[24], bytes[24], checksum[24];
} LedgerEntry;

/* `entry` must not move afterwards. */
void ledger_entry_init(LedgerEntry *entry, const ImportJob *job, const ImportFile *file);
/*
 * Compares a column with what is there (NULL: nothing). Only the rows may be more, by up to file->damaged_rows: they were imported before they
 * were damaged, and file->rows becomes what is there. SINK_REFUSED: ledgerConflict.
 */
SinkResult ledger_entry_compare(const LedgerEntry *entry, ImportFile *file, size_t column, const char *there, Error *error);
/* The id of a file as text, NUL-terminated. */
void ledger_file_text(const Uuid *file, char out[static UUID_TEXT_SIZE + 1]);
