/*
 * `sluice apply`: brings a running gateway to what a manifest declares, each source with its sinks
 * in one request that does all of it or nothing. What the manifest leaves out of a source or sink has its default
 * again; sinks that it does not name stay as they are.
 * Connections that a stream manifest declares go before its source.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "gateway/commands/commands.h"
#include "gateway/commands/how_to_send.h"
#include "gateway/commands/manifest_files.h"
#include "gateway/commands/remote.h"
#include "gateway/commands/screen.h"

#define SOURCES_PATH "/v1/branches/default/sources"
#define CONNECTIONS_PATH "/v1/branches/default/connections"
#define VALUE_BYTES_MAX 80 /* of a value that is shown */

typedef struct Apply {
    const ManifestFiles *files;
    const Manifest *manifest; /* at hand: what is printed repeats none of the values of its expansions */
    bool dry_run, prune, reset_settings, keep_positions;
    unsigned changes, refused; /* the latter: sources */
    bool cannot;               /* a dry run found a table that cannot be had */
} Apply;

/* ---- what is sent ---------------------------------------------------------------------------- */

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

/* ---- what is printed ------------------------------------------------------------------------- */

/* Settings that the manifest does not name, and that stay. */
static void say_kept(const char *source, const char *sink, const json_t *kept) {
    size_t i;
    json_t *item;
    json_array_foreach(kept, i, item) {
        _cleanup_free_ char *value = json_dumps(json_object_get(item, "value"), JSON_ENCODE_ANY);
        check(value);
        (void)printf("  %s%s%s: kept: %s = %s (set by the API)\n", source, sink ? "/" : "", sink ? sink : "", screen_text(item, "key"),
                     value);
    }
}

/* A value of a field, without what ${ENV} or ${FILE} gave; true: something was taken out. */
static bool value_text(const Apply *apply, const json_t *value, Buffer *out) {
    _cleanup_free_ char *dump = !value || json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    Error text = {0};
    (void)error_set(&text, -EINVAL, "%s", json_is_string(value) ? json_string_value(value) : dump ? dump : "(none)");
    _cleanup_free_ char *before = text_copy(text.text);
    if (value) expansions_hide(&apply->manifest->expansions, &text);
    size_t size = strlen(text.text), shown = size;
    if (size > VALUE_BYTES_MAX)
        for (shown = VALUE_BYTES_MAX; ((unsigned char)text.text[shown] & 0xC0) == 0x80;) shown--;
    const char *quote = json_is_string(value) ? "\"" : "";
    buffer_printf(out, "%s%.*s%s%s", quote, (int)shown, text.text, shown < size ? "…" : "", quote);
    return strcmp(before, text.text) != 0;
}

/* "path: old -> new" of each field. */
static void say_changes(const Apply *apply, const json_t *changes) {
    size_t i;
    json_t *change;
    json_array_foreach(changes, i, change) {
        _cleanup_(buffer_deinit) Buffer old = {0}, now = {0};
        Error path = {0};
        (void)error_set(&path, -EINVAL, "%s", screen_text(change, "path"));
        expansions_hide(&apply->manifest->expansions, &path);
        bool hidden = json_is_true(json_object_get(change, "hidden"));
        (void)value_text(apply, json_object_get(change, "old"), &old);
        bool expanded = !hidden && value_text(apply, json_object_get(change, "new"), &now);
        (void)printf("    ");
        screen_print(path.text);
        (void)printf(": ");
        /* Where the new value is out of a variable or file, the old one was, too. */
        screen_print(hidden || expanded ? "(not shown)" : buffer_text(&old));
        (void)printf(" -> ");
        screen_print(hidden ? "(not shown)" : buffer_text(&now));
        (void)printf("\n");
    }
}

