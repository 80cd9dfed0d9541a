/*
 * All messages between threads: the sender, the receiver, and the owner at each time. Nothing else
 * passes between threads, except the immutable snapshot (snapshot.h), the atomics of usage.h and
 * the counters of base/metrics.h.
 *
 *     L http loop, B bridge, A admin loop, C control (main), W writer, S stager, D loader, T template broker,
 *     K backups, F finder
 *
 * The direction is L, B -> W -> S and W -> D. In the other direction, only the same message comes
 * back when it is done, and small control messages.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/mailbox.h"
#include "base/uuid.h"
#include "config/definition.h"
#include "config/inference.h"
#include "gateway/flow/request.h"
#include "gateway/flow/usage.h"
#include "sinks/driver.h"
#include "storage/backup_folder.h"
#include "storage/catalog.h"
#include "storage/ledger.h"
#include "storage/partitions.h"
#include "storage/rejects.h"
#include "storage/totals.h"

typedef struct Snapshot Snapshot;

typedef enum MessageKind {
    MESSAGE_APPEND = 1,      /* L, B -> W -> L, B  Append: rows to make durable */
    MESSAGE_PROGRESS,        /* B -> W -> B   Progress: what the writer has of partitions, and what destinations said of them */
    MESSAGE_SNAPSHOT,        /* C -> L, B     SnapshotNews: run this from the next event on */
    MESSAGE_SNAPSHOT_GONE,   /* any -> C      SnapshotGone: nobody holds that generation any more */
    MESSAGE_DISCOVERED,      /* L, B -> C     Discoveries (discoveries.h): a sink that infers has fields without columns */
    MESSAGE_RUN_ANEW,        /* B -> C        RunAnew: what a run reads was made anew, so another run is to begin */
    MESSAGE_TEMPLATES,       /* L, B, C -> T -> back  TemplateBatch (templates/broker.h) */
    MESSAGE_TEMPLATE_CHECK,  /* C -> T -> C   TemplateCheck (templates/broker.h) */
    MESSAGE_DEFINE,          /* C -> W -> C   Define: catalog changes and what the writer must know of sinks, one transaction */
    MESSAGE_CLOSE,           /* C, B -> W -> back  Close: close a sink's file; comes back at once, or when all is imported */
    MESSAGE_TOTALS,          /* C -> W -> C   TotalsQuery: statistics as of the last commit */
    MESSAGE_REJECTS_REMOVE,  /* C -> W -> C   RejectsRemove */
    MESSAGE_FILE_ACTION,     /* C -> W -> C   FileAction: retry or delete a failed or expired file */
    MESSAGE_BACKUP,          /* C -> K -> C   BackupRun: make a backup (K: the thread of backups, delivery/backup.h) */
    MESSAGE_BACKUP_ORDER,    /* K -> W -> K   BackupOrder: the steps of a backup that the writer takes part in */
    MESSAGE_STAGE,           /* W -> S -> W   Stage: write one pack */
    MESSAGE_DIVIDE,          /* W -> S -> W   Divide: a file that takes too long becomes several, in a new pack */
    MESSAGE_FIND_EVENT,      /* C -> F -> C   FindEvent (delivery/finder.h): where is an event? */
    MESSAGE_SWEEP,           /* W -> S        Sweep: look for what an earlier process left in staging/; the first one of a start */
    MESSAGE_EXPIRE,          /* W -> S -> W   Expire: copy a file that failed for too long out of the packs */
    MESSAGE_IMPORT,          /* W -> D -> W   LoadJob: files into a table */
    MESSAGE_POSITIONS,       /* W -> D -> W   LoadJob: advance positions over runs whose rows nobody imports */
    MESSAGE_CLAIM,           /* B -> D -> B   LoadJob: make the positions of all partitions of topics, or read those that are there */
    MESSAGE_ORIGIN,          /* B -> D -> B   LoadJob: as MESSAGE_LIST, to know where a sink of another table begins */
    MESSAGE_GROUP_POSITIONS, /* C -> D -> C   LoadJob: remove or copy all positions of a group in a table */
    MESSAGE_SWAP,            /* B -> D -> B   LoadJob: the rows of a run replace those of the table */
    MESSAGE_SEEK,            /* B -> D -> B   LoadJob: set positions */
    MESSAGE_LIST,            /* B -> D -> B   LoadJob: read all positions of a group */
    MESSAGE_COLUMNS,         /* C -> D -> C   LoadJob: names for the columns of fields that were found */
    MESSAGE_PENDING_REJECTS, /* D -> W -> D   PendingRejects: D waits for it before COMMIT */
    MESSAGE_PREPARE,         /* C -> D -> C   LoadJob: check or create a table */
    MESSAGE_TEST_CONNECTION, /* C -> D -> C   LoadJob: could imports into the connection work? */
    MESSAGE_API_CALL,        /* A -> C -> A   ApiCall (control/call.h) */
    MESSAGE_BRIDGE_SEEK,     /* C -> B -> C   BridgeSeek: read from elsewhere */
    MESSAGE_BRIDGE_SKIP,     /* C -> B -> C   BridgeSkip: go on behind a record that stopped its partition */
    MESSAGE_DRAIN,           /* C -> L, B, A, W, S, D: finish what is there, take nothing new */
    MESSAGE_DRAINED,         /* L, B, W -> C  Drained: nothing of mine is in flight */
    MESSAGE_BROKEN,          /* W -> C        the promise cannot be kept any more: stop the process with exit 2 */
} MessageKind;

