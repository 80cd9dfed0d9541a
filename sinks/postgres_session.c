#include "sinks/postgres_session.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/log.h"
#include "base/text.h"
#include "sinks/postgres_connect.h"
#include "sinks/postgres_probe.h"

#define SILENCE_LIMIT (60 * USEC_SECOND)
#define STATEMENT_LIMIT (15 * USEC_MINUTE)     /* of an import whose job does not say */
#define SERVER_LIMIT_MAX (INT32_MAX * USEC_MS) /* PostgreSQL counts its limits as 32-bit milliseconds */
#define DDL_TRIES_MAX 5
#define WAIT_TURN USEC_SECOND
#define PROBE_INTERVAL_MIN (100 * USEC_MS)
#define PROBE_INTERVAL_MAX (10 * USEC_SECOND)
#define COPY_PIECE_BYTES ((size_t)256 << 10)

static int errno_of(SinkResult result) {
    switch (result) {
    case SINK_RETRY: return -EAGAIN;
    case SINK_UNREACHABLE: return -ECONNRESET;
    case SINK_REFUSED:
    case SINK_DONE: return -EINVAL;
    }
    unreachable();
}

static usec_t now(void) {
    return clock_system()->boot(clock_system());
}

/* Notices of triggers and DDL are nobody's to read. */
static void drop_notice(void *context, const PGresult *result) {
}

usec_t postgres_server_limit(const PostgresSession *session) {
    usec_t limit = session->statement_limit - session->statement_limit / 16;
    return limit < SERVER_LIMIT_MAX ? limit : SERVER_LIMIT_MAX;
}

void postgres_put_settings(Buffer *out, const PostgresSession *session) {
    buffer_printf(out,
                  "SET LOCAL synchronous_commit = on; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres';"
                  " SET LOCAL xmloption = 'content'; SET LOCAL array_nulls = on; SET LOCAL TimeZone = 'UTC';"
                  " SET LOCAL standard_conforming_strings = on; SET LOCAL row_security = on; SET LOCAL client_min_messages = error;"
                  " SET LOCAL statement_timeout = %lld;"
                  " SET LOCAL lock_timeout = %d; SET LOCAL idle_in_transaction_session_timeout = '5min'; ",
                  (long long)(postgres_server_limit(session) / USEC_MS), POSTGRES_LOCK_MS);
    /* So that a server that works for a client that is gone notices it. */
    if (session->can_check_client) buffer_append_text(out, "SET LOCAL client_connection_check_interval = '5s'; ");
}

char *postgres_split_name(const char *id, const char **ret_table) {
    const char *dot = strrchr(id, '.');
    char *schema = dot ? strndup(id, (size_t)(dot - id)) : strdup("public");
    check(schema);
    *ret_table = dot ? dot + 1 : id;
    return schema;
}

static void split_name(const char *id, char **ret_schema, char **ret_table) {
    const char *table;
    *ret_schema = postgres_split_name(id, &table);
    *ret_table = text_copy(table);
}

SinkResult postgres_session_open(const Connection *connection, const char *data_directory, const char *application_name,
                                 const SinkPatience *patience, PostgresSession **ret_session, SinkFault *ret_fault, Error *error) {
    PGconn *libpq = NULL;
    const char *ledger = connection_effective(connection, "ledgerTable"), *positions = connection_effective(connection, "positionsTable");
    SinkResult result = postgres_connect(connection, data_directory, application_name, patience, &libpq, ret_fault, error);
    if (result != SINK_DONE) return result;
    (void)PQsetNoticeReceiver(libpq, drop_notice, NULL);
    PostgresSession *session = calloc(1, sizeof *session);
    check(session);
    *session = (PostgresSession){.connection = libpq,
                                 .name = strdup(connection->name),
                                 .patience = patience,
                                 .silence_limit = SILENCE_LIMIT,
                                 .statement_limit = STATEMENT_LIMIT,
                                 .turn = WAIT_TURN};
    check(session->name);
    split_name(ledger, &session->ledger_schema, &session->ledger_table);
    split_name(positions, &session->positions_schema, &session->positions_table);
    split_name(connection_effective(connection, "columnsTable"), &session->columns_schema, &session->columns_table);
    *ret_session = session;
    return SINK_DONE;
}

static void end_probe(PostgresSession *session) {
    postgres_probe_free(session->probe);
    session->probe = NULL;
}

