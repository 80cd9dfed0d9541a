/*
 * What PostgreSQL said when it refused a statement, and what that means: for the whole import (a
 * SinkResult), and for the search for bad rows (whether one row can be to blame). Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "sinks/driver.h"

typedef struct pg_result PGresult;
typedef struct pg_conn PGconn;

#define POSTGRES_NAME_BYTES_MAX 63 /* NAMEDATALEN less the NUL */

/* Can one row be at fault when a statement that carried rows failed this way, and the same
 * statement goes through without rows? */
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
    char reason[480]; /* the server's words, and the key that they are about, which is for rejects only */
    size_t words;     /* bytes of them alone: the log and the status show no values */
    /* What the server names as concerned; "" where it names none. */
    char schema[POSTGRES_NAME_BYTES_MAX + 1], table[POSTGRES_NAME_BYTES_MAX + 1], column[POSTGRES_NAME_BYTES_MAX + 1];
} PostgresFailure;

void postgres_failure_init(PostgresFailure *failure, const PGresult *refusal);
/* Sets sqlstate, reason and words only. `detail`: NULL or "": none. */
void postgres_failure_say(PostgresFailure *failure, const char *sqlstate, const char *words, const char *detail);
/* Of a failure that left the session alive. `function`: of the server's source, which said so;
 * NULL: unknown. Pure. */
PostgresBlame postgres_blame_of(const char *sqlstate, const char *function);
/* Not SINK_DONE. */
SinkResult postgres_failure_result(const PostgresFailure *failure);
/* libpq does not write passwords into its messages; this makes sure. */
void postgres_hide(char *text, const char *secret);
/*
 * Why the connection failed, trimmed and without its password; NULL: there was no memory for one.
 * The SQLSTATE of a refused login, when the connection's verbosity is PQERRORS_VERBOSE; "": no
 * server said anything.
 */
void postgres_connection_words(PGconn *connection, size_t size, char *out, char ret_sqlstate[static 6]);
/*
 * Is a server that refuses a second session with this SQLSTATE alive and well, so that it may be at
 * work for the first one? Only if it lacks resources (class 53: most often its connections are used
 * up). One that does not admit the role any more (28), that starts, stops or recovers (57), that
 * does not know the database (3D): all of these prove nothing about the first session, and a fresh
 * one would be refused as well. A pooler says everything with 08, and then it lives, as in the case
 * that it lets a session wait.
 */
bool postgres_refusal_is_life(const char *sqlstate, bool is_pooled);
