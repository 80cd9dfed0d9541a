/*
 * `sluice apply`: brings a running gateway to what a manifest declares, each source with its sinks in one request that does all of it or
 * nothing. What the manifest does not name stays as it is.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "config/manifest.h"
#include "gateway/commands/api_client.h"
#include "gateway/commands/commands.h"

#define SOURCES_PATH "/v1/branches/default/sources"

typedef struct Apply {
    ApiClient client;
    bool dry_run, prune;
    unsigned changes;
    const Expansions *expansions; /* of the manifest: what is told repeats none of these values */
    bool cannot;                  /* a dry run found a table that cannot be had */
} Apply;

/* ---- what is sent -------------------------------------------------------------------------------------------------------------------- */

static json_t *with_settings(const json_t *body, json_t *settings) {
    json_t *whole = json_copy((json_t *)(uintptr_t)body);
    check(whole);
    if (settings) check(json_object_set(whole, "settings", settings) == 0);
    return whole;
}

static json_t *document_of(const ManifestSource *declared) {
    json_t *document = with_settings(declared->source, declared->settings), *sinks = json_array();
    check(sinks);
    for (size_t i = 0; i < declared->sink_count; i++)
        check(json_array_append_new(sinks, with_settings(declared->sinks[i], declared->sink_settings[i])) == 0);
    check(json_object_set_new(document, "sinks", sinks) == 0);
    return document;
}

/* ---- what is told -------------------------------------------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* `entry`: {"action","fields"} of the plan. */
static void say(Apply *apply, const char *source, const char *sink, const json_t *entry) {
    const char *action = text_of(entry, "action");
    char mark = '=';
    if (strcmp(action, "create") == 0) mark = '+';
    if (strcmp(action, "update") == 0) mark = '~';
    if (strcmp(action, "delete") == 0) mark = '-';
    apply->changes += mark != '=';
    (void)printf("%c %s%s%s", mark, source, sink ? "/" : "", sink ? sink : "");
    const json_t *fields = json_object_get(entry, "fields");
    for (size_t i = 0; i < json_array_size(fields); i++)
        (void)printf("%s%s", i ? ", " : ": ", json_string_value(json_array_get(fields, i)));
    (void)printf("\n");
}

/* A line about a sink's table, whose name and differences may come from ${ENV} or ${FILE}. */
static void say_of_table(const Apply *apply, char mark, const char *source, const char *sink, const char *format, const char *text) {
    Error line = {0};
    (void)error_set(&line, -EINVAL, format, text);
    expansions_hide(apply->expansions, &line);
    (void)printf("%c %s/%s: %s\n", mark, source, sink, line.text);
}

/* Of a dry run: what the destination says. */
static void say_table(Apply *apply, const char *source, const json_t *entry) {
    const json_t *table = json_object_get(entry, "table");
    const char *action = text_of(table, "action"), *sink = text_of(entry, "sinkId"), *id = text_of(table, "tableId");
    if (strcmp(action, "create") == 0) {
        say_of_table(apply, ' ', source, sink, "table \"%s\" would be created", id);
    } else if (strcmp(action, "addColumns") == 0) {
        _cleanup_(buffer_deinit) Buffer columns = {0};
        const json_t *list = json_object_get(table, "columns");
        for (size_t i = 0; i < json_array_size(list); i++)
            buffer_printf(&columns, "%s\"%s\"", i ? ", " : "", json_string_value(json_array_get(list, i)));
        say_of_table(apply, ' ', source, sink, "its table would get the columns %s", buffer_text(&columns));
    } else if (strcmp(action, "refused") == 0 || strcmp(action, "unknown") == 0) {
        say_of_table(apply, '!', source, sink, "%s", text_of(table, "message"));
        apply->cannot = true;
    }
}

static void say_plan(Apply *apply, const char *source, const json_t *plan) {
    say(apply, source, NULL, json_object_get(plan, "source"));
    const json_t *sinks = json_object_get(plan, "sinks");
    for (size_t i = 0; i < json_array_size(sinks); i++) {
        const json_t *entry = json_array_get(sinks, i);
        say(apply, source, text_of(entry, "sinkId"), entry);
        if (apply->dry_run) say_table(apply, source, entry);
    }
}

