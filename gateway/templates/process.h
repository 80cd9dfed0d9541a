/*
 * Worker processes as processes: started with exec from a program that has many threads (nothing
 * runs between fork and exec but what posix_spawn does), ended by pid, reaped always.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"

/* Starts the worker with one end of a control socket, an empty environment and no other descriptor.
 * The socket does not block. The worker dies with the calling thread. */
int template_process_start(const char *worker_path, pid_t *ret_pid, int *ret_control, Error *error);

/* Processes that were told to end and are not reaped yet. One thread; all-zero is empty. */
typedef struct Reaper {
    ThreadOwner owner;
    Buffer ending; /* of Ending */
} Reaper;

/* Asks the process to end, with its evaluating process; it is killed when it has not within a
 * second. */
void reaper_end(Reaper *reaper, pid_t pid, usec_t boot);
void reaper_step(Reaper *reaper, usec_t boot);
bool reaper_is_empty(const Reaper *reaper);
/* Waits until all are reaped, at most a bit over a second; frees. */
void reaper_finish(Reaper *reaper, Clock *clock);

/* `sluice-template-worker` beside the running program; free(). */
char *template_worker_path(void);
