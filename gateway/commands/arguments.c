#include "gateway/commands/arguments.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"

#define LONG_FIRST 256 /* values of getopt_long: above all letters */
#define HELP_LINE_MAX 100
#define HELP_INDENT_MAX 28

static const CommandOption help_option = {.name = "help", .letter = 'h', .sentence = "Print this text."};

/* ---- the options of a command ---------------------------------------------------------------- */

/* The rows of the table, `more`, and help, with what getopt_long wants of them. */
typedef struct Known {
    struct option *longs; /* ends with a row of zeros */
    const CommandOption **rows;
    size_t count;
    char letters[2 + 2 * 64 + 1];
} Known;

static void add(Known *known, const char *name, int has_argument, const CommandOption *row) {
    array_extend(known->longs, known->count);
    array_extend(known->rows, known->count);
    known->longs[known->count] = (struct option){.name = name, .has_arg = has_argument, .val = LONG_FIRST + (int)known->count};
    known->rows[known->count++] = row;
    if (!row || !row->letter) return;
    size_t used = strlen(known->letters);
    check(used + 2 < sizeof known->letters);
    known->letters[used++] = row->letter;
    if (row->argument) known->letters[used] = ':';
}

/* "-:": operands come in their place among the options, and messages are ours. */
static void know(const Command *command, Known *ret_known) {
    *ret_known = (Known){.letters = "-:"};
    for (const CommandOption *row = command->options; row->name; row++)
        add(ret_known, row->name, row->argument ? required_argument : no_argument, row);
    bool flag = false;
    const char *name;
    for (size_t i = 0; command->more && (name = command->more(i, &flag)); i++)
        add(ret_known, name, flag ? optional_argument : required_argument, NULL);
    add(ret_known, help_option.name, no_argument, &help_option);
    array_extend(ret_known->longs, ret_known->count);
    ret_known->longs[ret_known->count] = (struct option){0};
}

static void forget(Known *known) {
    free(known->longs);
    free(known->rows);
}

/* The place of a name without "--"; known->count: there is none. */
static size_t place_of(const Known *known, Span name) {
    size_t i = 0;
    while (i < known->count && !span_equal(span_of(known->longs[i].name), name)) i++;
    return i;
}

static size_t place_of_letter(const Known *known, int letter) {
    size_t i = 0;
    while (i < known->count && !(known->rows[i] && known->rows[i]->letter == letter)) i++;
    return i;
}

/* ---- what is wrong --------------------------------------------------------------------------- */

int arguments_wrong(const Command *command, const char *what, const char *argument) {
    char excerpt[TEXT_EXCERPT_SIZE];
    (void)fprintf(stderr, "sluice %s: %s", command->name, what);
    if (argument) (void)fprintf(stderr, " \"%s\"", text_excerpt(span_of(argument), excerpt));
    (void)fprintf(stderr, "\nsluice %s --help shows its arguments\n", command->name);
    return EXIT_USAGE;
}

static int wrong_option(const Command *command, const char *what, const char *dashes, const char *name) {
    _cleanup_(buffer_deinit) Buffer text = {0};
    buffer_printf(&text, "%s%s %s", dashes, name, what);
    return arguments_wrong(command, buffer_text(&text), NULL);
}

static int no_option(const Command *command, const Known *known, const char *dashes, Span name) {
    char excerpt[TEXT_EXCERPT_SIZE];
    _cleanup_(buffer_deinit) Buffer text = {0}, near = {0};
    _cleanup_free_ const char **names = calloc(known->count, sizeof *names);
    check(names);
    for (size_t i = 0; i < known->count; i++) names[i] = known->longs[i].name;
    if (dashes[1]) text_near(&near, name, names, known->count);
    buffer_printf(&text, "there is no option %s%s%s%s%s", dashes, text_excerpt(name, excerpt), near.size ? ": did you mean " : "",
                  buffer_text(&near), near.size ? "?" : "");
    return arguments_wrong(command, buffer_text(&text), NULL);
}

