/* `sluice rejects`: what the mapping or the table of a sink refused. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "gateway/commands/commands.h"
#include "gateway/commands/remote.h"
#include "gateway/commands/screen.h"

#define PATH "/v1/branches/default/sources/%.*s/sinks/%s/rejects"
#define EXCERPT 60 /* characters of an event in the table */

typedef struct RejectInquiry {
    const Arguments *arguments;
    char *path; /* of the sink's rejects */
    const char *id;
    bool as_lines;
} RejectInquiry;

/* As a value in a query (RFC 3986): all but what is unreserved is encoded. */
static void put_parameter(Buffer *path, const char *name, const char *value) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    if (!value) return;
    buffer_printf(path, "%c%s=", memchr(path->data, '?', path->size) ? '&' : '?', name);
    for (const char *at = value; *at; at++) {
        if (strchr(plain, *at))
            buffer_append_byte(path, *at);
        else
            buffer_printf(path, "%%%02X", (unsigned)(unsigned char)*at);
    }
}

static void page_path(const RejectInquiry *inquiry, const char *after, Buffer *out) {
    static const char *const names[] = {"kind", "reason", "from", "to"};
    buffer_append_text(out, inquiry->path);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) put_parameter(out, names[i], arguments_value(inquiry->arguments, names[i]));
    if (after[0]) put_parameter(out, "afterId", after);
}

/* On one line, cut at EXCERPT characters. */
static void print_excerpt(const char *text) {
    size_t size = 0, characters = 0;
    for (; text[size] && characters < EXCERPT; size++) characters += (text[size + 1] & 0xC0) != 0x80;
    _cleanup_free_ char *part = strndup(text, size);
    check(part);
    screen_print(part);
    if (text[size]) (void)printf("...");
}

static void print_row(const json_t *reject) {
    const char *data = screen_text(reject, "event");
    if (!data[0]) data = screen_text(reject, "row");
    (void)printf("%-8lld %-24s %-5s ", (long long)json_integer_value(json_object_get(reject, "rejectId")), screen_text(reject, "time"),
                 screen_text(reject, "kind"));
    screen_print(screen_text(reject, "reason"));
    if (data[0]) (void)printf("  ");
    print_excerpt(data);
    (void)printf("\n");
}

static void print_page(const RejectInquiry *inquiry, const json_t *rejects) {
    for (size_t i = 0; i < json_array_size(rejects); i++) {
        const json_t *reject = json_array_get(rejects, i);
        if (inquiry->as_lines) {
            (void)json_dumpf(reject, stdout, JSON_COMPACT);
            (void)printf("\n");
        } else {
            print_row(reject);
        }
    }
}

/* Page by page: there may be more than fit into memory. */
static int list(const ApiClient *client, const RejectInquiry *inquiry, Error *error) {
    char last[32] = "";
    size_t shown = 0;
    while (true) {
        _cleanup_(buffer_deinit) Buffer path = {0};
        json_t *answer = NULL;
        page_path(inquiry, last, &path);
        int r = api_client_expect(client, "GET", buffer_text(&path), NULL, &answer, error);
        if (r < 0) return r;
        const json_t *rejects = json_object_get(answer, "rejects");
        print_page(inquiry, rejects);
        shown += json_array_size(rejects);
        (void)snprintf(last, sizeof last, "%s", screen_text(json_object_get(answer, "page"), "lastId"));
        json_decref(answer);
        if (!last[0]) break;
    }
    if (shown == 0 && !inquiry->as_lines) (void)printf("no rejects\n");
    return 0;
}

/* One reject. No endpoint shows a single one: it is the first of those behind the number before
 * it. */
static int show(const ApiClient *client, const RejectInquiry *inquiry, Error *error) {
    _cleanup_(buffer_deinit) Buffer path = {0};
    json_t *answer = NULL;
    char before[32];
    unsigned long long number = strtoull(inquiry->id, NULL, 10);
    (void)snprintf(before, sizeof before, "%llu", number > 0 ? number - 1 : 0);
    buffer_append_text(&path, inquiry->path);
    put_parameter(&path, "afterId", before);
    put_parameter(&path, "limit", "1");
    int r = api_client_expect(client, "GET", buffer_text(&path), NULL, &answer, error);
    if (r < 0) return r;
    const json_t *reject = json_array_get(json_object_get(answer, "rejects"), 0);
    if (!reject || json_integer_value(json_object_get(reject, "rejectId")) != (json_int_t)number)
        r = error_set(error, -ENOENT, "the sink has no reject %s", inquiry->id);
    else
        screen_print_json(reject);
    json_decref(answer);
    return r;
}

static int remove_rejects(const ApiClient *client, const RejectInquiry *inquiry, Error *error) {
    _cleanup_(buffer_deinit) Buffer path = {0};
    json_t *answer = NULL;
    buffer_append_text(&path, inquiry->path);
    put_parameter(&path, "upToId", arguments_value(inquiry->arguments, "up-to"));
    int r = api_client_expect(client, "DELETE", buffer_text(&path), NULL, &answer, error);
    if (r == 0) (void)printf("%lld rejects removed\n", (long long)json_integer_value(json_object_get(answer, "removed")));
    json_decref(answer);
    return r;
}

