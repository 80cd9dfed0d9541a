/*
 * A command of the program and its arguments: one table a command, from which the arguments are
 * parsed (getopt_long), and `--help`, the messages about a wrong command line and the table in
 * docs/operations.md are made.
 *
 * `--name value`, `--name=value`, `-n value` and `-nvalue` are the same; names are not abbreviated;
 * options and operands may be mixed; behind `--` there are operands only. Every command has
 * `--help` and `-h`. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

/* A command exits with 0, with EXIT_INVALID when what it was given (a file, a value, an event) is
 * not valid, with EXIT_USAGE when its command line is wrong and nothing was done, or with
 * EXIT_RUNTIME when it failed. */
enum { EXIT_INVALID = 1, EXIT_USAGE = 2, EXIT_RUNTIME = 2 };

typedef struct CommandOption {
    const char *name; /* without "--" */
    char letter;      /* '\0': none */
    bool required;
    bool may_repeat;      /* else an option counts once, and given twice it is wrong */
    const char *argument; /* what stands for the value in texts: FILE; NULL: a flag */
    const char *sentence;
} CommandOption;

typedef struct Arguments Arguments;

typedef struct Command {
    const char *name;
    const char *summary;          /* one sentence */
    const CommandOption *options; /* ends with a row without a name */
    const char *operands;         /* as in the usage: "[SOURCE[/SINK]]"; NULL: none */
    size_t operands_min, operands_max;
    const char *notes; /* lines below the options of --help; NULL: none */
    /* More options, by index, until NULL: they take a value, except that a flag may stand alone.
     * The last one of a name holds, so that a script can add to the options of another one. NULL:
     * no more. */
    const char *(*more)(size_t index, bool *ret_flag);
    int (*run)(const Arguments *arguments); /* gives the exit code */
} Command;

typedef struct Argument {
    const CommandOption *option; /* NULL: one of `more` */
    const char *name;
    const char *value; /* NULL: a flag */
} Argument;

/* All is borrowed from the command and argv, but for the two lists. */
struct Arguments {
    const Command *command;
    Argument *given; /* in their order; more than once each: those that may repeat, and `more` */
    size_t given_count;
    const char **operands;
    size_t operand_count;
    bool help; /* --help: nothing else is to be done */
};

/* argv[0] is the command's name. 0, or EXIT_USAGE: then stderr says what is wrong and where help
 * is. Deinit it in both cases. */
int arguments_parse(const Command *command, int argc, char **argv, Arguments *ret_arguments);
void arguments_deinit(Arguments *arguments);

/* The value of an option of the command's table, the last one if it may repeat; NULL: not given. */
const char *arguments_value(const Arguments *arguments, const char *name);
bool arguments_flag(const Arguments *arguments, const char *name);

/* Says on stderr what is wrong with the command line, and where help is; gives EXIT_USAGE.
 * `argument`: quoted behind it; NULL: none. */
int arguments_wrong(const Command *command, const char *what, const char *argument);

/* "apply --file FILE [OPTION...]" */
void command_usage(const Command *command, Buffer *out);
/* What `sluice COMMAND --help` prints. */
void command_help(const Command *command, Buffer *out);
/* The rows of a Markdown table: command or option, meaning. */
void command_document(const Command *command, Buffer *out);
