/*
 * The ledger of files and slices. A slice is one sink's rows in one pack (first row, count, place);
 * a file is a run of slices that is imported as one, with its own copy of where its rows go. Per
 * sink, every row number below staged_row is in exactly one range with a state: staged (in a slice
 * of a file that is not done), imported, expired, quarantined, deleted, discarded, overtaken or
 * returned. The functions here keep that true or fail without changing anything; ledger_verify
 * checks it whole. Only the writer changes anything.
 *
 * The slices of a bridge's sink have runs (offset_run.h), which have all of their rows. The broker
 * still has what was not imported, so such rows are never lost: what cannot be read is returned and
 * not quarantined, and a file never expires.
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
    FILE_CLOSED,   /* waits for its import; attempts > 0: it failed, next_try says when again */
    FILE_IMPORTED, /* rows are at the destination */
    FILE_EXPIRED,  /* failed for too long: its slices are copied to staging/expired/ */
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
    uint64_t checksum;               /* folded over its slices' checksums */
    usec_t first_time, last_time;    /* receive time of the first and last row */
    usec_t opened, closed, done;     /* wall time; 0: not yet */
    uint32_t attempts;
    usec_t next_try;     /* wall time */
    usec_t first_failed; /* running time (totals.h) of its first try that failed; 0: none did */
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
    uint32_t run_count; /* of a bridge's sink: its runs stand apart (ledger_read_runs); in what is read from a pack 0 */
} SliceRecord;

typedef struct PackRecord {
    Uuid id;
    uint64_t bytes;   /* of the pack file */
    uint32_t slices;  /* in it */
    uint32_t done;    /* of those: imported, expired, deleted */
    usec_t last_done; /* running time (totals.h) when the last of them was done; 0: not yet, or before that was counted */
} PackRecord;

/* Those that are not damaged and not left out: of a file that waits, what an import has to
 * bring. */
static inline uint64_t file_readable_rows(const FileRecord *file) {
    return file->rows - file->damaged_rows - file->left_out;
}
void file_record_deinit(FileRecord *file);
int file_record_copy(const FileRecord *from, FileRecord *ret_file);

typedef enum RangeState {
    RANGE_STAGED,      /* in a slice of a file that is open or closed */
    RANGE_IMPORTED,    /* with what the destination refused of them */
    RANGE_EXPIRED,     /* of a file that failed for too long */
    RANGE_QUARANTINED, /* damaged: cannot be read */
    RANGE_DELETED,     /* with their file */
    RANGE_DISCARDED,   /* dropped before they were in a file */
    RANGE_OVERTAKEN,   /* of a bridge: somebody else imported their records */
    RANGE_RETURNED,    /* of a bridge: their records are read again from the broker */
} RangeState;

typedef struct RangeRecord {
    uint32_t sink;
    uint64_t first_row, rows; /* rows > 0 */
    RangeState state;
} RangeRecord;

/*
 * What is stored decides: where a function takes a FileRecord, it looks the file up by its id and
 * brings the numbers and times of the caller's record up to date (not its texts). A call that does
 * not fit what is stored is -EBADMSG and changes nothing. -ENOSPC: the map is full; abort.
 */

/* A new open file (state FILE_OPEN, no rows): must begin where the sink's ranges end (at 1 for a
 * new sink), and no other file of it may be open. */
int ledger_open_file(Txn *txn, const FileRecord *file, Error *error);
/* Adds a slice to its open file and counts it to its pack, which must be there. The slice must go
 * on where the file ends and have the same mapping version. `runs`: slice->run_count of them, which
 * have its rows; NULL when there are none. */
int ledger_add_slice(Txn *txn, FileRecord *file, const SliceRecord *slice, const OffsetRun *runs, Error *error);
/* Before its slices. Its counts start at 0 whatever `pack` says: each slice counts itself. */
int ledger_add_pack(Txn *txn, const PackRecord *pack, Error *error);
/* Rows [first, first+rows) of the sink will never be read (damaged in the log): they become a
 * quarantined range where the sink's ranges end. They count to the open file, if there is one, as
 * damaged. */