/* ---- L -> W -> L ----------------------------------------------------------------------------- */

/* A series of whole rows of one sink, at most about 1 MB (or one longer row), which the writer may
 * put into one group. */
typedef struct AppendPiece {
    size_t offset, bytes; /* in AppendSink.rows */
    uint64_t rows;        /* 0 only if there are runs */
    /* for a sink of a bridge: number of runs in AppendSink.runs that have its rows, behind those of
     * the piece before */
    size_t run_count;
    UuidRange ids; /* of the events that gave its rows; nil: not known, or it has no rows */
} AppendPiece;

/* A run: what the records [first, next) of one partition became in one sink
 * (storage/offset_run.h). */
typedef struct AppendRun {
    size_t partition;    /* index in Append.partitions */
    bool sets_end;       /* the first run after an assignment or a seek: it need not begin where the sink's last run ended */
    int64_t first, next; /* offsets: 0 <= first < next */
    uint64_t rows;
    int64_t end; /* out, if APPEND_MISPLACED: end of the records of the partition that the sink has without this Append; -1: it has none */
} AppendRun;

/* Rows of one sink under one mapping version, in the order of acknowledgement. */
typedef struct AppendSink {
    uint32_t sink;
    uint32_t mapping_version;
    Buffer rows;         /* row text (mapping/row.h) */
    AppendPiece *pieces; /* in the Append's arena; together they contain all rows */
    size_t piece_count;
    AppendRun *runs; /* in the arena; in the order of the rows; no run is in two pieces. NULL: it is not a sink of a bridge */
    size_t run_count;
    usec_t first_time, last_time; /* receive times, wall */
} AppendSink;

/* An event that a sink with `quarantine` could not map. All spans are in the Append's arena. */
typedef struct AppendReject {
    uint32_t sink;
    uint32_t mapping_version;
    Uuid event;
    usec_t at;
    Span column, reason, content_type, body;
    Span place;   /* for an event from a broker: its meta value `bridge`; otherwise empty */
    bool dropped; /* the body is left out, since values are masked */
    uint64_t event_bytes;
} AppendReject;

/* Events that the source took and that gave a sink no row. */
typedef struct AppendSkip {
    uint32_t sink;
    uint64_t events; /* events while the sink was disabled */
    uint64_t empty;  /* events whose array, which the sink explodes, was empty */
} AppendSkip;

