#include "gateway/delivery/writer/sink_ends.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"

/* Index of the partition, or where it belongs. */
static size_t place_of(const SinkEnds *ends, uint32_t partition) {
    size_t low = 0, high = ends->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ends->items[middle].partition < partition)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const SinkEnd *find(const SinkEnds *ends, uint32_t partition) {
    size_t place = place_of(ends, partition);
    return place < ends->count && ends->items[place].partition == partition ? &ends->items[place] : NULL;
}

static SinkEnd *find_or_add(SinkEnds *ends, uint32_t partition) {
    check(partition > 0);
    size_t place = place_of(ends, partition);
    if (place < ends->count && ends->items[place].partition == partition) return &ends->items[place];
    array_reserve(ends->items, ends->count, ends->capacity);
    memmove(&ends->items[place + 1], &ends->items[place], (ends->count - place) * sizeof *ends->items);
    ends->items[place] = (SinkEnd){.partition = partition, .end = -1};
    ends->count++;
    return &ends->items[place];
}

int64_t sink_ends_find(const SinkEnds *ends, uint32_t partition) {
    const SinkEnd *end = find(ends, partition);
    return end ? end->end : -1;
}

void sink_ends_put(SinkEnds *ends, uint32_t partition, int64_t end) {
    check(end >= 0);
    SinkEnd *item = find_or_add(ends, partition);
    if (item->end < 0) ends->known++;
    item->end = end;
}

void sink_ends_clear(SinkEnds *ends) {
    ends->count = ends->known = 0;
}

void sink_ends_deinit(SinkEnds *ends) {
    free(ends->items);
    *ends = (SinkEnds){0};
}

static int64_t planned(const SinkEnd *end, uint64_t transaction) {
    return end->transaction == transaction ? end->planned : end->end;
}

int64_t sink_ends_planned(const SinkEnds *ends, uint64_t transaction, uint32_t partition) {
    const SinkEnd *end = find(ends, partition);
    return end ? planned(end, transaction) : -1;
}

bool sink_ends_try(SinkEnds *ends, uint64_t transaction, uint64_t append, uint32_t partition, int64_t first, int64_t next, bool anywhere) {
    check(first >= 0 && first < next);
    SinkEnd *end = find_or_add(ends, partition);
    int64_t at = end->append == append ? end->tried : planned(end, transaction);
    end->append = append;
    end->tried = next;
    return anywhere || first == at;
}

void sink_ends_plan(SinkEnds *ends, uint64_t transaction, uint32_t partition) {
    SinkEnd *end = find_or_add(ends, partition);
    end->planned = end->tried;
    end->transaction = transaction;
}
