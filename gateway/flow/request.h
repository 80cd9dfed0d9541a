/*
 * The first member of every message that asks another thread for something and comes back. It says
 * who sent it and how it ended, without regard to its kind. The sender owns it, then the receiver,
 * then the sender again.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/mailbox.h"

typedef struct Request Request;
struct Request {
    Message message;                /* first */
    Mailbox *reply;                 /* it comes back here */
    void *context;                  /* data of the sender; the receiver does not use it */
    void (*drop)(Request *request); /* frees it if nobody waits any more; NULL: free() */
    int result;                     /* out: 0, or a value that depends on the kind (a negated errno, a SinkResult) */
    Error error;                    /* out: the text for `result` */
};

/* Frees a request that nobody waits for, or that was never sent. */
void request_drop(Request *request);
/* Sends it back without doing it: -ECANCELED with the text, which is a sentence. */
void request_refuse(Request *request, const char *text);
/* Sends it back to the sender. */
static inline void request_answer(Request *request) {
    check(request->reply && request->message.kind != 0);
    mailbox_post(request->reply, &request->message);
}
