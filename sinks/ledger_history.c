#include "sinks/ledger_history.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"

LedgerHistory *ledger_history_new(uint64_t start_row) {
    LedgerHistory *history = calloc(1, sizeof *history);
    check(history);
    history->start_row = start_row;
    return history;
}

void ledger_history_free(LedgerHistory *history) {
    if (!history) return;
    free(history->rows);
    free(history->files);
    free(history);
}

void ledger_history_add(LedgerHistory *history, const Uuid *file, bool stays, uint64_t first_row, uint64_t rows, usec_t since) {
    uint64_t end = first_row + rows;
    if (end > history->start_row) end = history->start_row;
    if (first_row >= end) return;
    array_reserve(history->rows, history->count, history->capacity);
    HistoryRows added = {.stays = stays, .first_row = first_row, .end = end};
    if (file) added.file = *file;
    history->rows[history->count++] = added;
    if (history->oldest == 0 || since < history->oldest) history->oldest = since;
}

void ledger_history_forget_files(LedgerHistory *history) {
    history->file_count = 0;
}

void ledger_history_know(LedgerHistory *history, const Uuid *file, uint64_t end) {
    array_reserve(history->files, history->file_count, history->file_capacity);
    history->files[history->file_count++] = (HistoryFile){.id = *file, .end = end};
}

void ledger_history_begin(LedgerHistory *history) {
    for (size_t i = 0; i < history->count; i++) history->rows[i].is_there = false;
    history->doubles = history->is_behind = false;
}

/* Of a UUIDv7. */
static usec_t made_at(const Uuid *id) {
    usec_t ms = 0;
    for (size_t i = 0; i < 6; i++) ms = ms * 256 + id->bytes[i];
    return ms * USEC_MS;
}

static bool is_file_of_now(const LedgerHistory *history, const Uuid *file, uint64_t end) {
    for (size_t i = 0; i < history->file_count; i++)
        if (uuid_equal(&history->files[i].id, file)) return end <= history->files[i].end;
    return false;
}

void ledger_history_note(LedgerHistory *history, const Uuid *file, uint64_t first_row, uint64_t rows) {
    bool is_of_now = is_file_of_now(history, file, first_row + rows), is_known = is_of_now, doubles = false;
    for (size_t i = 0; i < history->count; i++) {
        HistoryRows *waiting = &history->rows[i];
        bool is_it = uuid_equal(&waiting->file, file);
        waiting->is_there = waiting->is_there || is_it;
        is_known = is_known || is_it;
        doubles = doubles || (!is_of_now && !is_it && first_row < waiting->end && first_row + rows > waiting->first_row);
    }
    bool is_late = made_at(file) + USEC_MS > history->oldest;
    bool is_behind = !is_known && first_row + rows > history->start_row;
    if (!is_late || (!doubles && !is_behind)) return;
    if (!history->doubles && (doubles || !history->is_behind)) {
        history->unknown = *file;
        history->unknown_first = first_row;
        history->unknown_rows = rows;
    }
    history->doubles = history->doubles || doubles;
    history->is_behind = history->is_behind || is_behind;
}

int ledger_history_judge(const LedgerHistory *history, Error *error) {
    bool lacks = false;
    for (size_t i = 0; i < history->count; i++) lacks = lacks || (!history->rows[i].is_there && !history->rows[i].stays);
    if (!history->doubles && !(history->is_behind && lacks)) return 0;
    char id[UUID_TEXT_SIZE + 1];
    uuid_format(&history->unknown, id);
    id[UUID_TEXT_SIZE] = '\0';
    return error_set(
        error, -EUCLEAN,
        "directoryOutdated: the destination has file %s with the rows %" PRIu64 " to %" PRIu64
        " of this sink, which this data directory has not imported. The directory is older than the destination, and rows that "
        "wait in it may be there already.",
        id, history->unknown_first, history->unknown_first + history->unknown_rows - 1);
}
