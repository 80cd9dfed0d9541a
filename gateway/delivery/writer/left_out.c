#include "gateway/delivery/writer/left_out.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/log.h"
#include "gateway/delivery/writer/waiting.h"

typedef struct Ranges {
    RangeRecord *items;
    size_t count, capacity;
} Ranges;

static void add_range(Ranges *ranges, const RangeRecord *range) {
    RangeRecord *last = ranges->count > 0 ? &ranges->items[ranges->count - 1] : NULL;
    if (last && last->state == range->state && last->first_row + last->rows == range->first_row) {
        last->rows += range->rows;
        return;
    }
    array_reserve(ranges->items, ranges->count, ranges->capacity);
    ranges->items[ranges->count++] = *range;
}

typedef struct StagedRows {
    const FileRecord *file;
    Ranges ranges;
} StagedRows;

/* Rows of the file that wait: the others went another way before. */
static int add_staged(void *context, const RangeRecord *range, Error *error) {
    StagedRows *staged = context;
    uint64_t first = staged->file->first_row, end = first + staged->file->rows;
    uint64_t from = range->first_row > first ? range->first_row : first;
    uint64_t to = range->first_row + range->rows < end ? range->first_row + range->rows : end;
    if (range->state != RANGE_STAGED || from >= to) return 0;
    add_range(&staged->ranges, &(RangeRecord){.sink = range->sink, .first_row = from, .rows = to - from, .state = RANGE_STAGED});
    return 0;
}

static bool any_left_out(const LoadFile *load) {
    for (size_t i = 0; i < load->run_count; i++)
        if (load->runs[i].outcome != RUN_TAKEN && load->runs[i].rows > 0) return true;
    return false;
}

static void find_left_out(const LoadFile *load, const Ranges *staged, Ranges *ret_ranges) {
    size_t at = 0;
    for (size_t i = 0; i < load->run_count; i++) {
        const ImportRun *run = &load->runs[i];
        if (run->outcome == RUN_TAKEN || run->rows == 0) continue;
        RangeState state = run->outcome == RUN_OVERTAKEN ? RANGE_OVERTAKEN : RANGE_RETURNED;
        uint64_t end = run->first_row + run->rows;
        while (at < staged->count && staged->items[at].first_row + staged->items[at].rows <= run->first_row) at++;
        for (size_t k = at; k < staged->count && staged->items[k].first_row < end; k++) {
            const RangeRecord *range = &staged->items[k];
            uint64_t from = range->first_row > run->first_row ? range->first_row : run->first_row;
            uint64_t to = range->first_row + range->rows < end ? range->first_row + range->rows : end;
            add_range(ret_ranges, &(RangeRecord){.sink = range->sink, .first_row = from, .rows = to - from, .state = state});
        }
    }
}

static void count(SinkState *sink, struct WaitingFile *waiting, const Ranges *ranges) {
    uint64_t overtaken = 0, returned = 0;
    for (size_t i = 0; i < ranges->count; i++)
        *(ranges->items[i].state == RANGE_OVERTAKEN ? &overtaken : &returned) += ranges->items[i].rows;
    sink->totals.overtaken_rows += overtaken;
    sink->totals.returned_rows += returned;
    if (overtaken + returned == 0) return;
    waiting_lose_rows(sink->waiting, waiting, overtaken + returned);
    log_info("of a file of sink %s, %" PRIu64 " rows were imported by somebody else, and %" PRIu64 " are read again from the broker",
             sink->label ? sink->label : "?", overtaken, returned);
}

int left_out_record(Txn *txn, SinkState *sink, struct WaitingFile *waiting, LoadFile *load, Error *error) {
    if (!any_left_out(load)) return 0;
    StagedRows staged = {.file = &load->file};
    Ranges ranges = {0};
    int r = ledger_visit_ranges(txn, load->file.sink, add_staged, &staged, error);
    if (r == 0) {
        find_left_out(load, &staged.ranges, &ranges);
        if (ranges.count > 0) r = ledger_leave_out(txn, &load->file, ranges.items, ranges.count, error);
    }
    if (r == 0) count(sink, waiting, &ranges);
    free(staged.ranges.items);
    free(ranges.items);
    return r;
}
