/*
 * The ledger of files and slices. A slice is the rows of one sink in one pack (first row, count,
 * place). A file is a series of slices that are imported together, with its own copy of the target.
 * In each sink, every row number below staged_row is in exactly one range with a state: staged (in
 * a slice of a file that is not done), imported, expired, quarantined, deleted, discarded,
 * overtaken or returned. The functions here keep this rule or fail without a change; ledger_verify
 * checks it completely. Only the writer changes the ledger.
 *
 * The slices of a bridge's sink have runs (offset_run.h), which contain all of their rows. The
 * broker still has what was not imported, so such rows are never lost: rows that cannot be read are
 * returned and not quarantined, and a file never expires.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/uuid.h"
#include "storage/environment.h"
#include "storage/offset_run.h"

typedef enum FileState {
    FILE_OPEN,     /* slices are added */
    FILE_CLOSED,   /* waits for its import; attempts > 0: an import failed, and next_try is the time of the next one */
    FILE_IMPORTED, /* rows are at the destination */
    FILE_EXPIRED,  /* its imports failed for too long: its slices are copied to staging/expired/ */
    FILE_DELETED,  /* by an admin, or discarded with its sink */
} FileState;

typedef enum CloseReason { CLOSE_NONE, CLOSE_TIME, CLOSE_SIZE, CLOSE_COUNT, CLOSE_CHANGE, CLOSE_FLUSH, CLOSE_SHUTDOWN } CloseReason;

typedef struct FileRecord {
    Uuid id; /* made when the file is opened */
    uint32_t sink;
    uint32_t mapping_version;
    FileState state;
    CloseReason reason;
    uint64_t first_row, rows, bytes; /* rows [first_row, first_row + rows) */
    uint64_t damaged_rows;           /* of those: quarantined, not readable */
    uint64_t rejected_rows;          /* of those: refused by the destination */
    uint64_t left_out;               /* of those: overtaken or returned */
    uint64_t checksum;               /* computed from the checksums of its slices */
    usec_t first_time, last_time;    /* receive time of the first and last row */
    usec_t opened, closed, done;     /* wall time; 0: not yet */
    uint32_t attempts;
    usec_t next_try;     /* wall time */
    usec_t first_failed; /* running time (totals.h) of its first failed try; 0: none failed */
    char *last_error;    /* owned; NULL: none */
    char *target;        /* owned: JSON of sink_target_store; never NULL */
    char *label;         /* owned: "SOURCE/SINK" when it was opened; never NULL */
} FileRecord;

typedef struct SliceRecord {
    Uuid pack;
    uint64_t offset, length; /* bytes in the pack file */
    uint32_t sink;
    uint32_t mapping_version;
    uint64_t first_row, rows, bytes; /* bytes: of row text, uncompressed */
    uint64_t checksum;               /* of the row text */
    usec_t first_time, last_time;
    Uuid file;
    /* for a sink of a bridge: number of its runs, which ledger_read_runs reads; 0 in a record that
     * was read from a pack */
    uint32_t run_count;
    /* of the events that gave its rows, or of more of them if a file was divided; nil: an earlier
     * program wrote it, or it was read from a pack */
    UuidRange ids;
} SliceRecord;

typedef struct PackRecord {
    Uuid id;
    uint64_t bytes;   /* of the pack file */
    uint32_t slices;  /* in it */
    uint32_t done;    /* of those: imported, expired, deleted */
    usec_t last_done; /* running time (totals.h) when the last of them was done; 0: not yet, or a program did not record it */
} PackRecord;

/* Rows that are neither damaged nor left out. For a waiting file: the rows that an import has to
 * store. */
static inline uint64_t file_readable_rows(const FileRecord *file) {
    return file->rows - file->damaged_rows - file->left_out;
}
void file_record_deinit(FileRecord *file);
int file_record_copy(const FileRecord *from, FileRecord *ret_file);

typedef enum RangeState {
    RANGE_STAGED,      /* in a slice of a file that is open or closed */
    RANGE_IMPORTED,    /* including rows that the destination refused */
    RANGE_EXPIRED,     /* rows of a file that failed for too long */
    RANGE_QUARANTINED, /* damaged: cannot be read */
    RANGE_DELETED,     /* with their file */
    RANGE_DISCARDED,   /* dropped before they were in a file */
    RANGE_OVERTAKEN,   /* of a bridge: another import has stored their records */
    RANGE_RETURNED,    /* of a bridge: their records are read again from the broker */
} RangeState;

typedef struct RangeRecord {
    uint32_t sink;
    uint64_t first_row, rows; /* rows > 0 */
    RangeState state;
} RangeRecord;

/*
 * The stored records decide. A function that takes a FileRecord looks the file up by its id and
 * updates the numbers and times of the caller's record, but not its texts. A call that does not fit
 * the stored records is -EBADMSG and changes nothing. -ENOSPC: the map is full; abort the
 * transaction.
 */

/* Adds a new open file (state FILE_OPEN, no rows). It must begin where the ranges of the sink end
 * (at 1 for a new sink), and the sink must have no other open file. */
