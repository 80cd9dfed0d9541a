/*
 * A task is an operation that the management API has started. It is processing until it ends with
 * success or error. A request with `Prefer: wait` is answered when the task ends or the wait is
 * over. A task that may take long is in the catalog from its start. An ended task is stored in the
 * catalog and then leaves memory. Ids are UUIDs, in order of creation. Control thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/uuid.h"
#include "gateway/control/call.h"
#include "gateway/control/define.h"
#include "gateway/flow/usage.h"
#include "storage/environment.h"

#define TASK_WAIT_LONGEST (60 * USEC_SECOND)
#define TASKS_KEPT_FOR (7 * USEC_DAY) /* of running time */

typedef enum TaskStatus { TASK_PROCESSING, TASK_SUCCESS, TASK_ERROR } TaskStatus;

typedef struct TaskWaiter {
    ApiCall *call; /* owned */
    int status;    /* HTTP status of the answer */
    usec_t until;  /* boot time */
} TaskWaiter;

typedef struct Task Task;
struct Task {
    Task *next;
    char id[UUID_TEXT_SIZE + 1];
    const char *type; /* static text: "source.create" */
    char *source_id;  /* owned */
    TaskStatus status;
    usec_t created, finished; /* wall time */
    usec_t started;           /* boot time */
    usec_t took;              /* length */
    char *text;               /* owned: result or error, a sentence; NULL while processing */
    json_t *outputs;          /* owned object */
    TaskWaiter *waiters;
    size_t waiter_count, waiter_room;
    bool kept; /* could not be stored */
};

typedef struct Tasks Tasks;

Tasks *tasks_new(Clock *clock, Environment *environment, const Usage *usage);
void tasks_free(Tasks *tasks); /* frees the calls that wait too; NULL-safe */

/* Owned by `tasks` until tasks_left. */
Task *tasks_begin(Tasks *tasks, const char *type, const char *source_id);
/* Ends the task (TASK_SUCCESS or TASK_ERROR) with a sentence, and answers the calls that wait for
 * it. The caller stores the task. */
void tasks_end(Tasks *tasks, Task *task, TaskStatus status, const char *text);
/* Puts what the catalog keeps into `define`. `as`: the status to store: a definition change is
 * stored as done in the very transaction that does it, so that a crash right behind it leaves no
 * doubt. */
void tasks_store(const Tasks *tasks, const Task *task, TaskStatus as, const char *text, Define *define);
/* The task is stored in the catalog: frees it. */
void tasks_left(Tasks *tasks, Task *task);
/* The task could not be stored: it stays in memory. At most 1,000 such tasks are kept; the
 * oldest are freed first. */
void tasks_keep(Tasks *tasks, Task *task);
size_t tasks_processing(const Tasks *tasks);

/* Answers the call with the task: now when the call does not wait or the task has ended, else
 * later. `status`: HTTP, 202 or 200. */
void tasks_answer(Tasks *tasks, Task *task, ApiCall *take_call, int status);
/* A task in memory, else NULL. */
Task *tasks_live(const Tasks *tasks, const char *id);
enum { TASKS_NOT_FOUND = 1 };
/* The form of any task; one that an earlier process did not end is shown as failed. `source_id`
 * (NULL: any): only a task of that source. 0 or TASKS_NOT_FOUND; < 0: the catalog cannot be
 * read. */
int tasks_find(const Tasks *tasks, const char *id, const char *source_id, json_t **ret_shown, Error *error);
/* Answers the calls whose wait is over. Returns the time until the next wait is over, or
 * USEC_NEVER. */
usec_t tasks_step(Tasks *tasks);
/* Answers all waiting calls with the present state of their tasks. */
void tasks_answer_waiting(Tasks *tasks);
/* Removes the stored tasks that are old, at most 1,000 at once. */
int tasks_expire(Tasks *tasks, Define *define, Error *error);
