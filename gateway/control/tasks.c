#include "gateway/control/tasks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "storage/catalog.h"

#define EXPIRED_AT_ONCE 1000
#define KEPT_MAX 1000

struct Tasks {
    Clock *clock;
    Environment *environment;
    const Usage *usage;
    UuidSource ids;
    Task *first; /* newest first */
};

Tasks *tasks_new(Clock *clock, Environment *environment, const Usage *usage) {
    Tasks *tasks = calloc(1, sizeof *tasks);
    check(tasks);
    tasks->clock = clock;
    tasks->environment = environment;
    tasks->usage = usage;
    return tasks;
}

static void task_free(Task *task) {
    for (size_t i = 0; i < task->waiter_count; i++) api_call_free(task->waiters[i].call);
    free(task->waiters);
    free(task->source_id);
    free(task->text);
    json_decref(task->outputs);
    free(task);
}

void tasks_free(Tasks *tasks) {
    if (!tasks) return;
    while (tasks->first) {
        Task *task = tasks->first;
        tasks->first = task->next;
        task_free(task);
    }
    free(tasks);
}

Task *tasks_begin(Tasks *tasks, const char *type, const char *source_id) {
    Task *task = calloc(1, sizeof *task);
    check(task);
    Uuid id;
    task->created = tasks->clock->wall(tasks->clock);
    task->started = tasks->clock->boot(tasks->clock);
    uuid_next(&tasks->ids, task->created, &id);
    uuid_format(&id, task->id);
    task->type = type;
    task->source_id = strdup(source_id);
    task->outputs = json_object();
    check(task->source_id && task->outputs);
    task->next = tasks->first;
    tasks->first = task;
    return task;
}

/* ---- how a task looks ------------------------------------------------------------------------ */

static json_t *time_json(usec_t wall) {
    char text[25];
    clock_format_utc(wall, text);
    return json_string(text);
}

static json_t *show(const Task *task, TaskStatus status, const char *text, usec_t finished, usec_t took) {
    check((status == TASK_PROCESSING) == !text); /* an ended one says how */
    check(task->status == TASK_PROCESSING || status == task->status);
    static const char *const names[] = {"processing", "success", "error"};
    bool ended = status != TASK_PROCESSING;
    json_t *shown = json_pack("{s:s, s:s, s:o, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:O}", "taskId", task->id, "type", task->type, "url",
                              json_sprintf("/v1/tasks/%s", task->id), "status", names[status], "isFinished", ended, "createdAt",
                              time_json(task->created), "finishedAt", ended ? time_json(finished) : json_null(), "duration",
                              ended ? json_integer(took / USEC_MS) : json_null(), "result",
                              status == TASK_SUCCESS ? json_string(text) : json_null(), "error",
                              status == TASK_ERROR ? json_string(text) : json_null(), "outputs", task->outputs);
    check(shown);
    return shown;
}

static json_t *show_now(const Task *task) {
    return show(task, task->status, task->text, task->finished, task->took);
}

void tasks_store(const Tasks *tasks, const Task *task, TaskStatus as, const char *text, Define *define) {
    bool ended = task->status != TASK_PROCESSING;
    json_t *stored = json_pack("{s:s, s:I, s:o}", "sourceId", task->source_id, "running", (json_int_t)usage_running(tasks->usage), "task",
                               ended ? show_now(task) : show(task, as, text, task->created, 0));
    check(stored);
    define_put(define, CATALOG_TASKS, (Span){.data = task->id, .size = UUID_TEXT_SIZE}, stored);
    json_decref(stored);
}

/* ---- waiting and ending ---------------------------------------------------------------------- */

static void answer(const Task *task, ApiCall *take_call, int status) {
    if (status == 202) {
        free(take_call->location);
        check(asprintf(&take_call->location, "/v1/tasks/%s", task->id) > 0);
    }
    api_call_answer(take_call, status, show_now(task));
}

static void answer_all(Task *task) {
    size_t count = task->waiter_count;
    task->waiter_count = 0;
    for (size_t i = 0; i < count; i++) answer(task, task->waiters[i].call, task->waiters[i].status);
}

void tasks_end(Tasks *tasks, Task *task, TaskStatus status, const char *text) {
    check(task->status == TASK_PROCESSING && status != TASK_PROCESSING && !task->text && !task->kept);
    task->status = status;
    task->finished = tasks->clock->wall(tasks->clock);
    if (task->finished < task->created) task->finished = task->created; /* the wall clock went back */
    task->took = tasks->clock->boot(tasks->clock) - task->started;
    /* Other programs' words may be in it. */
    json_t *probe = json_string(text);
    task->text = strdup(probe ? text : "It failed, and the reason is not UTF-8.");
    json_decref(probe);
    check(task->text && task->finished >= task->created && task->took >= 0);
    answer_all(task);
}

void tasks_left(Tasks *tasks, Task *task) {
    check(task->status != TASK_PROCESSING && task->waiter_count == 0);
    for (Task **at = &tasks->first; *at; at = &(*at)->next) {
        if (*at != task) continue;
        *at = task->next;
        answer_all(task);
        task_free(task);
        return;
    }
    unreachable();
}

