#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "config/options.h"
#include "gateway/app/app.h"
#include "gateway/app/program.h"
#include "sinks/driver.h"
#include "sinks/nats.h"

#define NATS_END_LIMIT (2 * USEC_SECOND) /* of the threads of libnats itself */

static int print_config(const char *config_file, char *const *options) {
    Options effective;
    Error error = {0};
    if (options_load(config_file, options, connection_types, &effective, &error) < 0) {
        (void)fprintf(stderr, "sluice serve: %s\n", error.text);
        return EXIT_INVALID;
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
        code = r == -EINVAL || r == -ENOENT ? EXIT_INVALID : EXIT_RUNTIME;
    } else {
        if (app_run(app) == -EIO) code = EXIT_RUNTIME;
        app_stop(app);
    }
    if (nats_left_behind() == 0) (void)nats_end(NATS_END_LIMIT);
    log_stop();
    /* A thread that hangs in a client's library may still use what exit takes away. */
    if (nats_left_behind() > 0) _exit(code);
    return code;
}

/* What goes on to options_load: each option of the config table as one word. The caller frees the
 * words and the list. */
static char **config_options(const Arguments *arguments) {
    char **words = calloc(arguments->given_count + 1, sizeof *words);
    check(words);
    size_t count = 0;
    for (size_t i = 0; i < arguments->given_count; i++) {
        const Argument *given = &arguments->given[i];
        if (given->option) continue;
        check(asprintf(&words[count++], "--%s%s%s", given->name, given->value ? "=" : "", given->value ? given->value : "") > 0);
    }
    return words;
}

static int run(const Arguments *arguments) {
    char **words = config_options(arguments);
    const char *config_file = arguments_value(arguments, "config");
    int code;
    if (arguments_flag(arguments, "print-config")) {
        code = print_config(config_file, words);
    } else {
        code = serve(config_file, words, arguments_flag(arguments, "give-up-missing-packs"));
    }
    for (char **word = words; *word; word++) free(*word);
    free(words);
    return code;
}

static const CommandOption own_options[] = {
    {.name = "config",
     .argument = "FILE",
     .sentence = "Config file with options and connections (YAML), such as config/examples/sluice.yaml."},
    {.name = "print-config", .sentence = "Print the effective options with their meanings, and exit."},
    {.name = "give-up-missing-packs", .sentence = "Quarantine the rows whose staging files are missing at this start, and print them."},
    {0},
};

const Command command_serve = {
    .name = "serve",
    .summary = "Run the gateway.",
    .options = own_options,
    .more = options_name,
    .notes = "  --OPTION VALUE: any option that --print-config shows, as --data DIR, --intake ADDR:PORT, --admin ADDR:PORT;\n"
             "  also SLUICE_OPTION in the environment.\n\n"
             "SIGTERM finishes the requests in flight and ends with 0; SIGHUP reads the options again.\n",
    .run = run,
};
