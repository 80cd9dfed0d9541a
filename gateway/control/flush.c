/* Flushes: a task that ends when what waits of a sink is imported. */
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "gateway/control/change_parts.h"

#define TASKS_MAX 2000 /* on their way at once: a dead destination must not gather more */

typedef struct Flush {
    PendingRequest pending; /* first */
    Task *task;
} Flush;

static void flush_back(Control *control, PendingRequest *pending, Message *take_message) {
    Flush *flush = (Flush *)pending;
    Close *close = (Close *)take_message;
    Task *task = flush->task;
    check(json_object_set_new(task->outputs, "rows", json_integer((json_int_t)close->rows)) == 0);
    check(json_object_set_new(task->outputs, "refusedRows", json_integer((json_int_t)close->refused)) == 0);
    json_t *refusal = close->refusal[0] ? json_string(close->refusal) : NULL; /* none as well when it was cut within a character */
    if (refusal) check(json_object_set_new(task->outputs, "refusal", refusal) == 0);
    if (close->request.result < 0) {
        _cleanup_free_ char *text = NULL;
        check(asprintf(&text, "The import did not succeed; the waiting rows are kept: %s", close->request.error.text) > 0);
        tasks_end(control->tasks, task, TASK_ERROR, text);
    } else {
        tasks_end(control->tasks, task, TASK_SUCCESS,
                  close->refused > 0 ? "All waiting rows are imported, except the rows that the table refused."
                                     : "All waiting rows are imported.");
    }
    control_store_task(control, task);
    free(close);
    pending_request_end(pending);
}

static int refuse_paused(const char *what, const Pause *pause, Failure *failure) {
    char since[25];
    clock_format_utc(pause->at, since);
    return failure_set(failure, 409, "paused", "The %s is paused since %s by \"%.100s\": resume it first.", what, since, pause->by);
}

int control_flush(Control *control, const RegistrySource *source, const RegistrySink *sink, ApiCall *call, Failure *failure) {
    const char *what;
    const Pause *pause = pauses_of_sink(&control->pauses, source->source, sink->sink, &what);
    if (pause) return refuse_paused(what, pause, failure);
    if (tasks_processing(control->tasks) >= TASKS_MAX) {
        (void)failure_set(failure, 503, "overloaded", "%d tasks are in progress already: try again later.", TASKS_MAX);
        failure->retry_after = 5;
        return -1;
    }
    Flush *flush = pending_request_new(sizeof *flush, flush_back, NULL, NULL);
    Close *close = calloc(1, sizeof *close);
    check(close);
    const Options *options = control->options.options;
    Task *task = tasks_begin(control->tasks, "sink.flush", source->source->source_id);
    json_t *outputs = json_pack("{s:i, s:s, s:s, s:s}", "projectId", (int)options->project, "branchId", options->branch, "sourceId",
                                source->source->source_id, "sinkId", sink->sink->sink_id);
    check(outputs && json_object_update_new(task->outputs, outputs) == 0);
    flush->task = task;

    close->request.message.kind = MESSAGE_CLOSE;
    close->sink = sink->sink->number;
    close->reason = CLOSE_FLUSH;
    close->wait_imported = true;
    control_note_task(control, task);
    tasks_answer(control->tasks, task, call, 202);
    control_ask_writer(control, &flush->pending, &close->request);
    return 0;
}
