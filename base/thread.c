#include "base/thread.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static void *thread_main(void *argument) {
    Thread *thread = argument;
    (void)pthread_setname_np(pthread_self(), thread->name);
    return thread->run(thread->context);
}

int thread_start(Thread *thread, const char *name, void *(*run)(void *context), void *context, Error *error) {
    *thread = (Thread){.run = run, .context = context};
    (void)snprintf(thread->name, sizeof thread->name, "%s", name);

    /* The new thread inherits the mask: no signal can hit it before it runs. A blocked fault would end the process without a word. */
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t blocked, before;
    check(sigfillset(&blocked) == 0);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) check(sigdelset(&blocked, faults[i]) == 0);
    check(pthread_sigmask(SIG_SETMASK, &blocked, &before) == 0);
    int result = pthread_create(&thread->handle, NULL, thread_main, thread);
    check(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (result != 0) return error_set(error, -result, "cannot start the thread %s: %s", thread->name, strerrordesc_np(result));
    return 0;
}

void thread_join(Thread *thread) {
    check(pthread_join(thread->handle, NULL) == 0);
}

void thread_owner_bind(ThreadOwner *owner) {
    atomic_store_explicit(&owner->id, (unsigned long)pthread_self(), memory_order_relaxed);
}

void thread_owner_check(ThreadOwner *owner) {
    unsigned long self = (unsigned long)pthread_self();
    unsigned long bound = atomic_load_explicit(&owner->id, memory_order_relaxed);
    if (bound == self) return;
    check(bound == 0);
    check(atomic_compare_exchange_strong(&owner->id, &bound, self));
}
