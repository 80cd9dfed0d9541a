#include "gateway/rows/map_events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "gateway/rows/dry_run.h"
#include "gateway/templates/broker.h"
#include "gateway/templates/check.h"
#include "mapping/meta.h"
#include "mapping/row.h"

#define READ_BYTES ((size_t)256 * 1024)
#define BATCH_LINES 1000
#define EVENTS_MAX 1000000 /* of a body that is one request */

typedef struct MapRun {
    const MapTarget *targets;
    size_t target_count;
    const MapInput *input;
    const Options *options;
    bool csv;
    MapCounts *counts;
    Templates *templates; /* NULL: no target has one */
    Mailbox *mailbox;
    UuidSource ids;
    RowReader reader;
    size_t line; /* of the input, before the text at hand */
    bool begun;  /* the text at hand is not the first of the input */
    /* for the visit */
    const MapTarget *target;
    DryRun *dry;
    bool refused;
} MapRun;

/* ---- rows ------------------------------------------------------------------------------------ */

/* The next row of the reader; false: there is none. */
static bool print_json(MapRun *run, const Sink *sink) {
    _cleanup_free_ RowCell *cells = calloc(sink_target_cells(&sink->target), sizeof *cells);
    check(cells);
    int r = row_read(&run->reader, cells, sink_target_cells(&sink->target));
    if (r == ROW_READ_END) return false;
    check(r == 0);
    json_t *columns = json_object();
    for (size_t i = 0; i < sink->target.column_count; i++)
        check(json_object_set_new(columns, sink->target.columns[i].name, dry_run_cell_json(&cells[i])) == 0);
    json_t *line = json_pack("{s:s, s:s, s:o}", "sinkId", sink->sink_id, "tableId", sink_target_name(&sink->target), "row", columns);
    check(line);
    if (sink_target_deletes(&sink->target) && !cells[sink->target.column_count].is_null)
        check(json_object_set_new(line, "deletes", json_true()) == 0);
    _cleanup_free_ char *text = json_dumps(line, JSON_COMPACT);
    check(text);
    json_decref(line);
    (void)puts(text);
    return true;
}

static void visit(void *context, size_t event, const Sink *sink, const MapFailure *failure, Span rows) {
    MapRun *run = context;
    if (!failure) {
        if (rows.size > 0 && run->csv) (void)fwrite(rows.data, 1, rows.size, stdout);
        run->reader.text = rows;
        while (!run->csv && print_json(run, sink)) continue;
        return;
    }
    run->refused = true;
    char number[40] = "";
    if (!run->input->lines && dry_run_events(run->dry) > 1) (void)snprintf(number, sizeof number, "event %zu, ", event);
    bool many = run->target_count > 1;
    (void)fprintf(stderr, "%s:%zu: %s%s%s%ssink %s: %s\n", run->input->name, run->line + dry_run_line(run->dry, event) + 1, number,
                  many ? "source " : "", many ? run->target->source->source_id : "", many ? ", " : "", sink->sink_id,
                  failure->message); /* the message names the column */
}

static int written(Error *error) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
    return error_set(error, -errno, "the rows cannot be written: %s", strerrordesc_np(errno));
}

/* ---- events ---------------------------------------------------------------------------------- */

/* The meta values that were given, as events of the source have them. */
static int set_meta(const MapRun *run, const Source *source, EventMeta *meta, Error *error) {
    *meta = (EventMeta){.fields = source_meta_fields(source)};
    int r = 0;
    for (size_t i = 0; i < run->input->meta_count && r == 0; i++)
        r = event_meta_set(meta, source, run->input->meta[i].field, run->input->meta[i].value, error);
    return r;
}

static int start_runs(MapRun *run, Span text, DryRun **runs, Error *error) {
    DryRunRequest request = {
        .body = text,
        .resumes = run->begun,
        .content_type = run->input->content_type,
        .headers = run->input->headers,
        .header_count = run->input->header_count,
        .ip = SPAN("127.0.0.1"),
        .received = clock_system()->wall(clock_system()),
        .ids = &run->ids,
        .events_max = EVENTS_MAX,
        .body_bytes = run->options->body_bytes,
        .event_bytes = run->options->event_bytes,
        .row_bytes = run->options->row_bytes,
    };
    for (size_t i = 0; i < run->target_count; i++) {
        Framing framing = source_framing(run->targets[i].source);
        if (run->input->lines && framing != FRAMING_LINES) framing = FRAMING_NDJSON;
        EventMeta meta;
        int r = set_meta(run, run->targets[i].source, &meta, error);
        if (r < 0) return r;
        request.meta = meta.fields ? &meta : NULL;
        request.bridge = source_bridge(run->targets[i].source);
        r = dry_run_new(run->targets[i].plan, framing, &request, &runs[i], error);
        if (r < 0) return error_prefix(error, "%s", run->input->name);
    }
    return 0;
}

