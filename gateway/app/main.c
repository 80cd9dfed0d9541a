/* The program `sluice`: finds the command and runs it. Everything that runs for long is in app.h; each command has a file of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/commands/commands.h"
#include "gateway/flow/version.h"

static const Command *const commands[] = {&command_serve,  &command_apply,       &command_check, &command_map,   &command_get,
                                          &command_status, &command_connections, &command_flush, &command_pause, &command_resume};
#define COMMAND_COUNT (sizeof commands / sizeof *commands)

static void print_overview(FILE *out) {
    (void)fprintf(
        out,
        "Sluice takes events by HTTP and puts them, mapped into columns, into tables: durable before it answers, each exactly once.\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        (void)fprintf(out, "  sluice %-11s %s\n%21s%s\n", commands[i]->name, commands[i]->usage, "", commands[i]->summary);
    (void)fprintf(out, "\n  sluice COMMAND --help tells more; sluice --version prints the version.\n");
}

static void print_help(const Command *command) {
    (void)printf("sluice %s %s\n\n%s\n\n%s", command->name, command->usage, command->summary, command->help);
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "--help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_overview(argc > 1 ? stdout : stderr);
        return argc > 1 ? EXIT_SUCCESS : EXIT_USAGE;
    }
    if (strcmp(name, "--version") == 0) {
        (void)printf("sluice %s\n", SLUICE_VERSION);
        return EXIT_SUCCESS;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(name, commands[i]->name) != 0) continue;
        if (argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
            print_help(commands[i]);
            return EXIT_SUCCESS;
        }
        return commands[i]->run(argc - 2, argv + 2);
    }
    (void)fprintf(stderr, "sluice: there is no command `%s`\n\n", name);
    print_overview(stderr);
    return EXIT_USAGE;
}
