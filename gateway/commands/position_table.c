#include "gateway/commands/position_table.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "gateway/commands/screen.h"

#define NUMBER_SIZE 24

typedef struct PositionInquiry {
    const char *source;
    bool as_json;
} PositionInquiry;

/* "-": not known. */
static const char *number(const json_t *object, const char *key, char out[static NUMBER_SIZE]) {
    const json_t *value = json_object_get(object, key);
    if (json_is_integer(value))
        (void)snprintf(out, NUMBER_SIZE, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        (void)snprintf(out, NUMBER_SIZE, "%.1f", json_real_value(value));
    else
        (void)snprintf(out, NUMBER_SIZE, "-");
    return out;
}

static void print_line(const char *name, const char *text) {
    if (!text || !text[0]) return;
    (void)printf("%s: ", name);
    screen_print(text);
    (void)printf("\n");
}

static void print_head(const json_t *bridge) {
    const json_t *lag = json_object_get(bridge, "lag");
    char records[NUMBER_SIZE], seconds[NUMBER_SIZE];
    (void)printf("%s (%s): %s, lag %s records, %s s\n", screen_text(bridge, "sourceId"), screen_text(bridge, "type"),
                 screen_text(bridge, "state"), number(lag, "records", records), number(lag, "seconds", seconds));
    print_line("cluster", screen_text(bridge, "cluster"));
    print_line("group", screen_text(bridge, "group"));
    print_line("reason", screen_text(bridge, "reason"));
    print_line("last error", screen_text(bridge, "error"));
    const json_t *sinks = json_object_get(bridge, "sinks");
    for (size_t i = 0; i < json_array_size(sinks); i++) {
        const json_t *sink = json_array_get(sinks, i);
        const char *stopped = screen_text(sink, "stopped"), *reason = screen_text(sink, "reason");
        bool delays = json_is_true(json_object_get(sink, "delays"));
        if (!delays && !stopped[0] && !reason[0]) continue;
        (void)printf("sink %s: %s%s%s", screen_text(sink, "sinkId"), stopped[0] ? "stopped, " : "", stopped,
                     delays ? "the source has to read more slowly because of this sink" : "");
        if (reason[0]) (void)printf("%s", delays || stopped[0] ? ": " : "");
        screen_print(reason);
        (void)printf("\n");
    }
}

static void print_stop(const json_t *partition) {
    const json_t *stopped = json_object_get(partition, "stopped");
    char offset[NUMBER_SIZE];
    if (!json_is_object(stopped)) return;
    (void)printf("stopped at %s, %s: ", number(stopped, "offset", offset), screen_text(stopped, "id"));
    screen_print(screen_text(stopped, "reason"));
}

static void print_row(const json_t *partition, const json_t *sink) {
    char texts[6][NUMBER_SIZE];
    screen_print(screen_text(partition, "partitionId"));
    int size = (int)strlen(screen_text(partition, "partitionId"));
    (void)printf("%*s %-20s %12s %12s %12s %12s %12s %10s  ", size < 30 ? 30 - size : 0, "", sink ? screen_text(sink, "sinkId") : "-",
                 number(sink, "position", texts[0]), number(partition, "read", texts[1]), number(partition, "first", texts[2]),
                 number(partition, "end", texts[3]), number(sink ? sink : partition, "lag", texts[4]),
                 number(partition, "lagSeconds", texts[5]));
    print_stop(partition);
    (void)printf("\n");
}

static void print_table(const json_t *bridge) {
    const json_t *partitions = json_object_get(bridge, "partitions");
    print_head(bridge);
    (void)printf("\n%-30s %-20s %12s %12s %12s %12s %12s %10s  %s\n", "PARTITION", "SINK", "POSITION", "READ", "FIRST", "END", "LAG",
                 "SECONDS", "STATE");
    for (size_t i = 0; i < json_array_size(partitions); i++) {
        const json_t *partition = json_array_get(partitions, i), *sinks = json_object_get(partition, "sinks");
        for (size_t k = 0; k < json_array_size(sinks); k++) print_row(partition, json_array_get(sinks, k));
        if (json_array_size(sinks) == 0) print_row(partition, NULL);
    }
}

static int get(const ApiClient *client, void *context, Error *error) {
    const PositionInquiry *inquiry = context;
    _cleanup_free_ char *path = NULL;
    check(asprintf(&path, "/v1/branches/default/sources/%s/bridge", inquiry->source) > 0);
    json_t *answer = NULL;
    int r = api_client_list(client, path, "partitions", "partitionId", &answer, error);
    if (r < 0) return r;
    if (inquiry->as_json)
        screen_print_json(answer);
    else
        print_table(answer);
    json_decref(answer);
    return 0;
}

int position_table_run(const Arguments *arguments, const char *source, bool as_json) {
    PositionInquiry inquiry = {.source = source, .as_json = as_json};
    return remote_run(arguments, get, &inquiry);
}
