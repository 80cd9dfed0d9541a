/*
 * A NATS server that does what a test says: it speaks the protocol on a loopback port, one client
 * after another, on a thread of its own. Without JetStream of its own: what is published to it goes
 * to `publish` of the test.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Script Script;

typedef struct ScriptRules {
    const char *info;   /* the first line without its end; NULL: a sound one */
    const char *login;  /* what is answered to the login; NULL: PONG. "" nothing */
    bool ends_at_login; /* the connection ends behind that */
    const char *denied; /* subjects that begin so may not be published to; NULL: all may */
    size_t cut;         /* the connection is cut behind so many bytes that script_send and the like sent, once; 0: never */
    /* On the thread of the script. `reply` and `body` may be "". NULL: nothing happens. */
    void (*publish)(void *context, Script *script, const char *subject, const char *reply, const char *body);
    void *context;
} ScriptRules;

Script *script_start(const ScriptRules *rules);
void script_change(Script *script, const ScriptRules *rules);
int script_port(const Script *script);
unsigned script_connects(Script *script);                     /* logins that it was asked for */
unsigned script_published(Script *script, const char *start); /* how many messages whose subject begins so came */
/* Waits for so many of them; the test fails when they do not come. */
void script_wait(Script *script, const char *start, unsigned count);
bool script_was_cut(Script *script); /* `cut` of the present rules came to be */
void script_hang_up(Script *script); /* ends the present connection */
void script_stop(Script *script);    /* and frees it; NULL-safe */

/* For `publish`, and for the test: a message to whoever subscribed to `inbox`. `headers`: lines
 * with their ends, behind a status line as "NATS/1.0 408 Timeout\r\n"; NULL: none. */
void script_send(Script *script, const char *inbox, const char *subject, const char *reply, const char *headers, const char *body);
