#include "sinks/positions.h"

#include <stdlib.h>
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

bool positions_are_ordered(const ImportPosition *positions, size_t count) {
    for (size_t i = 1; i < count; i++) {
        if (partition_key_compare(&positions[i - 1].key, &positions[i].key) >= 0) return false;
    }
    return true;
}

void positions_begin(ImportPosition *positions, size_t count) {
    for (size_t i = 0; i < count; i++) positions[i].next = positions[i].read;
}

static RunOutcome decide(ImportPosition *position, const ImportRun *run) {
    if (position->over) return RUN_OVERTAKEN;
    if (run->first == position->next && !run->lost) {
        position->next = run->next;
        return RUN_TAKEN;
    }
    return run->next <= position->next ? RUN_OVERTAKEN : RUN_RETURNED;
}

uint64_t positions_decide(ImportPosition *positions, size_t position_count, ImportRun *runs, size_t run_count) {
    uint64_t left_out = 0;
    for (size_t i = 0; i < run_count; i++) {
        ImportRun *run = &runs[i];
        check(run->position < position_count && run->first < run->next);
        check(i == 0 || run->first_row >= run[-1].first_row + run[-1].rows);
        run->outcome = decide(&positions[run->position], run);
        if (run->outcome != RUN_TAKEN && !run->lost) left_out += run->rows;
        check(positions[run->position].next >= positions[run->position].read);
    }
    return left_out;
}

static const char letters[] = {[RUN_TAKEN] = 't', [RUN_OVERTAKEN] = 'o', [RUN_RETURNED] = 'r'};

void runs_put_outcomes(const ImportRun *runs, size_t count, Buffer *out) {
    for (size_t i = 0, same; i < count; i += same) {
        check(runs[i].outcome >= RUN_TAKEN && runs[i].outcome <= RUN_RETURNED);
        for (same = 1; i + same < count && runs[i + same].outcome == runs[i].outcome;) same++;
        buffer_printf(out, "%c%zu", letters[runs[i].outcome], same);
    }
}

bool runs_take_outcomes(ImportRun *runs, size_t count, const char *text) {
    size_t at = 0;
    while (*text) {
        const char *letter = memchr(letters + RUN_TAKEN, *text, sizeof letters - RUN_TAKEN);
        if (!letter || text[1] < '1' || text[1] > '9') return false;
        char *end;
        unsigned long long same = strtoull(text + 1, &end, 10);
        if (same > count - at) return false;
        for (; same > 0; same--) runs[at++].outcome = (RunOutcome)(letter - letters);
        text = end;
    }
    return at == count;
}
