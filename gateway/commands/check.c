#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/manifest.h"
#include "config/options.h"
#include "gateway/commands/check_masks.h"
#include "gateway/commands/commands.h"
#include "sinks/driver.h"

static const CommandOption options[] = {
    {.name = "config",
     .may_repeat = true,
     .argument = "FILE",
     .sentence = "A config file: options and connections (YAML). May be given again."},
    {.name = "file",
     .letter = 'f',
     .may_repeat = true,
     .argument = "FILE",
     .sentence = "A manifest of sources and sinks, or of streams (YAML). May be given again."},
    {0},
};

/* What the command line names. */
typedef struct Check {
    Options *options; /* of the config files that are valid */
    size_t option_count;
    const Connections **known; /* theirs, and NULL; empty: no config file was given */
    CheckKeys keys;
} Check;

static void check_config(Check *checked, const char *file, Error *error) {
    char *none[] = {NULL};
    Options *loaded = &checked->options[checked->option_count];
    if (options_load(file, none, connection_types, loaded, error) < 0) return;
    checked->known[checked->option_count++] = &loaded->list;
    (void)check_mask_keys(&checked->keys, file, loaded, error);
}

/* The command asks no gateway: without a config file it does not know which connections there are. */
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

static void check_manifest(Check *checked, const char *file, Error *error) {
    Manifest manifest;
    if (manifest_load_known(file, checked->option_count > 0 ? checked->known : NULL, &manifest, error) < 0) return;
    for (size_t i = 0; i < manifest.count; i++) {
        const json_t *ignored = manifest.sources[i].ignored;
        for (size_t k = 0; k < json_array_size(ignored); k++)
            (void)printf("%s: ignored: %s\n", file, json_string_value(json_array_get(ignored, k)));
    }
    if (check_masks(&checked->keys, file, &manifest, error) == 0 && checked->option_count == 0) say_needed(file, &manifest);
    manifest_deinit(&manifest);
}

/* 1: something is wrong. */
static int check_all(Check *checked, const Arguments *arguments, bool configs) {
    int code = EXIT_SUCCESS;
    for (size_t i = 0; i < arguments->given_count; i++) {
        Error error = {0};
        const Argument *given = &arguments->given[i];
        if ((given->option == &options[0]) != configs) continue;
        if (configs)
            check_config(checked, given->value, &error);
        else
            check_manifest(checked, given->value, &error);
        if (error.code < 0) {
            (void)fprintf(stderr, "%s\n", error.text);
            code = EXIT_INVALID;
        } else {
            (void)printf("%s: sound\n", given->value);
        }
    }
    return code;
}

/* Config files first: they have the connections that manifests name. */
static int run(const Arguments *arguments) {
    if (arguments->given_count == 0) return arguments_wrong(arguments->command, "name a config file or a manifest", NULL);
    Check checked = {.options = calloc(arguments->given_count, sizeof(Options)),
                     .known = calloc(arguments->given_count + 1, sizeof(Connections *))};
    check(checked.options && checked.known);
    check_masks_begin(&checked.keys);
    int of_configs = check_all(&checked, arguments, true), of_manifests = check_all(&checked, arguments, false);
    for (size_t i = 0; i < checked.option_count; i++) options_deinit(&checked.options[i]);
    check_masks_end(&checked.keys);
    free(checked.options);
    free(checked.known);
    return of_configs ? of_configs : of_manifests;
}

const Command command_check = {
    .name = "check",
    .summary = "Validate config files and manifests.",
    .options = options,
    .notes = "Each error in the form of a file stands with file:line:column; the exit code is 1 then. Of sinks that do not go\n"
             "together, as a mask and a column that would hold its value in the clear, source, sink and column are named. With a\n"
             "config file, manifests may name its connections only, and the keys that masks need are looked for. No gateway is asked.\n",
    .run = run,
};
