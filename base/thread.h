/* Threads that block all signals (but those of their own faults, SIGSEGV and the like), have a
 * name, and can be told apart in asserts. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct Thread {
    pthread_t handle;
    char name[16]; /* as in ps -L */
    void *(*run)(void *context);
    void *context;
} Thread;

/* `thread` must stay where it is until thread_join. */
int thread_start(Thread *thread, const char *name, void *(*run)(void *context), void *context, Error *error);
void thread_join(Thread *thread);

/*
 * Which thread may touch a structure: the one that was bound, or else the first that is checked.
 * All-zero is unbound. A module with a thread of its own has one of these, and states at its
 * entries (functions that other modules call, callbacks, messages) that it is on that thread:
 *
 *     check_on_thread(&loop->owner);
 *
 * It stays on in releases and costs a load and a compare with an address that the thread pointer
 * gives. A place where a structure passes to another thread (after a join) says so with
 * thread_owner_bind.
 */
typedef struct ThreadOwner {
    _Atomic uintptr_t thread; /* address of its thread_mark; 0: unbound */
} ThreadOwner;

extern _Thread_local char thread_mark; /* only its address counts: each thread has another one */

/* To the calling thread, whoever had it. */
static inline void thread_owner_bind(ThreadOwner *owner) {
    atomic_store_explicit(&owner->thread, (uintptr_t)&thread_mark, memory_order_relaxed);
}

/* Binds when unbound; false: another thread has it. For check_on_thread. */
bool thread_owner_claim(const ThreadOwner *owner);

static inline bool thread_owner_is_caller(const ThreadOwner *owner) {
    uintptr_t bound = atomic_load_explicit(&owner->thread, memory_order_relaxed);
    return bound == (uintptr_t)&thread_mark || thread_owner_claim(owner);
}

/* A bug() on any other thread than that of `owner`, which may be of a const structure. */
#define check_on_thread(owner) (thread_owner_is_caller(owner) ? (void)0 : bug_at(__FILE__, __LINE__, "on another thread than " #owner))
