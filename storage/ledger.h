/*
 * The ledger of files and slices. A slice is one sink's rows in one pack (first row, count, place); a file is a run of slices that is
 * imported as one, with its own copy of where its rows go. Per sink, every row number below staged_row is in exactly one range with a state:
 * staged (in a slice of a file that is not done), imported, expired, quarantined, deleted or discarded. The functions here keep that
 * true or fail without changing anything; ledger_verify checks it whole. Only the writer changes anything.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/uuid.h"
#include "storage/environment.h"

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
    uint64_t checksum;               /* folded over its slices' checksums */
    usec_t first_time, last_time;    /* receive time of the first and last row */
    usec_t opened, closed, done;     /* wall time; 0: not yet */
    uint32_t attempts;
    usec_t next_try;  /* wall time */
    char *last_error; /* owned; NULL: none */
    char *target;     /* owned: JSON of table_target_store; never NULL */
    char *label;      /* owned: "SOURCE/SINK" when it was opened; never NULL */
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
} SliceRecord;

typedef struct PackRecord {
    Uuid id;
    uint64_t bytes;   /* of the pack file */
    uint32_t slices;  /* in it */
    uint32_t done;    /* of those: imported, expired, deleted */
    usec_t last_done; /* wall time when the last of them was done; 0: not yet */
} PackRecord;

void file_record_deinit(FileRecord *file);
int file_record_copy(const FileRecord *from, FileRecord *ret_file);

/* A new open file: must begin where the sink's last file ends. */
int ledger_open_file(Txn *txn, const FileRecord *file, Error *error);
/* Adds a slice to its open file and counts it to its pack; `file` is brought up to date. The slice must go on where the file ends and have the
 * same mapping version. */
int ledger_add_slice(Txn *txn, FileRecord *file, const SliceRecord *slice, Error *error);
int ledger_add_pack(Txn *txn, const PackRecord *pack, Error *error);
/* Rows [first, first+rows) of the sink will never be read (damaged): they become a quarantined range; the open file, if any, must end there. */
int ledger_skip_rows(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, Error *error);
int ledger_close_file(Txn *txn, FileRecord *file, CloseReason reason, usec_t now, Error *error);
/* A closed file failed: attempts, next_try and last_error as given in `file`. */
int ledger_update_file(Txn *txn, const FileRecord *file, Error *error);
/* Closed -> imported, expired or deleted (also open -> deleted): its slices are done, its rows one range with the ones beside it. */
int ledger_end_file(Txn *txn, FileRecord *file, FileState state, usec_t now, Error *error);

typedef int (*FileVisit)(void *context, const FileRecord *file, Error *error); /* < 0 ends the walk */
typedef int (*SliceVisit)(void *context, const SliceRecord *slice, Error *error);
typedef int (*PackVisit)(void *context, const PackRecord *pack, Error *error);
int ledger_visit_files(Txn *txn, uint32_t sink /* 0: all */, FileVisit visit, void *context, Error *error); /* by sink and first row */
int ledger_visit_slices(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, SliceVisit visit, void *context, Error *error);
int ledger_visit_packs(Txn *txn, PackVisit visit, void *context, Error *error);
enum { LEDGER_NOT_FOUND = 1 };
int ledger_find_file(Txn *txn, const Uuid *id, FileRecord *ret_file, Error *error);

/* Forgets packs whose slices are all done since before `done_before`, with their slices and files (ranges stay). The caller unlinks them after
 * the commit. `ret_packs`: at most `most` ids, free(). */
int ledger_forget_packs(Txn *txn, usec_t done_before, size_t most, Uuid **ret_packs, size_t *ret_count, Error *error);

/* Do ranges and files of `sink` cover [1, staged_row) without hole or overlap? -EBADMSG names the first that does not. */
int ledger_verify(Txn *txn, uint32_t sink, uint64_t staged_row, Error *error);
