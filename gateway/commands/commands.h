/* The commands of the program: one function each, called with what follows the command's name. They return the exit code. */
#pragma once

typedef struct Command {
    const char *name;
    const char *usage;   /* what follows the name */
    const char *summary; /* one sentence */
    const char *help;    /* lines about the arguments */
    int (*run)(int argc, char **argv);
} Command;

enum { EXIT_USAGE = 1, EXIT_RUNTIME = 2 };

extern const Command command_serve, command_apply, command_check, command_map, command_get, command_status, command_connections,
    command_flush, command_pause, command_resume;

/* Arguments of one command. `--name value` and `--name=value`. */
typedef struct Arguments {
    int argc;
    char **argv;
    int at;
} Arguments;

/* The value of option `name` if it stands at the present place (then that is passed), else NULL; a missing value is told on stderr and ends the
 * process with EXIT_USAGE. */
const char *arguments_value(Arguments *arguments, const char *name);
/* Is the flag `name` at the present place? Then it is passed. */
int arguments_flag(Arguments *arguments, const char *name);
/* Tells on stderr what is wrong and where help is; returns EXIT_USAGE. */
int arguments_wrong(const Command *command, const char *what, const char *argument);

/* How to reach a running gateway; NULL: not given (api_client.h says what holds then). */
typedef struct ServerArguments {
    const char *admin, *token_file, *data;
} ServerArguments;
#define SERVER_HELP                                                                                                                        \
    "  --admin URL         the admin address; SLUICE_ADMIN, or http://127.0.0.1:7001\n"                                                    \
    "  --token-file FILE   holds a token; SLUICE_TOKEN, or admin.token of --data\n"                                                        \
    "  --data DIR          the data directory of a local gateway, ./data\n"
/* Takes the present place when it is one of these. */
int arguments_server(Arguments *arguments, ServerArguments *server);
