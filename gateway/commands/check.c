#include <stdio.h>
#include <stdlib.h>

#include "config/manifest.h"
#include "config/options.h"
#include "gateway/commands/commands.h"
#include "sinks/driver.h"

static int run(int argc, char **argv) {
    Arguments arguments = {.argc = argc, .argv = argv};
    int code = EXIT_SUCCESS;
    int seen = 0;
    while (arguments.at < argc) {
        Error error = {0};
        const char *file;
        if ((file = arguments_value(&arguments, "--config"))) {
            char *none[] = {NULL};
            Options options;
            if (options_load(file, none, connection_types, &options, &error) == 0) options_deinit(&options);
        } else if ((file = arguments_value(&arguments, "-f"))) {
            Manifest manifest;
            if (manifest_load(file, &manifest, &error) == 0) manifest_deinit(&manifest);
        } else {
            return arguments_wrong(&command_check, "there is no argument", argv[arguments.at]);
        }
        seen++;
        if (error.code < 0) {
            (void)fprintf(stderr, "%s\n", error.text);
            code = EXIT_USAGE;
        } else {
            (void)printf("%s: sound\n", file);
        }
    }
    if (seen == 0) return arguments_wrong(&command_check, "name a config file or a manifest", NULL);
    return code;
}

const Command command_check = {
    .name = "check",
    .usage = "[--config FILE] [-f MANIFEST.yaml]",
    .summary = "Validate a config file or a manifest.",
    .help = "  --config FILE   the server's options and connections\n"
            "  -f FILE         a manifest of sources and sinks\n\n"
            "Each error stands with file:line:column; the exit code is 1 then.\n",
    .run = run,
};
