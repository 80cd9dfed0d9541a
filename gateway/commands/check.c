#include <stdio.h>
#include <stdlib.h>

#include "config/manifest.h"
#include "config/options.h"
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

static void check_config(const char *file, Error *error) {
    char *none[] = {NULL};
    Options loaded;
    if (options_load(file, none, connection_types, &loaded, error) == 0) options_deinit(&loaded);
}

static void check_manifest(const char *file, Error *error) {
    Manifest manifest;
    if (manifest_load(file, &manifest, error) < 0) return;
    for (size_t i = 0; i < manifest.count; i++) {
        const json_t *ignored = manifest.sources[i].ignored;
        for (size_t k = 0; k < json_array_size(ignored); k++)
            (void)printf("%s: ignored: %s\n", file, json_string_value(json_array_get(ignored, k)));
    }
    manifest_deinit(&manifest);
}

static int run(const Arguments *arguments) {
    if (arguments->given_count == 0) return arguments_wrong(arguments->command, "name a config file or a manifest", NULL);
    int code = EXIT_SUCCESS;
    for (size_t i = 0; i < arguments->given_count; i++) {
        Error error = {0};
        const Argument *given = &arguments->given[i];
        if (given->option == &options[0])
            check_config(given->value, &error);
        else
            check_manifest(given->value, &error);
        if (error.code < 0) {
            (void)fprintf(stderr, "%s\n", error.text);
            code = EXIT_INVALID;
        } else {
            (void)printf("%s: sound\n", given->value);
        }
    }
    return code;
}

const Command command_check = {
    .name = "check",
    .summary = "Validate config files and manifests.",
    .options = options,
    .notes = "Each error stands with file:line:column; the exit code is 1 then.\n",
    .run = run,
};