int ledger_open_file(Txn *txn, const FileRecord *file, Error *error);
/* Adds a slice to its open file and counts it in its pack, which must exist. The slice must begin
 * where the file ends and have the same mapping version. `runs`: slice->run_count runs with its
 * rows, or NULL if there are none. */
int ledger_add_slice(Txn *txn, FileRecord *file, const SliceRecord *slice, const OffsetRun *runs, Error *error);
/* Returns the checksum of a file from what it was before a slice was added, at first 0. */
uint64_t ledger_fold_checksum(uint64_t before, uint64_t slice);
/* Adds a pack, before its slices. Its counts start at 0, whatever `pack` has: each slice is counted
 * when it is added. */
int ledger_add_pack(Txn *txn, const PackRecord *pack, Error *error);
/* Records that the rows [first_row, first_row + rows) of the sink can never be read (damaged in the
 * log). They become a quarantined range where the sink's ranges end. In the open file, if there is
 * one, they count as damaged. */
int ledger_skip_rows(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, Error *error);
/* The same for a sink of a bridge: the rows are returned, and count as left out in the open
 * file. */
int ledger_return_rows(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, Error *error);
/* The same for rows in the log that are dropped with their sink; it must have no open file. */
int ledger_discard_rows(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, Error *error);
/* Records that staged rows of an open or closed file cannot be read (a damaged slice): they are
 * quarantined and counted as damaged. */
int ledger_quarantine_rows(Txn *txn, FileRecord *file, uint64_t first_row, uint64_t rows, Error *error);
/* Records that staged rows of an open or closed file of a bridge's sink are not imported. `ranges`
 * are in order, and say whether the rows are overtaken or returned; their `sink` is ignored. Only
 * if the file ends in the same transaction may it be a part of a slice, because a waiting slice is
 * read as a whole or not at all. */
int ledger_leave_out(Txn *txn, FileRecord *file, const RangeRecord *ranges, size_t count, Error *error);
/* Records that a slice of an open or closed file cannot be read: its rows are quarantined, or
 * returned if it has runs. *ret_state says which. */
int ledger_lose_slice(Txn *txn, FileRecord *file, const SliceRecord *slice, RangeState *ret_state, Error *error);
/* The reverse, if more rows turn out to be at the destination. `rows` quarantined and returned rows
 * of a closed file, at most its damaged_rows and left_out, are staged again, first those that are
 * in slices. Only for a file that ends as imported in the same transaction, because these rows
 * cannot be read. */
int ledger_restore_rows(Txn *txn, FileRecord *file, uint64_t rows, Error *error);
/* Closes an open file, which must have rows. `now`: wall time. */
int ledger_close_file(Txn *txn, FileRecord *file, CloseReason reason, usec_t now, Error *error);
/* Records that the import of a closed file failed. attempts, next_try, first_failed and last_error
 * are taken from `file`. */
int ledger_update_file(Txn *txn, const FileRecord *file, Error *error);
/* Ends a file: closed -> imported, expired or deleted (also open -> deleted). Its slices are done,
 * and its rows become one range with equal neighbours. rejected_rows is taken from `file`. A file
 * without slices is forgotten at once. A file whose slices have runs cannot expire: -EBADMSG. For a
 * sink of a bridge, call ledger_leave_out first, and decide about its runs before it is deleted
 * (ledger_file_runs). `now`: wall time; `running`: running time, from which the retention of packs
 * counts. */
int ledger_end_file(Txn *txn, FileRecord *file, FileState state, usec_t now, usec_t running, Error *error);

/* Divides a closed file into several closed files, which have its rows in order. `slices` have all
 * rows that can be read, in row order, and are in packs that were added before. Neighbours with the
 * same `file` become one part, whose rows reach to the next part. One part may have the id of the
 * old file. The old slices are forgotten, except quarantined and returned ones, which belong to the
 * part around them. A pack without slices is removed by the next ledger_forget_packs. `runs`: the
 * runs of all slices, one slice after the other, each with its run_count. They must be the runs of
 * the old slices that can be read, in the same order, so that parts end where runs end
 * (offset_runs_cut). NULL if there are none. `running`: the running time. */
int ledger_divide_file(Txn *txn, const Uuid *id, const SliceRecord *slices, size_t count, const OffsetRun *runs, usec_t running,
                       Error *error);

/* Adds the runs of the slice that begins at the row to `runs`. Returns 0 or LEDGER_NOT_FOUND. */
int ledger_read_runs(Txn *txn, uint32_t sink, uint64_t first_row, OffsetRuns *runs, Error *error);
/* The same for all slices of the file that can be read, in order. An import decides about these
 * runs. Before the file is deleted, an import of positions alone has to decide about them. */
int ledger_file_runs(Txn *txn, const FileRecord *file, OffsetRuns *runs, Error *error);

/* Forgets the ranges of a sink that is deleted for good. It must have no waiting rows. Files and
 * slices are removed with their packs. */
int ledger_forget_ranges(Txn *txn, uint32_t sink, Error *error);