void postgres_session_watch(PostgresSession *session, const char *pid, const char *began, usec_t patience) {
    check(postgres_session_is(session, POSTGRES_TRANSACTION) && patience > 0);
    usec_t interval = patience / 5;
    if (interval > PROBE_INTERVAL_MAX) interval = PROBE_INTERVAL_MAX;
    if (interval < PROBE_INTERVAL_MIN) interval = PROBE_INTERVAL_MIN;
    end_probe(session);
    session->probe = postgres_probe_new(session->connection, pid, began, interval);
    session->turn = interval < WAIT_TURN ? interval : WAIT_TURN;
}

void postgres_session_unwatch(PostgresSession *session) {
    end_probe(session);
}

void postgres_session_break(PostgresSession *session) {
    end_probe(session);
    PQfinish(session->connection);
    session->connection = NULL;
    session->is_broken = true;
    check(!session->probe);
}

void postgres_session_free(PostgresSession *session) {
    if (!session) return;
    end_probe(session);
    PQfinish(session->connection);
    free(session->name);
    free(session->ledger_schema);
    free(session->ledger_table);
    free(session->positions_schema);
    free(session->positions_table);
    free(session->columns_schema);
    free(session->columns_table);
    free(session);
}

bool postgres_session_is(const PostgresSession *session, PostgresState state) {
    if (session->is_broken || PQstatus(session->connection) == CONNECTION_BAD) return true;
    switch (PQtransactionStatus(session->connection)) {
    case PQTRANS_IDLE: return state == POSTGRES_IDLE;
    case PQTRANS_INTRANS:
    case PQTRANS_INERROR: return state == POSTGRES_TRANSACTION;
    case PQTRANS_ACTIVE: return state == POSTGRES_COPYING;
    case PQTRANS_UNKNOWN: return true;
    }
    unreachable();
}

/* ---- waiting ---- */

static SinkResult broken(PostgresSession *session, Error *error) {
    session->failure = (PostgresFailure){0};
    (void)error_set(error, -ENOTCONN, "Connection \"%s\" was lost; it must be opened again.", session->name);
    return SINK_UNREACHABLE;
}

/* The session has ended. A kept one that had not answered yet died while it was idle: that says
 * nothing about a fresh one. */
static SinkResult ended(PostgresSession *session, SinkResult result, Error *error) {
    if (!session->is_broken) postgres_session_break(session);
    if (!session->is_used || session->has_answered) return result;
    if (error) error->code = -ESTALE;
    return SINK_RETRY;
}

static SinkResult lost(PostgresSession *session, Error *error) {
    check(session->connection && !session->is_broken);
    session->failure = (PostgresFailure){0};
    char words[600], sqlstate[6];
    postgres_connection_words(session->connection, sizeof words, words, sqlstate);
    (void)error_set(error, -ECONNRESET, "Connection \"%s\" was lost: %s", session->name, words);
    return ended(session, SINK_UNREACHABLE, error);
}

/* Takes what the server said unasked: a notice, a changed parameter, or that it ends the session.
 * false: it has ended. */
static bool is_alive(PostgresSession *session) {
    struct pollfd poller = {.fd = PQsocket(session->connection), .events = POLLIN};
    while (poll(&poller, 1, 0) > 0) {
        if (!PQconsumeInput(session->connection) || PQstatus(session->connection) != CONNECTION_OK) return false;
        (void)PQisBusy(session->connection); /* parses it */
        for (PGnotify *notification; (notification = PQnotifies(session->connection));) PQfreemem(notification);
    }
    return true;
}

/* A server refuses every interval but 0 where its operating system cannot tell that a peer is gone,
 * and its settings do not say so. What is asked here ends with the statement. */
static SinkResult find_out_client_check(PostgresSession *session, Error *error) {
    if (PQserverVersion(session->connection) < 140000) return SINK_DONE;
    const char *sql = "SELECT pg_catalog.set_config('client_connection_check_interval', '5s', true)";
    SinkResult result = postgres_run(session, session->silence_limit, sql, 0, NULL, NULL, error);
    if (session->is_broken) return result;
    session->failure = (PostgresFailure){0};
    session->has_tried_check = result == SINK_DONE || result == SINK_REFUSED;
    session->can_check_client = result == SINK_DONE;
    return SINK_DONE;
}

SinkResult postgres_session_use(PostgresSession *session, Error *error) {
    if (session->is_broken) return broken(session, error);
    check(!session->progress && !session->probe);
    check(postgres_session_is(session, POSTGRES_IDLE));
    session->is_used = session->is_used || session->has_answered;
    session->has_answered = false;
    if (!is_alive(session)) return lost(session, error);
    return session->has_tried_check ? SINK_DONE : find_out_client_check(session, error);
}

