/*
 * Events in, rows of all sinks out. A RowBatch gathers the rows of events, of one source or of
 * several, into one Append for the writer. What is stored whole or not at all is a part of it: the
 * events of a request, or of whoever reads events from elsewhere. Nothing here knows where events
 * come from or who waits for an answer.
 *
 *     row_batch_begin                a part
 *       row_batch_map                an event: its rows or a failure in each sink, to be looked at
 *       row_batch_keep, _leave       it is of the part, with what its sinks quarantine; or it is left out, and its neighbours stay
 *       row_batch_admit              bytes in flight for the part so far
 *     row_batch_end, _undo           the part is of the batch, or as if it had never been
 *     row_batch_seal                 the Append, to be posted; when it is back: row_maker_settle, answers, row_maker_recycle
 *
 * Rows of a sink are in the order of the events, so whoever looks at each event knows whose rows
 * they are. A part may last for a while, as long as it is the only one of its batch.
 *
 * Events that are records of a broker's partitions have runs as well (flow/messages.h). Such a part
 * is the only one of its batch:
 *
 *     row_batch_runs_begin            the records of one partition
 *       row_batch_map, _map_some, _fail; row_batch_keep, _leave      as above, each record with its offset
 *     row_batch_runs_end              each sink's run of them; where a piece was full in between, more than one
 *
 * One thread: that of the RowMaker, which several batches may share.
 */
#pragma once

#include "gateway/flow/messages.h"
#include "gateway/flow/snapshot.h"
#include "gateway/flow/usage.h"
#include "mapping/plan.h"

/* Of one thread: the mapper, and the memory of batches, which is used again. */
typedef struct RowMaker RowMaker;

/* `row_bytes`: of one row at most; a larger one is MAP_ROW_TOO_LARGE. `part_bytes`: of a part's
 * rows and rejects at most. `usage`: NULL when nothing is admitted. */
RowMaker *row_maker_new(size_t row_bytes, size_t part_bytes, Usage *usage);
void row_maker_free(RowMaker *maker); /* NULL-safe; all Appends are back */

#define ROW_BATCH_BUCKETS 256

/* All-zero but for `maker` is empty. All of it lies in the arena of its Append. */
typedef struct RowBatch {
    RowMaker *maker;
    Append *
        append; /* what is gathered; NULL: nothing. Whoever waits for it may use its arena and `tickets`, and read `snapshot` and `bytes` */
    struct BatchSource *sources, *last;
    struct BatchSource *buckets[ROW_BATCH_BUCKETS];
    struct BatchReject *rejects, **rejects_tail;
    size_t reject_count;
} RowBatch;

/* What became of the events of a part. */
typedef struct RowTally {
    uint64_t events;   /* that were kept */
    uint64_t stored;   /* of them, those that gave at least one sink a row */
    uint64_t rejected; /* of them, those that at least one sink quarantined */
    uint64_t sink_rejected[SINKS_A_SOURCE_MAX];
} RowTally;

/* Where a part began in a sink, to take it back. */
typedef struct RowMark {
    size_t rows_size, piece_count;
    AppendPiece piece;
    usec_t first_time, last_time;
    uint64_t empty;
} RowMark;

typedef struct RowPart {
    RowTally tally;
    uint64_t bytes;      /* of its rows and rejects so far */
    uint64_t elsewhere;  /* set by the caller: of its events that are not mapped yet, since the template broker has them */
    int64_t record;      /* set by the caller: within runs, the offset of the record that the event at hand is of; it rises */
    UsageClaim claim;    /* for both, as of the last row_batch_admit */
    uint64_t discovered; /* values of its events without a column of their own, in sinks that infer: control was told */
    /* row_batch.c */
    struct BatchSource *source;
    uint64_t **defaults; /* how often they were used, by sink and column; in the arena. NULL: never */
    size_t failed;       /* sinks, of the event at hand */
    bool has_event;      /* it was mapped, and neither kept nor left */
    struct BatchReject **rejects_tail;
    size_t reject_count;
    RowMark marks[SINKS_A_SOURCE_MAX];
} RowPart;

