/* `sluice infer`: a manifest with explicit columns, made of samples. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/column_name.h"
#include "config/inferred_type.h"
#include "gateway/commands/commands.h"
#include "mapping/plan.h"

#define ROW_BYTES_MOST ((size_t)64 << 20)

/* What is known of a field. */
typedef struct SampleField {
    char *path; /* canonical */
    DataType type;
    uint64_t seen[DATA_TYPE_COUNT]; /* values, by type */
    uint64_t count;
} SampleField;

typedef struct Samples {
    SampleField *fields; /* in the order in which they came */
    size_t count, room;
    uint64_t events, skipped;
    Source *source;
    Sink *sink;
    Plan *plan;
} Samples;

static void json_drop(json_t **json) {
    json_decref(*json);
}

static void samples_deinit(Samples *samples) {
    for (size_t i = 0; i < samples->count; i++) free(samples->fields[i].path);
    free(samples->fields);
    plan_unref(samples->plan);
    sink_unref(samples->sink);
    source_unref(samples->source);
}

/* A sink that infers, and never gets a column: so each event says all its fields. */
static int make_plan(const Arguments *arguments, Samples *samples, Error *error) {
    const char *depth = arguments_value(arguments, "depth");
    _cleanup_(json_drop) json_t *exclude = json_array(), *hints = json_object();
    check(exclude && hints);
    for (size_t i = 0; i < arguments->given_count; i++) {
        const Argument *given = &arguments->given[i];
        if (strcmp(given->name, "exclude") == 0) check(json_array_append_new(exclude, json_string(given->value)) == 0);
        if (strcmp(given->name, "type") != 0) continue;
        const char *equals = strrchr(given->value, '=');
        if (!equals) return error_set(error, -EINVAL, "--type wants PATH=TYPE, not %s", given->value);
        _cleanup_free_ char *path = text_copy_span((Span){given->value, (size_t)(equals - given->value)});
        check(json_object_set_new(hints, path, json_string(equals + 1)) == 0);
    }
    _cleanup_(json_drop) json_t *source = json_pack("{s:s}", "sourceId", "samples");
    _cleanup_(json_drop) json_t *sink = json_pack("{s:s, s:{s:s, s:{s:{s:i, s:O, s:O, s:i}}}}", "sinkId", "samples", "table", "tableId",
                                                  "samples", "mapping", "infer", "depth", depth ? atoi(depth) : 1, "exclude", exclude,
                                                  "typeHints", hints, "maxColumns", COLUMNS_INFERRED_MAX);
    check(source && sink);
    int r = source_from_request(source, &samples->source, error);
    if (r == 0) r = sink_from_request(sink, true, &samples->sink, error);
    if (r < 0) return r;
    sink_complete(samples->source, samples->sink);
    return plan_compile(samples->source, &samples->sink, 1, &samples->plan, error);
}

static void note(Samples *samples, const MapDiscovery *found) {
    SampleField *field = NULL;
    for (size_t i = 0; i < samples->count && !field; i++)
        if (span_equal(span_of(samples->fields[i].path), found->path)) field = &samples->fields[i];
    if (!field) {
        array_reserve(samples->fields, samples->count, samples->room);
        field = &samples->fields[samples->count++];
        *field = (SampleField){.path = text_copy_span(found->path), .type = found->type};
    }
    field->type = inferred_type_widen(field->type, found->type);
    field->seen[found->type]++;
    field->count++;
}

static int read_samples(const char *name, FILE *file, Samples *samples, Error *error) {
    Mapper *mapper = mapper_new(ROW_BYTES_MOST);
    Buffer row = {0}, *rows[] = {&row};
    char *line = NULL;
    size_t room = 0, number = 0;
    ssize_t size;
    while ((size = getline(&line, &room, file)) >= 0) {
        number++;
        Span text = {line, (size_t)size};
        while (text.size > 0 && strchr(" \t\r\n", text.data[text.size - 1])) text.size--;
        if (text.size == 0) continue;
        MapFailure failure = {0};
        const Event event = {.body = text, .kind = BODY_JSON};
        buffer_clear(&row);
        samples->events++;
        if (mapper_map(mapper, samples->plan, &event, rows, &failure) > 0) {
            (void)fprintf(stderr, "%s:%zu: %s\n", name, number, failure.message);
            samples->skipped++;
            continue;
        }
        size_t count;
        const MapDiscovery *found = mapper_discoveries(mapper, &count);
        for (size_t i = 0; i < count; i++) note(samples, &found[i]);
    }
    int r = ferror(file) ? error_set(error, -EIO, "%s: %s", name, strerrordesc_np(errno)) : 0;
    free(line);
    buffer_deinit(&row);
    mapper_free(mapper);
    return r;
}

/* ---- what is printed ------------------------------------------------------------------------------------------------------------------ */

typedef struct SampleNames {
    char (*names)[COLUMN_NAME_SIZE];
    size_t count;
} SampleNames;

static bool is_taken(void *context, const char *name) {
    const SampleNames *names = context;
    for (size_t i = 0; i < names->count; i++)
        if (span_equal_nocase(span_of(names->names[i]), span_of(name))) return true;
    return false;
}