/* Runs `sql` (several statements, no values) with the settings of a transaction. Without a BEGIN in
 * front, all of it is one transaction. */
static SinkResult run_locally(PostgresSession *session, const char *sql, Error *error) {
    Buffer text = {0};
    check(postgres_session_is(session, POSTGRES_IDLE)); /* the settings would end with the wrong transaction */
    postgres_put_settings(&text, session);
    buffer_append_text(&text, sql);
    SinkResult result = postgres_run(session, session->silence_limit, buffer_text(&text), 0, NULL, NULL, error);
    buffer_deinit(&text);
    return result;
}

SinkResult postgres_run_ddl(PostgresSession *session, const char *sql, Error *error) {
    Buffer text = {0};
    log_info("connection %s: %s", session->name, sql);
    buffer_printf(&text, "SET LOCAL lock_timeout = %d; %s", POSTGRES_BRIEF_LOCK_MS, sql);
    SinkResult result = SINK_RETRY;
    for (int tries = 0; tries < DDL_TRIES_MAX && result != SINK_DONE; tries++) {
        result = run_locally(session, buffer_text(&text), error);
        if (result != SINK_DONE && strcmp(session->failure.sqlstate, "55P03") != 0) break;
    }
    buffer_deinit(&text);
    return result;
}

/* Waits for the session's socket and for that of its probe. < 0: -errno, -ECANCELED when the patience is over; > 0: the session's is ready, for
 * *ret_events; 0: look around. */
static int wait_a_turn(const PostgresSession *session, short events, usec_t deadline, short *ret_events) {
    struct pollfd pollers[2] = {{.fd = PQsocket(session->connection), .events = events}, {.fd = -1}};
    if (session->probe) pollers[1].fd = postgres_probe_descriptor(session->probe, &pollers[1].events);
    usec_t end = now() + session->turn;
    if (end > deadline) end = deadline;
    for (;;) {
        usec_t left = end - now(), wait = left > 0 ? left : 0;
        if (session->patience && wait > SINK_PATIENCE_TURN) wait = SINK_PATIENCE_TURN;
        int r = poll(pollers, 2, (int)((wait + USEC_MS - 1) / USEC_MS));
        if (r < 0) return errno == EINTR ? 0 : -errno;
        *ret_events = pollers[0].revents;
        if (pollers[0].revents != 0) return 1;
        if (sink_patience_is_over(session->patience)) return -ECANCELED;
        if (r > 0 || wait >= left) return 0;
    }
}

static SinkResult interrupted(PostgresSession *session, Error *error) {
    check((session->progress || session->patience) && !session->is_broken);
    bool deaf = session->probe && postgres_probe_is_deaf(session->probe, now());
    const char *refusal = deaf ? postgres_probe_refusal(session->probe) : "";
    if (refusal[0])
        (void)error_set(error, -ECONNREFUSED, "The server accepts no second session, so it is unknown whether it works: %s", refusal);
    else
        (void)error_set(error, deaf ? -ETIMEDOUT : -ECANCELED,
                        deaf                ? "The server does not answer."
                        : session->progress ? "The import was interrupted."
                                            : "The wait for the server was given up.");
    postgres_session_break(session);
    return deaf ? SINK_UNREACHABLE : SINK_RETRY;
}

/* `has_spoken`: the server has sent something. true: give up. */
static bool look_around(PostgresSession *session, bool has_spoken) {
    session->looked = now();
    bool working = session->probe && postgres_probe_step(session->probe, session->looked);
    return session->progress && session->progress(session->progress_context, session->rows_done, working || has_spoken);
}

/* Waits until the socket can do one of `events`, at most until `deadline`. Looks around each turn,
 * also while the socket is always ready: a server that sends notices must not keep this side from
 * that. Not SINK_DONE: the session is broken. */