/* Walks. A result < 0 of the visit ends the walk and is returned. A visit must not write. */
typedef int (*FileVisit)(void *context, const FileRecord *file, Error *error);
typedef int (*SliceVisit)(void *context, const SliceRecord *slice, Error *error);
typedef int (*PackVisit)(void *context, const PackRecord *pack, Error *error);
typedef int (*RangeVisit)(void *context, const RangeRecord *range, Error *error);
/* ordered by sink and first row */
int ledger_visit_files(Txn *txn, uint32_t sink /* 0: all */, FileVisit visit, void *context, Error *error);
/* Visits slices with any of these rows, by first row. */
int ledger_visit_slices(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, SliceVisit visit, void *context, Error *error);
int ledger_visit_packs(Txn *txn, PackVisit visit, void *context, Error *error);
int ledger_visit_ranges(Txn *txn, uint32_t sink, RangeVisit visit, void *context, Error *error); /* ordered by first row */
/* Visit only waiting things: open and closed files, by sink and first row, and packs with slices
 * that are not done. */
/* Called for a waiting file of the sink that cannot be read, or that the visit does not accept
 * (-EBADMSG). If it returns 0, the file is left out. */
typedef int (*FileDamaged)(void *context, uint32_t sink, Error *error);
int ledger_visit_waiting_files(Txn *txn, FileVisit visit, FileDamaged damaged, void *context, Error *error);
int ledger_visit_waiting_packs(Txn *txn, PackVisit visit, void *context, Error *error);
/* Visits at most `most` files of the sink in any state, the last one first. */
int ledger_visit_last_files(Txn *txn, uint32_t sink, size_t most, FileVisit visit, void *context, Error *error);
int ledger_pack_bytes(Txn *txn, uint64_t *ret_bytes, Error *error); /* bytes of all packs in the ledger */
/* Builds the index for these walks again: for a ledger of a program that did not keep it, and after
 * damage. */
int ledger_make_index(Txn *txn, Error *error);
/* Is the stored index different from a new one? */
int ledger_index_differs(Txn *txn, bool *ret_differs, Error *error);
int ledger_has_index(Txn *txn, bool *ret_has, Error *error);
enum { LEDGER_NOT_FOUND = 1 };
int ledger_find_file(Txn *txn, const Uuid *id, FileRecord *ret_file, Error *error);
/* Finds the open file of the sink. */
int ledger_find_open_file(Txn *txn, uint32_t sink, FileRecord *ret_file, Error *error);
int ledger_find_pack(Txn *txn, const Uuid *id, PackRecord *ret_pack, Error *error);
/* Keeps only those ids (in any order) that the ledger does not know, in ascending order: it has
 * neither a record of the pack nor a slice in it. A pack with a damaged record counts as known.
 * This is one walk over the keys, so it is fast also for a million ids. */
int ledger_keep_unknown_packs(Txn *txn, Uuid *ids, size_t *count, Error *error);
/* Returns the end of the sink's ranges, which is the number of its first row that is not staged; 1
 * for a new sink. */
int ledger_end_row(Txn *txn, uint32_t sink, uint64_t *ret_row, Error *error);

/* Visits the slices of the sink that may have rows of the event, by first row: those whose ids may
 * have it (uuid_range_may_have) or, if their ids are not known, whose receive times fit the time of
 * its id. `from`, `to`: wall time; from the first slice with rows received at `from` or later, up
 * to the first one whose rows were received after `to`. A search is binary if `from` is above
 * INT64_MIN; it may miss slices if the clock jumped back meanwhile. -EBADMSG: a record on the way
 * is damaged. */
int ledger_visit_event_slices(Txn *txn, uint32_t sink, const Uuid *event, usec_t from, usec_t to, SliceVisit visit, void *context,
                              Error *error);
/* The slice with the lowest row. 0 or LEDGER_NOT_FOUND. */
int ledger_first_slice(Txn *txn, uint32_t sink, SliceRecord *ret_slice, Error *error);
/* 0, or LEDGER_NOT_FOUND: the row is not staged, and nothing else was decided about it. */
int ledger_row_state(Txn *txn, uint32_t sink, uint64_t row, RangeState *ret_state, Error *error);

typedef struct ForgottenPack {
    Uuid id;
    uint64_t bytes;
    bool quarantined; /* it has rows that could not be read, so its file is the only copy of what is left of them */
} ForgottenPack;

/* Forgets packs whose slices are all done, the last one at `done_before` (running time) or earlier.
 * Their slices are forgotten as well, and files without any slice left (their ranges stay). The
 * caller removes the packs after the commit. `ret_packs`: at most `most` packs, free(); NULL if
 * there are none. */
int ledger_any_to_forget(Txn *txn, usec_t done_before, bool *ret_any, Error *error);
int ledger_forget_packs(Txn *txn, usec_t done_before, size_t most, ForgottenPack **ret_packs, size_t *ret_count, Error *error);

/* Checks that ranges and files of `sink` cover [1, staged_row) without a hole or an overlap, that
 * the slices cover the waiting files, and that their packs are known. -EBADMSG names the first rule
 * that does not hold. */
int ledger_verify(Txn *txn, uint32_t sink, uint64_t staged_row, Error *error);
/* Checks that the counts of every pack are those of its slices. */
int ledger_verify_packs(Txn *txn, Error *error);
