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

const SinkEnd *sink_ends_find(const SinkEnds *ends, uint32_t partition) {
    size_t place = place_of(ends, partition);
    return place < ends->count && ends->items[place].partition == partition ? &ends->items[place] : NULL;
}

static SinkEnd *find_or_add(SinkEnds *ends, uint32_t partition) {
    check(partition > 0);
    size_t place = place_of(ends, partition);
    if (place < ends->count && ends->items[place].partition == partition) return &ends->items[place];
    array_reserve(ends->items, ends->count, ends->capacity);
    memmove(&ends->items[place + 1], &ends->items[place], (ends->count - place) * sizeof *ends->items);
    ends->items[place] = (SinkEnd){.partition = partition, .from = -1, .end = -1, .left = -1};
    ends->count++;
    return &ends->items[place];
}

static SinkEnd *find_or_record(SinkEnds *ends, uint32_t partition) {
    SinkEnd *end = find_or_add(ends, partition);
    if (!end->recorded) ends->known++;
    end->recorded = true;
    return end;
}

void sink_ends_clear(SinkEnds *ends) {
    ends->count = ends->known = ends->unsaved = 0;
}

void sink_ends_deinit(SinkEnds *ends) {
    free(ends->items);
    *ends = (SinkEnds){0};
}

/* ---- the chain ------------------------------------------------------------------------------- */

void sink_ends_load(SinkEnds *ends, uint32_t partition, int64_t end, int64_t left) {
    SinkEnd *item = find_or_record(ends, partition);
    check(end < 0 || left < 0);
    item->from = item->end = end;
    item->left = left;
}

void sink_ends_begin_at(SinkEnds *ends, uint32_t partition, int64_t from, uint64_t first_row) {
    SinkEnd *item = find_or_add(ends, partition);
    check(item->recorded && from >= 0 && from <= item->end);
    item->from = from;
    item->first_row = first_row;
}

bool sink_ends_add(SinkEnds *ends, const OffsetRun *run, uint64_t first_row, uint64_t commit) {
    SinkEnd *item = find_or_record(ends, run->partition);
    bool begins = item->end != run->first;
    check(run->first < run->next);
    if (begins) {
        item->from = run->first;
        item->first_row = first_row;
        item->begun = commit;
    }
    if (item->unsaved) ends->unsaved--;
    item->unsaved = false;
    item->end = run->next;
    item->left = -1;
    return begins;
}

bool sink_ends_reach(SinkEnds *ends, uint32_t partition, int64_t position) {
    SinkEnd *item = find_or_add(ends, partition);
    if (position < item->from || position > item->end) return false;
    item->from = position;
    return true;
}

void sink_ends_forget(SinkEnds *ends, uint32_t partition) {
    SinkEnd *item = find_or_add(ends, partition);
    if (item->end < 0) return;
    item->from = item->end = -1;
    ends->unsaved += !item->unsaved;
    item->unsaved = true;
}

void sink_ends_leave(SinkEnds *ends) {
    for (size_t i = 0; i < ends->count; i++) {
        SinkEnd *item = &ends->items[i];
        if (item->end >= 0) item->left = item->end;
        item->from = item->end = -1;
    }
    sink_ends_saved(ends);
}

void sink_ends_saved(SinkEnds *ends) {
    for (size_t i = 0; i < ends->count && ends->unsaved > 0; i++) {
        ends->unsaved -= ends->items[i].unsaved;
        ends->items[i].unsaved = false;
    }
    check(ends->unsaved == 0);
}

/* ---- the transaction in the making ----------------------------------------------------------- */

static int64_t planned(const SinkEnd *end, uint64_t transaction) {
    return end->transaction == transaction ? end->planned : end->end;
}

int64_t sink_ends_planned(const SinkEnds *ends, uint64_t transaction, uint32_t partition) {
    const SinkEnd *end = sink_ends_find(ends, partition);
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

/* ---- checks ---------------------------------------------------------------------------------- */

void sink_ends_check(const SinkEnds *ends, uint64_t next_row) {
    size_t known = 0;
    check(ends->unsaved == 0);
    for (size_t i = 0; i < ends->count; i++) {
        const SinkEnd *end = &ends->items[i];
        known += end->recorded;
        check(i == 0 || end[-1].partition < end->partition);
        check((end->from < 0) == (end->end < 0) && end->from <= end->end);
        check(end->recorded || end->end < 0);
        check(end->left < 0 || end->end < 0);
        check(end->first_row <= next_row);
    }
    check(known == ends->known);
}