static int work(const ApiClient *client, void *context, Error *error) {
    const RejectInquiry *inquiry = context;
    const char *verb = inquiry->arguments->operands[0];
    if (strcmp(verb, "list") == 0) return list(client, inquiry, error);
    return strcmp(verb, "show") == 0 ? show(client, inquiry, error) : remove_rejects(client, inquiry, error);
}

static bool is_id(const char *text, size_t size) {
    return size > 0 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-_") >= size;
}

static bool is_number(const char *text) {
    return text[0] && strlen(text) <= 19 && strspn(text, "0123456789") == strlen(text);
}

/* Options that only one of the verbs has. */
static const char *wrong_option(const Arguments *arguments, const char *verb) {
    static const char *const of_list[] = {"kind", "reason", "from", "to", "output"}, *const of_delete[] = {"up-to", "all"};
    for (size_t i = 0; i < sizeof of_list / sizeof *of_list; i++)
        if (strcmp(verb, "list") != 0 && arguments_value(arguments, of_list[i])) return of_list[i];
    for (size_t i = 0; i < sizeof of_delete / sizeof *of_delete; i++)
        if (strcmp(verb, "delete") != 0 && (arguments_value(arguments, of_delete[i]) || arguments_flag(arguments, of_delete[i])))
            return of_delete[i];
    return NULL;
}

static int check_arguments(const Arguments *arguments, RejectInquiry *inquiry) {
    const Command *command = arguments->command;
    const char *verb = arguments->operands[0], *sink = arguments->operands[1], *slash = strchr(sink, '/');
    const char *format = arguments_value(arguments, "output"), *up_to = arguments_value(arguments, "up-to");
    bool shows = strcmp(verb, "show") == 0;
    if (strcmp(verb, "list") != 0 && !shows && strcmp(verb, "delete") != 0)
        return arguments_wrong(command, "the first operand is list, show or delete, not", verb);
    if (!slash || !is_id(sink, (size_t)(slash - sink)) || !is_id(slash + 1, strlen(slash + 1)))
        return arguments_wrong(command, "rejects are of a SOURCE/SINK, not of", sink);
    if (shows && arguments->operand_count < 3) return arguments_wrong(command, "the id of the reject is missing", NULL);
    if (!shows && arguments->operand_count > 2)
        return arguments_wrong(
            command, "only show takes an ID, and delete has --up-to and --all: there is one operand too many:", arguments->operands[2]);
    if (shows && !is_number(arguments->operands[2]))
        return arguments_wrong(command, "the id of a reject is a number, not", arguments->operands[2]);
    if (up_to && !is_number(up_to)) return arguments_wrong(command, "--up-to is the id of a reject, not", up_to);
    const char *wrong = wrong_option(arguments, verb);
    if (wrong) return arguments_wrong(command, "this option is not for this verb:", wrong);
    if (strcmp(verb, "delete") == 0 && (up_to != NULL) == arguments_flag(arguments, "all"))
        return arguments_wrong(command, "give --up-to ID or --all", NULL);
    if (format && strcmp(format, "table") != 0 && strcmp(format, "ndjson") != 0)
        return arguments_wrong(command, "the format is table or ndjson, not", format);
    inquiry->as_lines = format && strcmp(format, "ndjson") == 0;
    inquiry->id = shows ? arguments->operands[2] : NULL;
    check(asprintf(&inquiry->path, PATH, (int)(slash - sink), sink, slash + 1) > 0);
    return 0;
}

static int run(const Arguments *arguments) {
    RejectInquiry inquiry = {.arguments = arguments};
    int code = check_arguments(arguments, &inquiry);
    if (code == 0) code = remote_run(arguments, work, &inquiry);
    free(inquiry.path);
    return code;
}

static const CommandOption options[] = {
    {.name = "kind", .argument = "KIND", .sentence = "list: only rejects of this kind, `event` or `row`."},
    {.name = "reason", .argument = "TEXT", .sentence = "list: only rejects whose reason contains this text."},
    {.name = "from", .argument = "TIME", .sentence = "list: only rejects of this time (RFC 3339) or later."},
    {.name = "to", .argument = "TIME", .sentence = "list: only rejects before this time (RFC 3339)."},
    {.name = "output",
     .letter = 'o',
     .argument = "FORMAT",
     .sentence = "list: `table` (default) or `ndjson`, which has the whole rejects."},
    {.name = "up-to", .argument = "ID", .sentence = "delete: the rejects up to this one."},
    {.name = "all", .sentence = "delete: all rejects of the sink."},
    REMOTE_OPTIONS,
    {0},
};

const Command command_rejects = {
    .name = "rejects",
    .summary = "List, show or delete the rejects of a sink: events that could not be mapped, and rows that the table refused.",
    .options = options,
    .operands = "list|show|delete SOURCE/SINK [ID]",
    .operands_min = 2,
    .operands_max = 3,
    .run = run,
};
