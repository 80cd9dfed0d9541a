#include "gateway/api/bridge_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static void set(json_t *object, const char *key, json_t *take_value) {
    check(json_object_set_new(object, key, take_value) == 0);
}

/* Null for NULL. What brokers and records say need not be UTF-8. */
static json_t *text_json(const char *text) {
    if (!text) return json_null();
    json_t *json = json_string(text);
    if (json) return json;
    _cleanup_free_ char *copy = strdup(text);
    check(copy);
    for (char *at = copy; *at; at++)
        if ((unsigned char)*at >= 0x80) *at = '?';
    json = json_string(copy);
    check(json);
    return json;
}

static json_t *time_json(usec_t wall) {
    char text[25];
    if (wall == 0) return json_null();
    clock_format_utc(wall, text);
    return json_string(text);
}

static json_t *known_json(int64_t number) {
    return number < 0 ? json_null() : json_integer((json_int_t)number);
}

/* To the millisecond. */
static json_t *seconds_json(double seconds) {
    return seconds < 0 ? json_null() : json_real((double)(int64_t)(seconds * 1000 + 0.5) / 1000);
}

/* ---- lag ------------------------------------------------------------------------------------- */

static const BridgeLag unknown = {.records = -1, .seconds = -1};

/* A bridge without partitions has no lag while it reads, and does not know it while its consumer is
 * closed. */
static BridgeLag lag_without_partitions(const BridgeStatus *status) {
    bool has_none = status->state == BRIDGE_RUNNING || status->state == BRIDGE_FINISHED;
    return has_none ? (BridgeLag){0} : unknown;
}

static void add(BridgeLag *sum, int64_t records, double seconds) {
    sum->records = sum->records < 0 || records < 0 ? -1 : sum->records + records;
    if (records != 0 && (seconds < 0 || sum->seconds < 0))
        sum->seconds = -1;
    else if (seconds > sum->seconds && sum->seconds >= 0)
        sum->seconds = seconds;
}

BridgeLag bridge_lag(const BridgeStatus *status) {
    BridgeLag sum = {0};
    if (!status) return unknown;
    if (status->partition_count == 0) return lag_without_partitions(status);
    for (size_t i = 0; i < status->partition_count; i++) add(&sum, status->partitions[i].lag, status->partitions[i].lag_seconds);
    return sum;
}

static int64_t behind(const BridgePartitionStatus *part, size_t sink) {
    int64_t position = part->sinks[sink].position;
    if (part->end < 0 || position < 0) return -1;
    return part->end > position ? part->end - position : 0;
}

BridgeLag bridge_lag_of_sink(const BridgeStatus *status, uint32_t sink, double waiting) {
    BridgeLag sum = {0};
    size_t at = 0;
    while (status && at < status->sink_count && status->sinks[at].sink != sink) at++;
    if (!status || at == status->sink_count) return unknown;
    if (status->partition_count == 0) return lag_without_partitions(status);
    for (size_t i = 0; i < status->partition_count; i++) {
        const BridgePartitionStatus *part = &status->partitions[i];
        add(&sum, behind(part, at), part->lag_seconds);
    }
    if (sum.records > 0 && sum.seconds >= 0 && waiting > sum.seconds) sum.seconds = waiting;
    return sum;
}

json_t *bridge_lag_json(const BridgeLag *lag) {
    json_t *json = json_pack("{s:o, s:o}", "records", known_json(lag->records), "seconds", seconds_json(lag->seconds));
    check(json);
    return json;
}

/* ---- the state ------------------------------------------------------------------------------- */

BridgeState bridge_state_of(const Source *source, const BridgeStatus *status) {
    /* Another run was asked for since it said that. */
    if (status && status->state == BRIDGE_FINISHED && status->run != source->run) return BRIDGE_STARTING;
    if (status) return status->state;
    if (source->disabled) return BRIDGE_IDLE;
    return source->paused.at != 0 ? BRIDGE_PAUSED : BRIDGE_STARTING;
}

/* The partition that the whole is stopped for; NULL: none is. */
static const BridgePartitionStatus *stopped_partition(const BridgeStatus *status) {
    for (size_t i = 0; i < status->partition_count; i++) {
        const BridgePartitionStatus *part = &status->partitions[i];
        if (part->stopped && strcmp(part->stopped, status->stopped) == 0) return part;
    }
    return NULL;
}

static json_t *stopped_json(const BridgeStatus *status) {
    if (!status || !status->stopped) return json_null();
    const BridgePartitionStatus *part = stopped_partition(status);
    json_t *json = json_pack("{s:s, s:o}", "id", status->stopped, "reason", text_json(part ? part->reason : status->reason));
    check(json);
    if (part) {
        set(json, "topic", text_json(part->topic));
        set(json, "partition", json_integer(part->partition));
        set(json, "offset", known_json(part->stopped_at));
    }
    return json;
}

json_t *bridge_summary_json(const Source *source, const BridgeStatus *status) {
    BridgeLag lag = bridge_lag(status);
    const char *reason = status ? status->reason : source->disabled ? "The source is disabled." : NULL;
    json_t *json = json_pack("{s:s, s:o, s:o, s:o, s:o, s:I}", "state", bridge_state_name(bridge_state_of(source, status)), "stopped",
                             stopped_json(status), "reason", text_json(reason), "error", text_json(status ? status->error : NULL), "lag",
                             bridge_lag_json(&lag), "partitionsCount", (json_int_t)(status ? status->partition_count : 0));
    check(json);
    return json;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static json_t *counts_json(const BridgeStatus *status) {
    json_t *json = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "records", (json_int_t)status->records, "bytes",
                             (json_int_t)status->bytes, "poisoned", (json_int_t)status->poisoned, "skipped", (json_int_t)status->skipped,
                             "tombstones", (json_int_t)status->tombstones, "lost", (json_int_t)status->lost, "rebalances",
                             (json_int_t)status->rebalances);
    check(json);
    return json;
}