void tasks_keep(Tasks *tasks, Task *task) {
    check(task->status != TASK_PROCESSING && !task->kept);
    task->kept = true;
    size_t kept = 0;
    for (Task *at = tasks->first, *next; at; at = next) { /* newest first */
        next = at->next;
        if (at->kept && ++kept > KEPT_MAX) tasks_left(tasks, at);
    }
}

size_t tasks_processing(const Tasks *tasks) {
    size_t count = 0;
    for (const Task *task = tasks->first; task; task = task->next) count += task->status == TASK_PROCESSING;
    return count;
}

void tasks_answer(Tasks *tasks, Task *task, ApiCall *take_call, int status) {
    check(status == 200 || status == 202);
    usec_t wait = take_call->wait < TASK_WAIT_LONGEST ? take_call->wait : TASK_WAIT_LONGEST;
    if (wait <= 0 || task->status != TASK_PROCESSING) {
        answer(task, take_call, status);
        return;
    }
    array_reserve(task->waiters, task->waiter_count, task->waiter_room);
    task->waiters[task->waiter_count++] = (TaskWaiter){
        .call = take_call, .status = status, .until = tasks->clock->boot(tasks->clock) + wait};
}

usec_t tasks_step(Tasks *tasks) {
    usec_t now = tasks->clock->boot(tasks->clock), next = USEC_NEVER;
    for (Task *task = tasks->first; task; task = task->next) {
        size_t kept = 0;
        for (size_t i = 0; i < task->waiter_count; i++) {
            TaskWaiter waiter = task->waiters[i];
            if (waiter.until <= now) {
                answer(task, waiter.call, waiter.status);
                continue;
            }
            if (waiter.until - now < next) next = waiter.until - now;
            task->waiters[kept++] = waiter;
        }
        check(kept <= task->waiter_count && (kept == 0 || task->status == TASK_PROCESSING));
        task->waiter_count = kept;
    }
    return next;
}

void tasks_answer_waiting(Tasks *tasks) {
    for (Task *task = tasks->first; task; task = task->next) answer_all(task);
}

/* ---- finding --------------------------------------------------------------------------------- */

Task *tasks_live(const Tasks *tasks, const char *id) {
    for (Task *task = tasks->first; task; task = task->next)
        if (strcmp(task->id, id) == 0) return task;
    return NULL;
}

/* It was on its way when the process ended. When that was, nobody knows. */
static void show_interrupted(json_t *shown) {
    json_t *ended = json_pack("{s:s, s:b, s:s}", "status", "error", "isFinished", 1, "error",
                              "The gateway was stopped before the task ended: check the present state, and try again if needed.");
    check(ended && json_object_update_new(shown, ended) == 0);
}

int tasks_find(const Tasks *tasks, const char *id, const char *source_id, json_t **ret_shown, Error *error) {
    const Task *live = tasks_live(tasks, id);
    if (live) {
        if (source_id && strcmp(live->source_id, source_id) != 0) return TASKS_NOT_FOUND;
        *ret_shown = show_now(live);
        return 0;
    }
    Uuid parsed;
    if (!uuid_parse(span_of(id), &parsed)) return TASKS_NOT_FOUND;
    Txn *txn;
    int r = txn_begin_read(tasks->environment, &txn, error);
    if (r < 0) return r;
    Span document;
    r = catalog_get(txn, CATALOG_TASKS, span_of(id), &document, error);
    json_t *stored = r == 0 ? json_loadb(document.data, document.size, 0, NULL) : NULL;
    txn_abort(txn);
    if (r < 0) return r;
    const char *of = json_string_value(json_object_get(stored, "sourceId"));
    json_t *shown = json_object_get(stored, "task");
    bool found = shown && of && (!source_id || strcmp(of, source_id) == 0);
    if (found) *ret_shown = json_incref(shown);
    if (found && !json_is_true(json_object_get(shown, "isFinished"))) show_interrupted(shown);
    json_decref(stored);
    return found ? 0 : TASKS_NOT_FOUND;
}

/* ---- expiry ---------------------------------------------------------------------------------- */

typedef struct TaskExpiry {
    Define *define;
    usec_t before; /* running time */
    size_t count;
} TaskExpiry;

/* Ids ascend with the wall clock of their start, so the walk ends at the first that is young
 * enough. What sorts wrong after a jump of that clock is removed later, never sooner. */
static int expire_one(void *context, Span key, Span document, Error *error) {
    TaskExpiry *expiry = context;
    json_t *stored = json_loadb(document.data, document.size, 0, NULL);
    usec_t stored_at = json_integer_value(json_object_get(stored, "running"));
    json_decref(stored);
    if (stored_at > expiry->before || expiry->count == EXPIRED_AT_ONCE) return error_set(error, -ECANCELED, "the rest is younger");
    define_remove(expiry->define, CATALOG_TASKS, key);
    expiry->count++;
    return 0;
}

int tasks_expire(Tasks *tasks, Define *define, Error *error) {
    usec_t now = usage_running(tasks->usage);
    if (now <= TASKS_KEPT_FOR) return 0;
    Txn *txn;
    int r = txn_begin_read(tasks->environment, &txn, error);
    if (r < 0) return r;
    TaskExpiry expiry = {.define = define, .before = now - TASKS_KEPT_FOR};
    r = catalog_visit(txn, CATALOG_TASKS, (Span){0}, expire_one, &expiry, error);
    txn_abort(txn);
    return r == -ECANCELED ? 0 : r;
}
