#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/commands/commands.h"

const char *arguments_value(Arguments *arguments, const char *name) {
    if (arguments->at >= arguments->argc) return NULL;
    const char *argument = arguments->argv[arguments->at];
    size_t size = strlen(name);
    if (strncmp(argument, name, size) != 0) return NULL;
    if (argument[size] == '=') {
        arguments->at++;
        return argument + size + 1;
    }
    if (argument[size] != '\0') return NULL;
    if (arguments->at + 1 >= arguments->argc) {
        (void)fprintf(stderr, "sluice: %s wants a value\n", name);
        exit(EXIT_USAGE);
    }
    arguments->at += 2;
    return arguments->argv[arguments->at - 1];
}

int arguments_flag(Arguments *arguments, const char *name) {
    if (arguments->at >= arguments->argc || strcmp(arguments->argv[arguments->at], name) != 0) return 0;
    arguments->at++;
    return 1;
}

int arguments_wrong(const Command *command, const char *what, const char *argument) {
    (void)fprintf(stderr, "sluice %s: %s%s%s\nusage: sluice %s %s\n", command->name, what, argument ? " " : "", argument ? argument : "",
                  command->name, command->usage);
    return EXIT_USAGE;
}

int arguments_server(Arguments *arguments, ServerArguments *server) {
    const char *value;
    if ((value = arguments_value(arguments, "--admin"))) {
        server->admin = value;
    } else if ((value = arguments_value(arguments, "--token-file"))) {
        server->token_file = value;
    } else if ((value = arguments_value(arguments, "--data"))) {
        server->data = value;
    }
    return value != NULL;
}