/* `source` has a plan and lives as long as `snapshot`, of which the batch keeps a reference; NULL:
 * what is never sealed may have none. All of a batch is of one snapshot (the fence of a changed
 * definition counts on it): seal it before a part of another one. `take_claim`: bytes in flight
 * that the part has already; all-zero: none. */
void row_batch_begin(RowBatch *batch, Snapshot *snapshot, SnapshotSource *source, UsageClaim take_claim, RowPart *ret_part);

/* Makes the event's rows. Returns how many sinks failed. Then it is kept or left, before the next
 * one. */
size_t row_batch_map(RowBatch *batch, RowPart *part, const Event *event);
/* The same for some sinks, at least one, by index of the plan's sinks: the others get neither a row
 * nor a reject. */
size_t row_batch_map_some(RowBatch *batch, RowPart *part, const Event *event, const bool *wanted);
/* In the place of row_batch_map: the event cannot be mapped, and each of those sinks (NULL: all)
 * fails with this sentence, which is cut where it is longer than MapFailure has room. */
size_t row_batch_fail(RowBatch *batch, RowPart *part, const bool *wanted, Span sentence);
/* Of the event at hand, by index of the plan's sinks: why there is no row; NULL: there is one, or
 * none was wanted. Until the next event of any batch. */
const MapFailure *row_batch_failure(const RowBatch *batch, size_t sink);
/* The text of its rows; empty: it failed, or there is none. */
Span row_batch_row(const RowPart *part, size_t sink);
/* The first sink that failed and wants the sender to be refused (onInvalid: reject); NULL: none. */
const Sink *row_batch_refuser(const RowBatch *batch, const RowPart *part, const MapFailure **ret_failure);

/* The event at hand is of the part. Sinks that failed get it as a reject, with `content_type`.
 * false: the part would have more than part_bytes; it is left out. */
bool row_batch_keep(RowBatch *batch, RowPart *part, const Event *event, Span content_type);
void row_batch_leave(RowPart *part);

/* From here on what is kept is of records of one partition. `next`, `sets_end`: by index of the
 * plan's sinks: where the sink's run begins (-1: it has none, and gets no row), and whether it sets
 * the end. No record below a sink's `next` is mapped for it. */
void row_batch_runs_begin(RowBatch *batch, RowPart *part, const int64_t *next, const bool *sets_end);
/* All records before `end` were there: the runs end here. A sink whose run would begin there or
 * behind it has none. `partition` is copied. */
void row_batch_runs_end(RowBatch *batch, RowPart *part, const Partition *partition, int64_t end);
/* The Append names this partition, without runs of it. Copied. */
void row_batch_name(RowBatch *batch, const Partition *partition);

/* Claims bytes in flight for what is kept and what is elsewhere, fewer or more than before; false:
 * there is no room. */
bool row_batch_admit(RowBatch *batch, RowPart *part);
/* After it was admitted. */
void row_batch_end(RowBatch *batch, RowPart *part);
/* Gives its claim back, too. */
void row_batch_undo(RowBatch *batch, RowPart *part);

/* The Append of all that was gathered, to be completed (message, reply) and posted; NULL: nothing
 * was begun. All may have been undone: an Append for which append_is_empty needs no writer. */
Append *row_batch_seal(RowBatch *batch);
/* All that was gathered is as if it had never been, an event at hand too. Parts that were not ended
 * have nothing in flight. */
void row_batch_drop(RowBatch *batch);

/* An Append is back: gives its bytes in flight back and counts its events if it is done. Before its
 * senders are answered: who has an answer finds the room. */
void row_maker_settle(RowMaker *maker, Append *append);
/* Drops the snapshot and keeps the memory, which also was that of `tickets`. */
void row_maker_recycle(RowMaker *maker, Append *take_append);
