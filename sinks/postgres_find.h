/*
 * PostgreSQL: many bad rows of a file are found by the server itself, in one statement
 * (PostgresStatements.find), instead of by one statement for each try. Each try of the search needs
 * several messages back and forth; a file with many bad rows would need millions of them.
 *
 * What is found is a proposal: the attempt is made again without these rows. Only if it succeeds,
 * they are refused. Otherwise they are searched for as before.
 *
 * Used by one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "sinks/refused_rows.h"

#define FIND_ROWS_MAX 10000 /* of one search: what the statement may take is bounded */

typedef struct pg_result PGresult;

/* All-zero: nothing is found. */
typedef struct PostgresFind {
    Arena arena;       /* holds the rest */
    uint64_t *numbers; /* of the rows, ascending */
    const char **reasons;
    Span *rows; /* as CSV */
    size_t count;
    uint64_t first, next; /* the range of row numbers that was searched */
} PostgresFind;

/*
 * Takes the answer of the statement. Its places count the rows that `reader` returns from `first`
 * on; `next` is behind the last one that was searched. Returns 1: rows were found. 0: none, or not
 * only rows are to blame, or they are too large; nothing is found. < 0: the reader failed.
 */
int postgres_find_take(PostgresFind *find, const SinkTarget *target, const PGresult *answer, SinkRows *reader, uint64_t first,
                       uint64_t next, Error *error);
/* Returns the number of the first row of the range that is not found; `next`: all are. The reader
 * is the one of postgres_find_take. */
int postgres_find_first_good(const PostgresFind *find, SinkRows *reader, uint64_t *ret_row, Error *error);
/* Refuses what is found, and forgets it. As sink_rejects_add. */
SinkResult postgres_find_refuse(PostgresFind *find, SinkRejects *rejects, const ImportJob *job, const ImportFile *file, Error *error);
void postgres_find_clear(PostgresFind *find);
