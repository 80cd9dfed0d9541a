/* What a stop does with a connection (shutdown.c has the whole). Loop thread only. */
#pragma once

#include "gateway/http/parts.h"

/* true: it was ended. */
bool http_connection_drain(HttpConnection *connection, ConnectionState state, usec_t now);
/* How long an answer may wait without progress during a drain. */
usec_t http_drain_patience(const HttpLoop *loop);
