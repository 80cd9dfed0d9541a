/* Accepts connections and decides which ones get a place. Loop thread only. */
#pragma once

#include "gateway/http/parts.h"

/* Accepts up to `most` connections; false if no further one is waiting. */
bool http_loop_accept(HttpLoop *loop, int fd, unsigned most);
void http_loop_on_accept(h2o_socket_t *listener, const char *err);
