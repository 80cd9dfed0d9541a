#include "gateway/delivery/scheduler.h"

#include <stdlib.h>

#include "base/error.h"

static void put(Scheduler *scheduler, size_t index, Timer *timer) {
    scheduler->heap[index] = timer;
    timer->place = index + 1;
}

static void sift_up(Scheduler *scheduler, size_t index, Timer *timer) {
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (scheduler->heap[parent]->due <= timer->due) break;
        put(scheduler, index, scheduler->heap[parent]);
        index = parent;
    }
    put(scheduler, index, timer);
}

static void sift_down(Scheduler *scheduler, size_t index, Timer *timer) {
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= scheduler->count) break;
        if (child + 1 < scheduler->count && scheduler->heap[child + 1]->due < scheduler->heap[child]->due) child++;
        if (scheduler->heap[child]->due >= timer->due) break;
        put(scheduler, index, scheduler->heap[child]);
        index = child;
    }
    put(scheduler, index, timer);
}

static void place(Scheduler *scheduler, size_t index, Timer *timer) {
    if (index > 0 && scheduler->heap[(index - 1) / 2]->due > timer->due) {
        sift_up(scheduler, index, timer);
    } else {
        sift_down(scheduler, index, timer);
    }
}

static void take_out(Scheduler *scheduler, Timer *timer) {
    size_t index = timer->place - 1;
    check(scheduler->heap[index] == timer);
    timer->place = 0;
    Timer *last = scheduler->heap[--scheduler->count];
    if (last != timer) place(scheduler, index, last);
}

void scheduler_set(Scheduler *scheduler, Timer *timer, usec_t due) {
    if (due == USEC_NEVER) {
        if (timer->place) take_out(scheduler, timer);
        return;
    }
    timer->due = due;
    if (timer->place) {
        place(scheduler, timer->place - 1, timer);
        return;
    }
    if (scheduler->count == scheduler->capacity) {
        scheduler->capacity = scheduler->capacity ? 2 * scheduler->capacity : 64;
        scheduler->heap = realloc(scheduler->heap, scheduler->capacity * sizeof *scheduler->heap);
        check(scheduler->heap);
    }
    sift_up(scheduler, scheduler->count++, timer);
}

void scheduler_hasten(Scheduler *scheduler, Timer *timer, usec_t due) {
    if (!timer->place || due < timer->due) scheduler_set(scheduler, timer, due);
}

Timer *scheduler_take(Scheduler *scheduler, usec_t now) {
    if (scheduler->count == 0 || scheduler->heap[0]->due > now) return NULL;
    Timer *timer = scheduler->heap[0];
    take_out(scheduler, timer);
    return timer;
}

usec_t scheduler_next(const Scheduler *scheduler) {
    return scheduler->count ? scheduler->heap[0]->due : USEC_NEVER;
}

void scheduler_deinit(Scheduler *scheduler) {
    free(scheduler->heap);
    *scheduler = (Scheduler){0};
}
