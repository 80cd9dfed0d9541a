#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/files.h"
#include "base/random.h"
#include "config/manifest.h"
#include "config/mask_keys.h"
#include "config/mask_table.h"
#include "config/options.h"
#include "gateway/commands/commands.h"
#include "gateway/commands/declared_sinks.h"
#include "gateway/rows/map_events.h"
#include "mapping/framing.h"
#include "sinks/driver.h"
#include "storage/mask_key.h"

#define HEADERS_MAX 100
#define META_MAX (2 * META_FIELD_COUNT_) /* of several kinds of sources; more are not taken */

typedef struct MapRequest {
    const char *manifest, *columns, *config, *event, *source, *sink;
    Span content_type; /* empty: none */
    EventHeader headers[HEADERS_MAX];
    size_t header_count;
    MapMeta meta[META_MAX];
    size_t meta_count;
    bool csv, encoded;
} MapRequest;

/* ---- arguments ------------------------------------------------------------------------------- */

static int add_header(const Command *command, MapRequest *request, const char *value) {
    const char *colon = strchr(value, ':');
    if (!colon || colon == value) return arguments_wrong(command, "--header needs 'Name: value', not", value);
    if (request->header_count == HEADERS_MAX) return arguments_wrong(command, "there are too many headers", NULL);
    EventHeader header = {.name = {.data = value, .size = (size_t)(colon - value)}, .value = span_of(colon + 1 + strspn(colon + 1, " \t"))};
    while (header.value.size > 0 && strchr(" \t", header.value.data[header.value.size - 1])) header.value.size--;
    if (span_equal_nocase(header.name, SPAN("content-type"))) request->content_type = header.value;
    if (span_equal_nocase(header.name, SPAN("content-encoding"))) request->encoded = true;
    request->headers[request->header_count++] = header;
    return 0;
}

static int add_meta(const Command *command, MapRequest *request, const char *value) {
    const char *equals = strchr(value, '=');
    if (!equals || equals == value) return arguments_wrong(command, "--meta needs 'FIELD=VALUE', not", value);
    if (request->meta_count == META_MAX) return arguments_wrong(command, "there are too many meta values", NULL);
    request->meta[request->meta_count++] = (MapMeta){.field = {value, (size_t)(equals - value)}, .value = span_of(equals + 1)};
    return 0;
}

static int parse(const Arguments *arguments, MapRequest *ret_request) {
    const Command *command = arguments->command;
    const char *format = arguments_value(arguments, "format");
    *ret_request = (MapRequest){
        .manifest = arguments_value(arguments, "file"),
        .columns = arguments_value(arguments, "columns"),
        .config = arguments_value(arguments, "config"),
        .event = arguments_value(arguments, "event"),
        .source = arguments_value(arguments, "source"),
        .sink = arguments_value(arguments, "sink"),
        .csv = format && strcmp(format, "csv") == 0,
    };
    if (format && !ret_request->csv && strcmp(format, "json") != 0) return arguments_wrong(command, "--format is csv or json, not", format);
    /* In their order: of a --content-type and a --header 'Content-Type: …' the last one holds. */
    for (size_t i = 0; i < arguments->given_count; i++) {
        const Argument *given = &arguments->given[i];
        if (strcmp(given->name, "content-type") == 0) ret_request->content_type = span_of(given->value);
        int code = 0;
        if (strcmp(given->name, "header") == 0) code = add_header(command, ret_request, given->value);
        if (strcmp(given->name, "meta") == 0) code = add_meta(command, ret_request, given->value);
        if (code != 0) return code;
    }
    if (!ret_request->manifest && !ret_request->columns)
        return arguments_wrong(command, "name a manifest with -f, or a file of columns with --columns", NULL);
    if (ret_request->manifest && ret_request->columns) return arguments_wrong(command, "-f and --columns cannot be combined", NULL);
    return 0;
}

