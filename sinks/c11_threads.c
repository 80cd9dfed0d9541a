/*
 * Only in builds with the thread sanitizer: librdkafka uses the threads of C11, which glibc makes
 * without the sanitizer's knowledge, and which it then crashes in. These take their place and are
 * POSIX threads, which it knows. In glibc both have the same types.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

#include "base/error.h"

_Static_assert(sizeof(thrd_t) == sizeof(pthread_t) && sizeof(mtx_t) >= sizeof(pthread_mutex_t) && sizeof(cnd_t) >= sizeof(pthread_cond_t),
               "the types of glibc");

/* The atomics inside librdkafka, which order its accesses, are not seen: what it does itself is not
 * looked at. */
const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void) {
    return "called_from_lib:librdkafka.so\nrace:^mtx_\nrace:^cnd_\ndeadlock:librdkafka.so\nmutex:librdkafka.so\n";
}

typedef struct C11Start {
    thrd_start_t run;
    void *context;
} C11Start;

static int result_of(int r) {
    return r == 0 ? thrd_success : r == EBUSY ? thrd_busy : r == ETIMEDOUT ? thrd_timedout : r == ENOMEM ? thrd_nomem : thrd_error;
}

static void *begin(void *context) {
    C11Start start = *(C11Start *)context;
    free(context);
    return (void *)(intptr_t)start.run(start.context);
}

int thrd_create(thrd_t *thread, thrd_start_t run, void *context) {
    C11Start *start = malloc(sizeof *start);
    check(start);
    *start = (C11Start){run, context};
    int r = pthread_create(thread, NULL, begin, start);
    if (r != 0) free(start);
    return result_of(r);
}

int thrd_join(thrd_t thread, int *ret_result) {
    void *result = NULL;
    int r = pthread_join(thread, &result);
    if (ret_result) *ret_result = (int)(intptr_t)result;
    return result_of(r);
}

int thrd_detach(thrd_t thread) {
    return result_of(pthread_detach(thread));
}

void thrd_exit(int result) {
    pthread_exit((void *)(intptr_t)result);
}

int mtx_init(mtx_t *mutex, int type) {
    pthread_mutexattr_t attributes;
    check(pthread_mutexattr_init(&attributes) == 0);
    check(pthread_mutexattr_settype(&attributes, type & mtx_recursive ? PTHREAD_MUTEX_RECURSIVE : PTHREAD_MUTEX_NORMAL) == 0);
    int r = pthread_mutex_init((pthread_mutex_t *)mutex, &attributes);
    check(pthread_mutexattr_destroy(&attributes) == 0);
    return result_of(r);
}

void mtx_destroy(mtx_t *mutex) {
    (void)pthread_mutex_destroy((pthread_mutex_t *)mutex);
}

int mtx_lock(mtx_t *mutex) {
    return result_of(pthread_mutex_lock((pthread_mutex_t *)mutex));
}

int mtx_trylock(mtx_t *mutex) {
    return result_of(pthread_mutex_trylock((pthread_mutex_t *)mutex));
}

int mtx_unlock(mtx_t *mutex) {
    return result_of(pthread_mutex_unlock((pthread_mutex_t *)mutex));
}

int cnd_init(cnd_t *condition) {
    return result_of(pthread_cond_init((pthread_cond_t *)condition, NULL));
}

void cnd_destroy(cnd_t *condition) {
    (void)pthread_cond_destroy((pthread_cond_t *)condition);
}

int cnd_signal(cnd_t *condition) {
    return result_of(pthread_cond_signal((pthread_cond_t *)condition));
}

int cnd_broadcast(cnd_t *condition) {
    return result_of(pthread_cond_broadcast((pthread_cond_t *)condition));
}

int cnd_wait(cnd_t *condition, mtx_t *mutex) {
    return result_of(pthread_cond_wait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex));
}

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *deadline) {
    return result_of(pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, deadline));
}
