/*
 * Conversions between the two forms of a partition's key. There are two because storage and sinks
 * do not include each other: a Partition (storage/partitions.h) owns its texts, and a PartitionKey
 * (sinks/positions.h) borrows them. Pure.
 */
#pragma once

#include <stdint.h>

#include "sinks/positions.h"
#include "storage/partitions.h"

/* Borrows the texts. */
static inline PartitionKey partition_key_of(const Partition *partition) {
    return (PartitionKey){.cluster = partition->cluster,
                          .group = partition->group,
                          .topic = partition->topic,
                          .generation = partition->generation,
                          .partition = partition->partition};
}

/* For a search. It borrows the texts, although the type usually owns them. So it must not be
 * changed, and not be given to partition_deinit. */
static inline Partition partition_wanted(const PartitionKey *key) {
    return (Partition){.cluster = (char *)(uintptr_t)key->cluster,
                       .group = (char *)(uintptr_t)key->group,
                       .topic = (char *)(uintptr_t)key->topic,
                       .generation = key->generation,
                       .partition = key->partition};
}