int ledger_skip_rows(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, Error *error);
/* The same for a bridge's sink: they are returned, and count to the open file as left out. */
int ledger_return_rows(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, Error *error);
/* As above, for rows in the log that are dropped with their sink; no file of it may be open. */
int ledger_discard_rows(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, Error *error);
/* Rows of an open or closed file turned out to be unreadable (a damaged slice): quarantined,
 * counted as damaged. They must be staged. */
int ledger_quarantine_rows(Txn *txn, FileRecord *file, uint64_t first_row, uint64_t rows, Error *error);
/* Rows of an open or closed file of a bridge's sink are not imported: `ranges` say which (their
 * sink is not looked at), in order, and whether they are overtaken or returned. They must be
 * staged. Parts of a slice only when the file ends in the same transaction: a slice that waits is
 * read whole or not at all. */
int ledger_leave_out(Txn *txn, FileRecord *file, const RangeRecord *ranges, size_t count, Error *error);
/* A slice of an open or closed file turned out to be unreadable: its rows are quarantined, or
 * returned when it has runs. `ret_state` says which. */
int ledger_lose_slice(Txn *txn, FileRecord *file, const SliceRecord *slice, RangeState *ret_state, Error *error);
/* The other way round, when so much turns out to be at the destination: `rows` of the quarantined
 * and returned ones of a closed file, at most its damaged_rows and left_out, are staged again,
 * first those that are in slices. Only for a file that ends as imported in the same transaction:
 * they are not readable. */
int ledger_restore_rows(Txn *txn, FileRecord *file, uint64_t rows, Error *error);
/* The file must have rows. */
int ledger_close_file(Txn *txn, FileRecord *file, CloseReason reason, usec_t now, Error *error);
/* A closed file failed: attempts, next_try, first_failed and last_error as given in `file`. */
int ledger_update_file(Txn *txn, const FileRecord *file, Error *error);
/* Closed -> imported, expired or deleted (also open -> deleted): its slices are done, its rows one
 * range with the ones beside it; rejected_rows is taken from `file`. A file without slices is
 * forgotten at once. One whose slices have runs does not expire: -EBADMSG. Of a bridge's sink, what
 * was left out comes first (ledger_leave_out), and its runs are to be decided about before it is
 * deleted (ledger_file_runs). `now`: wall time; `running`: running time, from which the packs'
 * retention counts. */
int ledger_end_file(Txn *txn, FileRecord *file, FileState state, usec_t now, usec_t running, Error *error);

/* A closed file becomes several closed ones, which hold its rows in order. `slices` hold what can
 * be read of them, in row order, and lie in packs that were added before; neighbours of equal
 * `file` make one part, whose rows go on to the next part. An id of the parts may be the old
 * file's. The old slices are forgotten, but for quarantined and returned ones, which go on in their
 * part; a pack in which none is left goes with the next ledger_forget_packs. `runs`: those of all
 * slices, one slice after the other, as many of each as its run_count says: they must be those of
 * the old slices that can be read, in the same order, so that cuts are at ends of runs
 * (offset_runs_cut). NULL when there are none. `running`: the running time. */
int ledger_divide_file(Txn *txn, const Uuid *id, const SliceRecord *slices, size_t count, const OffsetRun *runs, usec_t running,
                       Error *error);

/* The runs of the slice that begins at the row, which are added to `runs`: 0 or
 * LEDGER_NOT_FOUND. */
int ledger_read_runs(Txn *txn, uint32_t sink, uint64_t first_row, OffsetRuns *runs, Error *error);
/* Those of all slices of the file that can be read, in order: what an import decides about, and
 * what a position-only import has to before the file is deleted. */
int ledger_file_runs(Txn *txn, const FileRecord *file, OffsetRuns *runs, Error *error);

/* Forgets the ranges of a sink that is erased: nothing of it may wait. Files and slices go with
 * their packs. */
int ledger_forget_ranges(Txn *txn, uint32_t sink, Error *error);

