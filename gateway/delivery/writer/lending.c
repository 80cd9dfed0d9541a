#include "gateway/delivery/writer/lending.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"

struct Lending {
    pthread_mutex_t lock; /* held by who reads, and to begin and end the lending */
    bool lends;           /* under it */
};

Lending *lending_new(void) {
    Lending *lending = calloc(1, sizeof *lending);
    check(lending);
    check(pthread_mutex_init(&lending->lock, NULL) == 0);
    return lending;
}

void lending_free(Lending *lending) {
    check(!lending->lends);
    check(pthread_mutex_destroy(&lending->lock) == 0);
    free(lending);
}

static void set(Lending *lending, bool lends) {
    check(pthread_mutex_lock(&lending->lock) == 0);
    check(lending->lends != lends);
    lending->lends = lends;
    check(pthread_mutex_unlock(&lending->lock) == 0);
}

void lending_begin(Lending *lending) {
    set(lending, true);
}

void lending_end(Lending *lending) {
    set(lending, false);
}

bool lending_hold(Lending *lending) {
    check(pthread_mutex_lock(&lending->lock) == 0);
    return lending->lends;
}

void lending_release(Lending *lending) {
    check(pthread_mutex_unlock(&lending->lock) == 0);
}
