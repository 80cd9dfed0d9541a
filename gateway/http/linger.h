/* Sockets whose answer is written while the peer still sends. The data of the peer is discarded
 * until it has read the answer. Loop thread only. */
#pragma once

#include "gateway/http/parts.h"

/* Takes ownership of the descriptor. It is closed at once if there is no room. */
void http_loop_linger(HttpLoop *loop, int take_fd);
void http_loop_sweep_lingers(HttpLoop *loop, usec_t now);
void http_loop_lingers_end(HttpLoop *loop);
