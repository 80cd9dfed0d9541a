/* The sweep over a loop's connections (sweep.c has the whole). Loop thread only. */
#pragma once

#include "gateway/http/parts.h"

void http_loop_sweep(HttpLoop *loop, usec_t now);
bool http_loop_sweep_due(const HttpLoop *loop, usec_t now);
/* How long the loop may sleep when nothing happens. */
usec_t http_loop_sleep(const HttpLoop *loop, usec_t now);
/* Looks at one connection: its bytes if it is unfinished and goes on; ends it when it is too
 * slow. */
uint64_t http_connection_look_at(HttpConnection *connection, usec_t now);
