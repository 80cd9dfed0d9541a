/*
 * Does the server still work on our statement? A second session asks pg_stat_activity, so that a
 * long statement is told apart from a server that hangs. A role sees its own sessions, so no right
 * is needed beyond the one to connect. Never blocks: whoever waits polls its descriptor and steps
 * it. One thread.
 *
 * A server that refuses the second session since its connections are used up lives, which is taken
 * for work: a limit of the whole import is the bound then. So is a pooler that takes the second
 * session and lets its question wait for room. Any other refusal is no answer
 * (postgres_refusal_is_life). What it cannot see: a backend that was stopped by itself, while the
 * server as a whole answers.
 */
#pragma once

#include <stdbool.h>

#include "base/clock.h"

typedef struct pg_conn PGconn;
typedef struct PostgresProbe PostgresProbe;

/* Of the session `watched`, which must be connected, and in the transaction that began at `began`
 * (text of now() there) in backend `pid` (text); through a pooler the backend is another one each
 * time. First asks after `interval`, then each `interval`. */
PostgresProbe *postgres_probe_new(PGconn *watched, const char *pid, const char *began, usec_t interval);
void postgres_probe_free(PostgresProbe *probe); /* NULL-safe */
/* What to poll for; -1: nothing. */
int postgres_probe_descriptor(const PostgresProbe *probe, short *ret_events);
/* Goes on as far as it can. true: since the last call the server was seen at work, or alive without
 * an answer to that. */
bool postgres_probe_step(PostgresProbe *probe, usec_t now);
/* Questions were asked, and the last one has had no answer for longer than an interval. */
bool postgres_probe_is_deaf(const PostgresProbe *probe, usec_t now);
/* Why it is deaf: the server's words when it refuses the second session; "": it says nothing. */
const char *postgres_probe_refusal(const PostgresProbe *probe);