static int check_complete(const Arguments *arguments) {
    const Command *command = arguments->command;
    for (const CommandOption *row = command->options; row->name; row++)
        if (row->required && !arguments_value(arguments, row->name)) return wrong_option(command, "is missing", "--", row->name);
    if (arguments->operand_count > command->operands_max)
        return arguments_wrong(command, "there is one operand too many:", arguments->operands[command->operands_max]);
    if (arguments->operand_count < command->operands_min) return wrong_option(command, "is missing", "", command->operands);
    return 0;
}

/* ---- parsing --------------------------------------------------------------------------------- */

static void add_operand(Arguments *arguments, const char *operand) {
    array_extend(arguments->operands, arguments->operand_count);
    arguments->operands[arguments->operand_count++] = operand;
}

static bool was_given(const Arguments *arguments, const CommandOption *option) {
    for (size_t i = 0; i < arguments->given_count; i++)
        if (arguments->given[i].option == option) return true;
    return false;
}

static void add_given(Arguments *arguments, const CommandOption *option, const char *name, const char *value) {
    if (option == &help_option) {
        arguments->help = true;
        return;
    }
    array_extend(arguments->given, arguments->given_count);
    arguments->given[arguments->given_count++] = (Argument){.option = option, .name = name, .value = value};
}

/* One word, or one letter of it. 0, EXIT_USAGE, or -1: no options are left. */
static int parse_next(Arguments *arguments, const Known *known, int argc, char **argv) {
    const Command *command = arguments->command;
    int at = optind > 0 ? optind : 1;
    const char *word = at < argc ? argv[at] : "";
    int code = getopt_long(argc, argv, known->letters, known->longs, NULL);
    if (code == -1) return -1;
    if (code == 1) {
        add_operand(arguments, optarg);
        return 0;
    }
    bool is_long = strncmp(word, "--", 2) == 0;
    Span name = {word + 2, is_long ? strcspn(word + 2, "=") : 0};
    char letter[2] = {(char)(code == '?' || code == ':' ? optopt : code), '\0'};
    /* By the whole word and not by the code: getopt_long would take the beginning of a name. */
    size_t place = is_long ? place_of(known, name) : place_of_letter(known, letter[0]);
    if (place == known->count) return no_option(command, known, is_long ? "--" : "-", is_long ? name : span_of(letter));
    const char *dashes = is_long ? "--" : "-", *shown = is_long ? known->longs[place].name : letter;
    if (code == ':') return wrong_option(command, "needs a value", dashes, shown);
    if (code == '?') return wrong_option(command, "takes no value", dashes, shown);

    const CommandOption *row = known->rows[place];
    if (row && !row->may_repeat && was_given(arguments, row)) return wrong_option(command, "is given twice", dashes, shown);
    const char *value = known->longs[place].has_arg == no_argument ? NULL : optarg;
    if (value && !is_long && optind == at + 1 && value[0] == '=') value++; /* -f=FILE */
    bool may_stand_alone = !row && known->longs[place].has_arg == optional_argument;
    if (may_stand_alone && !value && optind < argc && (strcmp(argv[optind], "true") == 0 || strcmp(argv[optind], "false") == 0))
        value = argv[optind++];
    add_given(arguments, row, known->longs[place].name, value);
    return 0;
}

int arguments_parse(const Command *command, int argc, char **argv, Arguments *ret_arguments) {
    *ret_arguments = (Arguments){.command = command};
    _cleanup_(forget) Known known;
    know(command, &known);
    optind = 0; /* glibc: begin anew */
    int code;
    do code = parse_next(ret_arguments, &known, argc, argv);
    while (code == 0 && !ret_arguments->help);
    if (code > 0 || ret_arguments->help) return code > 0 ? code : 0;
    while (optind < argc) add_operand(ret_arguments, argv[optind++]);
    return check_complete(ret_arguments);
}

void arguments_deinit(Arguments *arguments) {
    free(arguments->given);
    free(arguments->operands);
    *arguments = (Arguments){0};
}

static const Argument *last_of(const Arguments *arguments, const char *name) {
    const CommandOption *row = arguments->command->options;
    while (row->name && strcmp(row->name, name) != 0) row++;
    check(row->name); /* a command asks for its own options only */
    for (size_t i = arguments->given_count; i > 0; i--)
        if (arguments->given[i - 1].option == row) return &arguments->given[i - 1];
    return NULL;
}

