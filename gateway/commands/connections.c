/* `sluice connections`: the destinations of a running gateway, and whether imports into them could work. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "gateway/commands/api_client.h"
#include "gateway/commands/commands.h"
#include "gateway/commands/screen.h"

#define PATH "/v1/branches/default/connections"

static int fail(const Error *error) {
    (void)fprintf(stderr, "sluice connections: %s\n", error->text);
    return EXIT_RUNTIME;
}

static void list(const json_t *connections) {
    size_t index;
    json_t *connection;
    json_array_foreach(connections, index, connection) {
        (void)printf("%-20s %-10s ", screen_text(connection, "name"), screen_text(connection, "type"));
        screen_connection_state(connection);
        (void)printf("\n");
    }
}

/* Says how it ended; true: it is sound. */
static bool test_one(const ApiClient *client, const char *name, int *ret_result, Error *error) {
    _cleanup_free_ char *path = NULL;
    check(asprintf(&path, PATH "/%s/test", name) > 0);
    json_t *answer = NULL;
    *ret_result = api_client_expect(client, "POST", path, NULL, &answer, error);
    if (*ret_result < 0) return false;
    bool ok = json_is_true(json_object_get(answer, "ok"));
    (void)printf("%s: ", name);
    if (ok) {
        const char *note = json_string_value(json_object_get(answer, "note"));
        (void)printf("ok, ");
        screen_print(json_string_value(json_object_get(answer, "version")));
        if (note) (void)printf(". ");
        screen_print(note);
    } else {
        (void)printf("%s: ", screen_text(answer, "fault"));
        screen_print(json_string_value(json_object_get(answer, "message")));
    }
    (void)printf("\n");
    (void)fflush(stdout); /* the next one may take a while */
    json_decref(answer);
    return ok;
}

static int test(const ApiClient *client, const json_t *connections, const char *name, bool *ret_ok, Error *error) {
    int r = 0;
    *ret_ok = true;
    if (name) {
        *ret_ok = test_one(client, name, &r, error);
        return r;
    }
    for (size_t i = 0; i < json_array_size(connections) && r == 0; i++) {
        bool ok = test_one(client, screen_text(json_array_get(connections, i), "name"), &r, error);
        *ret_ok = *ret_ok && ok;
    }
    return r;
}

static bool is_name(const char *text) {
    return text[0] && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-_") == strlen(text);
}

static int run(int argc, char **argv) {
    Arguments arguments = {.argc = argc, .argv = argv};
    ServerArguments server = {0};
    const char *verb = NULL, *name = NULL;
    while (arguments.at < argc) {
        if (arguments_server(&arguments, &server)) continue;
        const char *word = argv[arguments.at++];
        if (!verb && strcmp(word, "test") == 0) {
            verb = word;
        } else if (verb && !name && is_name(word)) {
            name = word;
        } else {
            return arguments_wrong(&command_connections, "there is no argument", word);
        }
    }
    ApiClient client;
    Error error = {0};
    int r = api_client_init(&client, server.admin, server.token_file, server.data, &error);
    if (r < 0) return fail(&error);
    json_t *answer = NULL;
    bool ok = true;
    if (!name) r = api_client_expect(&client, "GET", PATH, NULL, &answer, &error);
    const json_t *connections = json_object_get(answer, "connections");
    if (r == 0 && verb) {
        r = test(&client, connections, name, &ok, &error);
    } else if (r == 0) {
        list(connections);
    }
    json_decref(answer);
    api_client_deinit(&client);
    if (r < 0) return fail(&error);
    return ok ? EXIT_SUCCESS : EXIT_RUNTIME;
}

const Command command_connections = {
    .name = "connections",
    .usage = "[--admin URL] [--token-file FILE] [test [NAME]]",
    .summary = "List the connections, or test whether imports into them could work.",
    .help = "  test [NAME]         on a session of its own, without a change to anything there; all of them\n"
            "                      when none is named. The exit code is 0 only when all that were tested\n"
            "                      are ok\n" SERVER_HELP,
    .run = run,
};
