/* PostgreSQL: the transactions of the driver, their beginning and their end. */
#pragma once

#include "sinks/postgres_session.h"

#define POSTGRES_POSITIONS_IDLE "10s" /* how long a client may pause within a transaction that sets positions */

/* READ COMMITTED: what another session commits meanwhile must be seen. With our settings; `sql` (statements, or "") comes behind them and gives
 * *ret_result (NULL: not wanted). `with_positions`: this side may hold locks that others wait for, so it must not be slow. */
SinkResult postgres_begin(PostgresSession *session, bool with_positions, const char *sql, PGresult **ret_result, Error *error);
/*
 * The same for a transaction that may take long: while it waits, the session keeps an eye on the
 * server, if it has somebody who asks (progress). Constraints are checked at once: a deferred one
 * must refuse its row while it can be told what was refused. `patience`: how long there may be no
 * sign of work; 0: a minute. The caller has the session unwatched at the end.
 */
SinkResult postgres_begin_watched(PostgresSession *session, bool with_positions, usec_t patience, Error *error);
/* SINK_RETRY also when it is unknown whether it was committed. `what`: "import". */
SinkResult postgres_commit(PostgresSession *session, const char *what, Error *error);
/* After a failure, or when nothing was to be done; the session is given up when it cannot be rolled
 * back. */
void postgres_roll_back(PostgresSession *session);
