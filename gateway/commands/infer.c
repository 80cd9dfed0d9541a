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

#define ROW_BYTES_MAX ((size_t)64 << 20)

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
    uint64_t events, skipped, unfit;
    json_t *types; /* by path, as --type has them */
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
    json_decref(samples->types);
    plan_unref(samples->plan);
    sink_unref(samples->sink);
    source_unref(samples->source);
}

static int take_type(Samples *samples, const char *text, Error *error) {
    const char *equals = strrchr(text, '=');
    DataType type;
    if (!equals) return error_set(error, -EINVAL, "--type needs PATH=TYPE, not %s", text);
    Buffer path = {0};
    bool is_path = field_path_canonical((Span){text, (size_t)(equals - text)}, &path);
    int r = 0;
    if (!is_path)
        r = error_set(error, -EINVAL, "--type %s: the path is not the path of a field", text);
    else if (!inferred_type_named(equals + 1, &type))
        r = error_set(error, -EINVAL, "--type %s: the type must be one of integer, decimal, boolean, timestamp, text, json", text);
    else
        check(json_object_set_new(samples->types, buffer_text(&path), json_integer(type)) == 0);
    buffer_deinit(&path);
    return r;
}

/* A sink that infers, and never gets a column: so each event says all its fields, with the types
 * that their values have. */
static int make_plan(const Arguments *arguments, Samples *samples, Error *error) {
    const char *depth = arguments_value(arguments, "depth");
    _cleanup_(json_drop) json_t *exclude = json_array();
    samples->types = json_object();
    check(exclude && samples->types);
    for (size_t i = 0; i < arguments->given_count; i++) {
        const Argument *given = &arguments->given[i];
        if (strcmp(given->name, "exclude") == 0) check(json_array_append_new(exclude, json_string(given->value)) == 0);
        int r = strcmp(given->name, "type") == 0 ? take_type(samples, given->value, error) : 0;
        if (r < 0) return r;
    }
    _cleanup_(json_drop) json_t *source = json_pack("{s:s}", "sourceId", "samples");
    _cleanup_(json_drop)
        json_t *sink = json_pack("{s:s, s:{s:s, s:{s:{s:i, s:O, s:i}}}}", "sinkId", "samples", "table", "tableId", "samples", "mapping",
                                 "infer", "depth", depth ? atoi(depth) : 1, "exclude", exclude, "maxColumns", COLUMNS_INFERRED_MAX);
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

static void note_all(Samples *samples, const Mapper *mapper) {
    size_t count;
    const MapDiscovery *found = mapper_discoveries(mapper, &count);
    for (size_t i = 0; i < count; i++) note(samples, &found[i]);
}

/* Each line by `plan`: that of the samples, or one that tries the given types, a sink for each.
 * What cannot be mapped is said with its line. */
static int read_samples(const char *name, FILE *file, Samples *samples, const Plan *plan, Error *error) {
    size_t sinks = plan_sink_count(plan), room = 0, number = 0;
    bool tries = plan != samples->plan;
    Mapper *mapper = mapper_new(ROW_BYTES_MAX);
    _cleanup_free_ Buffer *rows = calloc(sinks, sizeof *rows), **row_list = calloc(sinks, sizeof *row_list);
    _cleanup_free_ MapFailure *failures = calloc(sinks, sizeof *failures);
    check(rows && row_list && failures);
    for (size_t i = 0; i < sinks; i++) row_list[i] = &rows[i];
    char *line = NULL;
    ssize_t size;
    while ((size = getline(&line, &room, file)) >= 0) {
        number++;
        Span text = {line, (size_t)size};
        while (text.size > 0 && strchr(" \t\r\n", text.data[text.size - 1])) text.size--;
        if (text.size == 0) continue;
        const Event event = {.body = text, .kind = BODY_JSON};
        for (size_t i = 0; i < sinks; i++) buffer_clear(&rows[i]);
        samples->events += !tries;
        size_t failed = mapper_map(mapper, plan, &event, row_list, failures);
        for (size_t i = 0; i < sinks && failed > 0; i++) {
            if (failures[i].error == MAP_OK || (tries && !failures[i].column)) continue; /* what is no JSON was said before */
            (void)fprintf(stderr, "%s:%zu: %s\n", name, number, failures[i].message);
            *(tries ? &samples->unfit : &samples->skipped) += 1;
        }
        if (!tries && failed == 0) note_all(samples, mapper);
    }
    int r = ferror(file) ? error_set(error, -EIO, "%s: %s", name, strerrordesc_np(errno)) : 0;
    free(line);
    for (size_t i = 0; i < sinks; i++) buffer_deinit(&rows[i]);
    mapper_free(mapper);
    return r;
}

/* ---- types that are given -------------------------------------------------------------------- */

static SampleField *find_field(const Samples *samples, const char *path) {
    for (size_t i = 0; i < samples->count; i++)
        if (strcmp(samples->fields[i].path, path) == 0) return &samples->fields[i];
    return NULL;
}

/* A sink of this column alone, as the manifest will have it. */
static int try_sink(const char *path, DataType type, Sink **ret_sink, Error *error) {
    char name[COLUMN_NAME_SIZE];
    (void)snprintf(name, sizeof name, "%.*s", (int)(strlen(path) < sizeof name ? strlen(path) : 0), path);
    _cleanup_(json_drop)
        json_t *body = json_pack("{s:s, s:{s:s, s:{s:[{s:s, s:s, s:s, s:s, s:b, s:b}]}}}", "sinkId", "samples", "table", "tableId",
                                 "samples", "mapping", "columns", "name", *name ? name : "field", "type", "path", "path", path, "dataType",
                                 data_type_name(type), "rawString", type != DATA_JSON, "optional", 1);
    check(body);
    return sink_from_request(body, true, ret_sink, error);
}

/* Reads the samples again, and says which values the given types do not take. */
static int try_types(const char *name, FILE *file, Samples *samples, Error *error) {
    size_t count = 0, most = json_object_size(samples->types);
    if (most == 0) return 0;
    _cleanup_free_ Sink **sinks = calloc(most, sizeof(Sink *));
    check(sinks);
    Plan *plan = NULL;
    const char *path;
    json_t *type;
    int r = 0;
    json_object_foreach(samples->types, path, type) {
        SampleField *field = find_field(samples, path);
        if (!field) r = error_set(error, -EINVAL, "--type %s: no sample has a value of this field", path);
        if (r < 0) break;
        field->type = (DataType)json_integer_value(type);
        r = try_sink(path, field->type, &sinks[count], error);
        if (r < 0) break;
        count++;
    }
    if (r == 0) r = plan_compile(samples->source, sinks, count, &plan, error);
    if (r == 0 && fseek(file, 0, SEEK_SET) != 0) r = error_set(error, -errno, "%s cannot be read again: %s", name, strerrordesc_np(errno));
    if (r == 0) r = read_samples(name, file, samples, plan, error);
    plan_unref(plan);
    for (size_t i = 0; i < count; i++) sink_unref(sinks[i]);
    return r;
}

/* What can be read once only, to be read twice. */
static int keep_input(FILE **file, Buffer *content, Error *error) {
    char block[16384];
    size_t size;
    if (fseek(*file, 0, SEEK_CUR) == 0) return 0;
    while ((size = fread(block, 1, sizeof block, *file)) > 0) buffer_append(content, block, size);
    if (ferror(*file)) return error_set(error, -EIO, "standard input: %s", strerrordesc_np(errno));
    if (content->size == 0) buffer_append_byte(content, '\n');
    FILE *kept = fmemopen(content->data, content->size, "r");
    if (!kept) return error_set(error, -errno, "standard input cannot be kept: %s", strerrordesc_np(errno));
    if (*file != stdin) (void)fclose(*file);
    *file = kept;
    return 0;
}

/* ---- what is printed ------------------------------------------------------------------------- */

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
    (void)printf("# Made of %" PRIu64 " samples. Only these columns are stored: a field that no sample had is left out, without a word.\n"
                 "# A sink whose columns are inferred keeps such fields: see docs/inference.md.\n"
                 "# A column with optional: true is NULL where its field is missing. Each sample had the other fields: an event without\n"
                 "# one of them cannot be mapped. Make a column optional if its field may be missing.\n",
                 samples->events - samples->skipped);
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
    (void)fprintf(stderr, "\n%-30s %-10s %8s  %s\n", "column", "type", "missing", "values seen (null counts as missing)");
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
    const char *shown_name = is_file ? file : "standard input";
    Error error = {0};
    Samples samples = {0};
    _cleanup_(buffer_deinit) Buffer content = {0};
    int r = make_plan(arguments, &samples, &error);
    FILE *input = stdin;
    if (r == 0 && is_file && !(input = fopen(file, "re"))) r = error_set(&error, -errno, "%s: %s", file, strerrordesc_np(errno));
    if (r == 0 && json_object_size(samples.types) > 0) r = keep_input(&input, &content, &error);
    if (r == 0) r = read_samples(shown_name, input, &samples, samples.plan, &error);
    if (r == 0) r = try_types(shown_name, input, &samples, &error);
    if (input && input != stdin) (void)fclose(input);
    if (r == 0 && samples.events == samples.skipped) r = error_set(&error, -EINVAL, "%s has no JSON object", file);
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
    uint64_t unfit = samples.unfit;
    samples_deinit(&samples);
    if (r == 0 && unfit > 0)
        r = error_set(&error, -EINVAL, "%" PRIu64 " values do not fit the types that --type gives: such events cannot be mapped", unfit);
    if (r == 0) return EXIT_SUCCESS;
    (void)fprintf(stderr, "sluice infer: %s\n", error.text);
    return r == -EIO ? EXIT_RUNTIME : EXIT_INVALID;
}

