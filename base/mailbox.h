/*
 * A mailbox: many threads post, its one owner takes. Messages are intrusive and change owner with
 * the post; order of posts by one thread is kept. The wake hook runs on the posting thread when the
 * box was empty, under the box's lock, so that it has ended before anybody can have taken the
 * message: it must not block and must not touch the box.
 */
#pragma once

#include <stdbool.h>

#include "base/clock.h"

typedef struct Message Message;
struct Message {
    Message *next;
    int kind; /* an enum of the floor that uses it */
};

typedef struct Mailbox Mailbox;

Mailbox *mailbox_new(void (*wake)(void *context), void *context); /* wake may be NULL: then mailbox_wait is used */
void mailbox_free(Mailbox *mailbox);                              /* must be empty (checked) */
void mailbox_post(Mailbox *mailbox, Message *take_message);
/* The owner is the first thread that takes or waits. This makes the calling thread the owner: the
 * one before has ended. */
void mailbox_pass(Mailbox *mailbox);
/* Everything that waits, oldest first, NULL if nothing: owner only (checked). */
Message *mailbox_take(Mailbox *mailbox);
/* Sleeps until something waits or `timeout` has passed (USEC_NEVER: for ever); true: something
 * waits. Owner only, and without wake hook only (both checked). */
bool mailbox_wait(Mailbox *mailbox, usec_t timeout);
/* Makes the owner's present or next mailbox_wait return, also when nothing waits. Any thread;
 * without wake hook only. */
void mailbox_interrupt(Mailbox *mailbox);
