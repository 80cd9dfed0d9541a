/* What the two yardsticks share: a loopback listener and a libh2o context of one thread, with as
 * little as possible around it. */
#pragma once

#include <h2o.h>

typedef struct Yardstick {
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
} Yardstick;

/* Listens on 127.0.0.1:port and sends every request below /stream to `on_request`; prints "ready".
 * Exits on failure. */
void yardstick_start(Yardstick *yardstick, int port, int (*on_request)(h2o_handler_t *, h2o_req_t *));
void yardstick_answer(h2o_req_t *request);
