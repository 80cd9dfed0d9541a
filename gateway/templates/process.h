/*
 * Starts and ends worker processes. They are started with exec from a program with many threads
 * (only posix_spawn's own code runs between fork and exec), ended by pid, and always reaped.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"

/* Starts the worker with one end of a control socket, an empty environment and no other descriptor.
 * The socket is non-blocking. The worker ends with the calling thread. */
int template_process_start(const char *worker_path, pid_t *ret_pid, int *ret_control, Error *error);

/* Processes that are ending and are not reaped yet. One thread; all-zero is empty. */
typedef struct Reaper {
    ThreadOwner owner;
    Buffer ending; /* of Ending */
} Reaper;

/* Asks the process and its evaluating process to end. It is killed if it has not ended within one
 * second. */
void reaper_end(Reaper *reaper, pid_t pid, usec_t boot);
void reaper_step(Reaper *reaper, usec_t boot);
bool reaper_is_empty(const Reaper *reaper);
/* Waits until all are reaped, at most a little more than one second. Frees the memory. */
void reaper_finish(Reaper *reaper, Clock *clock);

/* Returns the path of `sluice-template-worker` in the directory of the running program; free(). */
char *template_worker_path(void);
