#include "base/failpoint.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/span.h"

typedef enum Action { ACTION_OFF, ACTION_CRASH, ACTION_ERROR, ACTION_WAIT } Action;

typedef struct Failpoint {
    char name[64];
    Action action;
    unsigned wait_ms;
    uint64_t only_at; /* passage, from 1; 0: each */
    uint64_t passed;
} Failpoint;

enum { FAILPOINTS_MAX = 32, WAIT_MAX_MS = 600000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Failpoint points[FAILPOINTS_MAX]; /* under the lock */
static int points_count;
static pthread_once_t environment_once = PTHREAD_ONCE_INIT;
atomic_int failpoints_armed = -1;

static bool parse_number(Span text, uint64_t most, uint64_t *ret_number) {
    uint64_t number = 0;
    if (text.size == 0 || text.size > 18) return false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        number = number * 10 + (uint64_t)(text.data[i] - '0');
    }
    if (number > most) return false;
    *ret_number = number;
    return true;
}

/* What stands before `separator` is cut off the front of `rest` and returned; all of it when there
 * is none. */
static Span cut(Span *rest, char separator, bool *ret_found) {
    const char *at = rest->size ? memchr(rest->data, separator, rest->size) : NULL;
    Span front = *rest;
    *ret_found = at != NULL;
    if (at) {
        front.size = (size_t)(at - rest->data);
        *rest = (Span){.data = at + 1, .size = rest->size - front.size - 1};
    } else {
        *rest = (Span){.data = rest->data + rest->size};
    }
    return front;
}

static bool parse_point(Span text, Failpoint *ret_point) {
    bool found;
    uint64_t number;
    Failpoint point = {0};

    Span name = cut(&text, '=', &found);
    if (!found || name.size == 0 || name.size >= sizeof point.name) return false;
    memcpy(point.name, name.data, name.size);

    Span action = cut(&text, '@', &found);
    if (found && (!parse_number(text, UINT64_MAX, &point.only_at) || point.only_at == 0)) return false;

    Span verb = cut(&action, ':', &found);
    if (span_equal(verb, SPAN("wait"))) {
        if (!found || !parse_number(action, WAIT_MAX_MS, &number)) return false;
        point.action = ACTION_WAIT;
        point.wait_ms = (unsigned)number;
    } else if (found) {
        return false;
    } else if (span_equal(verb, SPAN("crash"))) {
        point.action = ACTION_CRASH;
    } else if (span_equal(verb, SPAN("error"))) {
        point.action = ACTION_ERROR;
    } else if (!span_equal(verb, SPAN("off"))) {
        return false;
    }
    *ret_point = point;
    return true;
}

static Failpoint *find(const char *name) {
    for (int i = 0; i < points_count; i++)
        if (strcmp(points[i].name, name) == 0) return &points[i];
    return NULL;
}

static int set(const char *specification, Error *error) {
    Span rest = span_of(specification);
    bool more = rest.size > 0;

    while (more) {
        Failpoint point;
        Span part = cut(&rest, ',', &more);
        if (!parse_point(part, &point))
            return error_set(error, -EINVAL, "\"%.*s\" is not a failpoint: NAME=off|crash|error|wait:MS, each with an optional @N",
                             (int)part.size, part.data);
        Failpoint *place = find(point.name);
        if (!place) {
            if (points_count == FAILPOINTS_MAX) return error_set(error, -ENOSPC, "more than %d failpoints", FAILPOINTS_MAX);
            place = &points[points_count++];
        }
        *place = point;
    }
    return 0;
}

static void count_armed(void) {
    int count = 0;
    for (int i = 0; i < points_count; i++) count += points[i].action != ACTION_OFF;
    atomic_store_explicit(&failpoints_armed, count, memory_order_relaxed);
}

static void read_environment(void) {
    const char *specification = getenv("SLUICE_FAILPOINTS");
    Error error = {0};

    check(pthread_mutex_lock(&lock) == 0);
    if (specification && set(specification, &error) < 0) {
        /* A test that sets a failpoint which then never fires would pass for the wrong reason. */
        (void)fprintf(stderr, "SLUICE_FAILPOINTS: %s\n", error.text);
        _exit(2);
    }
    count_armed();
    check(pthread_mutex_unlock(&lock) == 0);
}

int failpoint_set(const char *specification, Error *error) {
    check(pthread_once(&environment_once, read_environment) == 0);
    check(pthread_mutex_lock(&lock) == 0);
    int result = set(specification, error);
    count_armed();
    check(pthread_mutex_unlock(&lock) == 0);
    return result;
}

static void wait_for(unsigned ms) {
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

bool failpoint_hit_armed(const char *name) {
    check(pthread_once(&environment_once, read_environment) == 0);

    Failpoint point = {.action = ACTION_OFF};
    check(pthread_mutex_lock(&lock) == 0);
    Failpoint *place = find(name);
    if (place) {
        place->passed++;
        if (place->only_at == 0 || place->passed == place->only_at) point = *place;
    }
    check(pthread_mutex_unlock(&lock) == 0);

    switch (point.action) {
    case ACTION_OFF: return false;
    case ACTION_ERROR: return true;
    case ACTION_WAIT: wait_for(point.wait_ms); return false;
    case ACTION_CRASH:
        (void)kill(getpid(), SIGKILL);
        for (;;) (void)pause();
    }
    unreachable();
}

void failpoint_clear(void) {
    check(pthread_once(&environment_once, read_environment) == 0);
    check(pthread_mutex_lock(&lock) == 0);
    points_count = 0;
    count_armed();
    check(pthread_mutex_unlock(&lock) == 0);
}