static SinkResult wait_for(PostgresSession *session, short events, usec_t deadline, short *ret_events, Error *error) {
    for (;;) {
        if (now() >= deadline) {
            session->failure = (PostgresFailure){0};
            (void)error_set(error, -ETIMEDOUT, "Connection \"%s\": the server made no progress in time, so the connection was closed.",
                            session->name);
            return ended(session, SINK_UNREACHABLE, error);
        }
        short ready = 0;
        int r = wait_a_turn(session, events, deadline, &ready);
        if (r < 0) {
            session->failure = (PostgresFailure){0};
            if (r == -ECANCELED) return interrupted(session, error);
            (void)error_set(error, r, "Connection \"%s\": poll failed: %s.", session->name, strerrordesc_np(-r));
            return ended(session, SINK_UNREACHABLE, error);
        }
        bool turn_is_over = r == 0 || now() - session->looked >= session->turn;
        if (turn_is_over && (look_around(session, (ready & POLLIN) != 0) || sink_patience_is_over(session->patience))) {
            session->failure = (PostgresFailure){0};
            return interrupted(session, error);
        }
        if (r == 0) continue;
        if (ret_events) *ret_events = ready;
        return SINK_DONE;
    }
}

/* Sends what libpq has buffered. The limit counts from the last byte that the server took: while
 * rows flow it may be at work on one for long. */
static SinkResult flush(PostgresSession *session, Error *error) {
    check(session->connection && !session->is_broken);
    usec_t limit = session->progress ? session->statement_limit : session->silence_limit, deadline = now() + limit;
    for (;;) {
        int r = PQflush(session->connection);
        if (r == 0) return SINK_DONE;
        if (r < 0) return lost(session, error);
        short events;
        SinkResult result = wait_for(session, POLLIN | POLLOUT, deadline, &events, error);
        if (result != SINK_DONE) return result;
        /* The server may be stuck in telling us something. */
        if ((events & ~POLLOUT) != 0 && !PQconsumeInput(session->connection)) return lost(session, error);
        if ((events & POLLOUT) != 0) deadline = now() + limit;
    }
}

/* The other side does not do what PostgreSQL does: it is something else, or something between
 * changes what is said. No session with it can be trusted, and what it says must not reach an
 * invariant of ours. */
static SinkResult surprised(PostgresSession *session, const char *by_what, Error *error) {
    session->failure = (PostgresFailure){0};
    (void)error_set(error, -EPROTO, "Connection \"%s\": the server does not behave like PostgreSQL: %s.", session->name, by_what);
    return ended(session, SINK_UNREACHABLE, error);
}

/* Does the session's state follow from the statement and how it ended? */
static bool state_fits(const PostgresSession *session, PostgresState before, const char *sql, bool succeeded) {
    if (strncmp(sql, "BEGIN", 5) == 0)
        return postgres_session_is(session, POSTGRES_TRANSACTION) || (!succeeded && postgres_session_is(session, POSTGRES_IDLE));
    if (strcmp(sql, "COMMIT") == 0 || strcmp(sql, "ROLLBACK") == 0) return !succeeded || postgres_session_is(session, POSTGRES_IDLE);
    bool copies = succeeded && strstr(sql, " FROM STDIN ");
    return postgres_session_is(session, copies ? POSTGRES_COPYING : before);
}

SinkResult postgres_expect(PostgresSession *session, PGresult **answer, int rows_min, int columns, Error *error) {
    if (PQntuples(*answer) >= rows_min && (PQntuples(*answer) == 0 || PQnfields(*answer) == columns)) return SINK_DONE;
    PQclear(*answer);
    *answer = NULL;
    return surprised(session, "an answer lacks rows or columns that were asked for", error);
}

/* Collects the results of what was sent: the first failure, else the last result. */
static SinkResult collect(PostgresSession *session, usec_t limit, PGresult **ret_result, Error *error) {
    PGresult *last = NULL;
    bool failed = false;
    check(session->connection && !session->is_broken && limit > 0);
    usec_t deadline = now() + limit;
    for (;;) {
        while (PQisBusy(session->connection)) {
            SinkResult result = wait_for(session, POLLIN, deadline, NULL, error);
            if (result == SINK_DONE && !PQconsumeInput(session->connection)) {
                /* What the server said before it went is worth more than that it went. */
                if (PQisBusy(session->connection)) result = lost(session, error);
            }
            if (result != SINK_DONE) {
                PQclear(last);
                return result;
            }
        }
        PGresult *next = PQgetResult(session->connection);
        if (!next) break;
        ExecStatusType status = PQresultStatus(next);
        if (status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) { /* comes again and again until its rows are read */
            PQclear(next);
            PQclear(last);
            return surprised(session, "it sends rows where none were asked for", error);
        }
        bool is_good = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_COPY_IN;
        if (!is_good && !failed) postgres_failure_init(&session->failure, next);
        if (!is_good) failed = true;
        PQclear(last);
        last = next;
        if (status == PGRES_COPY_IN) break;
    }
    if (failed) {
        PQclear(last);
        /* The connection was cut behind the refusal of a statement: that, too, may be tried again. */
        if (!session->failure.is_fatal && PQstatus(session->connection) == CONNECTION_BAD) return lost(session, error);
        SinkResult result = postgres_failure_result(&session->failure);
        (void)error_set(error, errno_of(result), "Connection \"%s\": %.*s%s%s%s", session->name, (int)session->failure.words,
                        session->failure.reason, session->failure.sqlstate[0] ? " (" : "", session->failure.sqlstate,
                        session->failure.sqlstate[0] ? ")" : "");
        if (session->failure.is_fatal) return ended(session, result, error);
        session->has_answered = true;
        return result;
    }
    if (!last) return lost(session, error);
    session->has_answered = true;
    if (ret_result)
        *ret_result = last;
    else
        PQclear(last);
    return SINK_DONE;
}

