/* Sockets whose answer has been written while the peer still sends: what it sends is thrown away
 * until it has read the answer. Loop thread only. */
#pragma once

#include "gateway/http/parts.h"

/* Takes over the descriptor; closed at once when there is no room. */
void http_loop_linger(HttpLoop *loop, int take_fd);
void http_loop_sweep_lingers(HttpLoop *loop, usec_t now);
void http_loop_lingers_end(HttpLoop *loop);
