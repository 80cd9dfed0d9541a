/* Opens a connection of libpq, non-blocking, as its definition says: the password from its file, a
 * limit of time, what went wrong. Any thread. */
#pragma once

#include "sinks/driver.h"

typedef struct pg_conn PGconn;

/* As postgres_session_open (postgres_session.h); *ret_libpq is the caller's to finish. */
SinkResult postgres_connect(const Connection *connection, const char *data_directory, const char *application_name,
                            const SinkPatience *patience, PGconn **ret_libpq, SinkFault *ret_fault, Error *error);
