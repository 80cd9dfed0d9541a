/*
 * A mailbox: many threads post messages, and one thread, its owner, takes them. Messages are linked
 * by their own `next` field. A post passes ownership of the message. Posts of one thread keep their
 * order. The wake function runs on the posting thread if the box was empty. It runs under the lock
 * of the box, so it has returned before the owner can take the message. It must not block and must
 * not use the box.
 */
#pragma once

#include <stdbool.h>

#include "base/clock.h"

typedef struct Message Message;
struct Message {
    Message *next;
    int kind; /* an enum of the module that uses it */
};

typedef struct Mailbox Mailbox;

Mailbox *mailbox_new(void (*wake)(void *context), void *context); /* wake may be NULL; then the owner uses mailbox_wait */
void mailbox_free(Mailbox *mailbox);                              /* the box must be empty (checked) */
void mailbox_post(Mailbox *mailbox, Message *take_message);
/* Makes the calling thread the owner. Without it, the owner is the first thread that takes or
 * waits. The former owner must have ended. */
void mailbox_pass(Mailbox *mailbox);
/* Returns all waiting messages, the oldest one first, or NULL. Only the owner may call it
 * (checked). */
Message *mailbox_take(Mailbox *mailbox);
/* Sleeps until a message waits or `timeout` has passed (USEC_NEVER: no timeout). Returns true if a
 * message waits. Only for the owner, and only without a wake function (both checked). */
bool mailbox_wait(Mailbox *mailbox, usec_t timeout);
/* Makes the owner's current or next mailbox_wait return, also if no message waits. Any thread; only
 * without a wake function. */
void mailbox_interrupt(Mailbox *mailbox);
