#include "sinks/ledger_entry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMN_ROWS = 5 };
static const char *const names[LEDGER_COLUMN_COUNT] = {"file_id",   "instance", "sink",  "table_name",
                                                       "first_row", "rows",     "bytes", "checksum"};

void ledger_file_text(const Uuid *file, char out[static UUID_TEXT_SIZE + 1]) {
    uuid_format(file, out);
    out[UUID_TEXT_SIZE] = '\0';
}

void ledger_entry_init(LedgerEntry *entry, const ImportJob *job, const ImportFile *file) {
    ledger_file_text(&file->id, entry->file);
    ledger_file_text(&job->instance, entry->instance);
    (void)snprintf(entry->first_row, sizeof entry->first_row, "%" PRIu64, file->first_row);
    (void)snprintf(entry->rows, sizeof entry->rows, "%" PRIu64, file->rows);
    (void)snprintf(entry->bytes, sizeof entry->bytes, "%" PRIu64, file->bytes);
    (void)snprintf(entry->checksum, sizeof entry->checksum, "%016" PRIx64, file->checksum);
    const char *const values[LEDGER_COLUMN_COUNT] = {entry->file,      entry->instance, job->sink_label, job->target->table.table_id,
                                                     entry->first_row, entry->rows,     entry->bytes,    entry->checksum};
    memcpy(entry->values, values, sizeof values);
    for (size_t i = 0; i < LEDGER_COLUMN_COUNT; i++) check(entry->values[i]);
}

SinkResult ledger_entry_compare(const LedgerEntry *entry, ImportFile *file, size_t column, const char *there, Error *error) {
    check(column < LEDGER_COLUMN_COUNT);
    if (there && strcmp(there, entry->values[column]) == 0) return SINK_DONE;
    if (column == COLUMN_ROWS && there) {
        uint64_t rows = strtoull(there, NULL, 10);
        if (rows > file->rows && rows - file->rows <= file->damaged_rows) {
            file->rows = rows;
            return SINK_DONE;
        }
    }
    (void)error_set(error, -EEXIST, "ledgerConflict: file %s is in the ledger with %s %s instead of %s.", entry->file, names[column],
                    there ? there : "NULL", entry->values[column]);
    return SINK_REFUSED;
}
