#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "config/options.h"
#include "gateway/app.h"
#include "gateway/commands.h"

static int print_config(const char *config_file, char *const *options) {
    Options effective;
    Error error = {0};
    if (options_load(config_file, options, &effective, &error) < 0) {
        (void)fprintf(stderr, "sluice serve: %s\n", error.text);
        return EXIT_USAGE;
    }
    Buffer text = {0};
    options_print(&effective, &text);
    (void)fwrite(text.data, 1, text.size, stdout);
    buffer_deinit(&text);
    options_deinit(&effective);
    return EXIT_SUCCESS;
}

static int run(int argc, char **argv) {
    Arguments arguments = {.argc = argc, .argv = argv};
    const char *config_file = NULL;
    int only_print = 0;
    /* What options_load reads: --name value pairs, without --config and --print-config. */
    char **options = calloc((size_t)argc * 2 + 2, sizeof *options);
    check(options);
    size_t count = 0;
    int code = EXIT_SUCCESS;
    while (code == EXIT_SUCCESS && arguments.at < argc) {
        const char *value = arguments_value(&arguments, "--config");
        if (value) {
            config_file = value;
            continue;
        }
        if (arguments_flag(&arguments, "--print-config")) {
            only_print = 1;
            continue;
        }
        char *argument = argv[arguments.at];
        size_t size = strcspn(argument, "=");
        char name[64];
        if (strncmp(argument, "--", 2) != 0 || size >= sizeof name) {
            code = arguments_wrong(&command_serve, "this is not an option:", argument);
            break;
        }
        (void)snprintf(name, sizeof name, "%.*s", (int)size, argument);
        if (!options_known(name + 2)) {
            code = arguments_wrong(&command_serve, "there is no option", name);
            break;
        }
        bool bare = options_is_boolean(name + 2) && argument[size] == '\0' &&
                    (arguments.at + 1 >= argc || strncmp(argv[arguments.at + 1], "--", 2) == 0);
        if (bare) arguments.at++;
        const char *given = bare ? "true" : arguments_value(&arguments, name);
        options[count] = strdup(name);
        options[count + 1] = strdup(given);
        check(options[count] && options[count + 1]);
        count += 2;
    }

    if (code == EXIT_SUCCESS && only_print) {
        code = print_config(config_file, options);
    } else if (code == EXIT_SUCCESS) {
        App *app;
        Error error = {0};
        int r = app_start(config_file, options, &app, &error);
        if (r < 0) {
            log_error("sluice cannot start: %s", error.text);
            code = r == -EINVAL ? EXIT_USAGE : EXIT_RUNTIME;
        } else {
            r = app_run(app);
            app_stop(app);
            code = r == -EIO ? EXIT_RUNTIME : EXIT_SUCCESS;
        }
    }
    for (size_t i = 0; i < count; i++) free(options[i]);
    free(options);
    return code;
}

const Command command_serve = {
    .name = "serve",
    .usage = "[--config FILE] [--data DIR] [--intake ADDR:PORT] [--admin ADDR:PORT] …",
    .summary = "Run the gateway.",
    .help = "  --config FILE        options and connections as YAML; see config/examples/sluice.yaml\n"
            "  --print-config       print the effective options with what they mean, and end\n"
            "  --OPTION VALUE       any option that --print-config shows; also SLUICE_OPTION in the environment\n\n"
            "SIGTERM finishes the requests in flight and ends with 0; SIGHUP reads the options again.\n",
    .run = run,
};
