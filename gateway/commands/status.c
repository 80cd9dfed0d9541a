/* `sluice status`: one screen about a running gateway. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/commands/commands.h"
#include "gateway/commands/remote.h"
#include "gateway/commands/screen.h"

#define BRANCH "/v1/branches/default"

static long long number(const json_t *object, const char *key) {
    return (long long)json_integer_value(json_object_get(object, key));
}

/* "3d 2h", "5m 7s": the two largest units. */
static const char *duration(long long seconds, char out[static 32]) {
    static const struct {
        long long seconds;
        const char *name;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}};
    size_t i = 0;
    while (i < 3 && seconds < units[i].seconds) i++;
    long long first = seconds / units[i].seconds, rest = seconds % units[i].seconds;
    if (i < 3)
        (void)snprintf(out, 32, "%lld%s %lld%s", first, units[i].name, rest / units[i + 1].seconds, units[i + 1].name);
    else
        (void)snprintf(out, 32, "%llds", first);
    return out;
}

static const char *size(long long bytes, char out[static 32]) {
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit < 4) value /= 1024, unit++;
    (void)snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

static void print_gateway(const json_t *status) {
    char text[32], other[32];
    (void)printf("sluice %s, up %s, ", screen_text(status, "version"), duration(number(status, "uptime"), text));
    const json_t *problem = json_object_get(status, "notReady");
    (void)printf("%s", json_is_true(json_object_get(status, "ready")) ? "ready" : "not ready: ");
    screen_print(screen_text(problem, "message"));
    const json_t *disk = json_object_get(status, "disk");
    if (json_is_object(disk)) {
        long long used = number(disk, "used"), budget = number(disk, "budget");
        (void)printf("\ndisk: %s of %s (%.1f %%)", size(used, text), size(budget, other),
                     budget > 0 ? 100 * (double)used / (double)budget : 0);
    } else {
        (void)printf("\ndisk: unknown");
    }
    (void)printf("\nsources: %lld, sinks: %lld\n\n", number(status, "sourcesCount"), number(status, "sinksCount"));
}

static void print_connections(const json_t *connections) {
    size_t index;
    json_t *connection;
    (void)printf("%-30s %-10s %s\n", "CONNECTION", "TYPE", "STATE");
    json_array_foreach(connections, index, connection) {
        (void)printf("%-30s %-10s ", screen_text(connection, "name"), screen_text(connection, "type"));
        screen_connection_state(connection);
        (void)printf("\n");
    }
}

static void print_sink_state(const json_t *source, const json_t *sink, const json_t *statistics) {
    const char *separator = "";
    if (json_is_true(json_object_get(sink, "disabled")) || json_is_true(json_object_get(source, "disabled"))) {
        (void)printf("disabled");
        separator = "; ";
    }
    if (json_is_true(json_object_get(statistics, "paused"))) {
        const char *what = screen_text(json_object_get(statistics, "pausedBy"), "what");
        bool by_another = what[0] && strcmp(what, "sink") != 0;
        (void)printf("%spaused%s%s", separator, by_another ? " by its " : "", by_another ? what : "");
        separator = "; ";
    }
    const char *last_error = json_string_value(json_object_get(statistics, "lastError"));
    const char *damage = json_string_value(json_object_get(statistics, "damage"));
    if (damage) {
        (void)printf("%s", separator);
        screen_print(damage);
        separator = "; ";
    }
    const char *made_at = json_string_value(json_object_get(statistics, "tableMadeAt"));
    if (made_at) {
        (void)printf("%sits table was missing and was created again at %s", separator, made_at);
        separator = "; ";
    }
    if (last_error) {
        (void)printf("%s", separator);
        screen_print(last_error);
    } else if (json_is_true(json_object_get(statistics, "failing"))) {
        (void)printf("%sfailing", separator);
    } else if (!separator[0]) {
        (void)printf("ok");
    }
}

static void print_sink(const json_t *source, const json_t *sink) {
    const json_t *statistics = json_object_get(sink, "statistics"), *levels = json_object_get(statistics, "levels");
    const json_t *rejects = json_object_get(statistics, "rejects"), *oldest = json_object_get(statistics, "oldestWaiting");
    char name[128], age[32] = "-";
    (void)snprintf(name, sizeof name, "%s/%s", screen_text(source, "sourceId"), screen_text(sink, "sinkId"));
    if (json_is_object(oldest)) (void)duration(number(oldest, "seconds"), age);
    (void)printf("%-30s %10lld %10lld %12lld %10s %8lld  ", name, number(json_object_get(levels, "local"), "recordsCount"),
                 number(json_object_get(levels, "staging"), "recordsCount"), number(json_object_get(levels, "target"), "recordsCount"), age,
                 number(rejects, "events") + number(rejects, "rows"));
    print_sink_state(source, sink, statistics);
    (void)printf("\n");
}

