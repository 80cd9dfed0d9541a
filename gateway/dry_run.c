#include "gateway/dry_run.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "mapping/framing.h"

#define EVENTS_MOST 1000000

struct DryRun {
    Plan *plan;
    Arena arena;
    Mapper *mapper;
    Event *events; /* grows by doubling; freed by itself */
    size_t count, room;
};

static Span copy(Arena *arena, Span bytes) {
    return (Span){.data = arena_copy(arena, bytes), .size = bytes.size};
}

static EventHeader *copy_headers(Arena *arena, const DryRunRequest *request, size_t *ret_count) {
    EventHeader *headers = arena_zalloc(arena, (request->header_count + 1) * sizeof *headers);
    bool has_type = false;
    for (size_t i = 0; i < request->header_count; i++) {
        headers[i].name = copy(arena, request->headers[i].name);
        headers[i].value = copy(arena, request->headers[i].value);
        has_type = has_type || span_equal_nocase(headers[i].name, SPAN("content-type"));
    }
    *ret_count = request->header_count;
    if (!has_type && request->content_type.size > 0)
        headers[(*ret_count)++] = (EventHeader){.name = SPAN("Content-Type"), .value = copy(arena, request->content_type)};
    return headers;
}

int dry_run_new(Plan *plan, Framing framing, const DryRunRequest *request, DryRun **ret_run, Error *error) {
    DryRun *run = calloc(1, sizeof *run);
    check(run);
    run->plan = plan_ref(plan);
    run->mapper = mapper_new(request->row_bytes);

    Event common = {.kind = body_kind(request->content_type), .received = request->received, .ip = copy(&run->arena, request->ip)};
    common.headers = copy_headers(&run->arena, request, &common.header_count);
    UuidSource ids = {0};
    FrameReader frames;
    frames_start(&frames, framing, request->content_type, copy(&run->arena, request->body));
    for (;;) {
        Event event = common;
        int r = frames_next(&frames, &event.body, error);
        if (r == FRAMES_END) break;
        if (r == 0 && run->count == EVENTS_MOST) r = error_set(error, -EBADMSG, "more than %d events in one run", EVENTS_MOST);
        if (r < 0) {
            dry_run_free(run);
            return r;
        }
        uuid_next(&ids, request->received, &event.id);
        if (run->count == run->room) {
            run->room = run->room ? 2 * run->room : 16;
            run->events = reallocarray(run->events, run->room, sizeof *run->events);
            check(run->events);
        }
        run->events[run->count++] = event;
    }
    *ret_run = run;
    return 0;
}

void dry_run_free(DryRun *run) {
    if (!run) return;
    plan_unref(run->plan);
    mapper_free(run->mapper);
    arena_deinit(&run->arena);
    free(run->events);
    free(run);
}

size_t dry_run_events(const DryRun *run) {
    return run->count;
}

TemplateBatch *dry_run_batch(DryRun *run, Mailbox *reply, int reply_kind) {
    if (plan_template_count(run->plan) == 0 || run->count == 0) return NULL;
    TemplateBatch *batch = template_batch_new(plan_ref(run->plan), run->count, reply, reply_kind);
    for (size_t i = 0; i < run->count; i++) batch->events[i].event = run->events[i];
    return batch;
}

void dry_run_map(DryRun *run, const TemplateBatch *results, DryRunVisit visit, void *context) {
    size_t sinks = plan_sink_count(run->plan);
    Buffer *rows = calloc(sinks + 1, sizeof *rows);
    Buffer **row_list = calloc(sinks + 1, sizeof *row_list);
    MapFailure *failures = calloc(sinks + 1, sizeof *failures);
    check(rows && row_list && failures);
    for (size_t k = 0; k < sinks; k++) row_list[k] = &rows[k];

    for (size_t i = 0; i < run->count; i++) {
        Event event = run->events[i];
        event.templates = results ? results->events[i].results : NULL;
        (void)mapper_map(run->mapper, run->plan, &event, row_list, failures);
        for (size_t k = 0; k < sinks; k++) {
            bool failed = failures[k].error != MAP_OK;
            visit(context, i, plan_sink(run->plan, k), failed ? &failures[k] : NULL, buffer_span(&rows[k]));
            buffer_clear(&rows[k]);
        }
    }

    for (size_t k = 0; k < sinks; k++) buffer_deinit(&rows[k]);
    free(rows);
    free(row_list);
    free(failures);
}

json_t *dry_run_cell_json(const RowCell *cell) {
    if (cell->is_null) return json_null();
    json_t *text = json_stringn(cell->data, cell->size);
    return text ? text : json_string("(bytes that are not UTF-8)");
}
