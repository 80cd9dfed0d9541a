/* Sinks: list, get, flush. */
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "gateway/api/router.h"

void api_sinks_list(ApiRequest *request) {
    ApiPage page;
    if (!api_page(request, request->parameters[0], request->parameters[1], &page)) return;
    const RegistrySource *source = request->source;
    json_t *list = json_array();
    check(list);
    const char *last = NULL;
    for (size_t i = registry_sink_after(source, page.after_id); i < source->sink_count && json_array_size(list) < page.limit; i++) {
        const Sink *sink = source->sinks[i]->sink;
        if (sink->deleted != 0) continue;
        check(json_array_append_new(list, sink_to_json(sink)) == 0);
        last = sink->sink_id;
    }
    json_t *answer = json_pack("{s:o, s:o}", "sinks", list, "page", api_page_json(&page, registry_live_sinks(source), last));
    check(answer);
    api_answer(request, 200, answer);
}

void api_sinks_get(ApiRequest *request) {
    api_answer(request, 200, sink_to_json(request->sink->sink));
}

#define TASKS_MOST 2000 /* on their way at once: a dead destination must not gather more */

/* ---- flush ------------------------------------------------------------------------------------------------------------------------- */

typedef struct Flush {
    Errand errand; /* first */
    Task *task;
} Flush;

static void flush_drop(Errand *errand) {
    free(errand);
}

static void flush_back(Control *control, Errand *errand, Message *take_message) {
    Flush *flush = (Flush *)errand;
    Close *close = (Close *)take_message;
    Task *task = flush->task;
    check(json_object_set_new(task->outputs, "rows", json_integer((json_int_t)close->rows)) == 0);
    if (close->request.result < 0) {
        _cleanup_free_ char *text = NULL;
        check(asprintf(&text, "The import did not end; what waits is kept: %s", close->request.error.text) > 0);
        tasks_end(control->tasks, task, TASK_ERROR, text);
    } else {
        tasks_end(control->tasks, task, TASK_SUCCESS, "All that waited is imported.");
    }
    control_store_task(control, task);
    free(close);
    errand_end(errand);
    flush_drop(errand);
}

void api_sinks_flush(ApiRequest *request) {
    Control *control = request->control;
    const char *what;
    const Pause *pause = pauses_of_sink(&control->pauses, request->source->source, request->sink->sink, &what);
    if (pause) {
        char since[25];
        clock_format_utc(pause->at, since);
        api_fail(request, 409, "paused", "The %s is paused since %s by \"%.100s\": resume it first.", what, since, pause->by);
        return;
    }
    if (tasks_processing(control->tasks) >= TASKS_MOST) {
        request->call->retry_after = 5;
        api_fail(request, 503, "overloaded", "%d tasks are on their way already: ask again in a moment.", TASKS_MOST);
        return;
    }
    Flush *flush = calloc(1, sizeof *flush);
    Close *close = calloc(1, sizeof *close);
    check(flush && close);
    Task *task = tasks_begin(control->tasks, "sink.flush", request->source_id);
    json_t *outputs = json_pack("{s:i, s:s, s:s, s:s}", "projectId", (int)control->options.options->project, "branchId",
                                control->options.options->branch, "sourceId", request->source_id, "sinkId", request->sink_id);
    check(outputs && json_object_update_new(task->outputs, outputs) == 0);
    flush->errand.back = flush_back;
    flush->errand.drop = flush_drop;
    flush->task = task;
    errand_begin(control, &flush->errand);

    close->request.message.kind = MESSAGE_CLOSE;
    close->request.reply = control->mailbox;
    close->sink = request->sink->sink->number;
    close->reason = CLOSE_FLUSH;
    close->wait_imported = true;
    close->request.context = &flush->errand;
    control_note_task(control, task);
    tasks_answer(control->tasks, task, api_keep(request), 202);
    mailbox_post(control->peers.writer, &close->request.message);
}
