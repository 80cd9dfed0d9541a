/* `sluice where`: where an event is. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/uuid.h"
#include "gateway/commands/commands.h"
#include "gateway/commands/remote.h"
#include "gateway/commands/screen.h"

typedef struct EventInquiry {
    char path[256];
    bool as_json;
} EventInquiry;

static long long number_of(const json_t *place, const char *key) {
    return (long long)json_integer_value(json_object_get(place, key));
}

/* "row 17", "rows 17 to 20", "a row of 1 to 100", or nothing. */
static void print_rows(const json_t *place) {
    long long first = number_of(place, "firstRow"), rows = number_of(place, "rows");
    bool exact = strcmp(screen_text(place, "precision"), "row") == 0;
    if (rows == 0) return;
    if (exact && rows == 1)
        (void)printf(", row %lld", first);
    else
        (void)printf(", %s %lld to %lld", exact ? "rows" : "among rows", first, first + rows - 1);
}

/* A text of the place with its name. */
static void print_field(const json_t *place, const char *key, const char *name) {
    const char *text = screen_text(place, key);
    if (!text[0]) return;
    (void)printf("    %-10s ", name);
    screen_print(text);
    (void)printf("\n");
}

static void print_place(const json_t *place) {
    screen_print(screen_text(place, "sourceId"));
    (void)printf("/");
    screen_print(screen_text(place, "sinkId"));
    (void)printf(": %s", screen_text(place, "state"));
    print_rows(place);
    (void)printf("\n");
    if (screen_text(place, "tableId")[0]) {
        (void)printf("    %-10s ", "table");
        screen_print(screen_text(place, "tableId"));
        (void)printf(" of connection ");
        screen_print(screen_text(place, "connection"));
        (void)printf("\n");
    }
    if (number_of(place, "commit") > 0)
        (void)printf("    %-10s %lld of %s\n", "commit", number_of(place, "commit"), screen_text(place, "committedAt"));
    print_field(place, "pack", "pack");
    print_field(place, "fileId", "file");
    print_field(place, "fileState", "file is");
    print_field(place, "importedAt", "imported");
    print_field(place, "lastError", "error");
    if (number_of(place, "rejectId") > 0) (void)printf("    %-10s %lld\n", "reject", number_of(place, "rejectId"));
    print_field(place, "reason", "reason");
    print_field(place, "note", "note");
}

static int work(const ApiClient *client, void *context, Error *error) {
    const EventInquiry *inquiry = context;
    json_t *answer = NULL;
    int status;
    int r = api_client_call(client, "GET", inquiry->path, NULL, 0, &status, &answer, error);
    if (r < 0) return r;
    const json_t *places = json_object_get(answer, "places");
    if (status == 404 && strcmp(screen_text(answer, "error"), "stream.api.eventNotFound") == 0) {
        (void)fprintf(stderr, "sluice where: %s\n", screen_text(answer, "message"));
        r = EXIT_INVALID;
    } else if (status != 200) {
        const char *message = screen_text(answer, "message");
        r = error_set(error, -EIO, "%s", message[0] ? message : "the gateway gave an answer that is not understood");
    } else if (inquiry->as_json) {
        screen_print_json(answer);
    } else {
        for (size_t i = 0; i < json_array_size(places); i++) print_place(json_array_get(places, i));
        if (!json_is_true(json_object_get(answer, "complete"))) (void)printf("The search was ended before everything was looked at.\n");
    }
    json_decref(answer);
    return r;
}

static int run(const Arguments *arguments) {
    const char *format = arguments_value(arguments, "output"), *source = arguments_value(arguments, "source");
    EventInquiry inquiry = {.as_json = format && strcmp(format, "json") == 0};
    Uuid id;
    if (!uuid_parse(span_of(arguments->operands[0]), &id))
        return arguments_wrong(arguments->command, "the id of an event is a UUID, not", arguments->operands[0]);
    if (format && !inquiry.as_json && strcmp(format, "table") != 0)
        return arguments_wrong(arguments->command, "the format is table or json, not", format);
    if (source && (!source[0] || strlen(source) > 100 || strspn(source, "abcdefghijklmnopqrstuvwxyz0123456789-_") != strlen(source)))
        return arguments_wrong(arguments->command, "this is not the id of a source:", source);
    (void)snprintf(inquiry.path, sizeof inquiry.path, "/v1/branches/default/events/%s%s%s", arguments->operands[0],
                   source ? "?sourceId=" : "", source ? source : "");
    return remote_run(arguments, work, &inquiry);
}

static const CommandOption options[] = {
    {.name = "source", .argument = "ID", .sentence = "Only the sinks of this source."},
    {.name = "output", .letter = 'o', .argument = "FORMAT", .sentence = "`table` (default) or `json`."},
    REMOTE_OPTIONS,
    {0},
};

const Command command_where = {
    .name = "where",
    .summary = "Shows where an event is, by its id: in the log, in a file, in its table or among the rejects.",
    .options = options,
    .operands = "ID",
    .operands_min = 1,
    .operands_max = 1,
    .notes = "The id is Sluice-Event-Id of the answer to the sender, or a value of a column of type id. The exit code is 1 if\n"
             "nothing is known of the event.\n",
    .run = run,
};