typedef enum AppendResult {
    APPEND_DONE, /* committed and synced */
    APPEND_FULL, /* nothing stored: the disk budget or the map is full (503) */
    /* Nothing stored: it has rejects, and the rejects have their maximum size (503). An Append
     * without rejects is not refused for this reason. */
    APPEND_REJECTS_FULL,
    APPEND_FAILED, /* the writer cannot write any more; it is not known whether the rows are stored (503) */
    /* Nothing stored: a run does not begin where the sink's last run of its partition ended. Each
     * run says where that is. */
    APPEND_MISPLACED,
} AppendResult;

/* All rows that one turn of a loop has collected. They are stored in one transaction, completely or
 * not at all. */
typedef struct Append {
    Message message;
    Mailbox *reply;     /* mailbox to which it comes back */
    Snapshot *snapshot; /* a reference, which the loop drops when the Append is back */
    AppendSink *sinks;  /* in the arena */
    size_t sink_count;
    AppendReject *rejects; /* in the arena */
    size_t reject_count;
    AppendSkip *skips; /* in the arena */
    size_t skip_count;
    Partition *partitions; /* the partitions of the runs, in the arena with their texts. Out, if done: their numbers */
    size_t partition_count;
    uint64_t bytes;      /* counted against the bytes in flight (usage.h), given back by the loop */
    AppendResult result; /* out */
    /* loop */
    Arena arena;
    void *tickets; /* the requests that wait for it */
    /* Of a bridge whose broker keeps what is not acknowledged: what is stored with the rows, whole,
     * in the place of what was stored before under partitions[0]. Opaque to the writer; size 0:
     * nothing. In the arena. */
    Span mark;
} Append;

static inline bool append_is_empty(const Append *append) {
    return append->sink_count == 0 && append->reject_count == 0 && append->skip_count == 0;
}

/* ---- B -> W -> B ----------------------------------------------------------------------------- */

/*
 * What the writer has of a partition for a sink. Its runs have the records [from, end) without a
 * hole, as far as the destination has not decided about them. Records before `from` were imported
 * or overtaken. The next run has to begin at `end`. -1: there is no such chain; the next run begins
 * at the position at the destination, and sets the end.
 */
typedef struct PartitionProgress {
    int64_t from, end; /* -1, or 0 <= from <= end */
    int64_t left;      /* without a chain: the end of the chain of the former table; -1: there was none */
    int64_t position;  /* the last position that the destination reported to this process; -1: none was reported, or it has none */
    bool missing;      /* the destination has none, although a run needed it or a chain begins at one */
    bool known;        /* the destination was asked since the partition is watched: position and missing are its answer */
} PartitionProgress;

typedef struct SinkProgress {
    uint32_t sink;                 /* in: number */
    PartitionProgress *partitions; /* out: one for each of Progress.partitions; in the arena */
    uint64_t waiting_bytes;        /* out: bytes in the log and in files that are not imported */
    bool paused;                   /* out: an admin has paused the imports */
    usec_t failing_since;          /* out: boot time since which its imports fail; 0: they do not fail */
    usec_t made_table;             /* out: wall time when an import found the table missing and made it, since the start; 0: none did */
    char error[ERROR_TEXT_SIZE];   /* out: of the last failed import */
} SinkProgress;

/*
 * The question of a bridge, at least every 10 s while it reads. Until 30 s after the last question,
 * the writer has the positions of the partitions read at the destinations about every 5 s. If a
 * chain does not contain the position (from <= position <= end), the writer forgets the chain, so
 * that the bridge goes to the position.
 */
typedef struct Progress {
    Request request; /* result: 0 */
    Arena arena;
    Partition *partitions; /* in: keys, in the arena with their texts. Out: their numbers; 0: the writer has nothing of the partition */
    size_t partition_count;
    SinkProgress *sinks; /* in the arena */
    size_t sink_count;
    bool look_now;   /* in: have the positions read soon, because somebody has set them */
    bool was_sought; /* in: a seek has set them, so a table that was created again is not reported any more */
    Span mark;       /* out: Append.mark as it is stored under partitions[0], in the arena; size 0: none */
} Progress;

/* ---- C -> B -> C ----------------------------------------------------------------------------- */

typedef enum SeekTo { SEEK_EARLIEST, SEEK_LATEST, SEEK_OFFSET, SEEK_TIME } SeekTo;

