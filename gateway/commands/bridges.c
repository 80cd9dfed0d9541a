/* `sluice seek` and `sluice skip`: where a source goes on reading its broker. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "gateway/commands/commands.h"
#include "gateway/commands/remote.h"
#include "gateway/commands/screen.h"

#define PATH "/v1/branches/default/sources/%s/bridge/%s%s"

static bool is_id(const char *text) {
    return text[0] && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-_") == strlen(text);
}

static bool is_number(const char *text) {
    return text[0] && strspn(text, "0123456789") == strlen(text);
}

/* From 0; false: it is none, or too large. */
static bool read_number(const char *text, int64_t most, int64_t *ret_number) {
    errno = 0;
    long long value = is_number(text) ? strtoll(text, NULL, 10) : -1;
    if (value < 0 || errno != 0 || value > most) return false;
    *ret_number = value;
    return true;
}

static void set(json_t *body, const char *key, json_t *take_value) {
    check(json_object_set_new(body, key, take_value) == 0);
}

/* A text of the command line. NULL: it is not UTF-8. */
static int set_text(const Arguments *arguments, json_t *body, const char *name) {
    const char *text = arguments_value(arguments, name);
    if (!text) return 0;
    json_t *value = json_string(text);
    if (!value) return arguments_wrong(arguments->command, "this is not UTF-8:", text);
    set(body, name, value);
    return 0;
}

static int set_number(const Arguments *arguments, json_t *body, const char *name, int64_t most) {
    const char *text = arguments_value(arguments, name);
    int64_t number;
    if (!text) return 0;
    if (!read_number(text, most, &number)) return arguments_wrong(arguments->command, "a whole number, 0 or more, is needed, not", text);
    set(body, name, json_integer((json_int_t)number));
    return 0;
}

typedef struct Move {
    const char *source, *verb, *query;
    json_t *body;
} Move;

/* Each sink of the answer; true: all were set. */
static bool print_sinks(const Move *move, const json_t *answer) {
    const json_t *sinks = json_object_get(answer, "sinks");
    bool all = true;
    for (size_t i = 0; i < json_array_size(sinks); i++) {
        const json_t *sink = json_array_get(sinks, i);
        bool done = json_is_true(json_object_get(sink, "done"));
        all = all && done;
        (void)printf("%s/%s: ", move->source, screen_text(sink, "sinkId"));
        long long count = (long long)json_integer_value(json_object_get(answer, "partitions"));
        if (done) (void)printf("%lld %s set", count, count == 1 ? "position" : "positions");
        screen_print(screen_text(sink, "message"));
        (void)printf("\n");
    }
    return all;
}

static int post(const ApiClient *client, const Move *move, json_t **ret_answer, Error *error) {
    _cleanup_free_ char *path = NULL;
    check(asprintf(&path, PATH, move->source, move->verb, move->query) > 0);
    json_t *answer = NULL;
    int status, r = api_client_call(client, "POST", path, move->body, 0, &status, &answer, error);
    if (r == 0 && (status < 200 || status > 299)) {
        (void)print_sinks(move, answer);
        r = error_set(error, -EPROTO, "%s (HTTP %d)", screen_text(answer, "message"), status);
    }
    if (r < 0) {
        json_decref(answer);
        return r;
    }
    *ret_answer = answer;
    return 0;
}

/* ---- seek ------------------------------------------------------------------------------------ */

static int seek(const ApiClient *client, void *context, Error *error) {
    const Move *move = context;
    json_t *answer;
    int r = post(client, move, &answer, error);
    if (r < 0) return r;
    bool all = print_sinks(move, answer);
    json_decref(answer);
    return all ? EXIT_SUCCESS : EXIT_RUNTIME;
}

static int set_goal(const Arguments *arguments, json_t *body) {
    const char *to = arguments_value(arguments, "to");
    int64_t offset;
    if (strcmp(to, "earliest") == 0 || strcmp(to, "latest") == 0) {
        set(body, "to", json_string(to));
    } else if (is_number(to)) {
        if (!read_number(to, INT64_MAX, &offset)) return arguments_wrong(arguments->command, "the offset is too large:", to);
        set(body, "to", json_pack("{s:I}", "offset", (json_int_t)offset));
    } else {
        json_t *time = json_string(to);
        if (!time) return arguments_wrong(arguments->command, "--to is earliest, latest, an offset or a time, not", to);
        set(body, "to", json_pack("{s:o}", "time", time));
    }
    return 0;
}

