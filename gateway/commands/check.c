/* `sluice check`: all errors of config files and manifests that can be found without a gateway. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "gateway/commands/commands.h"
#include "gateway/commands/examine.h"
#include "gateway/commands/manifest_files.h"
#include "sinks/driver.h"

static const CommandOption options[] = {
    {.name = "config",
     .may_repeat = true,
     .argument = "FILE",
     .sentence = "Config file with options and connections (YAML). May be given again."},
    {.name = "file",
     .letter = 'f',
     .may_repeat = true,
     .argument = "FILE",
     .sentence = "A manifest of sources and sinks, or of streams (YAML); a directory of them; - is standard input. May be given again."},
    {0},
};

typedef struct Check {
    Options **configs; /* that are valid */
    size_t config_count;
    const Connections **known; /* theirs, and NULL */
    Options *defaults;
    CheckKeys keys;
    ManifestFiles files;
    size_t errors;
    Examination examination;
} Check;

static void say(void *context, const char *text) {
    Check *check = context;
    check->errors++;
    (void)fflush(stdout);
    (void)fprintf(stderr, "%s\n", text);
}

/* ---- config files ---------------------------------------------------------------------------- */

/* A file that a connection names must be there, as the gateway would open it. */
static void check_file(Check *check, const char *config, const YamlDocument *document, const Options *loaded, const Connection *connection,
                       const ConnectionField *field) {
    const char *name = connection_value(connection, field->name);
    if (!connection_field_is_file(field) || !name) return;
    _cleanup_free_ char *path = NULL, *place = NULL;
    check(asprintf(&path, "%s%s%s", name[0] == '/' ? "" : loaded->data, name[0] == '/' ? "" : "/", name) > 0);
    if (access(path, R_OK) == 0) return;
    int code = errno;
    Error line = {0};
    check(asprintf(&place, "connections/%s/%s", connection->name, field->name) > 0);
    if (document)
        (void)yaml_error(document, place, &line, "Connection \"%s\": %s: %s: %s", connection->name, field->name, path, strerror(code));
    else
        (void)error_set(&line, -code, "%s: connection \"%s\": %s: %s: %s", config, connection->name, field->name, path, strerror(code));
    say(check, line.text);
}

static void check_files(Check *check, const char *config, const Options *loaded) {
    _cleanup_free_ char *text = NULL;
    size_t size, count = 0;
    YamlDocument **documents = NULL;
    if (yaml_read_file(config, &text, &size, NULL) == 0) (void)yaml_parse(config, text, size, &documents, &count, NULL);
    for (size_t i = 0; i < loaded->list.count; i++)
        for (const ConnectionField *field = loaded->list.items[i].type->fields; field->name; field++)
            check_file(check, config, count > 0 ? documents[0] : NULL, loaded, &loaded->list.items[i], field);
    yaml_documents_free(documents, count);
    Error error = {0};
    if (check_mask_keys(&check->keys, config, loaded, &error) < 0) say(check, error.text);
}

static void end_file(const Check *check, const char *name, size_t errors_before) {
    if (check->errors == errors_before) (void)printf("%s: valid\n", name);
}

static void check_config(Check *check, const char *file) {
    char *none[] = {NULL};
    Error error = {0};
    size_t before = check->errors;
    Options *loaded = calloc(1, sizeof *loaded);
    check(loaded);
    if (options_load(file, none, connection_types, loaded, &error) < 0) {
        free(loaded);
        say(check, error.text);
        return;
    }
    array_extend(check->configs, check->config_count);
    check->configs[check->config_count++] = loaded;
    check_files(check, file, loaded);
    end_file(check, file, before);
}

/* ---- manifests ------------------------------------------------------------------------------- */

static void examine(void *context, const Source *source, Sink *const *sinks, size_t count, ManifestPlace *place) {
    Check *check = context;
    examine_source(&check->examination, source, sinks, count, place);
}

/* The command asks no gateway: without a config file it does not know which connections there
 * are. */
