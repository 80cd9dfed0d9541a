/* The runs of a slice as its description says them: JSON, for readers without the ledger. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "storage/pack_private.h"

static void describe_partition(const Partition *partition, Buffer *out) {
    /* Names that are no UTF-8 cannot be told here; the number can. */
    json_t *json = json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:I}", "number", (json_int_t)partition->number, "cluster", partition->cluster,
                             "group", partition->group, "topic", partition->topic, "topicId", partition->topic_id, "generation",
                             (json_int_t)partition->generation, "partition", (json_int_t)partition->partition);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text) return;
    if (out->data[out->size - 1] != '[') buffer_append_byte(out, ',');
    buffer_append_text(out, text);
    free(text);
}

void pack_describe_runs(const OffsetRun *runs, size_t count, const Partitions *partitions, Buffer *out) {
    buffer_append_text(out, ",\"partitions\":[");
    for (size_t i = 0; i < partitions->count; i++) describe_partition(&partitions->items[i], out);
    buffer_append_text(out, "],\"runs\":[");
    for (size_t i = 0; i < count; i++)
        buffer_printf(out, "%s[%" PRIu32 ",%" PRId64 ",%" PRId64 ",%" PRIu64 "]", i ? "," : "", runs[i].partition, runs[i].first,
                      runs[i].next, runs[i].rows);
    buffer_append_byte(out, ']');
}

static bool number_of(const json_t *json, json_int_t least, json_int_t most, json_int_t *ret_number) {
    *ret_number = json_integer_value(json);
    return json_is_integer(json) && *ret_number >= least && *ret_number <= most;
}

static bool parse_run(const json_t *json, uint32_t sink, OffsetRuns *runs) {
    json_int_t partition, first, next, rows;
    if (json_array_size(json) != 4 || !number_of(json_array_get(json, 0), 1, UINT32_MAX, &partition) ||
        !number_of(json_array_get(json, 1), 0, INT64_MAX, &first) || !number_of(json_array_get(json, 2), 0, INT64_MAX, &next) ||
        !number_of(json_array_get(json, 3), 0, INT64_MAX, &rows))
        return false;
    offset_runs_add(runs,
                    &(OffsetRun){.sink = sink, .partition = (uint32_t)partition, .first = first, .next = next, .rows = (uint64_t)rows});
    return true;
}

/* By ascending number, as they are written. */
static bool parse_partition(const json_t *json, Partitions *partitions) {
    const char *cluster = json_string_value(json_object_get(json, "cluster")), *group = json_string_value(json_object_get(json, "group")),
               *topic = json_string_value(json_object_get(json, "topic")), *topic_id = json_string_value(json_object_get(json, "topicId"));
    json_int_t above = partitions->count > 0 ? partitions->items[partitions->count - 1].number : 0, number, generation, partition;
    if (!cluster || !group || !topic || !topic[0] || !topic_id ||
        !number_of(json_object_get(json, "number"), above + 1, UINT32_MAX, &number) ||
        !number_of(json_object_get(json, "generation"), 0, UINT32_MAX, &generation) ||
        !number_of(json_object_get(json, "partition"), 0, INT32_MAX, &partition))
        return false;
    Partition parsed = {.number = (uint32_t)number,
                        .cluster = text_copy(cluster),
                        .group = text_copy(group),
                        .topic = text_copy(topic),
                        .topic_id = text_copy(topic_id),
                        .generation = (uint32_t)generation,
                        .partition = (int32_t)partition};
    partitions_take(partitions, &parsed);
    return true;
}

bool pack_parse_runs(Span description, uint32_t sink, uint64_t rows, OffsetRuns *ret_runs, Partitions *ret_partitions) {
    OffsetRuns runs = {0};
    Partitions partitions = {0};
    json_t *json = json_loadb(description.data, description.size, 0, NULL);
    json_t *items = json_object_get(json, "runs"), *named = json_object_get(json, "partitions"), *item;
    bool holds = json_is_object(json) && (!items || json_is_array(items)) && (items != NULL) == json_is_array(named);
    size_t i;
    if (holds) {
        json_array_foreach(named, i, item) holds = holds && parse_partition(item, &partitions);
        json_array_foreach(items, i, item) holds = holds && parse_run(item, sink, &runs);
    }
    if (holds && items) holds = runs.count > 0 && runs.count <= UINT32_MAX && offset_runs_have(runs.items, runs.count, sink, rows);
    json_decref(json);
    if (!holds) {
        offset_runs_deinit(&runs);
        partitions_deinit(&partitions);
        return false;
    }
    *ret_runs = runs;
    *ret_partitions = partitions;
    return true;
}
