#include "gateway/rows/dry_run.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "gateway/http/decode.h"
#include "gateway/rows/row_batch.h"
#include "gateway/values/avro_text.h"
#include "mapping/framing.h"
#include "mapping/headers.h"
#include "mapping/meta.h"

struct DryRun {
    SnapshotSource source; /* of its own, with the plan only */
    Arena arena;
    RowMaker *maker;
    RowBatch batch; /* never sealed: each event is looked at and left out */
    RowPart part;
    Buffer body;   /* decoded */
    Event *events; /* grows by doubling; freed by itself */
    size_t count, room;
    size_t line, line_at; /* the line of the place up to which line ends were counted */
};

static Span copy(Arena *arena, Span bytes) {
    return (Span){.data = arena_copy(arena, bytes), .size = bytes.size};
}

static EventHeader *copy_headers(Arena *arena, const DryRunRequest *request, size_t *ret_count) {
    EventHeader *headers = arena_zalloc(arena, (request->header_count + 1) * sizeof *headers);
    bool has_type = false;
    *ret_count = 0;
    for (size_t i = 0; i < request->header_count; i++) {
        EventHeader header = request->headers[i];
        if (header_is_secret(header.name)) continue;
        headers[(*ret_count)++] = (EventHeader){.name = copy(arena, header.name), .value = copy(arena, header.value)};
        has_type = has_type || span_equal_nocase(header.name, SPAN("content-type"));
    }
    if (!has_type && request->content_type.size > 0)
        headers[(*ret_count)++] = (EventHeader){.name = SPAN("Content-Type"), .value = copy(arena, request->content_type)};
    return headers;
}

/* The first encoding that is one counts, another one beside it is one too many; as at the
 * intake. */
static ContentEncoding encoding_of(const DryRunRequest *request) {
    ContentEncoding encoding = ENCODING_IDENTITY;
    for (size_t i = 0; i < request->header_count; i++) {
        if (!span_equal_nocase(request->headers[i].name, SPAN("content-encoding"))) continue;
        ContentEncoding named = content_encoding(request->headers[i].value);
        if (encoding == ENCODING_IDENTITY)
            encoding = named;
        else if (named != ENCODING_IDENTITY)
            encoding = ENCODING_UNSUPPORTED;
    }
    return encoding;
}

static int decode(DryRun *run, const DryRunRequest *request, Error *error) {
    ContentEncoding encoding = encoding_of(request);
    if (encoding == ENCODING_UNSUPPORTED)
        return error_set(error, -EOPNOTSUPP, "The Content-Encoding is not supported: send " DECODE_ACCEPTED ", or none.");
    if (encoding == ENCODING_IDENTITY) {
        buffer_append_span(&run->body, request->body);
        return 0;
    }
    Decoder *decoder = decoder_new();
    int r = decoder_decode(decoder, encoding, request->body, request->body_bytes, &run->body, error);
    decoder_free(decoder);
    if (r == DECODE_TOO_LARGE)
        return error_set(error, -EFBIG, "The decoded body has more than %zu bytes (option limits.body).", request->body_bytes);
    return r;
}

/* The body of an event that is given as the value of a record. */
static void take_value(DryRun *run, RecordKind kind, Event *event) {
    switch (kind) {
    case RECORD_JSON:
    case RECORD_AVRO:
    case RECORD_JSON_SCHEMA: event->kind = BODY_JSON; return;
    case RECORD_TEXT: event->kind = BODY_OTHER; return;
    case RECORD_BYTES: {
        _cleanup_(buffer_deinit) Buffer text = {0};
        avro_put_base64(&text, event->body);
        event->body = copy(&run->arena, buffer_span(&text));
        event->kind = BODY_OTHER;
        return;
    }
    }
    unreachable();
}