/* `entry`: {"action","fields","changes","kept","note"} of the plan. */
static void say(Apply *apply, const char *source, const char *sink, const json_t *entry) {
    const char *action = screen_text(entry, "action");
    char mark = '=';
    if (strcmp(action, "create") == 0) mark = '+';
    if (strcmp(action, "update") == 0) mark = '~';
    if (strcmp(action, "delete") == 0) mark = '-';
    apply->changes += mark != '=';
    (void)printf("%c %s%s%s", mark, source, sink ? "/" : "", sink ? sink : "");
    const char *before = screen_text(entry, "renamedFrom");
    if (before[0]) (void)printf(": renamed from %s", before);
    const json_t *fields = json_object_get(entry, "fields");
    const char *joint = before[0] ? ", " : ": ";
    for (size_t i = 0; i < json_array_size(fields); i++) {
        const char *field = json_string_value(json_array_get(fields, i));
        if (before[0] && strcmp(field, "sinkId") == 0) continue;
        (void)printf("%s%s", joint, field);
        joint = ", ";
    }
    (void)printf("\n");
    say_kept(source, sink, json_object_get(entry, "kept"));
    const char *note = json_string_value(json_object_get(entry, "note"));
    if (note) (void)printf("  %s%s%s: %s\n", source, sink ? "/" : "", sink ? sink : "", note);
    say_changes(apply, json_object_get(entry, "changes"));
}

/* A line about a sink's table, whose name and differences may come from ${ENV} or ${FILE}. */
static void say_of_table(const Apply *apply, char mark, const char *source, const char *sink, const char *format, const char *text) {
    Error line = {0};
    (void)error_set(&line, -EINVAL, format, text);
    expansions_hide(&apply->manifest->expansions, &line);
    (void)printf("%c %s/%s: %s\n", mark, source, sink, line.text);
}

static void say_columns(const Apply *apply, const char *source, const char *sink, const char *format, const json_t *names) {
    _cleanup_(buffer_deinit) Buffer columns = {0};
    for (size_t i = 0; i < json_array_size(names); i++)
        buffer_printf(&columns, "%s\"%s\"", i ? ", " : "", json_string_value(json_array_get(names, i)));
    say_of_table(apply, ' ', source, sink, format, buffer_text(&columns));
}

/* Of a dry run: what the destination says. */
static void say_table(Apply *apply, const char *source, const json_t *entry) {
    const json_t *table = json_object_get(entry, "table");
    const char *action = screen_text(table, "action"), *sink = screen_text(entry, "sinkId"), *id = screen_text(table, "tableId");
    if (strcmp(action, "create") == 0) {
        say_of_table(apply, ' ', source, sink, "table \"%s\" would be created", id);
    } else if (strcmp(action, "addColumns") == 0) {
        say_columns(apply, source, sink, "its table would get the columns %s", json_object_get(table, "columns"));
    } else if (strcmp(action, "unseen") == 0) {
        say_of_table(apply, ' ', source, sink, "table \"%s\" is not checked: its connection does not exist yet", id);
    } else if (strcmp(action, "refused") == 0 || strcmp(action, "unknown") == 0) {
        say_of_table(apply, '!', source, sink, "%s", screen_text(table, "message"));
        apply->cannot = true;
    }
    const json_t *left_out = json_object_get(table, "leftOut");
    if (left_out) say_columns(apply, source, sink, "its table lacks columns that imports leave out: %s", left_out);
}

static void say_plan(Apply *apply, const char *source, const json_t *plan) {
    say(apply, source, NULL, json_object_get(plan, "source"));
    const json_t *sinks = json_object_get(plan, "sinks");
    for (size_t i = 0; i < json_array_size(sinks); i++) {
        const json_t *entry = json_array_get(sinks, i);
        say(apply, source, screen_text(entry, "sinkId"), entry);
        if (apply->dry_run) say_table(apply, source, entry);
    }
}

/* ---- stream manifests ------------------------------------------------------------------------ */

static void say_ignored(const ManifestSource *declared) {
    size_t count = json_array_size(declared->ignored);
    if (count > 0) (void)printf("  %s: ignored: ", screen_text(declared->source, "sourceId"));
    for (size_t i = 0; i < count; i++) (void)printf("%s%s", i ? ", " : "", json_string_value(json_array_get(declared->ignored, i)));
    if (count > 0) (void)printf("\n");
}

/* The connections that the addresses of the manifest are. `made`: those that were not there are
 * added, names to types. */