static const CommandOption options[] = {
    {.name = "file",
     .letter = 'f',
     .required = true,
     .argument = "FILE",
     .sentence = "Samples, one JSON object per line; - is standard input."},
    {.name = "depth", .argument = "LEVELS", .sentence = "1 (default) to 5: depth to which the members of objects become columns."},
    {.name = "exclude", .may_repeat = true, .argument = "PATH", .sentence = "Field that gets no column. May be given again."},
    {.name = "type",
     .may_repeat = true,
     .argument = "PATH=TYPE",
     .sentence =
         "Type of a field, instead of the type of its values: integer, decimal, boolean, timestamp, text or json. May be given again."},
    {.name = "source", .argument = "ID", .sentence = "Id of the source and its sink. Default: samples."},
    {.name = "table", .argument = "ID", .sentence = "Id of the table. Default: the id of the source."},
    {0},
};

const Command command_infer = {
    .name = "infer",
    .summary = "Print a manifest with the columns that samples of events would get.",
    .options = options,
    .notes = "The manifest goes to standard output; which values were seen, and how often a field is missing, to standard error.\n\n"
             "Only fields that a sample has get a column; the manifest stores no others. A field that is missing or null in a sample is\n"
             "optional. The exit code is 1 when the samples cannot be read as JSON objects, or when a value does not fit its --type:\n"
             "the line of each such value is named, and the manifest is printed all the same.\n",
    .run = run,
};
