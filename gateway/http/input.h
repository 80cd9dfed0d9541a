/* The callbacks of sockets in front of the library's (input.c has the whole). Loop thread only. */
#pragma once

#include "gateway/http/parts.h"

/* Large input is counted, and held against the budget, before anything more is read. */
void http_loop_on_read(h2o_socket_t *socket, const char *err);
/* An answer is being written: http_loop_on_read is called again for what comes after it. */
void http_connection_answered(h2o_req_t *request);
/* The request is with the handler, which is done with its bytes: what comes meanwhile is read once,
 * so that the library need not stop. */
void http_connection_parked(HttpConnection *connection);