static int declare_connections(Apply *apply, const ApiClient *client, const ManifestSource *declared, json_t *made, Error *error) {
    size_t index;
    json_t *item;
    json_array_foreach(declared->connections, index, item) {
        const char *name = screen_text(item, "name");
        _cleanup_free_ char *path = NULL;
        check(asprintf(&path, CONNECTIONS_PATH "/%s?dryRun=%s", name, apply->dry_run ? "true" : "false") > 0);
        json_t *answer = NULL;
        int r = api_client_expect(client, "PUT", path, json_object_get(item, "connection"), &answer, error);
        if (r < 0) return error_prefix(error, "connection %s", name), r;
        const char *action = screen_text(answer, "action");
        char mark = strcmp(action, "create") == 0 ? '+' : strcmp(action, "update") == 0 ? '~' : '=';
        (void)printf("%c connection %s\n", mark, name);
        apply->changes += mark != '=';
        const json_t *type = json_object_get(json_object_get(item, "connection"), "type");
        if (mark == '+') check(json_object_set(made, name, (json_t *)(uintptr_t)type) == 0);
        json_decref(answer);
    }
    return 0;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* The source was not applied: connections that were made for it go again. The gateway keeps those
 * that something names by now. */
static void withdraw_connections(const ApiClient *client, const json_t *made) {
    const char *name;
    json_t *type;
    json_object_foreach((json_t *)(uintptr_t)made, name, type) {
        _cleanup_free_ char *path = NULL;
        int status = 0;
        json_t *answer = NULL;
        Error why = {0};
        check(asprintf(&path, CONNECTIONS_PATH "/%s", name) > 0);
        int r = api_client_call(client, "DELETE", path, NULL, 0, &status, &answer, &why);
        if (r == 0 && status == 200)
            (void)printf("- connection %s\n", name);
        else
            (void)printf("  connection %s stays: %s\n", name, r < 0 ? why.text : screen_text(answer, "message"));
        json_decref(answer);
    }
}

/* Of a source that is there now. That it cannot be shown changes nothing about what was done. */
static void say_how_to_send(const Apply *apply, const ApiClient *client, const ManifestSource *declared) {
    _cleanup_(buffer_deinit) Buffer lines = {0};
    _cleanup_free_ char *path = NULL;
    json_t *source = NULL;
    check(asprintf(&path, SOURCES_PATH "/%s", screen_text(declared->source, "sourceId")) > 0);
    if (api_client_expect(client, "GET", path, NULL, &source, NULL) == 0)
        how_to_send(source, declared, &apply->manifest->expansions, &lines);
    json_decref(source);
    if (lines.size > 0) (void)fwrite(lines.data, 1, lines.size, stdout);
}

/* `made`: what a dry run only assumes. */
static int apply_document(Apply *apply, const ApiClient *client, const ManifestSource *declared, const json_t *made, Error *error) {
    const char *id = screen_text(declared->source, "sourceId"), *name;
    _cleanup_(buffer_deinit) Buffer path = {0};
    json_t *type;
    buffer_printf(&path, SOURCES_PATH "/%s/manifest?dryRun=%s&prune=%s&resetSettings=%s%s", id, apply->dry_run ? "true" : "false",
                  apply->prune ? "true" : "false", apply->reset_settings ? "true" : "false",
                  apply->keep_positions ? "&positions=keep" : "");
    if (apply->dry_run && json_object_size(made) > 0) {
        const char *before = "&assumed=";
        json_object_foreach((json_t *)(uintptr_t)made, name, type) {
            buffer_printf(&path, "%s%s:%s", before, name, json_string_value(type));
            before = ",";
        }
    }
    json_t *document = document_of(declared), *answer = NULL;
    int r = api_client_expect(client, "PUT", buffer_text(&path), document, &answer, error);
    json_decref(document);
    if (r < 0) return r;
    unsigned before = apply->changes;
    say_plan(apply, id, apply->dry_run ? answer : json_object_get(answer, "outputs"));
    if (!apply->dry_run && apply->changes > before) say_how_to_send(apply, client, declared);
    json_decref(answer);
    return 0;
}

static int apply_source(Apply *apply, const ApiClient *client, const ManifestSource *declared, Error *error) {
    json_t *made = json_object();
    check(made);
    say_ignored(declared);
    int r = declare_connections(apply, client, declared, made, error);
    if (r == 0) r = apply_document(apply, client, declared, made, error);
    if (r < 0) {
        error_prefix(error, "%s", screen_text(declared->source, "sourceId"));
        if (!apply->dry_run) withdraw_connections(client, made);
    }
    json_decref(made);
    return r;
}

/* The gateway answered, and does not do what it was asked: another source may be another matter. */
static bool is_refusal(int result) {
    return result == -EINVAL || result == -ENOENT || result == -EEXIST;
}

/* Each source stands alone: one that is refused keeps none of the others back. */
static int apply_manifest(Apply *apply, const ApiClient *client, Error *error) {
    for (size_t i = 0; i < apply->manifest->count; i++) {
        Error why = {0};
        int r = apply_source(apply, client, &apply->manifest->sources[i], &why);
        if (r >= 0) continue;
        expansions_hide(&apply->manifest->expansions, &why); /* the gateway's words may repeat what it was sent */
        if (!is_refusal(r)) return error_set(error, r, "%s", why.text);
        (void)fflush(stdout);
        (void)fprintf(stderr, "sluice apply: %s\n", why.text);
        apply->refused++;
    }
    return 0;
}

static int apply_all(const ApiClient *client, void *context, Error *error) {
    Apply *apply = context;
    for (size_t i = 0; i < apply->files->count; i++) {
        apply->manifest = &apply->files->items[i].manifest;
        int r = apply_manifest(apply, client, error);
        if (r < 0) return r;
    }
    (void)printf("%u %s", apply->changes, apply->changes == 1 ? "change" : "changes");
    if (apply->refused > 0) (void)printf(", %u %s refused", apply->refused, apply->refused == 1 ? "source was" : "sources were");
    (void)printf("%s\n", apply->dry_run ? " (dry run: none was made)" : "");
    return apply->cannot || apply->refused > 0 ? EXIT_RUNTIME : 0;
}

static void say_error(void *context, const char *text) {
    bool *failed = context;
    *failed = true;
    (void)fprintf(stderr, "%s\n", text);
}

/* All errors of all files; false: there are some. */
static bool load(const Arguments *arguments, ManifestFiles *files) {
    bool failed = false;
    const ManifestReader reader = {.report = say_error, .context = &failed};
    for (size_t i = 0; i < arguments->given_count; i++) {
        Error error = {0};
        if (strcmp(arguments->given[i].name, "file") != 0) continue;
        if (manifest_files_add(files, arguments->given[i].value, &error) < 0) say_error(&failed, error.text);
    }
    for (size_t i = 0; i < files->count; i++) (void)manifest_files_load(files, i, &reader);
    return !failed;
}

static int run(const Arguments *arguments) {
    _cleanup_(manifest_files_deinit) ManifestFiles files = {0};
    const char *positions = arguments_value(arguments, "positions");
    if (positions && strcmp(positions, "keep") != 0) {
        (void)fprintf(stderr, "--positions must be keep, not \"%s\"\n", positions);
        return EXIT_INVALID;
    }
    if (!load(arguments, &files)) return EXIT_INVALID;
    Apply apply = {.files = &files,
                   .keep_positions = positions != NULL,
                   .dry_run = arguments_flag(arguments, "dry-run"),
                   .prune = arguments_flag(arguments, "prune"),
                   .reset_settings = arguments_flag(arguments, "reset-settings")};
    return remote_run(arguments, apply_all, &apply);
}

static const CommandOption options[] = {
    {.name = "file",
     .letter = 'f',
     .required = true,
     .may_repeat = true,
     .argument = "FILE",
     .sentence = "A manifest of sources and sinks, or of streams (YAML); a directory of them; - is standard input. May be given again."},
    {.name = "dry-run", .sentence = "Print what would change, and change nothing."},
    {.name = "positions",
     .argument = "keep",
     .sentence = "keep: a sink that gets another table in the same database goes on at the positions of the old one."},
    {.name = "prune", .sentence = "Delete the sinks of the manifest's sources that the manifest does not name."},
    {.name = "reset-settings", .sentence = "Take settings back that were set by the API and that the manifest does not name."},
    REMOTE_OPTIONS,
    {0},
};

const Command command_apply = {
    .name = "apply",
    .summary = "Create or update sources and sinks.",
    .options = options,
    .notes = "Each line says what was created (+), changed (~), deleted (-) or is as declared (=). Below it stands each\n"
             "field that changes, as PATH: OLD -> NEW. Secrets are not shown. A source and its sinks are changed together\n"
             "or not at all. A source that the gateway refuses is named with the reason, and the other sources are\n"
             "applied. Of each source that was created or changed, apply prints the URL for its events, which has the\n"
             "secret, and a curl line that sends one, or what the source reads. A dry run also compares the tables, and\n"
             "says what is in the way (!).\n",
    .run = run,
};
