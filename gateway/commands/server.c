#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "gateway/commands/api_client.h"
#include "gateway/commands/commands.h"

#define BRANCH "/v1/branches/default"

typedef struct Target {
    ServerArguments server;
    const char *id;         /* SOURCE or SOURCE/SINK; NULL: none given */
    const char *connection; /* of pause and resume; NULL: none given */
} Target;

/* Of ids and slashes: safe in a path. */
static bool is_plain(const char *text) {
    return text[0] && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-_/") == strlen(text);
}

static int parse(const Command *command, int argc, char **argv, Target *ret_target) {
    Arguments arguments = {.argc = argc, .argv = argv};
    *ret_target = (Target){0};
    while (arguments.at < argc) {
        const char *value;
        if (arguments_server(&arguments, &ret_target->server)) continue;
        if ((command == &command_pause || command == &command_resume) && (value = arguments_value(&arguments, "--connection"))) {
            if (!is_plain(value)) return arguments_wrong(command, "there is no connection", value);
            ret_target->connection = value;
        } else if (argv[arguments.at][0] == '-' || ret_target->id) {
            return arguments_wrong(command, "there is no argument", argv[arguments.at]);
        } else {
            const char *id = argv[arguments.at++], *slash = strchr(id, '/');
            if (!is_plain(id) || slash == id || (slash && (!slash[1] || strchr(slash + 1, '/'))))
                return arguments_wrong(command, "the target is SOURCE or SOURCE/SINK, not", id);
            ret_target->id = id;
        }
    }
    return 0;
}

static int fail(const Command *command, const Error *error) {
    (void)fprintf(stderr, "sluice %s: %s\n", command->name, error->text);
    return EXIT_RUNTIME;
}

/* Flushes one sink and tells how many rows came with it. */
static int flush_sink(const ApiClient *client, const char *source, const char *sink, Error *error) {
    _cleanup_free_ char *path = NULL;
    check(asprintf(&path, BRANCH "/sources/%s/sinks/%s/flush", source, sink) > 0);
    json_t *answer = NULL;
    int r = api_client_expect(client, "POST", path, NULL, &answer, error);
    if (r < 0) return error_prefix(error, "%s/%s", source, sink), r;
    const json_t *rows = json_object_get(json_object_get(answer, "outputs"), "rows");
    long long count = (long long)json_integer_value(rows);
    (void)printf("%s/%s: imported %lld %s\n", source, sink, count, count == 1 ? "row" : "rows");
    json_decref(answer);
    return 0;
}

static int flush_source(const ApiClient *client, const char *source, Error *error) {
    _cleanup_free_ char *path = NULL;
    check(asprintf(&path, BRANCH "/sources/%s/sinks?limit=100", source) > 0);
    json_t *answer = NULL;
    int r = api_client_expect(client, "GET", path, NULL, &answer, error);
    if (r < 0) return r;
    const json_t *sinks = json_object_get(answer, "sinks");
    for (size_t i = 0; i < json_array_size(sinks) && r == 0; i++)
        r = flush_sink(client, source, json_string_value(json_object_get(json_array_get(sinks, i), "sinkId")), error);
    json_decref(answer);
    return r;
}

static int run_flush(int argc, char **argv) {
    Target target;
    int code = parse(&command_flush, argc, argv, &target);
    if (code != 0) return code;
    if (!target.id) return arguments_wrong(&command_flush, "name what to flush: SOURCE or SOURCE/SINK", NULL);

    ApiClient client;
    Error error = {0};
    int r = api_client_init(&client, target.server.admin, target.server.token_file, target.server.data, &error);
    if (r < 0) return fail(&command_flush, &error);
    const char *slash = strchr(target.id, '/');
    if (slash) {
        _cleanup_free_ char *source = strndup(target.id, (size_t)(slash - target.id));
        check(source);
        r = flush_sink(&client, source, slash + 1, &error);
    } else {
        r = flush_source(&client, target.id, &error);
    }
    api_client_deinit(&client);
    return r < 0 ? fail(&command_flush, &error) : EXIT_SUCCESS;
}

