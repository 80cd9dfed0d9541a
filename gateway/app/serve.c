#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "config/options.h"
#include "gateway/app/app.h"
#include "gateway/commands/commands.h"
#include "sinks/driver.h"

static int print_config(const char *config_file, char *const *options) {
    Options effective;
    Error error = {0};
    if (options_load(config_file, options, connection_types, &effective, &error) < 0) {
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

static int serve(const char *config_file, char *const *options, bool give_up_missing_packs) {
    App *app;
    Error error = {0};
    if (log_start(&error) < 0) {
        log_error("sluice cannot start: %s", error.text);
        return EXIT_RUNTIME;
    }
    int code = EXIT_SUCCESS, r = app_start(config_file, options, give_up_missing_packs, &app, &error);
    if (r < 0) {
        code = r == -EINVAL || r == -ENOENT ? EXIT_USAGE : EXIT_RUNTIME;
    } else {
        if (app_run(app) == -EIO) code = EXIT_RUNTIME;
        app_stop(app);
    }
    log_stop();
    return code;
}

static int run(int argc, char **argv) {
    Arguments arguments = {.argc = argc, .argv = argv};
    const char *config_file = NULL;
    bool only_print = false, give_up_missing_packs = false;
    char **options = calloc((size_t)argc + 1, sizeof *options); /* the rest, for options_load */
    check(options);
    for (size_t count = 0; arguments.at < argc;) {
        const char *value = arguments_value(&arguments, "--config");
        if (value) {
            config_file = value;
        } else if (arguments_flag(&arguments, "--print-config")) {
            only_print = true;
        } else if (arguments_flag(&arguments, "--give-up-missing-packs")) {
            give_up_missing_packs = true;
        } else {
            options[count++] = argv[arguments.at++];
        }
    }

    int code;
    if (only_print) {
        code = print_config(config_file, options);
    } else {
        code = serve(config_file, options, give_up_missing_packs);
    }
    free(options);
    return code;
}

const Command command_serve = {
    .name = "serve",
    .usage = "[--config FILE] [--data DIR] [--intake ADDR:PORT] [--admin ADDR:PORT] …",
    .summary = "Run the gateway.",
    .help = "  --config FILE        options and connections as YAML; see config/examples/sluice.yaml\n"
            "  --print-config       print the effective options with what they mean, and end\n"
            "  --give-up-missing-packs\n"
            "                       for this start: quarantine the rows whose staging files are missing, and print which\n"
            "  --OPTION VALUE       any option that --print-config shows; also SLUICE_OPTION in the environment\n\n"
            "SIGTERM finishes the requests in flight and ends with 0; SIGHUP reads the options again.\n",
    .run = run,
};
