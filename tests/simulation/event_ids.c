#include "tests/simulation/event_ids.h"

#include <inttypes.h>
#include <string.h>

#include "mapping/row.h"
#include "storage/commit_log.h"
#include "storage/ledger.h"
#include "storage/pack.h"
#include "tests/simulation/course.h"

static Uuid id_of_row(Span row) {
    uint64_t number = 0;
    Uuid id = {0};
    for (size_t i = 0; i < row.size && row.data[i] >= '0' && row.data[i] <= '9'; i++) number = number * 10 + (uint64_t)(row.data[i] - '0');
    uint64_t scattered = (number + 1) * UINT64_C(0x9E3779B97F4A7C15);
    memcpy(id.bytes, &scattered, sizeof scattered);
    id.bytes[15] = 1;
    return id;
}

uint64_t event_ids_of_rows(Span rows, UuidRange *range) {
    uint64_t count = 0;
    while (rows.size > 0) {
        size_t size = row_size(rows);
        check(size > 0);
        Uuid id = id_of_row((Span){.data = rows.data, .size = size});
        if (uuid_is_nil(&range->last)) range->first = id;
        uuid_range_extend(range, &id);
        rows.data += size;
        rows.size -= size;
        count++;
    }
    return count;
}

static uint64_t verify_log(Txn *txn) {
    CommitLogReader *reader;
    GroupView group;
    Error error = {0};
    uint64_t count = 0;
    if (commit_log_reader_new(txn, 0, &reader, &error) < 0) fail("%s", error.text);
    while (commit_log_read(reader, &group, &error) == 0)
        for (size_t i = 0; i < group.count; i++) {
            UuidRange ids = {0};
            (void)event_ids_of_rows(group.rows[i], &ids);
            if (memcmp(&ids, &group.entries[i].ids, sizeof ids) != 0) fail("commit %" PRIu64 " has other ids than its rows", group.commit);
            count++;
        }
    commit_log_reader_free(reader);
    return count;
}

typedef struct Slices {
    Files *files;
    uint64_t count;
} Slices;

/* The slices of a divided file have the ids of the slice from which they were made. */
static int verify_slice(void *context, const SliceRecord *slice, Error *error) {
    Slices *slices = context;
    SliceReader *reader;
    UuidRange ids = {0};
    Span rows;
    int r = slice_open(slices->files, slice, &reader, error);
    if (r < 0) return 0; /* what cannot be read is not compared */
    while ((r = slice_read(reader, &rows, error)) == 0) (void)event_ids_of_rows(rows, &ids);
    slice_close(reader);
    if (r != SLICE_READ_END) return 0;
    if (!uuid_range_is_known(&slice->ids) || !uuid_range_may_have(&slice->ids, &ids.first) || !uuid_range_may_have(&slice->ids, &ids.last))
        fail("the slice of sink %" PRIu32 " from row %" PRIu64 " does not have the ids of its rows", slice->sink, slice->first_row);
    slices->count++;
    return 0;
}

uint64_t event_ids_verify(Txn *txn, Files *files, uint32_t sinks) {
    Slices slices = {.files = files};
    Error error = {0};
    for (uint32_t sink = 1; sink <= sinks; sink++)
        if (ledger_visit_slices(txn, sink, 1, UINT64_MAX, verify_slice, &slices, &error) < 0) fail("%s", error.text);
    return slices.count + verify_log(txn);
}
