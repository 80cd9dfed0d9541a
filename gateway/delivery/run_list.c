#include "gateway/delivery/run_list.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static void make_room(RunList *list, uint32_t partition) {
    if (partition < list->last_capacity) return;
    size_t capacity = list->last_capacity ? list->last_capacity : 16;
    while (capacity <= partition) capacity *= 2;
    list->last = realloc(list->last, capacity * sizeof *list->last);
    check(list->last);
    memset(list->last + list->last_capacity, 0, (capacity - list->last_capacity) * sizeof *list->last);
    list->last_capacity = capacity;
}

void run_list_add(RunList *list, const OffsetRun *run) {
    check(offset_run_holds(run));
    make_room(list, run->partition);
    uint32_t *last = &list->last[run->partition];
    if (*last > 0 && run->rows == 0 && list->runs.items[*last - 1].next == run->first) {
        list->runs.items[*last - 1].next = run->next;
        return;
    }
    offset_runs_add(&list->runs, run);
    check(list->runs.count <= UINT32_MAX);
    *last = (uint32_t)list->runs.count;
}

void run_list_clear(RunList *list) {
    for (size_t i = 0; i < list->runs.count; i++) list->last[list->runs.items[i].partition] = 0;
    list->runs.count = 0;
}

void run_list_remove(RunList *list, uint32_t partition) {
    if (partition >= list->last_capacity || list->last[partition] == 0) return;
    list->last[partition] = 0;
    size_t kept = 0;
    for (size_t i = 0; i < list->runs.count; i++) {
        const OffsetRun *run = &list->runs.items[i];
        if (run->partition == partition) continue;
        list->runs.items[kept++] = *run;
        list->last[run->partition] = (uint32_t)kept;
    }
    list->runs.count = kept;
}

void run_list_deinit(RunList *list) {
    offset_runs_deinit(&list->runs);
    free(list->last);
    *list = (RunList){0};
}