/* The batches of all runs are on their way at once; the kind of each, from 1, is its run. */
static void evaluate_templates(MapRun *run, DryRun *const *runs, TemplateBatch **batches) {
    size_t left = 0;
    for (size_t i = 0; i < run->target_count; i++) {
        TemplateBatch *batch = dry_run_batch(runs[i], run->mailbox, (int)i + 1);
        if (!batch) continue;
        templates_post(run->templates, batch);
        left++;
    }
    while (left > 0) {
        (void)mailbox_wait(run->mailbox, USEC_NEVER);
        for (Message *message = mailbox_take(run->mailbox), *next; message; message = next) {
            next = message->next;
            batches[message->kind - 1] = (TemplateBatch *)message;
            left--;
        }
    }
}

/* What events of several runs have in common: the line. A body that is one request each source may
 * split in its own way: the number. */
static size_t place_of(const MapRun *run, DryRun *dry, size_t event) {
    return run->input->lines ? dry_run_line(dry, event) : event;
}

/* The next event of each run that is at the first place; false: there is none. */
static bool map_next(MapRun *run, DryRun *const *runs, TemplateBatch *const *batches, size_t *next) {
    size_t first = SIZE_MAX;
    for (size_t i = 0; i < run->target_count; i++) {
        if (next[i] == dry_run_events(runs[i])) continue;
        size_t place = place_of(run, runs[i], next[i]);
        if (place < first) first = place;
    }
    if (first == SIZE_MAX) return false;
    run->refused = false;
    for (size_t i = 0; i < run->target_count; i++) {
        if (next[i] == dry_run_events(runs[i]) || place_of(run, runs[i], next[i]) != first) continue;
        run->target = &run->targets[i];
        run->dry = runs[i];
        dry_run_map(runs[i], next[i]++, batches[i], visit, run);
    }
    run->counts->events++;
    run->counts->refused += run->refused;
    return true;
}

static int map_text(MapRun *run, Span text, Error *error) {
    DryRun **runs = calloc(run->target_count, sizeof *runs);
    TemplateBatch **batches = calloc(run->target_count, sizeof *batches);
    size_t *next = calloc(run->target_count, sizeof *next);
    check(runs && batches && next);
    int r = start_runs(run, text, runs, error);
    run->begun = true;
    if (r == 0) {
        evaluate_templates(run, runs, batches);
        while (map_next(run, runs, batches, next)) continue;
    }
    for (size_t i = 0; i < run->target_count; i++) {
        template_batch_free(batches[i]);
        dry_run_free(runs[i]);
    }
    free(runs);
    free(batches);
    free(next);
    return r == 0 ? written(error) : r;
}

/* ---- input ----------------------------------------------------------------------------------- */

/* Appends what is there, and waits for it to be; 0 at the end. */
static ssize_t read_some(const MapInput *input, Buffer *out, Error *error) {
    ssize_t n;
    do n = read(input->fd, buffer_reserve(out, READ_BYTES), READ_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0) return error_set(error, -errno, "%s cannot be read: %s", input->name, strerrordesc_np(errno));
    out->size += (size_t)n;
    return n;
}

static int map_body(MapRun *run, Error *error) {
    _cleanup_(buffer_deinit) Buffer body = {0};
    ssize_t n;
    while ((n = read_some(run->input, &body, error)) > 0)
        if (body.size > run->options->body_bytes)
            return error_set(error, -EFBIG, "%s: The body has more than %zu bytes (option limits.body).", run->input->name,
                             (size_t)run->options->body_bytes);
    return n < 0 ? (int)n : map_text(run, buffer_span(&body), error);
}

static void refuse_long_line(MapRun *run) {
    (void)fprintf(stderr, "%s:%zu: the event has more than %llu bytes (option limits.event)\n", run->input->name, run->line + 1,
                  (unsigned long long)run->options->event_bytes);
    run->counts->events++;
    run->counts->refused++;
    run->line++;
    run->begun = true;
}

/* A CR is of the line end only before an LF, as in mapping/framing.c. */
static bool is_too_long(const MapRun *run, const char *line, const char *newline, const char *end) {
    bool is_crlf = newline && newline > line && newline[-1] == '\r';
    return (size_t)((newline ? newline : end) - line) - is_crlf > run->options->event_bytes;
}

/* Whole lines, BATCH_LINES at a time; an event that is too long is of no dry run. */
static int map_lines(MapRun *run, Span text, Error *error) {
    const char *end = text.data + text.size, *start = text.data, *p = start;
    size_t lines = 0;
    int r = 0;
    while (p < end && r == 0) {
        const char *newline = memchr(p, '\n', (size_t)(end - p)), *next = newline ? newline + 1 : end;
        bool too_long = is_too_long(run, p, newline, end);
        if (!too_long) {
            lines++;
            p = next;
            if (lines < BATCH_LINES && p < end) continue;
        }
        if (p > start) r = map_text(run, (Span){start, (size_t)(p - start)}, error);
        run->line += lines;
        lines = 0;
        if (too_long && r == 0) {
            refuse_long_line(run);
            p = next;
        }
        start = p;
    }
    return r;
}

