#include "sinks/positions.h"

#include <string.h>

#include "base/error.h"

int partition_key_compare(const PartitionKey *a, const PartitionKey *b) {
    int order = strcmp(a->cluster, b->cluster);
    if (order == 0) order = strcmp(a->group, b->group);
    if (order == 0) order = strcmp(a->topic, b->topic);
    if (order == 0) order = (a->generation > b->generation) - (a->generation < b->generation);
    if (order == 0) order = (a->partition > b->partition) - (a->partition < b->partition);
    return order;
}

void positions_begin(ImportPosition *positions, size_t count) {
    for (size_t i = 0; i < count; i++) {
        positions[i].next = positions[i].read;
        positions[i].stopped = false;
    }
}

static RunOutcome decide(ImportPosition *position, const ImportRun *run) {
    if (position->stopped) return RUN_RETURNED;
    if (run->first == position->next) {
        position->next = run->next;
        return RUN_TAKEN;
    }
    if (run->next <= position->next) return RUN_OVERTAKEN;
    position->stopped = true;
    return RUN_RETURNED;
}

uint64_t positions_decide(ImportPosition *positions, size_t position_count, ImportRun *runs, size_t run_count) {
    uint64_t left_out = 0;
    for (size_t i = 0; i < run_count; i++) {
        ImportRun *run = &runs[i];
        check(run->position < position_count && run->first < run->next);
        check(i == 0 || run->first_row == run[-1].first_row + run[-1].rows);
        run->outcome = decide(&positions[run->position], run);
        if (run->outcome != RUN_TAKEN) left_out += run->rows;
        check(positions[run->position].next >= positions[run->position].read);
    }
    return left_out;
}