/* ---- all of it ----------------------------------------------------------------------------------------------------------------------- */

static int apply_source(Apply *apply, const ManifestSource *declared, Error *error) {
    const char *id = text_of(declared->source, "sourceId");
    _cleanup_free_ char *path = NULL;
    check(asprintf(&path, SOURCES_PATH "/%s/manifest?dryRun=%s&prune=%s", id, apply->dry_run ? "true" : "false",
                   apply->prune ? "true" : "false") > 0);
    json_t *document = document_of(declared), *answer = NULL;
    int r = api_client_expect(&apply->client, "PUT", path, document, &answer, error);
    json_decref(document);
    if (r < 0) return error_prefix(error, "%s", id), r;
    say_plan(apply, id, apply->dry_run ? answer : json_object_get(answer, "outputs"));
    json_decref(answer);
    return 0;
}

static int run(int argc, char **argv) {
    Arguments arguments = {.argc = argc, .argv = argv};
    const char *file = NULL, *admin = NULL, *token_file = NULL, *data = NULL;
    Apply apply = {0};
    while (arguments.at < argc) {
        const char *value;
        if ((value = arguments_value(&arguments, "-f"))) {
            file = value;
        } else if ((value = arguments_value(&arguments, "--admin"))) {
            admin = value;
        } else if ((value = arguments_value(&arguments, "--token-file"))) {
            token_file = value;
        } else if ((value = arguments_value(&arguments, "--data"))) {
            data = value;
        } else if (arguments_flag(&arguments, "--dry-run")) {
            apply.dry_run = true;
        } else if (arguments_flag(&arguments, "--prune")) {
            apply.prune = true;
        } else {
            return arguments_wrong(&command_apply, "there is no argument", argv[arguments.at]);
        }
    }
    if (!file) return arguments_wrong(&command_apply, "name a manifest with -f", NULL);

    Error error = {0};
    Manifest manifest = {0};
    int r = manifest_load(file, &manifest, &error);
    if (r < 0) {
        (void)fprintf(stderr, "%s\n", error.text);
        manifest_deinit(&manifest);
        return EXIT_USAGE;
    }
    apply.expansions = &manifest.expansions;
    r = api_client_init(&apply.client, admin, token_file, data, &error);
    for (size_t i = 0; r == 0 && i < manifest.count; i++) r = apply_source(&apply, &manifest.sources[i], &error);
    if (r < 0) {
        expansions_hide(&manifest.expansions, &error); /* the gateway's words may repeat what it was sent */
        (void)fprintf(stderr, "sluice apply: %s\n", error.text);
    } else {
        (void)printf("%u %s%s\n", apply.changes, apply.changes == 1 ? "change" : "changes",
                     apply.dry_run ? " (dry run: none was made)" : "");
    }
    api_client_deinit(&apply.client);
    manifest_deinit(&manifest);
    return r < 0 || apply.cannot ? EXIT_RUNTIME : EXIT_SUCCESS;
}

const Command command_apply = {
    .name = "apply",
    .usage = "-f MANIFEST.yaml [--dry-run] [--prune]",
    .summary = "Create or update sources and sinks.",
    .help = "  -f FILE             a manifest of sources and sinks\n"
            "  --dry-run           only say what would change\n"
            "  --prune             delete the sinks of the manifest's sources that it does not name\n"
            "  --admin URL         the admin address; SLUICE_ADMIN, or http://127.0.0.1:7001\n"
            "  --token-file FILE   holds a token; SLUICE_TOKEN, or admin.token of --data\n"
            "  --data DIR          the data directory of a local gateway, ./data\n\n"
            "Each line says what was created (+), changed (~), deleted (-) or is as declared (=). A source and its\n"
            "sinks are changed together or not at all. A dry run also compares the tables, and says what is in\n"
            "the way (!).\n",
    .run = run,
};
