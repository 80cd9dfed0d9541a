/* Connections from accept to close: who gets a place. Loop thread only. */
#pragma once

#include "gateway/http/parts.h"

/* Takes up to `most` connections; false: none waits any more. */
bool http_loop_accept(HttpLoop *loop, int fd, unsigned most);
void http_loop_on_accept(h2o_socket_t *listener, const char *err);
