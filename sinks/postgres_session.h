/*
 * One connection to a PostgreSQL server, never blocking without a limit: libpq in non-blocking mode
 * under poll(2). While it waits it asks `patience` several times a second, and `progress` once, and
 * says whether the server was seen at work (postgres_probe.h) or sent anything. After
 * SINK_UNREACHABLE, an interruption or a lost connection the session is only fit for disconnecting;
 * every call says so with SINK_UNREACHABLE. One thread at a time.
 *
 * A session may go through a pooler that gives each transaction another server connection
 * (PgBouncer with pool_mode=transaction). So nothing of ours outlives a transaction there: settings
 * are SET LOCAL, the temporary table is dropped at COMMIT, statements have no names, advisory locks
 * are those of a transaction, and there is no LISTEN and no WITH HOLD.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"
#include "config/connection.h"
#include "sinks/driver.h"
#include "sinks/postgres_failure.h"

typedef struct pg_conn PGconn;

#define POSTGRES_LOCK_MS 10000 /* what a statement may wait for a lock */
#define POSTGRES_BRIEF_LOCK_MS 2000

typedef struct PostgresSession {
    PGconn *connection;
    char *name;          /* of the connection, for texts */
    char *ledger_schema; /* of the ledger */
    char *ledger_table;
    char *positions_schema; /* of the table of positions */
    char *positions_table;
    char *columns_schema; /* of the map of columns */
    char *columns_table;
    usec_t silence_limit;    /* for short statements */
    usec_t statement_limit;  /* for statements that the server may work on for long without a word, and for rows that it does not take */
    usec_t turn;             /* while it waits: how often it looks around */
    usec_t looked;           /* boot: when it did so last */
    PostgresFailure failure; /* of the last call; all-zero when it was SINK_DONE or this side gave up */
    bool (*progress)(void *context, uint64_t rows_done, bool working); /* NULL outside an import; true: give up */
    void *progress_context;
    const SinkPatience *patience; /* borrowed; NULL: none */
    uint64_t rows_done;           /* for progress */
    struct PostgresProbe *probe;  /* looks whether the server works for us; NULL outside an import's transaction */
    bool is_used;                 /* a call of the driver before this one was answered: the session was kept */
    bool has_answered;            /* a statement of this call was answered */
    bool is_broken;
    bool has_tried_check;
    bool can_check_client; /* the server takes client_connection_check_interval; the first call of the driver tries */
} PostgresSession;

/* `ret_fault` (NULL: not wanted) is set when it is not SINK_DONE. */
SinkResult postgres_session_open(const Connection *connection, const char *data_directory, const char *application_name,
                                 const SinkPatience *patience, PostgresSession **ret_session, SinkFault *ret_fault, Error *error);
void postgres_session_free(PostgresSession *session); /* NULL-safe */

/*
 * Begins a call of the driver: looks whether the session has died while it was idle. Until a
 * statement of the call is answered, the end of a kept session is SINK_RETRY with -ESTALE: a fresh
 * session may do the same at once.
 */
SinkResult postgres_session_use(PostgresSession *session, Error *error);

/*
 * Runs `sql`; with values (text, NULL for NULL) as $1…, without (count 0) it may be several
 * statements. Ends with the last statement's result, also in *ret_result (NULL: not wanted;
 * PQclear). `limit` is silence_limit or statement_limit. A COPY … FROM STDIN at the end leaves the
 * session waiting for rows.
 */
SinkResult postgres_run(PostgresSession *session, usec_t limit, const char *sql, size_t count, const char *const *values,
                        PGresult **ret_result, Error *error);

/* The server's own limit of a statement: a little less than this side's, so that the server can say
 * it. */
usec_t postgres_server_limit(const PostgresSession *session);
/*
 * "SET LOCAL …; …; ": what a transaction of ours must run with, whatever the role, the database or
 * another client of a pooler has set. SET LOCAL, since behind a transaction pooler the next
 * transaction may run on another server connection, and this one belongs to the next client.
 */
void postgres_put_settings(Buffer *out, const PostgresSession *session);

/* Runs a statement that changes objects, with the settings of a transaction: it waits for a lock
 * for 2 s at most, since whoever wants the table then waits behind it, and tries again a few
 * times. */
SinkResult postgres_run_ddl(PostgresSession *session, const char *sql, Error *error);

/* For who reads cells of an answer: it has so many rows at least, and so many columns. Else the
 * session is broken and *answer cleared. */
SinkResult postgres_expect(PostgresSession *session, PGresult **answer, int rows_min, int columns, Error *error);

/* Sends a piece of COPY input. */
SinkResult postgres_copy_put(PostgresSession *session, Span csv, Error *error);
/* Has the server said something while the rows flow (most often: that it refused one)? End the COPY
 * then; the answer tells. */
bool postgres_copy_has_answer(PostgresSession *session);
/* Ends the input; *ret_rows is what the server counted. */
SinkResult postgres_copy_end(PostgresSession *session, uint64_t *ret_rows, Error *error);
/* Ends the input so that the server throws its rows away: the transaction has failed then, and can
 * only be rolled back. */
void postgres_copy_cancel(PostgresSession *session);

/* From now on, while it waits, the session looks whether the server works: its open transaction
 * began at `began` (text of now()) in the backend `pid` (text). `patience`: how long there may be
 * no sign of it. */
void postgres_session_watch(PostgresSession *session, const char *pid, const char *began, usec_t patience);
void postgres_session_unwatch(PostgresSession *session);

typedef enum PostgresState {
    POSTGRES_IDLE,        /* no transaction is open */
    POSTGRES_TRANSACTION, /* one is open, failed or not, and no statement runs */
    POSTGRES_COPYING,     /* the server waits for rows */
} PostgresState;
/* Is this the state of the session, as far as this side knows? True also of one that is lost: what
 * is called next says so. */
bool postgres_session_is(const PostgresSession *session, PostgresState state);

/* Closes the connection: the server rolls back what is open. */
void postgres_session_break(PostgresSession *session);

/* "sluice.files": the schema up to the last dot, free(); without a dot it is public. *ret_table
 * points into the id. */
char *postgres_split_name(const char *id, const char **ret_table);
