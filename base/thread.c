#include "base/thread.h"

#include <signal.h>
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

    /* The new thread inherits the mask: no signal can hit it before it runs. A blocked fault would
     * end the process without a word. */
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

_Thread_local char thread_mark;

bool thread_owner_claim(const ThreadOwner *owner) {
    /* No ThreadOwner is defined const; only pointers to what holds it are. */
    _Atomic uintptr_t *thread = (_Atomic uintptr_t *)(uintptr_t)&owner->thread;
    uintptr_t bound = 0;
    return atomic_compare_exchange_strong(thread, &bound, (uintptr_t)&thread_mark);
}
