/* A schema registry that says what the test wants, right or wrong, on a loopback port. The test's
 * thread, but for what it serves. */
#pragma once

#include <stddef.h>

#include "base/buffer.h"

typedef struct ScriptedRegistry ScriptedRegistry;

ScriptedRegistry *scripted_registry_start(void);
void scripted_registry_stop(ScriptedRegistry *registry);
const char *scripted_registry_url(const ScriptedRegistry *registry); /* http://127.0.0.1:port */

/* What every request gets from now on: bytes as they are; the connection is closed behind them.
 * NULL: silence until the client is gone. */
void scripted_registry_say(ScriptedRegistry *registry, const char *bytes);
/* The same as an answer with this status and body. */
void scripted_registry_answer(ScriptedRegistry *registry, int status, const char *body);
/* A byte each 50 ms. */
void scripted_registry_trickle(ScriptedRegistry *registry, const char *bytes);

size_t scripted_registry_requests(const ScriptedRegistry *registry);        /* so many have come */
void scripted_registry_last(const ScriptedRegistry *registry, Buffer *out); /* the head of the last one, appended */