/* Of a sink that replaces its table. */
static json_t *run_json(const BridgeSinkStatus *sink) {
    bool replaced = sink->run == BRIDGE_RUN_REPLACED;
    json_t *json = json_pack("{s:s, s:o, s:o}", "state", bridge_run_state_name(sink->run), "rows", known_json(replaced ? sink->rows : -1),
                             "at", time_json(replaced ? sink->replaced : 0));
    check(json);
    return json;
}

static json_t *sinks_json(const BridgeStatus *status) {
    json_t *list = json_array();
    check(list);
    for (size_t i = 0; i < status->sink_count; i++) {
        const BridgeSinkStatus *sink = &status->sinks[i];
        json_t *json = json_pack("{s:s, s:b, s:o, s:o}", "sinkId", sink->name, "delays", (int)sink->delays, "stopped",
                                 text_json(sink->stopped), "reason", text_json(sink->reason));
        check(json && json_array_append_new(list, json) == 0);
        if (sink->run != BRIDGE_RUN_NONE) set(json, "run", run_json(sink));
    }
    return list;
}

static json_t *positions_json(const BridgeStatus *status, const BridgePartitionStatus *part) {
    json_t *list = json_array();
    check(list);
    for (size_t i = 0; i < status->sink_count; i++) {
        const BridgeSinkPosition *at = &part->sinks[i];
        json_t *json = json_pack("{s:s, s:o, s:o, s:o}", "sinkId", status->sinks[i].name, "next", known_json(at->next), "position",
                                 known_json(at->position), "lag", known_json(behind(part, i)));
        check(json && json_array_append_new(list, json) == 0);
    }
    return list;
}

static json_t *partition_stop_json(const BridgePartitionStatus *part) {
    if (!part->stopped) return json_null();
    json_t *json = json_pack("{s:s, s:o, s:o}", "id", part->stopped, "offset", known_json(part->stopped_at), "reason",
                             text_json(part->reason));
    check(json);
    return json;
}

static json_t *partition_json(const BridgeStatus *status, const BridgePartitionStatus *part, const char *id) {
    json_t *json = json_pack("{s:s, s:o, s:i, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o}", "partitionId", id, "topic",
                             text_json(part->topic), "partition", (int)part->partition, "generation", (json_int_t)part->generation, "read",
                             known_json(part->read), "first", known_json(part->first), "end", known_json(part->end), "lag",
                             known_json(part->lag), "lagSeconds", seconds_json(part->lag_seconds), "stopped", partition_stop_json(part),
                             "lost", (json_int_t)part->lost, "sinks", positions_json(status, part));
    check(json);
    return json;
}

/* ---- a page of partitions ---- */

static int compare_names(const char *topic, size_t size, int64_t partition, const BridgePartitionStatus *other) {
    size_t other_size = strlen(other->topic);
    int order = memcmp(topic, other->topic, size < other_size ? size : other_size);
    if (order == 0) order = (size > other_size) - (size < other_size);
    return order != 0 ? order : (partition > other->partition) - (partition < other->partition);
}

static int compare(const void *a, const void *b) {
    const BridgePartitionStatus *x = *(const BridgePartitionStatus *const *)a;
    return compare_names(x->topic, strlen(x->topic), x->partition, *(const BridgePartitionStatus *const *)b);
}

/* Is it behind the one of that id? Any text is the id of one. */
static bool is_after(const BridgePartitionStatus *part, const char *id) {
    const char *colon = id ? strrchr(id, ':') : NULL;
    if (!id) return true;
    size_t size = colon ? (size_t)(colon - id) : strlen(id);
    return compare_names(id, size, colon ? strtoll(colon + 1, NULL, 10) : -1, part) < 0;
}

static void set_partitions(const BridgeStatus *status, const ApiPage *page, json_t *json) {
    bool is_read = status && status->partition_count > 0;
    size_t count = !status ? 0 : is_read ? status->partition_count : status->known_count;
    json_t *list = json_array();
    _cleanup_free_ const BridgePartitionStatus **sorted = calloc(count + 1, sizeof *sorted);
    _cleanup_free_ char *last = NULL;
    check(list && sorted);
    for (size_t i = 0; i < count; i++) sorted[i] = is_read ? &status->partitions[i] : &status->known[i];
    if (count > 1) qsort(sorted, count, sizeof *sorted, compare);
    for (size_t i = 0; i < count && json_array_size(list) < page->limit; i++) {
        if (!is_after(sorted[i], page->after_id)) continue;
        free(steal(last));
        check(asprintf(&last, "%s:%d", sorted[i]->topic, (int)sorted[i]->partition) > 0);
        check(json_array_append_new(list, partition_json(status, sorted[i], last)) == 0);
    }
    set(json, "partitions", list);
    set(json, "page", api_page_json(page, count, last));
}

json_t *bridge_to_json(const Source *source, const BridgeStatus *status, const ApiPage *page) {
    json_t *json = bridge_summary_json(source, status);
    set(json, "sourceId", json_string(source->source_id));
    set(json, "type", json_string(source_kind_name(source)));
    set(json, "cluster", text_json(status ? status->cluster : NULL));
    set(json, "group", text_json(status ? status->group : NULL));
    set(json, "run", time_json(source->run));
    set(json, "at", time_json(status ? status->at : 0));
    set(json, "errorAt", time_json(status && status->error ? status->error_at : 0));
    set(json, "counts", status ? counts_json(status) : json_null());
    set(json, "sinks", status ? sinks_json(status) : json_array());
    set_partitions(status, page, json);
    return json;
}
