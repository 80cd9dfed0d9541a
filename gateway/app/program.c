#include "gateway/app/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "gateway/commands/commands.h"
#include "gateway/flow/version.h"

static const Command *const commands[] = {&command_serve,  &command_apply,  &command_check,       &command_map,     &command_infer,
                                          &command_get,    &command_status, &command_connections, &command_flush,   &command_pause,
                                          &command_resume, &command_seek,   &command_skip,        &command_rejects, &command_verify,
                                          &command_dump,   &command_backup, &command_restore,     &command_import,  &command_where};
#define COMMAND_COUNT (sizeof commands / sizeof *commands)

static void put_overview(Buffer *out) {
    buffer_append_text(
        out, "Sluice receives events by HTTP or reads them from brokers, maps them into columns, and imports the rows into tables.\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        buffer_append_text(out, "  sluice ");
        command_usage(commands[i], out);
        buffer_printf(out, "\n%14s%s\n", "", commands[i]->summary);
    }
    buffer_append_text(
        out, "\nCommands that talk to a gateway find it by --admin URL (default SLUICE_ADMIN, else http://127.0.0.1:7001) and its\n"
             "token by --token-file FILE (default SLUICE_TOKEN) or --data DIR (default SLUICE_DATA, else ./data).\n"
             "\nsluice COMMAND --help shows the options of a command, and sluice --version the version.\n"
             "The documentation is in the folder docs of the source, beginning with README.md.\n");
}

/* There is no such command: says so, with the names that are like it. */
static void refuse_command(const char *name) {
    char excerpt[TEXT_EXCERPT_SIZE];
    _cleanup_(buffer_deinit) Buffer near = {0};
    const char *names[COMMAND_COUNT];
    for (size_t i = 0; i < COMMAND_COUNT; i++) names[i] = commands[i]->name;
    text_near(&near, span_of(name), names, COMMAND_COUNT);
    (void)fprintf(stderr, "sluice: there is no command \"%s\"%s%s%s\n", text_excerpt(span_of(name), excerpt),
                  near.size > 0 ? ": did you mean " : "", near.size > 0 ? buffer_text(&near) : "", near.size > 0 ? "?" : "");
}

static int run_command(const Command *command, int argc, char **argv) {
    Arguments arguments;
    int code = arguments_parse(command, argc, argv, &arguments);
    if (code == 0 && arguments.help) {
        _cleanup_(buffer_deinit) Buffer help = {0};
        command_help(command, &help);
        (void)fputs(buffer_text(&help), stdout);
    } else if (code == 0) {
        code = command->run(&arguments);
    }
    arguments_deinit(&arguments);
    return code;
}

int program_run(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : NULL;
    if (name && strcmp(name, "--version") == 0) {
        (void)printf("sluice %s\n", SLUICE_VERSION);
        return EXIT_SUCCESS;
    }
    for (size_t i = 0; name && i < COMMAND_COUNT; i++)
        if (strcmp(name, commands[i]->name) == 0) return run_command(commands[i], argc - 1, argv + 1);

    _cleanup_(buffer_deinit) Buffer overview = {0};
    put_overview(&overview);
    if (name && (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)) {
        (void)fputs(buffer_text(&overview), stdout);
        return EXIT_SUCCESS;
    }
    if (name) {
        refuse_command(name);
        (void)fputs("sluice --help lists the commands\n", stderr);
        return EXIT_USAGE;
    }
    (void)fputs(buffer_text(&overview), stderr);
    return EXIT_USAGE;
}

void program_document(Buffer *out) {
    buffer_append_text(out, "| command, option | meaning |\n|---|---|\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) command_document(commands[i], out);
}
