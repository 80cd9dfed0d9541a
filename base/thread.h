/* Threads that block all signals (but those of their own faults, SIGSEGV and the like), have a name, and can be told apart in asserts. */
#pragma once

#include <pthread.h>

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

/* Which thread may touch a structure: bound at first use, checked later. All-zero is unbound. */
typedef struct ThreadOwner {
    _Atomic unsigned long id;
} ThreadOwner;
void thread_owner_bind(ThreadOwner *owner);  /* to the calling thread, whoever had it */
void thread_owner_check(ThreadOwner *owner); /* a bug() on any other thread; binds when unbound */
