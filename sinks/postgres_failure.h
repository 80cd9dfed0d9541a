/*
 * What PostgreSQL said when it refused a statement, and what that means: for the whole import (a SinkResult), and for the
 * search for bad rows (whether one row can be to blame). Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "sinks/driver.h"

typedef struct pg_result PGresult;

#define POSTGRES_NAME_BYTES_MOST 63 /* NAMEDATALEN less the NUL */

/* Can one row be at fault when a statement that carried rows failed this way, and the same statement goes through without rows? */
typedef enum PostgresBlame {
    POSTGRES_BLAME_TABLE, /* never a row: rollbacks, resources, states of objects, an operator, the system; the end of the session */
    POSTGRES_BLAME_ROW,   /* a row: its values, a constraint, a policy, or what a trigger raises about it */
    POSTGRES_BLAME_MAYBE, /* a row, if others go through: for example a trigger whose table is missing, for all rows or for one */
} PostgresBlame;

/* All-zero: there was no refusal. */
typedef struct PostgresFailure {
    char sqlstate[6]; /* "": the connection failed, not the statement */
    PostgresBlame blame;
    bool is_fatal;    /* the server ended the session with it */
    uint64_t line;    /* of COPY's input, from 1; 0: unknown. A hint: see postgres_load.c */
    char reason[480]; /* the server's words */
    /* What the server names as concerned; "" where it names none. */
    char schema[POSTGRES_NAME_BYTES_MOST + 1], table[POSTGRES_NAME_BYTES_MOST + 1], column[POSTGRES_NAME_BYTES_MOST + 1];
} PostgresFailure;

void postgres_failure_init(PostgresFailure *failure, const PGresult *refusal);
/* Not SINK_DONE. */
SinkResult postgres_failure_result(const PostgresFailure *failure);
/* For texts: without the newlines and spaces at its end. */
void postgres_trim(char *text);