/* ---- definitions ----------------------------------------------------------------------------- */

typedef struct Targets {
    MapTarget *items;
    size_t count, sinks;
    MaskKeys *keys;
} Targets;

static void targets_deinit(Targets *targets) {
    for (size_t i = 0; i < targets->count; i++) {
        MapTarget *target = &targets->items[i];
        plan_unref(target->plan);
        for (size_t k = 0; k < target->sink_count; k++) sink_unref(target->sinks[k]);
        free(target->sinks);
        source_unref(target->source);
    }
    free(targets->items);
    mask_keys_free(targets->keys);
}

/* As the server would mask, as far as its keys can be read here. */
static int find_keys(const Options *options, MaskKeys **ret_keys, bool *ret_random, Error *error) {
    MaskKeys *keys;
    int r = mask_keys_load(options, &keys, error);
    if (r < 0) return r;
    *ret_keys = keys;
    if (mask_keys_main(keys, NULL).size > 0) return 0;
    _cleanup_(buffer_deinit) Buffer path = {0};
    Span key;
    char content[MASK_KEY_BYTES_MIN * 8];
    buffer_printf(&path, "%s/%s", options->data, MASK_KEY_FILE);
    int fd = open(buffer_text(&path), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t size = fd < 0 ? -1 : read(fd, content, sizeof content);
    if (fd >= 0) (void)close(fd);
    if (size > 0 && mask_key_of_file((Span){content, (size_t)size}, &key, NULL) == 0) {
        mask_keys_set_own(keys, key);
        return 0;
    }
    *ret_random = true;
    random_bytes(content, MASK_KEY_BYTES_MIN * 2);
    mask_keys_set_own(keys, (Span){content, MASK_KEY_BYTES_MIN * 2});
    return 0;
}

static int add_target(Targets *targets, Source *take_source, Sink **take_sinks, size_t sink_count, Error *error) {
    array_extend(targets->items, targets->count);
    MapTarget *target = &targets->items[targets->count++];
    *target = (MapTarget){.source = take_source, .sinks = take_sinks, .sink_count = sink_count};
    targets->sinks += sink_count;
    PlanMasks masks = {.keys = targets->keys};
    return plan_compile_masked(target->source, target->sinks, target->sink_count, &masks, &target->plan, error);
}

static int add_declared(Targets *targets, const ManifestSource *declared, const char *only_sink, Error *error) {
    DeclaredSinks made;
    int r = declared_sinks_make(declared, only_sink, &made, error);
    if (r < 0) return r;
    if (made.count > 0) return add_target(targets, made.source, made.sinks, made.count, error);
    declared_sinks_deinit(&made);
    return 0;
}

static int targets_of_manifest(const MapRequest *request, Targets *targets, Error *error) {
    Manifest manifest = {0};
    size_t named = 0;
    int r = manifest_load(request->manifest, NULL, &manifest, error);
    for (size_t i = 0; i < manifest.count && r == 0; i++) {
        const char *id = json_string_value(json_object_get(manifest.sources[i].source, "sourceId"));
        if (request->source && strcmp(request->source, id) != 0) continue;
        named++;
        r = add_declared(targets, &manifest.sources[i], request->sink, error);
        if (r < 0) expansions_hide(&manifest.expansions, error);
    }
    manifest_deinit(&manifest);
    if (r == 0 && named == 0) return error_set(error, -EINVAL, "%s declares no source \"%s\"", request->manifest, request->source);
    if (r == 0 && targets->count == 0 && request->sink)
        return error_set(error, -EINVAL, "%s declares no sink \"%s\"", request->manifest, request->sink);
    if (r == 0 && targets->count == 0) return error_set(error, -EINVAL, "%s declares no sink", request->manifest);
    return r;
}

/* A file of nothing but columns: a list, or a map with `columns`. */
static int read_columns(const char *file, json_t **ret_columns, Expansions *expansions, Error *error) {
    _cleanup_free_ char *text = NULL;
    size_t size, count = 0;
    YamlDocument **documents = NULL;
    int r = yaml_read_file(file, &text, &size, error);
    if (r == 0) r = yaml_parse(file, text, size, &documents, &count, error);
    if (r == 0 && count != 1) r = error_set(error, -EINVAL, "%s: one document with a list of columns is needed", file);
    if (r == 0) {
        json_t *root = yaml_json(documents[0]), *list = json_is_object(root) ? json_object_get(root, "columns") : root;
        expansions_add_all(expansions, yaml_expansions(documents[0]));
        if (json_is_array(list))
            *ret_columns = json_incref(list);
        else
            r = yaml_error(documents[0], "columns", error, "a list of columns as in a sink's mapping is needed");
    }
    yaml_documents_free(documents, count);
    return r;
}

static int targets_of_columns(const char *file, Targets *targets, Error *error) {
    json_t *columns = NULL;
    _cleanup_(expansions_deinit) Expansions expansions = {0};
    int r = read_columns(file, &columns, &expansions, error);
    if (r < 0) return r;
    json_t *source_body = json_pack("{s:s, s:s}", "sourceId", "source", "name", "source");
    json_t *sink_body = json_pack("{s:s, s:s, s:s, s:{s:s, s:{s:o}}}", "sinkId", "sink", "name", "sink", "type", "table", "table",
                                  "tableId", "rows", "mapping", "columns", columns);
    check(source_body && sink_body);
    Source *source = NULL;
    Sink **sinks = calloc(1, sizeof(Sink *));
    check(sinks);
    r = source_from_request(source_body, &source, error);
    if (r == 0) r = sink_from_request(sink_body, true, &sinks[0], error);
    if (r == 0) {
        r = add_target(targets, source, sinks, 1, error);
    } else {
        source_unref(source);
        free(sinks);
    }
    json_decref(source_body);
    json_decref(sink_body);
    if (r == 0) return 0;
    expansions_hide(&expansions, error);
    return error_prefix(error, "%s", file);
}

/* ---- the command ----------------------------------------------------------------------------- */

/* From standard input comes an event a line, unless what is said of it makes it the body of one
 * request. */
static bool are_lines(const MapRequest *request) {
    if (request->event || request->encoded) return false;
    if (request->content_type.size == 0) return true;
    FrameReader frames;
    frames_start(&frames, FRAMING_SINGLE, request->content_type, SPAN(""));
    return frames.framing == FRAMING_NDJSON;
}

static int open_input(const MapRequest *request, MapInput *ret_input, Error *error) {
    bool is_file = request->event && strcmp(request->event, "-") != 0;
    *ret_input = (MapInput){
        .fd = STDIN_FILENO,
        .name = is_file ? request->event : "standard input",
        .lines = are_lines(request),
        .content_type = request->content_type,
        .headers = request->headers,
        .header_count = request->header_count,
        .meta = request->meta,
        .meta_count = request->meta_count,
    };
    if (!is_file) return 0;
    ret_input->fd = open(request->event, O_RDONLY | O_CLOEXEC);
    return ret_input->fd < 0 ? error_set(error, -errno, "%s: %s", request->event, strerrordesc_np(errno)) : 0;
}

static int map(const MapRequest *request, const Targets *targets, const Options *options, MapCounts *ret_counts, Error *error) {
    MapInput input;
    if (request->csv && targets->sinks > 1)
        return error_set(error, -EINVAL, "rows as CSV need one sink, but there are %zu: choose one with --source and --sink",
                         targets->sinks);
    int r = open_input(request, &input, error);
    if (r < 0) return r;
    r = map_events(targets->items, targets->count, &input, request->csv, options, ret_counts, error);
    if (input.fd != STDIN_FILENO) (void)close(input.fd);
    return r;
}

static void say_random(const Targets *targets) {
    bool needed = false;
    for (size_t i = 0; i < targets->count; i++)
        for (size_t k = 0; k < targets->items[i].sink_count; k++) needed = needed || sink_needs_mask_key(targets->items[i].sinks[k]);
    if (needed)
        (void)fprintf(stderr,
                      "sluice map: no mask key was found, so a random one is used: the results of hash, uuid, noise and date_shift differ "
                      "from those of the gateway, and differ each time. --config names the config file with mask-key-file\n");
}

static bool is_of_the_input(int code) {
    return code == -EINVAL || code == -EBADMSG || code == -EFBIG || code == -EOPNOTSUPP || code == -ENOENT;
}

static int run(const Arguments *arguments) {
    MapRequest request;
    int code = parse(arguments, &request);
    if (code != 0) return code;

    Error error = {0};
    Options options = {0};
    Targets targets = {0};
    MapCounts counts = {0};
    bool is_random = false;
    char *none[] = {NULL};
    int r = options_load(request.config, none, connection_types, &options, &error);
    if (r == 0) r = find_keys(&options, &targets.keys, &is_random, &error);
    if (r == 0)
        r = request.manifest ? targets_of_manifest(&request, &targets, &error) : targets_of_columns(request.columns, &targets, &error);
    if (r == 0 && is_random) say_random(&targets);
    if (r == 0) r = map(&request, &targets, &options, &counts, &error);
    if (r < 0) (void)fprintf(stderr, "sluice map: %s\n", error.text);
    if (counts.refused > 0) (void)fprintf(stderr, "sluice map: %zu of %zu events could not be mapped\n", counts.refused, counts.events);
    targets_deinit(&targets);
    options_deinit(&options);
    if (r < 0 && !is_of_the_input(r)) return EXIT_RUNTIME;
    return r < 0 || counts.refused > 0 ? EXIT_INVALID : EXIT_SUCCESS;
}

static const CommandOption options[] = {
    {.name = "file", .letter = 'f', .argument = "FILE", .sentence = "A manifest of sources and sinks (YAML)."},
    {.name = "columns",
     .argument = "FILE",
     .sentence = "List of columns as in a sink's mapping (YAML or JSON). Either --file or --columns must be given."},
    {.name = "source", .argument = "ID", .sentence = "Only this source of the manifest."},
    {.name = "sink", .argument = "ID", .sentence = "Only sinks of this id."},
    {.name = "event",
     .argument = "FILE",
     .sentence =
         "Body of one request, read by the source's framing; - is standard input. Without it, each line of standard input is an event."},
    {.name = "content-type", .argument = "TYPE", .sentence = "Content-Type of the request."},
    {.name = "header", .may_repeat = true, .argument = "'NAME: VALUE'", .sentence = "Header of the request. May be given again."},
    {.name = "meta",
     .may_repeat = true,
     .argument = "FIELD=VALUE",
     .sentence = "Meta field of a record, for sources of type kafka and nats: topic=shop.orders. May be given again."},
    {.name = "format",
     .argument = "FORMAT",
     .sentence = "json (default): one object per row. csv: the rows of one sink as they are staged."},
    {.name = "config",
     .argument = "FILE",
     .sentence = "Config file of the server, for limits.event, .body, .row, the options of templates and the keys of masks."},
    {0},
};

const Command command_map = {
    .name = "map",
    .summary = "Print the rows that each sink would get, and store nothing.",
    .options = options,
    .notes =
        "Lines of standard input are mapped as they come, as many as there are; with a --content-type that does not mean lines, or a\n"
        "Content-Encoding, standard input is the body of one request.\n\n"
        "What cannot be mapped is reported on standard error as INPUT:LINE: sink ID: column and reason. Nothing is stored and no gateway\n"
        "is needed. Exit code: 0 all events were mapped; 1 some were not, or a definition is wrong; 2 the command line is wrong, or\n"
        "reading, writing or the template workers failed.\n",
    .run = run,
};
