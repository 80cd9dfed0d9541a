/* `sluice get`, `flush`, `pause` and `resume`: one request about a source, a sink or a connection
 * of a running gateway, or a few of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/manifest_form.h"
#include "config/yaml_write.h"
#include "gateway/commands/commands.h"
#include "gateway/commands/position_table.h"
#include "gateway/commands/remote.h"
#include "gateway/commands/screen.h"

#define BRANCH "/v1/branches/default"

/* What the command line names: at most one of `id` and `connection` is there. */
typedef struct Target {
    const char *verb;       /* the name of the command */
    const char *id;         /* SOURCE or SOURCE/SINK; NULL: none given */
    const char *sink;       /* in `id`; NULL: it is a source */
    int source_size;        /* bytes of `id` that are the source */
    const char *connection; /* NULL: none given */
} Target;

/* Of ids and slashes: safe in a path. */
static bool is_plain(const char *text) {
    return text[0] && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-_/") == strlen(text);
}

/* 0, or the exit code. */
static int read_target(const Arguments *arguments, const char *connection, Target *ret_target) {
    const char *id = arguments->operand_count > 0 ? arguments->operands[0] : NULL, *slash = id ? strchr(id, '/') : NULL;
    if (id && (!is_plain(id) || slash == id || (slash && (!slash[1] || strchr(slash + 1, '/')))))
        return arguments_wrong(arguments->command, "the target is SOURCE or SOURCE/SINK, not", id);
    if (connection && !is_plain(connection)) return arguments_wrong(arguments->command, "there is no connection", connection);
    *ret_target = (Target){.verb = arguments->command->name, .id = id, .connection = connection};
    if (!id) return 0;
    ret_target->sink = slash ? slash + 1 : NULL;
    ret_target->source_size = (int)(slash ? slash - id : (ptrdiff_t)strlen(id));
    return 0;
}

/* Of what the target names; `rest` follows. The caller frees it. */
static char *path_of(const Target *target, const char *rest) {
    char *path;
    if (target->connection) {
        check(asprintf(&path, BRANCH "/connections/%s%s", target->connection, rest) > 0);
    } else if (target->sink) {
        check(asprintf(&path, BRANCH "/sources/%.*s/sinks/%s%s", target->source_size, target->id, target->sink, rest) > 0);
    } else {
        check(target->id);
        check(asprintf(&path, BRANCH "/sources/%s%s", target->id, rest) > 0);
    }
    return path;
}

/* ---- flush ----------------------------------------------------------------------------------- */

/* Flushes one sink and says how many rows came with it. */
static int flush_sink(const ApiClient *client, const Target *sink, Error *error) {
    _cleanup_free_ char *path = path_of(sink, "/flush");
    json_t *answer = NULL;
    int r = api_client_expect(client, "POST", path, NULL, &answer, error);
    if (r < 0) return error_prefix(error, "%.*s/%s", sink->source_size, sink->id, sink->sink), r;
    const json_t *rows = json_object_get(json_object_get(answer, "outputs"), "rows");
    long long count = (long long)json_integer_value(rows);
    (void)printf("%.*s/%s: imported %lld %s\n", sink->source_size, sink->id, sink->sink, count, count == 1 ? "row" : "rows");
    const json_t *outputs = json_object_get(answer, "outputs");
    long long refused = (long long)json_integer_value(json_object_get(outputs, "refusedRows"));
    if (refused > 0) {
        const char *why = screen_text(outputs, "refusal");
        (void)printf("%.*s/%s: %lld %s refused by the table and %s in the rejects of the sink", sink->source_size, sink->id, sink->sink,
                     refused, refused == 1 ? "row was" : "rows were", refused == 1 ? "is" : "are");
        if (why[0]) (void)printf(refused == 1 ? ": " : "; the first: ");
        screen_print(why);
        (void)printf("\n");
    }
    json_decref(answer);
    return 0;
}

/* Those of a source are flushed each, whatever becomes of the others: EXIT_RUNTIME when one
 * failed. */
static int flush(const ApiClient *client, void *context, Error *error) {
    const Target *target = context;
    if (target->sink) return flush_sink(client, target, error);
    _cleanup_free_ char *path = path_of(target, "/sinks");
    json_t *answer = NULL;
    int r = api_client_list(client, path, "sinks", "sinkId", &answer, error);
    if (r < 0) return r;
    int code = EXIT_SUCCESS;
    const json_t *sinks = json_object_get(answer, "sinks");
    for (size_t i = 0; i < json_array_size(sinks); i++) {
        Target one = *target;
        one.sink = screen_text(json_array_get(sinks, i), "sinkId");
        Error problem = {0};
        if (flush_sink(client, &one, &problem) < 0) {
            (void)fprintf(stderr, "sluice flush: %s\n", problem.text);
            code = EXIT_RUNTIME;
        }
    }
    json_decref(answer);
    return code;
}

static int run_flush(const Arguments *arguments) {
    Target target;
    int code = read_target(arguments, NULL, &target);
    return code != 0 ? code : remote_run(arguments, flush, &target);
}