static int split(DryRun *run, Framing framing, const DryRunRequest *request, Error *error) {
    Event event = {.received = request->received, .ip = copy(&run->arena, request->ip)};
    FrameReader frames;
    Frame frame;
    int r;
    event.headers = copy_headers(&run->arena, request, &event.header_count);
    if (request->meta) {
        EventMeta *meta = event_meta_copy(&run->arena, request->meta);
        event_meta_complete(meta, &run->arena);
        event.meta = meta;
    }
    (request->resumes ? frames_resume : frames_start)(&frames, framing, request->content_type, buffer_span(&run->body));
    while ((r = frames_next(&frames, &frame, error)) == 0) {
        event.body = frame.body;
        event.kind = frame.kind;
        if (event.body.size > request->event_bytes)
            return error_set(error, -EFBIG, "Event %zu has %zu bytes; the limit is %zu (option limits.event).", run->count, event.body.size,
                             request->event_bytes);
        if (run->count == request->events_max)
            return error_set(error, -EFBIG, "The body has too many events: at most %zu are mapped in one run.", request->events_max);
        if (request->bridge) take_value(run, request->bridge->value, &event);
        uuid_next(request->ids, request->received, &event.id);
        array_reserve(run->events, run->count, run->room);
        run->events[run->count++] = event;
    }
    return r < 0 ? error_set(error, r, "T%s.", error->text + 1) /* "the body does not fit ..." */ : 0;
}

int dry_run_new(Plan *plan, Framing framing, const DryRunRequest *request, DryRun **ret_run, Error *error) {
    DryRun *run = calloc(1, sizeof *run);
    check(run);
    run->source.plan = plan_ref(plan);
    run->maker = row_maker_new(request->row_bytes, SIZE_MAX, NULL);
    run->batch.maker = run->maker;
    row_batch_begin(&run->batch, NULL, &run->source, (UsageClaim){0}, &run->part);
    int r = decode(run, request, error);
    if (r == 0) r = split(run, framing, request, error);
    if (r < 0) {
        dry_run_free(run);
        return r;
    }
    *ret_run = run;
    return 0;
}

void dry_run_free(DryRun *run) {
    if (!run) return;
    row_batch_drop(&run->batch);
    row_maker_free(run->maker);
    plan_unref(run->source.plan);
    arena_deinit(&run->arena);
    buffer_deinit(&run->body);
    free(run->events);
    free(run);
}

size_t dry_run_events(const DryRun *run) {
    return run->count;
}

size_t dry_run_line(DryRun *run, size_t event) {
    if (run->body.size == 0) return 0; /* the event is of no buffer then */
    const char *p = run->body.data + run->line_at, *end = run->events[event].body.data;
    for (; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++) run->line++;
    if (end > run->body.data + run->line_at) run->line_at = (size_t)(end - run->body.data);
    return run->line;
}

TemplateBatch *dry_run_batch(DryRun *run, Mailbox *reply, int reply_kind) {
    if (plan_template_count(run->source.plan) == 0 || run->count == 0) return NULL;
    TemplateBatch *batch = template_batch_new(plan_ref(run->source.plan), run->count, reply, reply_kind);
    for (size_t i = 0; i < run->count; i++) batch->events[i].event = run->events[i];
    return batch;
}

void dry_run_map(DryRun *run, size_t number, const TemplateBatch *results, DryRunVisit visit, void *context) {
    Event event = run->events[number];
    event.templates = results ? results->events[number].results : NULL;
    (void)row_batch_map(&run->batch, &run->part, &event);
    for (size_t i = 0; i < plan_sink_count(run->source.plan); i++)
        visit(context, number, plan_sink(run->source.plan, i), row_batch_failure(&run->batch, i), row_batch_row(&run->part, i));
    row_batch_leave(&run->part);
}

json_t *dry_run_cell_json(const RowCell *cell) {
    if (cell->is_null) return json_null();
    json_t *text = json_stringn(cell->data, cell->size);
    return text ? text : json_string("(bytes that are not UTF-8)");
}