static void print_sources(const json_t *sources) {
    size_t index, at;
    json_t *source, *sink;
    (void)printf("\n%-30s %10s %10s %12s %10s %8s  %s\n", "SINK", "LOCAL", "STAGING", "IMPORTED", "OLDEST", "REJECTS", "STATE");
    json_array_foreach(sources, index, source) {
        const json_t *sinks = json_object_get(source, "sinks");
        json_array_foreach(sinks, at, sink) print_sink(source, sink);
        if (json_array_size(sinks) == 0) (void)printf("%-30s has no sink\n", screen_text(source, "sourceId"));
    }
}

/* ---- sources that read a broker -------------------------------------------------------------- */

static void print_bridge(const json_t *source, const json_t *bridge) {
    const json_t *lag = json_object_get(bridge, "lag"), *records = json_object_get(lag, "records"),
                 *seconds = json_object_get(lag, "seconds");
    char behind[24] = "-", age[32] = "-";
    if (json_is_integer(records)) (void)snprintf(behind, sizeof behind, "%lld", (long long)json_integer_value(records));
    if (json_is_number(seconds)) (void)duration((long long)json_number_value(seconds), age);
    (void)printf("%-30s %-10s %10lld %12s %10s  %s", screen_text(source, "sourceId"), screen_text(source, "type"),
                 number(bridge, "partitionsCount"), behind, age, screen_text(bridge, "state"));
    const json_t *stopped = json_object_get(bridge, "stopped");
    const char *error = screen_text(bridge, "error"), *reason = screen_text(bridge, "reason");
    if (json_is_object(stopped)) {
        (void)printf(", %s", screen_text(stopped, "id"));
        const json_t *offset = json_object_get(stopped, "offset");
        if (json_is_integer(offset)) {
            (void)printf(" at offset %lld of partition %lld of ", (long long)json_integer_value(offset), number(stopped, "partition"));
            screen_print(screen_text(stopped, "topic"));
        }
        reason = screen_text(stopped, "reason");
    }
    if (reason[0]) (void)printf(": ");
    screen_print(reason);
    if (error[0]) (void)printf("; ");
    screen_print(error);
    (void)printf("\n");
}

static void print_bridges(const json_t *sources) {
    size_t index, count = 0;
    json_t *source;
    json_array_foreach(sources, index, source) {
        const json_t *bridge = json_object_get(source, "bridge");
        if (!json_is_object(bridge)) continue;
        if (count++ == 0) (void)printf("\n%-30s %-10s %10s %12s %10s  %s\n", "BRIDGE", "TYPE", "PARTITIONS", "LAG", "AGE", "STATE");
        print_bridge(source, bridge);
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* The status, with all sources in it; without them while their statistics cannot be had. */
static int get_all(const ApiClient *client, json_t **ret_status, Error *problem, Error *error) {
    int r = api_client_expect(client, "GET", BRANCH "/status", NULL, ret_status, error);
    if (r < 0) return r;
    json_t *sources = NULL;
    r = api_client_list(client, BRANCH "/aggregation/sources", "sources", "sourceId", &sources, problem);
    check(json_object_set(*ret_status, "sources", r == 0 ? json_object_get(sources, "sources") : json_null()) == 0);
    json_decref(sources);
    return 0;
}

static int print_status(const ApiClient *client, void *context, Error *error) {
    const bool *as_json = context;
    Error problem = {0};
    json_t *status = NULL;
    int r = get_all(client, &status, &problem, error);
    if (r < 0) return r;
    if (*as_json) {
        screen_print_json(status);
    } else {
        print_gateway(status);
        print_connections(json_object_get(status, "connections"));
        if (problem.code == 0) print_sources(json_object_get(status, "sources"));
        if (problem.code == 0) print_bridges(json_object_get(status, "sources"));
    }
    if (problem.code != 0) (void)fprintf(stderr, "sluice status: no statistics: %s\n", problem.text);
    json_decref(status);
    return problem.code == 0 ? EXIT_SUCCESS : EXIT_RUNTIME;
}

static int run(const Arguments *arguments) {
    const char *format = arguments_value(arguments, "output");
    bool as_json = format && strcmp(format, "json") == 0;
    if (format && !as_json && strcmp(format, "text") != 0)
        return arguments_wrong(arguments->command, "the format is json or text, not", format);
    return remote_run(arguments, print_status, &as_json);
}

static const CommandOption options[] = {
    {.name = "output", .letter = 'o', .argument = "FORMAT", .sentence = "text (default) or json."}, REMOTE_OPTIONS, {0}};

const Command command_status = {
    .name = "status",
    .summary = "Show the state of a running gateway: disk, connections, and the waiting rows of each sink.",
    .options = options,
    .run = run,
};
