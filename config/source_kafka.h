/* Sources of type kafka: records of topics are read by a consumer group. */
#pragma once

#include "config/source_bridge.h"
#include "config/source_kind.h"

typedef struct KafkaSource {
    BridgeSource bridge;
    char **topics; /* 1..100, each once; a leading ^ makes a regular expression (POSIX, extended) of one */
    size_t topic_count;
    char *group_id;             /* NULL: see kafka_source_group */
    bool tombstones_are_events; /* a record without a value is an event with an empty body; else it is skipped */
} KafkaSource;

/* The consumer group, which is a part of the key of its positions: as declared, else
 * sluice-PROJECT-SOURCE. free(). */
char *kafka_source_group(const Source *source, uint32_t project);

/* NULL: records without a value are events of the source; else why not: what stands behind
 * `tombstone is set, `. */
const char *source_without_tombstones(const Source *source);

/* NULL: it is of another kind. */
static inline const KafkaSource *source_kafka(const Source *source) {
    return source->kind == &source_kind_kafka ? source->part : NULL;
}
