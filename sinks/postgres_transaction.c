#include "sinks/postgres_transaction.h"

#include <errno.h>
#include <libpq-fe.h>
#include <string.h>

SinkResult postgres_begin(PostgresSession *session, bool with_positions, const char *sql, PGresult **ret_result, Error *error) {
    check(postgres_session_is(session, POSTGRES_IDLE));
    Buffer text = {0};
    buffer_append_text(&text, "BEGIN ISOLATION LEVEL READ COMMITTED; ");
    postgres_put_settings(&text, session);
    if (with_positions) buffer_append_text(&text, "SET LOCAL idle_in_transaction_session_timeout = '" POSTGRES_POSITIONS_IDLE "'; ");
    buffer_append_text(&text, sql);
    SinkResult result = postgres_run(session, session->silence_limit, buffer_text(&text), 0, NULL, ret_result, error);
    buffer_deinit(&text);
    return result;
}

SinkResult postgres_begin_watched(PostgresSession *session, bool with_positions, usec_t patience, Error *error) {
    static const char sql[] = "SET CONSTRAINTS ALL IMMEDIATE; SELECT pg_catalog.pg_backend_pid(), pg_catalog.now()";
    PGresult *answer = NULL;
    SinkResult result = postgres_begin(session, with_positions, sql, &answer, error);
    if (result == SINK_DONE) result = postgres_expect(session, &answer, 1, 2, error);
    if (result != SINK_DONE) return result;
    if (session->progress)
        postgres_session_watch(session, PQgetvalue(answer, 0, 0), PQgetvalue(answer, 0, 1), patience ? patience : USEC_MINUTE);
    PQclear(answer);
    return SINK_DONE;
}

SinkResult postgres_commit(PostgresSession *session, const char *what, Error *error) {
    check(postgres_session_is(session, POSTGRES_TRANSACTION));
    PGresult *answer = NULL;
    SinkResult result = postgres_run(session, session->statement_limit, "COMMIT", 0, NULL, &answer, error);
    if (result == SINK_DONE && strcmp(PQcmdStatus(answer), "COMMIT") != 0) {
        /* COMMIT of a transaction that has failed succeeds, as ROLLBACK. */
        (void)error_set(error, -EIO, "The server answered COMMIT with %s; nothing was changed.", PQcmdStatus(answer));
        result = SINK_RETRY;
    } else if (session->is_broken) {
        (void)error_prefix(error, "It is unknown whether the %s was committed; the next try will show it", what);
        result = SINK_RETRY;
    }
    PQclear(answer);
    return result;
}

void postgres_roll_back(PostgresSession *session) {
    if (session->is_broken || PQtransactionStatus(session->connection) == PQTRANS_IDLE) return;
    if (postgres_run(session, session->silence_limit, "ROLLBACK", 0, NULL, NULL, NULL) != SINK_DONE && !session->is_broken)
        postgres_session_break(session);
}
