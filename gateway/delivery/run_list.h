/*
 * Runs of one sink in the order of its rows. A run without rows that begins where the last run of
 * its partition ended is joined to that run. So gaps, and records that became no rows, do not make
 * the list longer. Pure.
 */
#pragma once

#include "storage/offset_run.h"

/* All-zero is empty. */
typedef struct RunList {
    OffsetRuns runs;
    uint32_t *last; /* by number of the partition: 1 + index of its last run; 0: it has none */
    size_t last_capacity;
} RunList;

void run_list_add(RunList *list, const OffsetRun *run);
void run_list_clear(RunList *list);
/* Removes the runs of the partition. */
void run_list_remove(RunList *list, uint32_t partition);
void run_list_deinit(RunList *list);
