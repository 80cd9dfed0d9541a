#include "storage/offset_run.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/error.h"

#define RUN_BYTES 28

void offset_runs_deinit(OffsetRuns *runs) {
    free(runs->items);
    *runs = (OffsetRuns){0};
}

void offset_runs_add(OffsetRuns *runs, const OffsetRun *run) {
    array_reserve(runs->items, runs->count, runs->capacity);
    runs->items[runs->count++] = *run;
}

bool offset_run_holds(const OffsetRun *run) {
    return run->sink > 0 && run->partition > 0 && run->first >= 0 && run->first < run->next;
}

bool offset_runs_have(const OffsetRun *runs, size_t count, uint32_t sink, uint64_t rows) {
    for (size_t i = 0; i < count; i++) {
        if (!offset_run_holds(&runs[i]) || runs[i].sink != sink || runs[i].rows > rows) return false;
        rows -= runs[i].rows;
    }
    return rows == 0;
}

bool offset_runs_equal(const OffsetRun *a, const OffsetRun *b, size_t count) {
    for (size_t i = 0; i < count; i++) {
        bool same = a[i].sink == b[i].sink && a[i].partition == b[i].partition && a[i].first == b[i].first && a[i].next == b[i].next &&
                    a[i].rows == b[i].rows;
        if (!same) return false;
    }
    return true;
}

size_t offset_runs_cut(const OffsetRun *runs, size_t count, uint64_t rows, uint64_t *ret_rows) {
    size_t taken = 0;
    uint64_t have = 0;
    while (taken < count && have < rows) have += runs[taken++].rows;
    *ret_rows = have;
    return taken;
}

void offset_runs_put(Buffer *out, const OffsetRun *runs, size_t count) {
    check(count <= UINT32_MAX);
    buffer_put_u32(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        check(offset_run_holds(&runs[i]));
        buffer_put_u32(out, runs[i].partition);
        buffer_put_u64(out, (uint64_t)runs[i].first);
        buffer_put_u64(out, (uint64_t)runs[i].next);
        buffer_put_u64(out, runs[i].rows);
    }
}

bool offset_runs_get(Cursor *fields, uint32_t sink, uint64_t rows, OffsetRuns *ret_runs, uint32_t *ret_count) {
    uint32_t count = cursor_u32(fields);
    if (fields->failed || count > (size_t)(fields->end - fields->at) / RUN_BYTES) return false;
    for (uint32_t i = 0; i < count; i++) {
        OffsetRun run = {.sink = sink, .partition = cursor_u32(fields)};
        run.first = (int64_t)cursor_u64(fields);
        run.next = (int64_t)cursor_u64(fields);
        run.rows = cursor_u64(fields);
        if (!offset_run_holds(&run) || run.rows > rows) return false;
        rows -= run.rows;
        if (ret_runs) offset_runs_add(ret_runs, &run);
    }
    *ret_count = count;
    return count > 0 && rows == 0;
}