/* A JSON string is a YAML scalar. */
static char *quoted(const char *text) {
    _cleanup_(json_drop) json_t *json = json_string(text);
    char *dumped = json_dumps(json, JSON_ENCODE_ANY);
    check(dumped);
    return dumped;
}

static void print_manifest(const Samples *samples, const char *source, const char *table, const SampleNames *names, size_t shown) {
    _cleanup_free_ char *id = quoted(source), *target = quoted(table);
    (void)printf("kind: source\nsourceId: %s\ntype: http\nframing: ndjson\nsinks:\n  - sinkId: %s\n    table:\n      tableId: %s\n"
                 "      mapping:\n        columns:\n          - {name: _id, type: id}\n"
                 "          - {name: _at, type: datetime, dataType: timestamp}\n",
                 id, id, target);
    for (size_t i = 0; i < shown; i++) {
        const SampleField *field = &samples->fields[i];
        _cleanup_free_ char *name = quoted(names->names[i]), *path = quoted(field->path);
        (void)printf("          - {name: %s, type: path, path: %s, dataType: %s%s%s}\n", name, path, data_type_name(field->type),
                     field->type == DATA_JSON ? "" : ", rawString: true",
                     field->count < samples->events - samples->skipped ? ", optional: true" : "");
    }
}

static void print_report(const Samples *samples, const SampleNames *names, size_t shown) {
    uint64_t events = samples->events - samples->skipped;
    (void)fprintf(stderr, "%" PRIu64 " events", events);
    if (samples->skipped > 0) (void)fprintf(stderr, ", and %" PRIu64 " that are no JSON objects", samples->skipped);
    (void)fprintf(stderr, "\n%-30s %-10s %8s  %s\n", "column", "type", "missing", "values seen");
    for (size_t i = 0; i < samples->count; i++) {
        const SampleField *field = &samples->fields[i];
        const double missing = 100.0 * (double)(events - field->count) / (double)events;
        (void)fprintf(stderr, "%-30s %-10s %7.1f%%  ", i < shown ? names->names[i] : field->path, data_type_name(field->type), missing);
        const char *separator = "";
        for (unsigned type = 0; type < DATA_TYPE_COUNT; type++) {
            if (field->seen[type] == 0) continue;
            (void)fprintf(stderr, "%s%s %" PRIu64, separator, data_type_name((DataType)type), field->seen[type]);
            separator = ", ";
        }
        (void)fprintf(stderr, "%s\n", i < shown ? "" : "  (no column: a sink has at most 100 that are declared)");
    }
}

static int run(const Arguments *arguments) {
    const char *file = arguments_value(arguments, "file"), *source = arguments_value(arguments, "source"),
               *table = arguments_value(arguments, "table");
    bool is_file = strcmp(file, "-") != 0;
    Error error = {0};
    Samples samples = {0};
    int r = make_plan(arguments, &samples, &error);
    FILE *input = stdin;
    if (r == 0 && is_file && !(input = fopen(file, "re"))) r = error_set(&error, -errno, "%s: %s", file, strerrordesc_np(errno));
    if (r == 0) r = read_samples(is_file ? file : "standard input", input, &samples, &error);
    if (input && input != stdin) (void)fclose(input);
    if (r == 0 && samples.events == samples.skipped) r = error_set(&error, -EINVAL, "%s holds no JSON object", file);
    if (r == 0) {
        size_t most = COLUMNS_A_SINK_MAX - 2, shown = samples.count < most ? samples.count : most; /* without _id and _at */
        SampleNames names = {.names = calloc(samples.count + 1, sizeof *names.names)};
        check(names.names);
        for (size_t i = 0; i < shown; i++, names.count++)
            column_name_of_field(span_of(samples.fields[i].path), is_taken, &names, names.names[i]);
        print_manifest(&samples, source ? source : "samples", table ? table : source ? source : "samples", &names, shown);
        print_report(&samples, &names, shown);
        free(names.names);
    }
    samples_deinit(&samples);
    if (r == 0) return EXIT_SUCCESS;
    (void)fprintf(stderr, "sluice infer: %s\n", error.text);
    return r == -EIO ? EXIT_RUNTIME : EXIT_INVALID;
}

static const CommandOption options[] = {
    {.name = "file",
     .letter = 'f',
     .required = true,
     .argument = "FILE",
     .sentence = "Samples, a JSON object a line; - is standard input."},
    {.name = "depth", .argument = "LEVELS", .sentence = "1 (default) to 5: depth to which the members of objects become columns."},
    {.name = "exclude", .may_repeat = true, .argument = "PATH", .sentence = "A field that gets no column. May be given again."},
    {.name = "type",
     .may_repeat = true,
     .argument = "PATH=TYPE",
     .sentence = "The type of a field, instead of what its values seem to be. May be given again."},
    {.name = "source", .argument = "ID", .sentence = "The id of the source and its sink (default samples)."},
    {.name = "table", .argument = "ID", .sentence = "The table (default as the source)."},
    {0},
};

const Command command_infer = {
    .name = "infer",
    .summary = "Print a manifest with the columns that samples of events would get.",
    .options = options,
    .notes = "The manifest goes to standard output; which values were seen, and how often a field is missing, to standard error.\n",
    .run = run,
};