/* The result for a sink. */
typedef struct BridgeSeekSink {
    uint32_t sink;
    int result;  /* a SinkResult; if not SINK_DONE, its positions are unchanged */
    Error error; /* the text to it */
} BridgeSeekSink;

typedef struct BridgeSeek {
    Request
        request; /* result: 0 all sinks; 1 not all, see the sinks; -EINVAL, -ENOENT no such topic or partition, -ENOTCONN the broker cannot be
                        asked, -ERANGE it would go back, -ECANCELED it ends */
    char *topic;       /* owned; NULL: all */
    int32_t partition; /* -1: all */
    SeekTo to;
    int64_t at;            /* SEEK_OFFSET: the offset; SEEK_TIME: ms since 1970 */
    uint32_t sink;         /* number; 0: all enabled ones */
    bool backwards;        /* positions may decrease, so records come twice */
    BridgeSeekSink *sinks; /* out; owned */
    size_t sink_count;
    uint64_t partitions; /* out: how many positions were set, of each sink */
} BridgeSeek;

typedef struct BridgeSkip {
    /* result: 0; -ENOENT: the partition did not stop there (the error says where it did), or is not
     * read here now; -ENXIO: the source reads no such partition */
    Request request;
    char *topic; /* owned */
    int32_t partition;
    int64_t offset;
} BridgeSkip;

/* ---- snapshots ------------------------------------------------------------------------------- */

typedef struct SnapshotNews {
    Message message;
    Snapshot *snapshot; /* a reference for the receiver, who frees the message */
} SnapshotNews;

typedef struct SnapshotGone {
    Message message; /* part of the snapshot's memory until it is posted; the receiver frees it with snapshot_gone_free */
    uint64_t generation;
} SnapshotGone;

/* ---- C -> W ---------------------------------------------------------------------------------- */

typedef struct CatalogChange {
    Collection collection;
    Span key;
    Span document; /* data NULL: remove */
} CatalogChange;

/* Data about a sink that the writer needs before its first rows arrive. */
typedef struct SinkOrder {
    Source *source;  /* references of the message */
    Sink *sink;      /* deleted or disabled: import the waiting rows, then nothing more. If it or its source is paused: import nothing */
    SinkGate *gate;  /* a reference */
    bool discard;    /* deleted with discard=true: drop the waiting rows */
    bool import_now; /* an import condition has changed: import the waiting rows, then use the new conditions */
} SinkOrder;

/* Are imports into a connection paused? */
typedef struct ConnectionOrder {
    const char *name; /* in the Define's arena */
    bool paused;
    usec_t running; /* running time of the begin of the pause; 0: not known */
} ConnectionOrder;

typedef struct Define {
    Request request;
    Arena arena; /* holds what the spans point to */
    CatalogChange *changes;
    size_t change_count;
    SinkOrder *sinks;
    size_t sink_count;
    ConnectionOrder *connections;
    size_t connection_count;
    uint32_t *erased; /* numbers of sinks that are deleted for good */
    size_t erased_count;
    uint64_t discarded_rows; /* out */
} Define;

typedef struct Close {
    Request request; /* result: 0; -ECANCELED the import failed, -EBUSY it is paused (error says why, rows are kept) */
    uint32_t sink;
    CloseReason reason;
    /* Come back when every row received before now is imported, and positions over records without
     * rows are set, or that failed. */
    bool wait_imported;
    uint64_t rows;     /* out: rows that were imported since the message came */
    uint64_t refused;  /* out: rows that the destination refused since then; they are in the rejects */
    char refusal[256]; /* out: the reason for one of them; "" if it refused none, or the reason is not known any more */
    /* writer */
    uint64_t up_to_row, up_to_commit;
} Close;

typedef struct SinkStatistics {
    SinkTotals totals;
    Tally local;   /* rows that wait in the log; first_time is that of the oldest */
    Tally staging; /* staged and not imported */
    uint32_t files_waiting, files_failed;
    bool paused;                      /* by an admin: the sink, its source, or a connection that its files go to */
    bool failing;                     /* its imports have stopped, or its connection cannot be reached */
    char last_error[ERROR_TEXT_SIZE]; /* of the last failed import; "" when the last one succeeded */
    usec_t made_table;                /* wall: an import found the table missing and made it, since the start; 0: none did */
    char damage[256];                 /* about a damaged record of the sink, and what was done; "": none was damaged */
} SinkStatistics;