static void say_needed(const char *file, const Manifest *manifest) {
    const char *name, *separator = "";
    json_t *value;
    size_t count = json_object_size(manifest->needed) - (json_object_get(manifest->needed, "local") != NULL);
    if (count > 0) (void)printf("%s: not checked without --config: the %s ", file, count == 1 ? "connection" : "connections");
    json_object_foreach(manifest->needed, name, value) {
        if (strcmp(name, "local") == 0) continue;
        (void)printf("%s\"%s\"", separator, name);
        separator = ", ";
    }
    if (count > 0) (void)printf("\n");
}

static void check_manifest(Check *check, size_t index) {
    const ManifestReader reader = {
        .report = say, .examine = examine, .context = check, .known = check->config_count > 0 ? check->known : NULL};
    const char *name = check->files.items[index].name;
    size_t before = check->errors;
    check->keys.is_imagined = false;
    (void)manifest_files_load(&check->files, index, &reader);
    const Manifest *manifest = &check->files.items[index].manifest;
    for (size_t i = 0; i < manifest->count; i++) {
        const json_t *ignored = manifest->sources[i].ignored;
        for (size_t k = 0; k < json_array_size(ignored); k++)
            (void)printf("%s: ignored: %s\n", name, json_string_value(json_array_get(ignored, k)));
    }
    if (check->errors == before && check->keys.is_imagined) (void)printf("%s: not checked without --config: the keys of its masks\n", name);
    if (check->errors == before && check->config_count == 0) say_needed(name, manifest);
    end_file(check, name, before);
}

static int prepare(Check *check, Error *error) {
    char *none[] = {NULL};
    const Options *found = check->config_count > 0 ? check->configs[0] : NULL;
    check->known = calloc(check->config_count + 1, sizeof(Connections *));
    check(check->known);
    for (size_t i = 0; i < check->config_count; i++) check->known[i] = &check->configs[i]->list;
    if (!found) {
        check->defaults = calloc(1, sizeof *check->defaults);
        check(check->defaults);
        int r = options_load(NULL, none, connection_types, check->defaults, error);
        if (r < 0) {
            free(steal(check->defaults));
            return r;
        }
        found = check->defaults;
    }
    check->examination = (Examination){
        .options = found, .keys = &check->keys, .configs = check->configs, .config_count = check->config_count};
    return 0;
}

static void check_deinit(Check *check) {
    for (size_t i = 0; i < check->config_count; i++) {
        options_deinit(check->configs[i]);
        free(check->configs[i]);
    }
    free(check->configs);
    free(check->known);
    check_masks_end(&check->keys);
    if (check->defaults) options_deinit(check->defaults);
    free(check->defaults);
    manifest_files_deinit(&check->files);
    examination_deinit(&check->examination);
}

static int run(const Arguments *arguments) {
    if (arguments->given_count == 0) return arguments_wrong(arguments->command, "name a config file or a manifest", NULL);
    Check check = {0};
    check_masks_begin(&check.keys);
    Error error = {0};
    for (size_t i = 0; i < arguments->given_count; i++)
        if (arguments->given[i].option == &options[0]) check_config(&check, arguments->given[i].value);
    for (size_t i = 0; i < arguments->given_count; i++) {
        Error missing = {0};
        if (arguments->given[i].option == &options[0]) continue;
        if (manifest_files_add(&check.files, arguments->given[i].value, &missing) < 0) say(&check, missing.text);
    }
    int code = EXIT_SUCCESS;
    if (prepare(&check, &error) < 0) {
        (void)fprintf(stderr, "sluice check: %s\n", error.text);
        code = EXIT_RUNTIME;
    }
    for (size_t i = 0; code == EXIT_SUCCESS && i < check.files.count; i++) check_manifest(&check, i);
    if (code == EXIT_SUCCESS && check.errors > 0) code = EXIT_INVALID;
    check_deinit(&check);
    return code;
}

const Command command_check = {
    .name = "check",
    .summary = "Find all errors of config files and manifests that can be found without a gateway.",
    .options = options,
    .notes = "Each error stands with file:line:column; the exit code is 1 then. Paths, templates and masks are compiled. With a config\n"
             "file, manifests may name its connections only, and the files and keys that it names are looked for. Tables are not\n"
             "looked at: `sluice apply --dry-run` asks the gateway.\n",
    .run = run,
};