const char *arguments_value(const Arguments *arguments, const char *name) {
    const Argument *argument = last_of(arguments, name);
    return argument ? argument->value : NULL;
}

bool arguments_flag(const Arguments *arguments, const char *name) {
    return last_of(arguments, name) != NULL;
}

/* ---- texts ----------------------------------------------------------------------------------- */

void command_usage(const Command *command, Buffer *out) {
    buffer_append_text(out, command->name);
    for (const CommandOption *row = command->options; row->name; row++)
        if (row->required) buffer_printf(out, " --%s %s", row->name, row->argument);
    buffer_append_text(out, " [OPTION...]");
    if (command->operands) buffer_printf(out, " %s", command->operands);
}

/* `indent` spaces, then the sentence on lines that end before HELP_LINE_MAX; the first line is at
 * `column` already. */
static void put_wrapped(Buffer *out, size_t column, size_t indent, const char *sentence) {
    if (column + 1 > indent) {
        buffer_append_byte(out, '\n');
        column = 0;
    }
    buffer_printf(out, "%*s", (int)(indent - column), "");
    column = indent;
    for (const char *word = sentence; *word;) {
        size_t size = strcspn(word, " ");
        if (column > indent && column + 1 + size > HELP_LINE_MAX) {
            buffer_printf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            buffer_append_byte(out, ' ');
            column++;
        }
        buffer_append(out, word, size);
        column += size;
        word += size + strspn(word + size, " ");
    }
    buffer_append_byte(out, '\n');
}

static size_t width_of(const CommandOption *row) {
    return strlen("  -x, --") + strlen(row->name) + (row->argument ? 1 + strlen(row->argument) : 0);
}

static void put_option(Buffer *out, size_t indent, const CommandOption *row) {
    size_t before = out->size;
    if (row->letter)
        buffer_printf(out, "  -%c, ", row->letter);
    else
        buffer_append_text(out, "      ");
    buffer_printf(out, "--%s%s%s", row->name, row->argument ? " " : "", row->argument ? row->argument : "");
    check(out->size - before == width_of(row));
    put_wrapped(out, out->size - before, indent, row->sentence);
}

void command_help(const Command *command, Buffer *out) {
    buffer_append_text(out, "sluice ");
    command_usage(command, out);
    buffer_printf(out, "\n\n%s\n\n", command->summary);
    size_t indent = width_of(&help_option) + 2;
    for (const CommandOption *row = command->options; row->name; row++) {
        size_t wanted = width_of(row) + 2;
        if (wanted > indent && wanted <= HELP_INDENT_MAX) indent = wanted;
    }
    for (const CommandOption *row = command->options; row->name; row++) put_option(out, indent, row);
    put_option(out, indent, &help_option);
    if (command->notes) buffer_printf(out, "\n%s", command->notes);
}

/* With "|" as a table wants it. */
static void put_cell(Buffer *out, const char *text) {
    for (; *text; text++) {
        if (*text == '|') buffer_append_byte(out, '\\');
        buffer_append_byte(out, *text);
    }
}

void command_document(const Command *command, Buffer *out) {
    _cleanup_(buffer_deinit) Buffer usage = {0};
    command_usage(command, &usage);
    buffer_append_text(out, "| **`sluice ");
    put_cell(out, buffer_text(&usage));
    buffer_append_text(out, "`** | ");
    put_cell(out, command->summary);
    buffer_append_text(out, " |\n");
    for (const CommandOption *row = command->options; row->name; row++) {
        buffer_append_text(out, "| ");
        if (row->letter) buffer_printf(out, "`-%c`, ", row->letter);
        buffer_printf(out, "`--%s", row->name);
        if (row->argument) buffer_append_byte(out, ' ');
        put_cell(out, row->argument ? row->argument : "");
        buffer_append_text(out, "` | ");
        put_cell(out, row->sentence);
        buffer_append_text(out, " |\n");
    }
}