typedef struct ConnectionStatistics {
    const char *name;     /* in */
    bool paused;          /* by an admin */
    bool failing;         /* the last import could not reach it */
    char last_error[256]; /* of that import, while it is failing */
} ConnectionStatistics;

/* Bytes on the local disk. */
typedef struct DiskStatistics {
    uint64_t budget;
    uint64_t database, staging, expired; /* used: the commit log and the definitions, staging files, copies of expired files */
} DiskStatistics;

typedef struct TotalsQuery {
    Request request;
    uint32_t *sinks;            /* numbers; owned by the sender */
    SinkStatistics *statistics; /* out, one each; owned by the sender */
    size_t count;
    ConnectionStatistics *connections; /* out, but for the names; owned by the sender */
    size_t connection_count;
    DiskStatistics disk; /* out */
} TotalsQuery;

typedef struct RejectsRemove {
    Request request;
    uint32_t sink;
    uint64_t up_to_number;
    uint64_t removed; /* out */
} RejectsRemove;

typedef struct FileAction {
    Request request; /* result: 0, -ENOENT, -EBUSY being imported, -EINVAL wrong state */
    Uuid file;
    bool remove;   /* else: retry now */
    uint64_t rows; /* out: of the file */
} FileAction;

/* ---- backups --------------------------------------------------------------------------------- */

typedef enum BackupStep {
    /* Everything that was received is in closed files, and the writer changes nothing until the
     * next order. From now on it removes no staging file. */
    BACKUP_POINT = 1,
    BACKUP_RELEASE, /* it goes on; -ETIMEDOUT: it went on before, because this order came too late */
    BACKUP_END,     /* staging files may be removed again */
} BackupStep;

typedef struct BackupOrder {
    Request request; /* result: 0; -ETIMEDOUT; -ECANCELED the gateway shuts down; -EROFS */
    BackupStep step;
    bool complete;   /* BACKUP_END: the backup is complete */
    uint64_t number; /* of the backup: out with BACKUP_POINT, then in */
    uint64_t commit; /* out, BACKUP_POINT: the last commit in it */
    uint64_t rows;   /* out, BACKUP_POINT: rows that wait for their import in it */
} BackupOrder;

typedef struct BackupRun {
    Request request; /* result: 0, or a negated errno: nothing is left of the backup */
    char name[BACKUP_NAME_MAX + 1];
    char *path;                                  /* out: the directory of the backup; owned */
    uint64_t number, commit, rows, packs, bytes; /* out */
    usec_t took;                                 /* out: length */
} BackupRun;

static inline void backup_run_free(BackupRun *run) {
    if (run) free(run->path);
    free(run);
}

/* ---- W -> S -> W ----------------------------------------------------------------------------- */

/* Makes the rows [first_row, first_row + rows) of one sink and one mapping version a slice of a
 * file. */
typedef struct StageItem {
    uint32_t sink;
    uint32_t mapping_version;
    uint64_t first_row, rows;
    uint64_t from_commit, to_commit; /* their commit groups in the log, inclusive */
    Uuid file;
    bool has_runs;                        /* they are of a bridge */
    char *description;                    /* owned: table target JSON */
    SliceRecord slice;                    /* out */
    OffsetRun *runs;                      /* out: slice.run_count of them; owned */
    uint64_t damaged_first, damaged_rows; /* out: rows in a damaged group; the slice ends before them (rows may be 0) */
} StageItem;

typedef struct Stage {
    Request request; /* result: 0, or a negated errno: nothing at the pack's final name */
    Uuid pack;
    StageItem *items; /* by sink; owned */
    size_t count;
    PackRecord record; /* out */
} Stage;

typedef struct Sweep {
    Message message;
    usec_t now; /* wall */
} Sweep;