static int run_get(int argc, char **argv) {
    Target target;
    int code = parse(&command_get, argc, argv, &target);
    if (code != 0) return code;

    _cleanup_free_ char *path = NULL;
    const char *slash = target.id ? strchr(target.id, '/') : NULL;
    if (slash) {
        check(asprintf(&path, BRANCH "/sources/%.*s/sinks/%s", (int)(slash - target.id), target.id, slash + 1) > 0);
    } else if (target.id) {
        check(asprintf(&path, BRANCH "/sources/%s", target.id) > 0);
    }
    ApiClient client;
    Error error = {0};
    json_t *answer = NULL;
    int r = api_client_init(&client, target.server.admin, target.server.token_file, target.server.data, &error);
    if (r < 0) return fail(&command_get, &error);
    r = path ? api_client_expect(&client, "GET", path, NULL, &answer, &error)
             : api_client_list(&client, BRANCH "/sources", "sources", "sourceId", &answer, &error);
    api_client_deinit(&client);
    if (r < 0) return fail(&command_get, &error);
    _cleanup_free_ char *text = json_dumps(answer, JSON_INDENT(2) | JSON_ENCODE_ANY);
    json_decref(answer);
    (void)printf("%s\n", text ? text : "");
    return EXIT_SUCCESS;
}

/* PUT …/pause or …/resume of what the target names. */
static int run_pausing(const Command *command, int argc, char **argv) {
    Target target;
    int code = parse(command, argc, argv, &target);
    if (code != 0) return code;
    if (!target.id == !target.connection) return arguments_wrong(command, "name one of SOURCE, SOURCE/SINK and --connection NAME", NULL);

    _cleanup_free_ char *path = NULL;
    const char *slash = target.id ? strchr(target.id, '/') : NULL, *verb = command->name;
    if (target.connection) {
        check(asprintf(&path, BRANCH "/connections/%s/%s", target.connection, verb) > 0);
    } else if (slash) {
        check(asprintf(&path, BRANCH "/sources/%.*s/sinks/%s/%s", (int)(slash - target.id), target.id, slash + 1, verb) > 0);
    } else {
        check(asprintf(&path, BRANCH "/sources/%s/%s", target.id, verb) > 0);
    }
    ApiClient client;
    Error error = {0};
    int r = api_client_init(&client, target.server.admin, target.server.token_file, target.server.data, &error);
    if (r < 0) return fail(command, &error);
    r = api_client_expect(&client, "PUT", path, NULL, NULL, &error);
    api_client_deinit(&client);
    if (r < 0) return fail(command, &error);
    (void)printf("%s: %sd\n", target.id ? target.id : target.connection, verb);
    return EXIT_SUCCESS;
}

static int run_pause(int argc, char **argv) {
    return run_pausing(&command_pause, argc, argv);
}

static int run_resume(int argc, char **argv) {
    return run_pausing(&command_resume, argc, argv);
}

const Command command_flush = {
    .name = "flush",
    .usage = "[--admin URL] [--token-file FILE] SOURCE[/SINK]",
    .summary = "Import now what waits, whatever the conditions.",
    .help = SERVER_HELP,
    .run = run_flush,
};

const Command command_get = {
    .name = "get",
    .usage = "[--admin URL] [--token-file FILE] [SOURCE[/SINK]]",
    .summary = "Print sources, one source, or one sink as JSON.",
    .help = SERVER_HELP,
    .run = run_get,
};

const Command command_pause = {
    .name = "pause",
    .usage = "[--admin URL] [--token-file FILE] SOURCE[/SINK] | --connection NAME",
    .summary = "Hold imports back: events are taken and staged, and no import starts.",
    .help = "  --connection NAME   all that goes to this connection\n" SERVER_HELP,
    .run = run_pause,
};

const Command command_resume = {
    .name = "resume",
    .usage = "[--admin URL] [--token-file FILE] SOURCE[/SINK] | --connection NAME",
    .summary = "End a pause.",
    .help = "  --connection NAME   all that goes to this connection\n" SERVER_HELP,
    .run = run_resume,
};
