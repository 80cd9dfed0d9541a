/*
 * The key of a partition has two forms, since the floors storage and sinks do not know each other:
 * a Partition (storage/partitions.h) owns its texts, a PartitionKey (sinks/positions.h) borrows
 * them. Pure.
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

/* To look for it. Borrows the texts, although the type owns its own: it is neither changed nor
 * given to partition_deinit. */
static inline Partition partition_wanted(const PartitionKey *key) {
    return (Partition){.cluster = (char *)(uintptr_t)key->cluster,
                       .group = (char *)(uintptr_t)key->group,
                       .topic = (char *)(uintptr_t)key->topic,
                       .generation = key->generation,
                       .partition = key->partition};
}