static int map_stream(MapRun *run, Error *error) {
    _cleanup_(buffer_deinit) Buffer text = {0};
    bool skipping = false; /* the rest of a line that is too long */
    for (;;) {
        size_t seen = text.size;
        ssize_t n = read_some(run->input, &text, error);
        if (n < 0) return (int)n;
        const char *newline = n > 0 ? memrchr(text.data + seen, '\n', (size_t)n) : NULL;
        size_t whole = n == 0 ? text.size : newline ? (size_t)(newline + 1 - text.data) : 0;
        size_t from = 0;
        if (skipping) {
            const char *first = text.size ? memchr(text.data, '\n', text.size) : NULL;
            from = first ? (size_t)(first + 1 - text.data) : text.size;
            if (from > whole) whole = from;
            if (first || n == 0) {
                skipping = false;
                refuse_long_line(run);
            }
        }
        int r = map_lines(run, (Span){text.data + from, whole - from}, error);
        if (r < 0 || n == 0) return r;
        text.size -= whole;
        memmove(text.data, text.data + whole, text.size);
        if (text.size <= run->options->event_bytes + 1) continue;
        skipping = true;
        text.size = 0;
    }
}

/* ---- the whole ------------------------------------------------------------------------------- */

typedef struct EventPlace {
    const Sink *sink;
    const Column *column;
} EventPlace;

static void add_templates(const MapTarget *target, TemplateCheck *asked, Buffer *places) {
    for (size_t i = 0; i < target->sink_count; i++) {
        const Sink *sink = target->sinks[i];
        for (size_t c = 0; c < sink->target.column_count; c++) {
            const Column *column = &sink->target.columns[c];
            if (!column->template_text) continue;
            template_check_add(asked, column->template_text);
            EventPlace place = {sink, column};
            buffer_append(places, &place, sizeof place);
        }
    }
}

/* Of those of a target, by the fields that its source has. */
static int check_meta(const MapTarget *target, Error *error) {
    for (size_t i = 0; i < target->sink_count; i++) {
        const Sink *sink = target->sinks[i];
        for (size_t c = 0; c < sink->target.column_count; c++) {
            const Column *column = &sink->target.columns[c];
            if (!column->template_text || template_check_meta(column->template_text, target->source, error) == 0) continue;
            return error_prefix(error, "sink %s: the template of column \"%s\"", sink->sink_id, column->name);
        }
    }
    return 0;
}

/* As when a sink is created: a template that is wrong is told once, with its place. */
static int check_templates(MapRun *run, Error *error) {
    _cleanup_(buffer_deinit) Buffer places = {0};
    TemplateCheck *asked = template_check_new(run->mailbox, 1);
    for (size_t i = 0; i < run->target_count; i++) add_templates(&run->targets[i], asked, &places);
    templates_post_check(run->templates, asked);
    (void)mailbox_wait(run->mailbox, USEC_NEVER);
    check(mailbox_take(run->mailbox) == &asked->request.message);
    int r = asked->request.result;
    if (r < 0) {
        const EventPlace *place = (const EventPlace *)(void *)places.data;
        check(asked->passed < asked->count);
        while (strcmp(place->column->template_text, asked->texts[asked->passed]) != 0) place++; /* equal texts are checked once */
        *error = asked->request.error;
        r = error_prefix(error, "sink %s: the template of column \"%s\"", place->sink->sink_id, place->column->name);
    }
    template_check_free(asked);
    return r;
}

static int start_templates(MapRun *run, Error *error) {
    TemplateLimits limits = template_limits_of(run->options);
    size_t templates = 0;
    for (size_t i = 0; i < run->target_count; i++) templates += plan_template_count(run->targets[i].plan);
    if (templates == 0) return 0;
    run->mailbox = mailbox_new(NULL, NULL);
    int r = templates_start(&limits, NULL, &run->templates, error);
    return r < 0 ? r : check_templates(run, error);
}

int map_events(const MapTarget *targets, size_t target_count, const MapInput *input, bool csv, const Options *options,
               MapCounts *ret_counts, Error *error) {
    *ret_counts = (MapCounts){0};
    MapRun run = {.targets = targets, .target_count = target_count, .input = input, .options = options, .csv = csv, .counts = ret_counts};
    int r = 0;
    for (size_t i = 0; i < target_count && r == 0; i++) r = check_meta(&targets[i], error);
    if (r == 0) r = start_templates(&run, error);
    if (r == 0) r = input->lines ? map_stream(&run, error) : map_body(&run, error);
    templates_free(run.templates);
    if (run.mailbox) mailbox_free(run.mailbox);
    row_reader_deinit(&run.reader);
    return r;
}