static int run_seek(const Arguments *arguments) {
    const char *source = arguments->operands[0];
    if (!is_id(source)) return arguments_wrong(arguments->command, "there is no source", source);
    Move move = {.source = source,
                 .verb = "seek",
                 .query = arguments_flag(arguments, "duplicates") ? "?duplicates=true" : "",
                 .body = json_object()};
    check(move.body);
    int code = set_text(arguments, move.body, "topic");
    if (code == 0) code = set_number(arguments, move.body, "partition", INT32_MAX);
    if (code == 0) code = set_text(arguments, move.body, "sink");
    if (code == 0) code = set_goal(arguments, move.body);
    if (code == 0) code = remote_run(arguments, seek, &move);
    json_decref(move.body);
    return code;
}

static const CommandOption seek_options[] = {
    {.name = "to",
     .required = true,
     .argument = "PLACE",
     .sentence = "earliest, latest, an offset (digits), or a time such as 2026-01-31T12:00:00Z."},
    {.name = "topic", .argument = "TOPIC", .sentence = "Only this topic. Default: all topics of the source."},
    {.name = "partition", .argument = "N", .sentence = "Only this partition. Default: all."},
    {.name = "sink", .argument = "ID", .sentence = "Only this sink. Default: all enabled sinks."},
    {.name = "duplicates", .sentence = "Allow positions to go back. Records come twice then, unless a primary key prevents it."},
    REMOTE_OPTIONS,
    {0}};

const Command command_seek = {
    .name = "seek",
    .summary = "Set the positions of a source that reads a broker.",
    .options = seek_options,
    .operands = "SOURCE",
    .operands_min = 1,
    .operands_max = 1,
    .notes = "The position is set at the destination of each sink, and a line shows the result of each. The waiting rows of\nthe "
             "partitions are dropped. The source then reads from the position, on other nodes within 10 s.\n",
    .run = run_seek,
};

/* ---- skip ------------------------------------------------------------------------------------ */

static int skip(const ApiClient *client, void *context, Error *error) {
    const Move *move = context;
    json_t *answer;
    int r = post(client, move, &answer, error);
    if (r < 0) return r;
    (void)printf("%s: offset %lld of partition %lld of ", move->source, (long long)json_integer_value(json_object_get(answer, "offset")),
                 (long long)json_integer_value(json_object_get(answer, "partition")));
    screen_print(screen_text(answer, "topic"));
    (void)printf(" is skipped\n");
    json_decref(answer);
    return 0;
}

static int run_skip(const Arguments *arguments) {
    const char *source = arguments->operands[0];
    if (!is_id(source)) return arguments_wrong(arguments->command, "there is no source", source);
    Move move = {.source = source, .verb = "skip", .query = "", .body = json_object()};
    check(move.body);
    int code = set_text(arguments, move.body, "topic");
    if (code == 0) code = set_number(arguments, move.body, "partition", INT32_MAX);
    if (code == 0) code = set_number(arguments, move.body, "offset", INT64_MAX);
    if (code == 0) code = remote_run(arguments, skip, &move);
    json_decref(move.body);
    return code;
}

static const CommandOption skip_options[] = {
    {.name = "topic", .required = true, .argument = "TOPIC", .sentence = "Topic, or stream."},
    {.name = "partition", .required = true, .argument = "N", .sentence = "Partition that is stopped. 0 for a stream."},
    {.name = "offset", .required = true, .argument = "OFFSET", .sentence = "Offset at which the partition stopped."},
    REMOTE_OPTIONS,
    {0}};

const Command command_skip = {
    .name = "skip",
    .summary = "Skip a record that stopped its partition.",
    .options = skip_options,
    .operands = "SOURCE",
    .operands_min = 1,
    .operands_max = 1,
    .notes = "The record is then in no table and in no rejects. `sluice get positions SOURCE` shows where a partition\nstopped. Another "
             "offset than that is refused.\n",
    .run = run_skip,
};
