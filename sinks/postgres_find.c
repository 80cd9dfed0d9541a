#include "sinks/postgres_find.h"

#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/csv_record.h"
#include "sinks/postgres_failure.h"
#include "sinks/table_shape.h"

enum { PLACE, STATE, WORDS, DETAIL, COLUMN };

/* Is the row to blame, and not perhaps the table? */
static bool is_the_row(const SinkTarget *target, const PGresult *answer, int i) {
    const char *state = PQgetvalue(answer, i, STATE), *column = PQgetvalue(answer, i, COLUMN);
    if (postgres_blame_of(state, NULL) != POSTGRES_BLAME_ROW) return false;
    return strcmp(state, "23502") != 0 || !column[0] || sink_target_has_column(target, column);
}

static const char *reason_of(PostgresFind *find, const PGresult *answer, int i) {
    PostgresFailure failure;
    postgres_failure_say(&failure, PQgetvalue(answer, i, STATE), PQgetvalue(answer, i, WORDS), PQgetvalue(answer, i, DETAIL));
    return arena_copy(&find->arena, span_of(failure.reason));
}

int postgres_find_take(PostgresFind *find, const SinkTarget *target, const PGresult *answer, SinkRows *reader, uint64_t first,
                       uint64_t next, Error *error) {
    CsvWalk walk;
    size_t count = (size_t)PQntuples(answer), bytes = 0;
    uint64_t place = 0, row = 0;
    Span csv = {0};
    check(find->count == 0 && first < next);
    for (int i = 0; i < PQntuples(answer); i++) {
        if (!is_the_row(target, answer, i)) return 0;
    }
    if (count == 0) return 0;
    find->numbers = arena_alloc(&find->arena, count * sizeof *find->numbers);
    find->reasons = arena_alloc(&find->arena, count * sizeof *find->reasons);
    find->rows = arena_alloc(&find->arena, count * sizeof *find->rows);
    int r = csv_walk_start(&walk, reader, first, error);
    for (size_t i = 0; i < count && r == 0; i++) {
        uint64_t wanted = strtoull(PQgetvalue(answer, (int)i, PLACE), NULL, 10);
        for (; place < wanted && r == 0; place++) r = csv_walk_next(&walk, &csv, &row, error);
        bytes += csv.size;
        if (r != 0 || row >= next || bytes > REJECTS_BYTES_MAX) break;
        find->numbers[i] = row;
        find->reasons[i] = reason_of(find, answer, (int)i);
        find->rows[i] = (Span){.data = arena_copy(&find->arena, csv), .size = csv.size};
        find->count++;
    }
    find->first = first;
    find->next = next;
    if (r == 0 && find->count == count) return 1;
    postgres_find_clear(find);
    return r < 0 ? r : 0;
}

int postgres_find_first_good(const PostgresFind *find, SinkRows *reader, uint64_t *ret_row, Error *error) {
    CsvWalk walk;
    Span csv;
    uint64_t row;
    *ret_row = find->next;
    int r = csv_walk_start(&walk, reader, find->first, error);
    for (size_t i = 0; r == 0; i++) {
        r = csv_walk_next(&walk, &csv, &row, error);
        if (r != 0 || row >= find->next) break;
        if (i < find->count && find->numbers[i] == row) continue;
        *ret_row = row;
        break;
    }
    return r < 0 ? r : 0;
}

SinkResult postgres_find_refuse(PostgresFind *find, SinkRejects *rejects, const ImportJob *job, const ImportFile *file, Error *error) {
    SinkResult result = SINK_DONE;
    for (size_t i = 0; i < find->count && result == SINK_DONE; i++)
        result = sink_rejects_add(rejects, job, file, find->numbers[i], find->reasons[i], find->rows[i], error);
    postgres_find_clear(find);
    return result;
}

void postgres_find_clear(PostgresFind *find) {
    arena_deinit(&find->arena);
    *find = (PostgresFind){0};
}