/* ---- get ------------------------------------------------------------------------------------- */

static int get(const ApiClient *client, void *context, Error *error) {
    const Target *target = context;
    _cleanup_free_ char *path = target->id ? path_of(target, "") : NULL;
    json_t *answer = NULL;
    int r = path ? api_client_expect(client, "GET", path, NULL, &answer, error)
                 : api_client_list(client, BRANCH "/sources", "sources", "sourceId", &answer, error);
    if (r < 0) return r;
    screen_print_json(answer);
    json_decref(answer);
    return 0;
}

/* ---- get -o yaml ----------------------------------------------------------------------------- */

static int get_settings(const ApiClient *client, const char *path, json_t **ret_settings, Error *error) {
    json_t *answer = NULL;
    int r = api_client_expect(client, "GET", path, NULL, &answer, error);
    if (r < 0) return r;
    *ret_settings = json_incref(json_object_get(answer, "settings"));
    json_decref(answer);
    return 0;
}

static int get_sink_settings(const ApiClient *client, const Target *source, const json_t *sinks, json_t *list, Error *error) {
    int r = 0;
    for (size_t i = 0; r == 0 && i < json_array_size(sinks); i++) {
        Target sink = *source;
        sink.sink = screen_text(json_array_get(sinks, i), "sinkId");
        json_t *settings = NULL;
        _cleanup_free_ char *path = path_of(&sink, "/settings");
        r = get_settings(client, path, &settings, error);
        if (r == 0) check(json_array_append_new(list, settings ? settings : json_null()) == 0);
    }
    return r;
}

/* As path_of, of the source alone. */
static char *source_path(const Target *target, const char *rest) {
    char *path;
    check(asprintf(&path, BRANCH "/sources/%.*s%s", target->source_size, target->id, rest) > 0);
    return path;
}

/* The sinks of the target, all or the one that it names, as a list. */
static int get_sinks(const ApiClient *client, const Target *target, json_t **ret_sinks, Error *error) {
    _cleanup_free_ char *path = target->sink ? path_of(target, "") : NULL, *list_path = source_path(target, "/sinks");
    json_t *answer = NULL;
    int r = path ? api_client_expect(client, "GET", path, NULL, &answer, error)
                 : api_client_list(client, list_path, "sinks", "sinkId", &answer, error);
    if (r < 0) return r;
    *ret_sinks = path ? json_pack("[O]", answer) : json_incref(json_object_get(answer, "sinks"));
    check(*ret_sinks);
    json_decref(answer);
    return 0;
}

/* A source as a manifest, with all of its sinks or the one that the target names. */
static int print_manifest(const ApiClient *client, const Target *target, Error *error) {
    _cleanup_free_ char *path = source_path(target, ""), *settings_path = source_path(target, "/settings");
    json_t *source = NULL, *settings = NULL, *sinks = NULL, *sink_settings = json_array();
    check(sink_settings);
    int r = api_client_expect(client, "GET", path, NULL, &source, error);
    if (r == 0) r = get_settings(client, settings_path, &settings, error);
    if (r == 0) r = get_sinks(client, target, &sinks, error);
    if (r == 0) r = get_sink_settings(client, target, sinks, sink_settings, error);
    if (r == 0) {
        json_t *manifest = manifest_form(source, settings, sinks, sink_settings);
        _cleanup_(buffer_deinit) Buffer text = {0};
        yaml_write(manifest, &text);
        json_decref(manifest);
        (void)fwrite(text.data, 1, text.size, stdout);
    }
    json_decref(source);
    json_decref(settings);
    json_decref(sinks);
    json_decref(sink_settings);
    return r;
}

/* Each source in a document of its own, or the one that the target names. */
static int get_manifest(const ApiClient *client, void *context, Error *error) {
    const Target *target = context;
    if (target->id) return print_manifest(client, target, error);
    json_t *answer = NULL;
    int r = api_client_list(client, BRANCH "/sources", "sources", "sourceId", &answer, error);
    const json_t *sources = json_object_get(answer, "sources");
    for (size_t i = 0; r == 0 && i < json_array_size(sources); i++) {
        const char *id = screen_text(json_array_get(sources, i), "sourceId");
        Target one = {.id = id, .source_size = (int)strlen(id)};
        if (i > 0) (void)printf("---\n");
        r = print_manifest(client, &one, error);
    }
    json_decref(answer);
    return r;
}

/* "positions SOURCE" */
static int run_get_positions(const Arguments *arguments, bool as_json) {
    const char *source = arguments->operands[1];
    if (strcmp(arguments->operands[0], "positions") != 0)
        return arguments_wrong(arguments->command, "there is one operand too many:", source);
    if (!is_plain(source) || strchr(source, '/')) return arguments_wrong(arguments->command, "positions are of a SOURCE, not of", source);
    return position_table_run(arguments, source, as_json);
}

