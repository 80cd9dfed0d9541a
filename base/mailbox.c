#include "base/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/error.h"
#include "base/thread.h"

struct Mailbox {
    void (*wake)(void *context);
    void *context;
    ThreadOwner owner;
    pthread_mutex_t lock;
    pthread_cond_t filled;
    /* under the lock */
    Message *first;
    Message **tail;
    bool waiting;     /* the owner sleeps in mailbox_wait */
    bool interrupted; /* its next wait returns at once */
};

Mailbox *mailbox_new(void (*wake)(void *context), void *context) {
    Mailbox *mailbox = calloc(1, sizeof *mailbox);
    if (!mailbox) bug_at(__FILE__, __LINE__, "out of memory");
    mailbox->wake = wake;
    mailbox->context = context;
    mailbox->tail = &mailbox->first;

    pthread_condattr_t attributes;
    check(pthread_mutex_init(&mailbox->lock, NULL) == 0);
    check(pthread_condattr_init(&attributes) == 0);
    check(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    check(pthread_cond_init(&mailbox->filled, &attributes) == 0);
    check(pthread_condattr_destroy(&attributes) == 0);
    return mailbox;
}

void mailbox_free(Mailbox *mailbox) {
    if (!mailbox) return;
    check(mailbox->first == NULL);
    check(pthread_cond_destroy(&mailbox->filled) == 0);
    check(pthread_mutex_destroy(&mailbox->lock) == 0);
    free(mailbox);
}

void mailbox_post(Mailbox *mailbox, Message *take_message) {
    take_message->next = NULL;

    check(pthread_mutex_lock(&mailbox->lock) == 0);
    bool was_empty = mailbox->first == NULL;
    *mailbox->tail = take_message;
    mailbox->tail = &take_message->next;
    if (mailbox->waiting) {
        mailbox->waiting = false;
        check(pthread_cond_signal(&mailbox->filled) == 0);
    }
    /* Under the lock: whoever has taken the message may end what the hook wakes, and must find the
     * hook done. */
    if (was_empty && mailbox->wake) mailbox->wake(mailbox->context);
    check(pthread_mutex_unlock(&mailbox->lock) == 0);
}

void mailbox_pass(Mailbox *mailbox) {
    thread_owner_bind(&mailbox->owner);
}

Message *mailbox_take(Mailbox *mailbox) {
    check_on_thread(&mailbox->owner);
    check(pthread_mutex_lock(&mailbox->lock) == 0);
    Message *first = mailbox->first;
    mailbox->first = NULL;
    mailbox->tail = &mailbox->first;
    check(pthread_mutex_unlock(&mailbox->lock) == 0);
    return first;
}

static struct timespec deadline_after(usec_t timeout) {
    struct timespec deadline;
    check(clock_gettime(CLOCK_MONOTONIC, &deadline) == 0);
    if (timeout > 100 * 365 * USEC_DAY) timeout = 100 * 365 * USEC_DAY;
    deadline.tv_sec += timeout / USEC_SECOND;
    deadline.tv_nsec += timeout % USEC_SECOND * 1000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    return deadline;
}

bool mailbox_wait(Mailbox *mailbox, usec_t timeout) {
    check_on_thread(&mailbox->owner);
    check(!mailbox->wake);
    struct timespec deadline = deadline_after(timeout > 0 ? timeout : 0);

    check(pthread_mutex_lock(&mailbox->lock) == 0);
    int result = 0;
    while (!mailbox->first && !mailbox->interrupted && timeout > 0 && result != ETIMEDOUT) {
        mailbox->waiting = true;
        if (timeout == USEC_NEVER) {
            result = pthread_cond_wait(&mailbox->filled, &mailbox->lock);
        } else {
            result = pthread_cond_timedwait(&mailbox->filled, &mailbox->lock, &deadline);
        }
        check(result == 0 || result == ETIMEDOUT);
    }
    mailbox->waiting = false;
    mailbox->interrupted = false;
    bool filled = mailbox->first != NULL;
    check(pthread_mutex_unlock(&mailbox->lock) == 0);
    return filled;
}

void mailbox_interrupt(Mailbox *mailbox) {
    check(!mailbox->wake);
    check(pthread_mutex_lock(&mailbox->lock) == 0);
    mailbox->interrupted = true;
    check(pthread_cond_signal(&mailbox->filled) == 0);
    check(pthread_mutex_unlock(&mailbox->lock) == 0);
}
