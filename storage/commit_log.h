/*
 * The commit log: rows that are durable and not yet staged. A commit group is one value. Its key is
 * the commit number (8 bytes, big-endian, from 1, without gaps except where groups were trimmed).
 * Its value is a header, a directory with its own checksum, and the rows, grouped by sink.
 * docs/formats.md has each byte.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"
#include "base/uuid.h"
#include "storage/environment.h"
#include "storage/offset_run.h"

#define COMMIT_LOG_GROUP_BYTES_MAX (16u << 20) /* a larger request takes several groups of one transaction */

/* The part of one sink in a group. */
typedef struct GroupEntry {
    uint32_t sink;
    uint32_t mapping_version;
    uint64_t first_row; /* number of the first row in its sink; without rows: the number of the next row */
    uint64_t rows;      /* 0 only if there are runs */
    uint64_t bytes;     /* of row text */
    usec_t first_time;  /* receive time of the oldest and the newest row, wall time */
    usec_t last_time;
    uint64_t checksum; /* of the row text */
    /* of the events that gave its rows; nil: an earlier program wrote it, or it has no rows */
    UuidRange ids;
} GroupEntry;

/* For writing: the entry (its checksum is computed here), the pieces that together are its row
 * text, and for a sink of a bridge the runs to which the rows belong. */
typedef struct GroupSegment {
    GroupEntry entry;
    const Span *pieces;
    size_t piece_count;
    const OffsetRun *runs; /* of the same sink, in the order of the rows */
    size_t run_count;      /* 0: it is not a sink of a bridge */
} GroupSegment;

/* Appends a group. The rows are written once, directly into the page. There is one segment per
 * sink, in ascending order of sinks, with at least one row or run each, and together with at most
 * COMMIT_LOG_GROUP_BYTES_MAX of row text. The writer has to make sure that commit numbers have no
 * gap. -ENOSPC: the map is full, and the transaction must be aborted. -EEXIST: `commit` is not
 * above the last commit number. */
int commit_log_append(Txn *txn, uint64_t commit, usec_t commit_time, GroupSegment *segments, size_t count, Error *error);
/* Returns the first and the last commit number; both are 0 if the log is empty. */
int commit_log_bounds(Txn *txn, uint64_t *ret_first, uint64_t *ret_last, Error *error);
/* Returns the number of the first group that was committed at `time` (wall) or later; above the
 * last one if there is none. Commit times never decrease. A group whose header cannot be read counts
 * as earlier. */
int commit_log_since(Txn *txn, usec_t time, uint64_t *ret_commit, Error *error);
/* Deletes groups before `commit`, the oldest one first, at most `most` of them (LMDB needs free
 * pages to delete). */
int commit_log_trim(Txn *txn, uint64_t commit, size_t most, size_t *ret_deleted, Error *error);
/* The same for the groups from `from` up to, but not including, `commit`. */
int commit_log_trim_from(Txn *txn, uint64_t from, uint64_t commit, size_t most, size_t *ret_deleted, Error *error);

/* Reads groups in order. Views point into the map and are valid until the transaction ends. */
typedef struct CommitLogReader CommitLogReader;
typedef struct GroupView {
    uint64_t commit;
    usec_t commit_time;
    const GroupEntry *entries; /* in the memory of the reader, valid until the next call */
    const Span *rows;          /* row text of each entry */
    size_t count;
    const OffsetRun *runs; /* of all entries, by ascending sink; in the memory of the reader as well */
    size_t run_count;
    uint64_t value_bytes; /* size of the group in the log */
} GroupView;

int commit_log_reader_new(Txn *txn, uint64_t from_commit, CommitLogReader **ret_reader, Error *error);
enum { COMMIT_LOG_READ_END = 1, COMMIT_LOG_READ_DAMAGED = 2 };
/* Returns 0, COMMIT_LOG_READ_END, or COMMIT_LOG_READ_DAMAGED: the checksum of the header or
 * directory is wrong. Then only ret_view->commit is set, and reading can continue. Row text is not
 * checked here, but by group_rows_intact. */
int commit_log_read(CommitLogReader *reader, GroupView *ret_view, Error *error);
bool group_rows_intact(const GroupEntry *entry, Span rows);
/* Returns the number of runs of the entry with this index, and the runs. */
size_t group_runs(const GroupView *view, size_t entry, const OffsetRun **ret_runs);
void commit_log_reader_free(CommitLogReader *reader); /* NULL-safe; call it before the transaction ends */
