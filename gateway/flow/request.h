/*
 * The first member of every message that asks another thread for something and comes back: whose it
 * is and how it ended, without looking at its kind. The sender owns it, then the receiver, then the
 * sender again.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/mailbox.h"

typedef struct Request Request;
struct Request {
    Message message;                /* first */
    Mailbox *reply;                 /* it comes back here */
    void *context;                  /* of the sender, who alone looks at it */
    void (*drop)(Request *request); /* frees it when nobody waits any more; NULL: free() */
    int result;                     /* out: 0, or what its kind says (a negated errno, a SinkResult) */
    Error error;                    /* out: the text to `result` */
};

/* Frees a request that came back to nobody, or never left. */
void request_drop(Request *request);
/* Sends it back undone: -ECANCELED with the text, a sentence. */
void request_refuse(Request *request, const char *text);
/* Sends it back to who asked. */
static inline void request_answer(Request *request) {
    check(request->reply && request->message.kind != 0);
    mailbox_post(request->reply, &request->message);
}