/* Walks: < 0 from the visit ends the walk and is returned. A visit must not write. */
typedef int (*FileVisit)(void *context, const FileRecord *file, Error *error);
typedef int (*SliceVisit)(void *context, const SliceRecord *slice, Error *error);
typedef int (*PackVisit)(void *context, const PackRecord *pack, Error *error);
typedef int (*RangeVisit)(void *context, const RangeRecord *range, Error *error);
int ledger_visit_files(Txn *txn, uint32_t sink /* 0: all */, FileVisit visit, void *context, Error *error); /* by sink and first row */
/* Slices that hold any of the rows, by first row. */
int ledger_visit_slices(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, SliceVisit visit, void *context, Error *error);
int ledger_visit_packs(Txn *txn, PackVisit visit, void *context, Error *error);
int ledger_visit_ranges(Txn *txn, uint32_t sink, RangeVisit visit, void *context, Error *error); /* by first row */
/* Only what waits: files that are open or closed, by sink and first row, and packs with slices that
 * are not done. */
/* `damaged`: of the sink a file waits that cannot be read or that the visit does not take
 * (-EBADMSG); 0 leaves it out. */
typedef int (*FileDamaged)(void *context, uint32_t sink, Error *error);
int ledger_visit_waiting_files(Txn *txn, FileVisit visit, FileDamaged damaged, void *context, Error *error);
int ledger_visit_waiting_packs(Txn *txn, PackVisit visit, void *context, Error *error);
/* Files of the sink in any state, the last one first. */
int ledger_visit_last_files(Txn *txn, uint32_t sink, size_t most, FileVisit visit, void *context, Error *error);
int ledger_pack_bytes(Txn *txn, uint64_t *ret_bytes, Error *error); /* of all packs that are known */
/* Makes anew what finds these: for a ledger of a program that did not keep it, and after damage. */
int ledger_make_index(Txn *txn, Error *error);
/* Is it another one than would be made now? */
int ledger_index_differs(Txn *txn, bool *ret_differs, Error *error);
int ledger_has_index(Txn *txn, bool *ret_has, Error *error);
enum { LEDGER_NOT_FOUND = 1 };
int ledger_find_file(Txn *txn, const Uuid *id, FileRecord *ret_file, Error *error);
/* The sink's open file. */
int ledger_find_open_file(Txn *txn, uint32_t sink, FileRecord *ret_file, Error *error);
int ledger_find_pack(Txn *txn, const Uuid *id, PackRecord *ret_pack, Error *error);
/* Of the ids (in any order) those stay that the ledger does not know, ascending: it has neither a
 * record of the pack nor a slice in it. A record that is damaged is known. A walk beside the ids in
 * the order of the keys: quick also for a million of them. */
int ledger_keep_unknown_packs(Txn *txn, Uuid *ids, size_t *count, Error *error);
/* Where the sink's ranges end: number of its first row that is not staged; 1 for a new sink. */
int ledger_end_row(Txn *txn, uint32_t sink, uint64_t *ret_row, Error *error);

typedef struct ForgottenPack {
    Uuid id;
    uint64_t bytes;
    bool quarantined; /* it holds rows that could not be read: its file is the only copy of what is left of them */
} ForgottenPack;

/* Forgets packs whose slices are all done, the last one at `done_before` (running time) or earlier,
 * with their slices, and the files of which no slice is left (ranges stay). The caller removes the
 * packs after the commit. `ret_packs`: at most `most`, free(); NULL when there are none. */
int ledger_any_to_forget(Txn *txn, usec_t done_before, bool *ret_any, Error *error);
int ledger_forget_packs(Txn *txn, usec_t done_before, size_t most, ForgottenPack **ret_packs, size_t *ret_count, Error *error);

/* Do ranges and files of `sink` cover [1, staged_row) without hole or overlap, do the slices cover
 * the files that wait, and are their packs known? -EBADMSG names the first that does not hold. */
int ledger_verify(Txn *txn, uint32_t sink, uint64_t staged_row, Error *error);
/* Are the counts of every pack those of its slices? */
int ledger_verify_packs(Txn *txn, Error *error);
