/*
 * One connection to a PostgreSQL server, never blocking without a limit: libpq in non-blocking mode under poll(2). While it waits it
 * asks `progress` once a second, and says whether the server was seen at work (postgres_probe.h). After SINK_UNREACHABLE, an interruption or a lost connection the session is only fit for
 * disconnecting; every call says so with SINK_UNREACHABLE. One thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"
#include "config/connection.h"
#include "sinks/driver.h"

typedef struct pg_conn PGconn;
typedef struct pg_result PGresult;

/* Why the server refused the last statement. */
typedef struct PostgresFailure {
    char sqlstate[6]; /* "": the connection failed, not the statement */
    bool is_bad_data; /* the rows are at fault, others may go through */
    uint64_t line;    /* of COPY's input, from 1; 0: unknown. A hint: see postgres_load.c */
    char reason[480]; /* the server's words */
} PostgresFailure;

typedef struct PostgresSession {
    PGconn *connection;
    char *name;          /* of the connection, for texts */
    char *ledger_schema; /* of the ledger */
    char *ledger_table;
    usec_t silence_limit;    /* for short statements */
    usec_t statement_limit;  /* for statements that the server may work on for long without a word, and for rows that it does not take */
    usec_t turn;             /* while it waits: how often it looks around */
    PostgresFailure failure; /* of the last call; all-zero when it was SINK_DONE or this side gave up */
    bool (*progress)(void *context, uint64_t rows_done, bool working); /* NULL outside an import; true: give up */
    void *progress_context;
    uint64_t rows_done;          /* for progress */
    struct PostgresProbe *probe; /* looks whether the server works for us; NULL outside an import's transaction */
    bool is_broken;
} PostgresSession;

SinkResult postgres_session_open(const Connection *connection, const char *data_directory, const char *application_name,
                                 PostgresSession **ret_session, Error *error);
void postgres_session_free(PostgresSession *session); /* NULL-safe */

/*
 * Runs `sql`; with values (text, NULL for NULL) as $1…, without (count 0) it may be several statements. Ends with the last statement's
 * result, also in *ret_result (NULL: not wanted; PQclear). `limit` is silence_limit or statement_limit.
 * A COPY … FROM STDIN at the end leaves the session waiting for rows.
 */
SinkResult postgres_run(PostgresSession *session, usec_t limit, const char *sql, size_t count, const char *const *values,
                        PGresult **ret_result, Error *error);

/* Sends a piece of COPY input. */
SinkResult postgres_copy_put(PostgresSession *session, Span csv, Error *error);
/* Has the server said something while the rows flow (most often: that it refused one)? End the COPY then; the answer tells. */
bool postgres_copy_has_answer(PostgresSession *session);
/* Ends the input; *ret_rows is what the server counted. */
SinkResult postgres_copy_end(PostgresSession *session, uint64_t *ret_rows, Error *error);

/* From now on, while it waits, the session looks whether the server works: its open transaction began at `began` (text of now()) in the backend
 * `pid` (text). `patience`: how long there may be no sign of it. */
void postgres_session_watch(PostgresSession *session, const char *pid, const char *began, usec_t patience);
void postgres_session_unwatch(PostgresSession *session);

/* Closes the connection: the server rolls back what is open. */
void postgres_session_break(PostgresSession *session);
