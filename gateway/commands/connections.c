/* `sluice connections`: the destinations of a running gateway, and whether imports into them could
 * work. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "gateway/commands/commands.h"
#include "gateway/commands/remote.h"
#include "gateway/commands/screen.h"

#define PATH "/v1/branches/default/connections"

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

typedef struct Inquiry {
    bool test;
    const char *name; /* of the one to test; NULL: all */
} Inquiry;

static int work(const ApiClient *client, void *context, Error *error) {
    const Inquiry *request = context;
    json_t *answer = NULL;
    bool ok = true;
    int r = request->name ? 0 : api_client_expect(client, "GET", PATH, NULL, &answer, error);
    const json_t *connections = json_object_get(answer, "connections");
    if (r == 0 && request->test) {
        r = test(client, connections, request->name, &ok, error);
    } else if (r == 0) {
        list(connections);
    }
    json_decref(answer);
    if (r < 0) return r;
    return ok ? EXIT_SUCCESS : EXIT_RUNTIME;
}

static int run(const Arguments *arguments) {
    Inquiry request = {.test = arguments->operand_count > 0, .name = arguments->operand_count > 1 ? arguments->operands[1] : NULL};
    if (request.test && strcmp(arguments->operands[0], "test") != 0)
        return arguments_wrong(arguments->command, "the operand can only be \"test\", not", arguments->operands[0]);
    if (request.name && !is_name(request.name)) return arguments_wrong(arguments->command, "there is no connection", request.name);
    return remote_run(arguments, work, &request);
}

static const CommandOption options[] = {REMOTE_OPTIONS, {0}};

const Command command_connections = {
    .name = "connections",
    .summary = "List the connections, or test whether imports into them could work.",
    .options = options,
    .operands = "[test [NAME]]",
    .operands_max = 2,
    .notes = "A test uses its own session and changes nothing at the destination. Without NAME, all connections are\ntested. The exit code "
             "is 0 only if all tested connections are ok.\n",
    .run = run,
};