/* Copies slices, as they are, into one file under staging/expired/. */
typedef struct Expire {
    Request request; /* result: 0, or a negated errno: no copy */
    uint32_t sink;
    Uuid file;
    SliceRecord *slices; /* owned; in row order */
    size_t slice_count;
    uint64_t bytes; /* out: of the copy */
} Expire;

/* Writes the rows of one file into new slices, divided at other rows: each of `slices` becomes one
 * or more of `parts`. */
typedef struct Divide {
    Request request; /* result: 0, or a negated errno: nothing at the pack's final name */
    uint32_t sink;
    Uuid file;           /* that is divided */
    Uuid pack;           /* the new one */
    char *description;   /* owned: table target JSON */
    SliceRecord *slices; /* owned; what can be read of it, in row order */
    size_t slice_count;
    OffsetRuns runs;     /* of all slices, one after the other; as many of each slice, and of each part, as its run_count says */
    bool *slice_damaged; /* owned; out: by slice, found damaged; NULL: none, the result is -EBADMSG otherwise */
    SliceRecord *parts;  /* owned; none lies in two of `slices`. In: sink, mapping version, rows, times, file. Out: the rest */
    size_t part_count;
    PackRecord record; /* out */
} Divide;

/* ---- W or C -> D ----------------------------------------------------------------------------- */

typedef struct LoadFile {
    FileRecord file;     /* a copy */
    SliceRecord *slices; /* owned; in row order; damaged ranges are simply not there */
    size_t slice_count;
    bool already_imported;  /* out: the destination's ledger had it */
    uint64_t found_rows;    /* out: of its damaged rows, those that the destination has: they were imported before they were damaged */
    uint64_t rejected_rows; /* out: made pending by this import */
    /* Of a bridge's sink, else NULL: the runs of all its slices, in row order; owned. Out,
     * SINK_DONE: what became of them. */
    ImportRun *runs;
    size_t run_count;
    bool *slice_damaged; /* out, not SINK_DONE: by slice, found damaged by this import; owned; NULL: none */
} LoadFile;

/* An operation on all positions of a group in a table. */
typedef enum GroupDeed { GROUP_REMOVE, GROUP_COPY, GROUP_GIVE_UP } GroupDeed;