SinkResult postgres_run(PostgresSession *session, usec_t limit, const char *sql, size_t count, const char *const *values,
                        PGresult **ret_result, Error *error) {
    if (session->is_broken) return broken(session, error);
    PostgresState before = postgres_session_is(session, POSTGRES_IDLE) ? POSTGRES_IDLE : POSTGRES_TRANSACTION;
    check(postgres_session_is(session, before));
    session->failure = (PostgresFailure){0};
    int sent = count > 0 ? PQsendQueryParams(session->connection, sql, (int)count, NULL, values, NULL, NULL, 0)
                         : PQsendQuery(session->connection, sql);
    if (!sent) return lost(session, error);
    SinkResult result = flush(session, error);
    if (result == SINK_DONE) result = collect(session, limit, ret_result, error);
    if (session->is_broken || state_fits(session, before, sql, result == SINK_DONE)) return result;
    if (result == SINK_DONE && ret_result) {
        PQclear(*ret_result);
        *ret_result = NULL;
    }
    return surprised(session, "a statement left the session in a state that it cannot be in", error);
}

SinkResult postgres_copy_put(PostgresSession *session, Span csv, Error *error) {
    if (session->is_broken) return broken(session, error);
    check(postgres_session_is(session, POSTGRES_COPYING));
    while (csv.size > 0) {
        size_t piece = csv.size < COPY_PIECE_BYTES ? csv.size : COPY_PIECE_BYTES;
        int r = PQputCopyData(session->connection, csv.data, (int)piece);
        if (r < 0) return lost(session, error);
        SinkResult result = flush(session, error);
        if (result != SINK_DONE) return result;
        if (r == 0) continue; /* its buffer was full */
        csv.data += piece;
        csv.size -= piece;
    }
    return SINK_DONE;
}

bool postgres_copy_has_answer(PostgresSession *session) {
    if (session->is_broken) return true;
    check(postgres_session_is(session, POSTGRES_COPYING));
    struct pollfd poller = {.fd = PQsocket(session->connection), .events = POLLIN};
    return poll(&poller, 1, 0) > 0;
}

/* `why`: NULL, or the server is to refuse it all. */
static SinkResult end_copy(PostgresSession *session, const char *why, uint64_t *ret_rows, Error *error) {
    if (session->is_broken) return broken(session, error);
    check(postgres_session_is(session, POSTGRES_COPYING));
    session->failure = (PostgresFailure){0};
    int r;
    while ((r = PQputCopyEnd(session->connection, why)) == 0) {
        SinkResult result = flush(session, error);
        if (result != SINK_DONE) return result;
    }
    if (r < 0) return lost(session, error);
    SinkResult result = flush(session, error);
    PGresult *answer = NULL;
    if (result == SINK_DONE) result = collect(session, session->statement_limit, &answer, error);
    if (!postgres_session_is(session, POSTGRES_TRANSACTION)) {
        PQclear(answer);
        return surprised(session, "the end of a COPY left the session in a state that it cannot be in", error);
    }
    if (result != SINK_DONE) return result;
    *ret_rows = strtoull(PQcmdTuples(answer), NULL, 10);
    PQclear(answer);
    return SINK_DONE;
}

SinkResult postgres_copy_end(PostgresSession *session, uint64_t *ret_rows, Error *error) {
    return end_copy(session, NULL, ret_rows, error);
}

void postgres_copy_cancel(PostgresSession *session) {
    uint64_t rows;
    (void)end_copy(session, "more rows do not fit than an import may refuse", &rows, NULL);
    session->failure = (PostgresFailure){0};
}