static int run_get(const Arguments *arguments) {
    Target target;
    bool is_one = arguments->operand_count < 2;
    const char *format = arguments_value(arguments, "output");
    bool as_json = format ? strcmp(format, "json") == 0 : is_one;
    bool as_yaml = is_one && format && strcmp(format, "yaml") == 0;
    if (format && !as_json && !as_yaml && (is_one || strcmp(format, "table") != 0))
        return arguments_wrong(arguments->command, is_one ? "the format is json or yaml, not" : "the format is table or json, not", format);
    if (!is_one) return run_get_positions(arguments, as_json);
    int code = read_target(arguments, NULL, &target);
    return code != 0 ? code : remote_run(arguments, as_yaml ? get_manifest : get, &target);
}

/* ---- pause, resume --------------------------------------------------------------------------- */

/* What still holds the imports of the resumed sink back, "source" or "connection"; "" when nothing
 * does or it cannot be known. */
static void find_other_pause(const ApiClient *client, const Target *sink, char out[static 32]) {
    _cleanup_free_ char *path = path_of(sink, "/statistics/total");
    json_t *statistics = NULL;
    if (api_client_expect(client, "GET", path, NULL, &statistics, NULL) < 0) statistics = NULL;
    (void)snprintf(out, 32, "%s", screen_text(json_object_get(statistics, "pausedBy"), "what"));
    json_decref(statistics);
}

static int put_verb(const ApiClient *client, void *context, Error *error) {
    const Target *target = context;
    _cleanup_free_ char *rest = NULL, *path = NULL;
    check(asprintf(&rest, "/%s", target->verb) > 0);
    path = path_of(target, rest);
    json_t *answer = NULL;
    int r = api_client_expect(client, "PUT", path, NULL, &answer, error);
    if (r < 0) return r;
    bool resumes_source = target->id && !target->sink && strcmp(target->verb, "resume") == 0;
    const char *result = screen_text(answer, "result");
    if (resumes_source && result[0] && strcmp(result, "The source is resumed.") != 0) {
        (void)printf("%s: %s\n", target->id, result);
        json_decref(answer);
        return 0;
    }
    json_decref(answer);
    char other[32] = "";
    if (target->sink && strcmp(target->verb, "resume") == 0) find_other_pause(client, target, other);
    (void)printf("%s: %sd%s%s\n", target->id ? target->id : target->connection, target->verb, other[0] ? ", but still paused by its " : "",
                 other);
    return 0;
}

static int run_pausing(const Arguments *arguments) {
    Target target;
    int code = read_target(arguments, arguments_value(arguments, "connection"), &target);
    if (code != 0) return code;
    if (!target.id == !target.connection)
        return arguments_wrong(arguments->command, "name one of SOURCE, SOURCE/SINK and --connection NAME", NULL);
    return remote_run(arguments, put_verb, &target);
}

/* ---- the tables ------------------------------------------------------------------------------ */

static const CommandOption remote_options[] = {REMOTE_OPTIONS, {0}};
static const CommandOption get_options[] = {{.name = "output",
                                             .letter = 'o',
                                             .argument = "FORMAT",
                                             .sentence = "json (default), or yaml: manifests; of positions table (default) or json."},
                                            REMOTE_OPTIONS,
                                            {0}};
static const CommandOption pausing_options[] = {
    {.name = "connection", .argument = "NAME", .sentence = "All sinks that use this connection."}, REMOTE_OPTIONS, {0}};

const Command command_flush = {
    .name = "flush",
    .summary = "Import the waiting rows now, regardless of the conditions.",
    .options = remote_options,
    .operands = "SOURCE[/SINK]",
    .operands_min = 1,
    .operands_max = 1,
    .run = run_flush,
};

const Command command_get = {
    .name = "get",
    .summary = "Print all sources, one source or one sink, or the positions of a source that reads a broker.",
    .options = get_options,
    .operands = "[[positions] SOURCE[/SINK]]",
    .operands_max = 2,
    .notes = "`get -o yaml` prints manifests: of all sources, of one with its sinks and settings, or with one sink. `apply`\n"
             "of them changes nothing. They lack secrets, and what the server decides.\n"
             "`get positions SOURCE` shows, of each partition that this gateway reads and each sink, the position at the\n"
             "destination, where the source reads, what the broker has, and the lag.\n",
    .run = run_get,
};

const Command command_pause = {
    .name = "pause",
    .notes = "A paused source of type kafka or nats is not read. While only a sink or a connection is paused, the source is\nread up to "
             "its maxWaiting.\n",
    .summary = "Pause imports. Events are still accepted and staged.",
    .options = pausing_options,
    .operands = "[SOURCE[/SINK]]",
    .operands_max = 1,
    .run = run_pausing,
};

const Command command_resume = {
    .name = "resume",
    .summary = "End a pause, or read a finished source once more.",
    .notes = "A source with `loop: false` that is finished, and not paused, reads up to the present end.\n",
    .options = pausing_options,
    .operands = "[SOURCE[/SINK]]",
    .operands_max = 1,
    .run = run_pausing,
};