/* A job for a loader. It comes back to `reply`. */
typedef struct LoadJob {
    Request
        request; /* MESSAGE_IMPORT, _POSITIONS, _CLAIM, _SWAP, _SEEK, _LIST, _ORIGIN, _GROUP_POSITIONS, _COLUMNS, _PREPARE or _TEST_CONNECTION; result: a SinkResult */
    char *connection;  /* name; owned */
    char *label;       /* "SOURCE/SINK"; owned */
    SinkTarget target; /* owned */
    uint32_t sink;
    LoadFile *files; /* MESSAGE_IMPORT; owned */
    size_t file_count;
    /* Of a bridge's sink, else none: the positions of the partitions that runs are of, in key
     * order; owned. Out, SINK_DONE: as they are now. */
    ImportPosition *positions;
    size_t position_count;
    Partitions partitions; /* owned: the texts of their keys */
    ImportRun *runs;       /* MESSAGE_POSITIONS; owned. Out, SINK_DONE: what became of them */
    size_t run_count;
    /* MESSAGE_CLAIM, see gateway/delivery/positions_job.h: as ClaimJob; owned, the texts are those
     * of `partitions`. */
    PositionClaim *claims;
    size_t claim_count;
    bool claims_listed; /* MESSAGE_CLAIM: claims nothing where the table has no position of the group and the cluster yet */
    bool claimed;       /* MESSAGE_CLAIM, out, SINK_DONE: it did not keep from it */
    RunState run_state; /* MESSAGE_CLAIM, out, SINK_DONE and `claimed`: as ClaimJob.state */
    uint64_t later_run; /* MESSAGE_CLAIM, _SWAP, out, SINK_DONE: as of ClaimJob, SwapJob */
    char *group;        /* MESSAGE_LIST, _ORIGIN, _GROUP_POSITIONS, _SWAP; owned */
    SwapLimit *limits;  /* MESSAGE_SWAP, as SwapJob.limits; owned, the texts are those of `partitions` */
    size_t limit_count;
    bool allow_empty;         /* MESSAGE_SWAP */
    SwapOutcome swap_outcome; /* MESSAGE_SWAP, out, SINK_DONE; as the next two see SwapJob */
    uint64_t rows, swallowed_rows;
    GroupDeed deed;         /* MESSAGE_GROUP_POSITIONS */
    SinkTarget copied_from; /* GROUP_COPY, of the same connection; owned */
    uint64_t changed;       /* MESSAGE_GROUP_POSITIONS, out, SINK_DONE: how many positions */
    /* MESSAGE_CLAIM (before it), _LIST, _ORIGIN, GROUP_REMOVE (after it), out, SINK_DONE: all that
     * the table has of the group; in `arena` */
    ListedPosition *listed;
    size_t listed_count;
    Arena arena;
    bool seeks_backwards, seeks_where_equal; /* MESSAGE_SEEK, of `positions`: SeekJob.backwards, .compare */
    InferredColumn *wanted, *named;          /* MESSAGE_COLUMNS: as ColumnsJob.wanted; out, SINK_DONE: its columns; owned */
    size_t wanted_count, named_count, columns_max;
    Uuid *settled; /* ledger rows to delete; owned */
    size_t settled_count;
    LedgerHistory *history;     /* of an import, or NULL: see ImportJob; owned */
    bool failed_before;         /* the last import of the sink did not succeed */
    bool rejects_pending;       /* an earlier import of one of the files left rejects behind: they are replaced even by none */
    bool inspects;              /* MESSAGE_PREPARE: only look */
    TableInspection inspection; /* out, MESSAGE_PREPARE that got so far: what it did, or would do */
    char **tables;              /* MESSAGE_TEST_CONNECTION: SinkTest.tables; owned, each too */
    unsigned *needs;            /* MESSAGE_TEST_CONNECTION: SinkTest.needs; owned */
    size_t table_count;
    SinkTest *test; /* MESSAGE_TEST_CONNECTION: out; owned. With the error it is the answer; `result` says whether it was tested at all */
    uint64_t rejected_rows; /* out */
    bool made_table;        /* out, of an import, also when it failed: the table was not there, and was made */
    char refusal[256];      /* out, of an import: why the destination refused the first of rejected_rows; "" it refused none */
    bool found_damage;      /* out, not SINK_DONE: that ended it; the next try goes without, once it is recorded */
    bool out_of_time;       /* out, not SINK_DONE: it was interrupted because it took too long */
    bool proven_absent;     /* out, not SINK_DONE: see ImportJob */
} LoadJob;

/* Refused rows, which a loader has stored before it commits at the destination. It waits on its own
 * mailbox until the message comes back. */
typedef struct PendingRejects {
    Request request;
    uint32_t sink;
    const Uuid *files; /* not imported before; what is pending for them is replaced. The loader's memory, as the next one; it waits */
    size_t file_count;
    const SinkReject *rejects; /* of those files; each file's together; may be none */
    size_t count;
} PendingRejects;

/* MESSAGE_BROKEN is a bare Message from malloc, MESSAGE_DRAIN and MESSAGE_DRAINED are one of
 * these; the receiver frees them. */
typedef struct Drain {
    Message message;
    usec_t until; /* boot time; a loop ends then what is still not whole */
} Drain;

static inline void drain_post(Mailbox *mailbox, usec_t until) {
    Drain *drain = (Drain *)calloc(1, sizeof *drain);
    check(drain);
    drain->message.kind = MESSAGE_DRAIN;
    drain->until = until;
    mailbox_post(mailbox, &drain->message);
}

/* A topic or stream was deleted and created again since the run of its source began. The message is
 * repeated until another run begins. */
typedef struct RunAnew {
    Message message;
    uint32_t source; /* number */
    usec_t run;      /* Source.run; if it has changed in the meantime, nothing has to be done */
} RunAnew;

typedef struct Drained {
    Message message;
    int who; /* index of the loop, or -1 the writer */
} Drained;
