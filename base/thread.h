/* Threads with a name that block all signals except those of their own faults (SIGSEGV and
 * similar), and checks that code runs on the right thread. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct Thread {
    pthread_t handle;
    char name[16]; /* as `ps -L` shows it */
    void *(*run)(void *context);
    void *context;
} Thread;

/* Starts a thread. `thread` must not move or be released until thread_join has returned. */
int thread_start(Thread *thread, const char *name, void *(*run)(void *context), void *context, Error *error);
void thread_join(Thread *thread);

/*
 * The thread that may use a structure: the thread that was bound, or else the first one that is
 * checked. All-zero means unbound. A module with its own thread has a ThreadOwner. Its entries
 * (functions that other modules call, callbacks, messages) check that they run on that thread:
 *
 *     check_on_thread(&loop->owner);
 *
 * The check is active in release builds. It costs a load, and a comparison with an address that the
 * thread pointer gives. Where a structure passes to another thread (after a join), the code calls
 * thread_owner_bind.
 */
typedef struct ThreadOwner {
    _Atomic uintptr_t thread; /* address of its thread_mark; 0: unbound */
} ThreadOwner;

extern _Thread_local char thread_mark; /* only its address is used; it is different in each thread */

/* Binds to the calling thread, whatever thread was bound before. */
static inline void thread_owner_bind(ThreadOwner *owner) {
    atomic_store_explicit(&owner->thread, (uintptr_t)&thread_mark, memory_order_relaxed);
}

/* Binds to the calling thread if unbound. Returns false if another thread is bound. For
 * check_on_thread. */
bool thread_owner_claim(const ThreadOwner *owner);

static inline bool thread_owner_is_caller(const ThreadOwner *owner) {
    uintptr_t bound = atomic_load_explicit(&owner->thread, memory_order_relaxed);
    return bound == (uintptr_t)&thread_mark || thread_owner_claim(owner);
}

/* Ends the process (bug_at) on any other thread than that of `owner`. `owner` may be part of a
 * const structure. */
#define check_on_thread(owner) (thread_owner_is_caller(owner) ? (void)0 : bug_at(__FILE__, __LINE__, "on another thread than " #owner))
