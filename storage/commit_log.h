/*
 * The commit log: what is durable and not yet staged. One value a commit group: key = commit number
 * (8 bytes, big-endian, from 1, without gaps until trimmed), value = header, directory with a
 * checksum of its own, then the rows grouped by sink. docs/formats.md has each byte.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"
#include "storage/environment.h"
#include "storage/offset_run.h"

#define COMMIT_LOG_GROUP_BYTES_MAX (16u << 20) /* a larger request takes several groups of one transaction */

/* One sink's share of a group. */
typedef struct GroupEntry {
    uint32_t sink;
    uint32_t mapping_version;
    uint64_t first_row; /* number of the first row in its sink; without rows: that the next one will get */
    uint64_t rows;      /* none only where there are runs */
    uint64_t bytes;     /* of row text */
    usec_t first_time;  /* receive time of the oldest and the newest row, wall time */
    usec_t last_time;
    uint64_t checksum; /* of the row text */
} GroupEntry;

/* For writing: the entry (its checksum is made here), the pieces that together are its row text,
 * and for a bridge's sink the runs that its rows are. */
typedef struct GroupSegment {
    GroupEntry entry;
    const Span *pieces;
    size_t piece_count;
    const OffsetRun *runs; /* of the same sink, in the order of the rows */
    size_t run_count;      /* 0: not a bridge's sink */
} GroupSegment;

/* Writes the rows once, straight into the page. -ENOSPC: the map is full (the transaction must be
 * aborted). -EEXIST: `commit` does not come after the last one. Segments: one a sink, ascending
 * sink, at least one row or run each, together at most COMMIT_LOG_GROUP_BYTES_MAX of row text. That
 * no commit number is left out is the writer's duty. */
int commit_log_append(Txn *txn, uint64_t commit, usec_t commit_time, GroupSegment *segments, size_t count, Error *error);
/* First and last commit number that are there; both 0: empty. */
int commit_log_bounds(Txn *txn, uint64_t *ret_first, uint64_t *ret_last, Error *error);
/* Deletes the groups before `commit`, oldest first, at most `most` (LMDB needs free pages to
 * delete). */
int commit_log_trim(Txn *txn, uint64_t commit, size_t most, size_t *ret_deleted, Error *error);
/* Those from `from` to before `commit`. */
int commit_log_trim_from(Txn *txn, uint64_t from, uint64_t commit, size_t most, size_t *ret_deleted, Error *error);

/* Reads groups in order. Views point into the map: valid until the transaction ends. */
typedef struct CommitLogReader CommitLogReader;
typedef struct GroupView {
    uint64_t commit;
    usec_t commit_time;
    const GroupEntry *entries; /* in the reader's memory, until the next call */
    const Span *rows;          /* row text of each entry */
    size_t count;
    const OffsetRun *runs; /* of all entries, by ascending sink; in the reader's memory as well */
    size_t run_count;
    uint64_t value_bytes; /* what the group takes in the log */
} GroupView;

int commit_log_reader_new(Txn *txn, uint64_t from_commit, CommitLogReader **ret_reader, Error *error);
enum { COMMIT_LOG_READ_END = 1, COMMIT_LOG_READ_DAMAGED = 2 };
/* 0, COMMIT_LOG_READ_END, or COMMIT_LOG_READ_DAMAGED: header or directory fail their checksum (only
 * view->commit is set; reading can go on). Row text is not verified here: group_rows_intact. */
int commit_log_read(CommitLogReader *reader, GroupView *ret_view, Error *error);
bool group_rows_intact(const GroupEntry *entry, Span rows);
/* The runs of the entry with that index; 0: it has none. */
size_t group_runs(const GroupView *view, size_t entry, const OffsetRun **ret_runs);
void commit_log_reader_free(CommitLogReader *reader); /* NULL-safe; before the transaction ends */
