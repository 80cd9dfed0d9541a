/*
 * The inside of the writer, shared by this folder's files alone. Everything here belongs to the writer's thread. The files:
 *
 *   writer.c           the step, messages, open and close
 *   commit.c    group commit: Appends to commit groups
 *   stage.c     what leaves the log: judging sinks, giving out Stages, recording slices, closing files
 *   import.c    what leaves the packs: picking files, giving out LoadJobs, recording how they ended, pauses
 *   divide.c    a file that takes too long becomes several
 *   failed.c    what a destination did not take: rejects, and files that are set aside
 *   admin.c     what the control thread asks for
 *   pause.c     imports that an admin holds back
 *   space.c     trimming, retention, the disk budget
 *   recovery.c  what a start finds
 *   give_up.c   staging files that a start does not find
 *   erase.c     sinks that are erased
 *   repair.c    damaged records
 *
 * Rule of changes: a transaction that records what happened (stage, import, close) changes memory as it goes, and its failure breaks the
 * writer: the process ends and starts again from the disk. Only Appends, rejects and what an admin asks can fail by themselves: their
 * memory is changed after the commit. So that a full disk breaks nothing, disk blocks are reserved for the former, and Appends are
 * refused before they would use those (writer_record_reserve).
 */
#pragma once

#include <pthread.h>

#include "base/random.h"
#include "base/thread.h"
#include "gateway/delivery/scheduler.h"
#include "gateway/delivery/writer/writer.h"
#include "storage/commit_log.h"
#include "storage/conditions.h"

/* Rows of a sink that lie only in the log: of one mapping version, without a gap in their numbers. */
typedef struct Run {
    uint32_t mapping_version;
    bool staging; /* in a Stage that is not back */
    uint64_t first_row, rows, bytes;
    uint64_t from_commit, to_commit;
    usec_t commit_time; /* wall, of from_commit */
    usec_t since;       /* boot: when the oldest of them came */
    usec_t first_time, last_time;
} Run;

/* Where the rows of one mapping version go: what a file needs when it is opened. */
typedef struct SinkVersion {
    uint32_t version;
    char *target;    /* owned: JSON text of table_target_store */
    uint64_t digest; /* of the text: files of equal targets may share a job */
    bool keyed;      /* has a primary key: files are imported strictly in order */
    struct WriterConnection *connection;
} SinkVersion;

/* A closed file that waits for its import. Its record stays on disk, so that a backlog costs little memory. */
typedef struct WaitingFile {
    Uuid id;
    uint32_t mapping_version;
    uint32_t attempts;
    uint64_t first_row, rows, bytes; /* rows that can be read are rows less damaged */
    uint64_t damaged;
    uint64_t digest;
    usec_t first_time, last_time;
    usec_t next_try;     /* boot */
    usec_t waits_since;  /* running: when it was closed, or this start found it */
    usec_t first_failed; /* running: its first try that failed; 0: none did */
    unsigned tries;      /* since this start, that failed */
    usec_t expire_after; /* boot: not before, since its copy could not be written */
    struct WriterConnection *connection;
    bool keyed;
    bool alone; /* was refused: no other file is drawn into its job */
    bool importing;
    bool expiring;
    bool dividing;
} WaitingFile;

/* Neither with a loader nor with the stager. */
static inline bool waiting_is_at_rest(const WaitingFile *file) {
    return !file->importing && !file->expiring && !file->dividing;
}

typedef struct SettledFile {
    Uuid id;
    usec_t done; /* wall, in the order of imports */
    struct WriterConnection *connection;
} SettledFile;

typedef struct SinkState {
    Timer timer; /* first: judged again when it is due */
    SinkTotals totals;
    bool dirty; /* totals changed since they were stored */

    /* group commit in progress */
    uint64_t plan_stamp; /* of the transaction that planned_next belongs to */
    uint64_t planned_next;
    uint64_t group_stamp; /* of the group that group_index belongs to */
    size_t group_index;
    uint64_t new_rejected_events;

    /* what the control thread said */
    bool known; /* nothing is imported before: it may be paused */
    bool deleted;
    bool paused;         /* it or its source */
    usec_t paused_since; /* running */
    bool stopped;        /* its numbers have an unexplained hole */
    Conditions conditions;
    SinkGate *gate;
    char *label; /* "SOURCE/SINK" */
    SinkVersion *versions;
    size_t version_count;

    /* in the log */
    Run *runs; /* oldest first */
    size_t run_count, run_capacity;
    uint64_t log_rows, log_bytes;
    bool staging;      /* a Stage holds runs of it */
    bool stage_queued; /* waits for one */
    bool pressed;      /* pins the oldest groups of a log that is too large */
    CloseReason close_after;

    /* in packs */
    bool has_open;
    FileRecord open;
    usec_t open_since;  /* boot: when the oldest row of the open file came */
    WaitingFile *files; /* in row order */
    size_t file_count, file_capacity;
    uint64_t file_rows, file_bytes; /* of the waiting files */
    bool importing;
    unsigned failures; /* imports that failed since one succeeded */
    usec_t paused_until;
    char last_error[256];
    char damage[256];     /* of a record of it that was damaged, and what became of it; "": none was */
    SettledFile *settled; /* imported, and still in the destination's ledger as far as known; oldest first */
    size_t settled_count, settled_capacity;
    bool settled_loaded; /* those that the start found are among them */
    struct WriterConnection *queued_on;
    struct SinkState *next_queued;

    /* what was asked for */
    uint64_t close_row; /* rows before this one are to be closed now; 0: nothing asked */
    CloseReason close_reason;
    Close *waiters; /* linked by message.next */
} SinkState;

typedef struct WriterConnection {
    Timer timer; /* first: looked at again when the pause ends */
    char *name;
    unsigned running;     /* jobs that are not back */
    unsigned failures;    /* in a row: could not be reached */
    usec_t failing_since; /* running: the first of these */
    bool paused;          /* by an admin */
    usec_t paused_since;  /* running */
    usec_t paused_until;
    char last_error[256];    /* while it is failing */
    SinkState *first, *last; /* sinks with a file that may go, in order of arrival */
} WriterConnection;

/* About 1 MB of the log: how large is what lies before a commit? */
typedef struct LogChunk {
    uint64_t last_commit;
    uint64_t bytes;
} LogChunk;

struct GroupBuilder;

struct Writer {
    WriterOptions options;
    Mailbox *mailbox;
    ThreadOwner owner;
    usec_t boot, wall;     /* of this step */
    usec_t running;        /* of this step: the running time, see storage/totals.h */
    usec_t opened_running; /* when this start began */

    SinkState **sinks; /* by number */
    size_t sink_capacity;
    SinkState **dirty;
    size_t dirty_count, dirty_capacity;
    WriterConnection **connections;
    size_t connection_count;
    size_t paused_connections;
    Scheduler sink_timers, connection_timers;

    struct GroupBuilder *builder;
    uint64_t transactions; /* stamps */
    uint64_t last_commit;
    usec_t last_commit_time;
    uint64_t stored_commit; /* the stored totals are true for it */
    usec_t stored_at;       /* boot */
    usec_t stored_running;

    SinkState **stage_queue;
    size_t stage_queue_count, stage_queue_capacity;
    SinkState **close_queue; /* open files to close in one transaction */
    size_t close_queue_count, close_queue_capacity;
    unsigned stages_in_flight, imports_in_flight, expiring_in_flight;
    unsigned stage_failures;
    usec_t stage_paused_until;
    LoadJob *ended_imports; /* came back in this step, linked by message.next, newest first */

    LogChunk *chunks; /* oldest first, from chunk_first */
    size_t chunk_first, chunk_count, chunk_capacity;
    uint64_t log_bytes;
    uint64_t trim_to;            /* groups before this commit are needed by nobody, */
    uint64_t kept_from, kept_to; /* but for these, as found at the start: rows of sinks that are stopped */
    bool trim_more;
    uint64_t pressed_to; /* sinks in groups up to this one are pressed already */

    usec_t last_done; /* wall */
    uint64_t staging_bytes, expired_bytes, largest_file;
    bool space_short;
    usec_t space_checked, retained_checked, expiry_checked;
    uint64_t free_bytes;
    usec_t repair_after; /* boot: damaged records are not looked for before */

    Random random;
    UuidSource ids;
    Define *held; /* wait until the stage of their sink is back */
    bool draining, drained;
    usec_t drain_until;
    bool broken;

    pthread_mutex_t lending; /* held by who looks at the memory above while it is lent, and to begin and end that */
    bool lends;              /* under it */
};

/* ---- writer.c ---- */
SinkState *writer_sink(Writer *writer, uint32_t number);       /* NULL: never heard of */
SinkState *writer_sink_added(Writer *writer, uint32_t number); /* made when missing */
void writer_sink_free(SinkState *sink);
WriterConnection *writer_connection(Writer *writer, const char *name); /* made when missing */
void writer_touch(Writer *writer, SinkState *sink);                    /* judge it in this step */
void writer_mark_dirty(Writer *writer, SinkState *sink);
/* Stores the totals of all sinks that changed, true for the last commit that memory knows. */
int writer_store_totals(Writer *writer, Txn *txn, Error *error);
void writer_totals_stored(Writer *writer); /* that transaction is committed */
/* The promise cannot be kept any more. */
void writer_break(Writer *writer, const char *what, const Error *error);
/* Begins and ends a transaction that records what happened; on failure the writer is broken. false: it is. */
bool writer_record_begin(Writer *writer, Txn **ret_txn);
bool writer_record_end(Writer *writer, Txn *take_txn, int result, const char *what, Error *error);
/* As txn_commit, which is where a disk that hangs is met: lends the memory meanwhile. */
int writer_end_txn(Writer *writer, Txn *take_txn, Error *error);
usec_t writer_backoff(Writer *writer, unsigned failures);

/* ---- commit.c ---- */
struct GroupBuilder *group_builder_new(void);
void group_builder_free(struct GroupBuilder *builder);
/* Commits the Appends, in order, and answers them. */
void writer_commit(Writer *writer, Append **appends, size_t count);
/* Rows that the log holds become waiting ones. `since`: boot time. */
void writer_note_rows(SinkState *sink, uint64_t commit, usec_t commit_time, const GroupEntry *entry, usec_t since);

/* ---- stage.c ---- */
void writer_judge(Writer *writer, SinkState *sink);
void writer_give_out_stages(Writer *writer);
void writer_stage_ended(Writer *writer, Stage *take_stage);
void writer_close_files(Writer *writer); /* those in the close queue */
void stage_free(Stage *stage);
/* What a version's rows need to know; takes target. < 0: the text is not a target. */
int writer_add_version(Writer *writer, SinkState *sink, uint32_t version, char *take_target, Error *error);
SinkVersion *writer_find_version(SinkState *sink, uint32_t version);
uint64_t target_digest(const char *target);
/* Where a file's target lies, NULL: it is not a target. */
WriterConnection *writer_target_connection(Writer *writer, SinkState *sink, const char *target, bool *ret_keyed, Error *error);
/* Adds a closed file to those that wait. */
WaitingFile *writer_add_waiting(Writer *writer, SinkState *sink, const FileRecord *file, Error *error);
void writer_remove_waiting(SinkState *sink, size_t index);

/* ---- import.c ---- */
/* Queues the sink at a connection when a file of it may go; returns when to look again. */
usec_t writer_consider_import(Writer *writer, SinkState *sink);
void writer_pump_connections(Writer *writer);
void writer_import_back(Writer *writer, LoadJob *take_job);
void writer_record_imports(Writer *writer);
/* Answers the Close messages of which all is imported, or all those that a failure concerns. */
void writer_answer_waiters(Writer *writer, SinkState *sink);
void writer_fail_waiters(Writer *writer, SinkState *sink, uint64_t from_row, int code, const char *text);
void writer_forget_settled(SinkState *sink, const Uuid *ids, size_t count);
void writer_add_settled(SinkState *sink, const FileRecord *file, WriterConnection *connection);
/* Wall time for a file that is done: later than any before, also when the clock jumped back. */
usec_t writer_done_time(Writer *writer);
/* Every file may be tried at once. */
void writer_hurry(Writer *writer, SinkState *sink);

WaitingFile *writer_find_waiting(SinkState *sink, const Uuid *id); /* NULL: it does not wait; valid until a file is added or removed */
/* Slices that were found damaged: named, quarantined, and never asked for again. `damaged`: by slice; NULL: none is. */
int writer_quarantine_slices(Txn *txn, SinkState *sink, WaitingFile *waiting, FileRecord *file, const SliceRecord *slices,
                             const bool *damaged, size_t count, Error *error);
/* Slices of the file that can be read, in row order; free(). */
int writer_read_slices(Txn *txn, const FileRecord *file, SliceRecord **ret_slices, size_t *ret_count, Error *error);

/* ---- failed.c ---- */
void writer_pending_rejects(Writer *writer, PendingRejects *message);
/* Boot time from which the file may be set aside because its tries fail; USEC_NEVER: they do not, or have not for long enough to say. */
usec_t writer_expires(const Writer *writer, const WaitingFile *file);
void writer_begin_expire(Writer *writer, SinkState *sink, WaitingFile *file);
void writer_expire_ended(Writer *writer, Expire *take_expire);
void expire_free(Expire *expire);

/* ---- divide.c ---- */
void writer_begin_divide(Writer *writer, SinkState *sink, WaitingFile *file);
void writer_divide_ended(Writer *writer, Divide *take_divide);
void divide_free(Divide *divide); /* NULL-safe */

/* ---- admin.c ---- */
void writer_define(Writer *writer, Define *define);
void writer_run_held(Writer *writer);
void writer_close_asked(Writer *writer, Close *close);
void writer_fill_statistics(Writer *writer, TotalsQuery *query);
void writer_answer_totals(Writer *writer, TotalsQuery *query);
void writer_remove_rejects(Writer *writer, RejectsRemove *remove);
void writer_file_action(Writer *writer, FileAction *action);
/* Removes versions that no row needs any more. In the transaction that made it so. */
int writer_drop_versions(Writer *writer, Txn *txn, SinkState *sink, Error *error);

/* ---- pause.c ---- */
/* Does an admin hold back an import of the sink: itself, its source, or a connection that what waits goes to? */
bool writer_is_paused(const Writer *writer, const SinkState *sink);
/* The pauses that these orders end do not count for the age of files: so it is stored, before the orders are in effect. */
int writer_store_pauses(Writer *writer, Txn *txn, const Define *define, Error *error);
/* An admin pauses or resumes the sink (itself or its source); the caller touches it. */
void writer_pause(Writer *writer, SinkState *sink, const SinkOrder *order);
/* Walks over all sinks: seldom. */
void writer_order_connection(Writer *writer, const ConnectionOrder *order);

/* ---- space.c ---- */
void writer_log_grew(Writer *writer, uint64_t commit, uint64_t bytes);
void writer_find_trim(Writer *writer); /* after rows left the log */
int writer_trim(Writer *writer, Txn *txn, Error *error);
void writer_trim_rest(Writer *writer);
void writer_mind_space(Writer *writer);
usec_t writer_space_next(const Writer *writer);
void writer_mind_share(Writer *writer, SinkState *sink);
/* Bytes of the environment that only what records the way of accepted rows may use. */
uint64_t writer_record_reserve(const Writer *writer);
void writer_expired_path(const Uuid *file, char out[static 80]);

/* ---- give_up.c ---- */
/* Before recovery, with the totals loaded: 0 when the bytes of every slice that waits are there, or when those that are not were given up. */
int writer_mind_missing(Writer *writer, Error *error);

/* ---- repair.c ---- */
/* Nothing of the sink is staged any more, and its gate is closed; what waits stays. */
void writer_stop_sink(SinkState *sink, const char *why);
/* Notes of earlier repairs. */
int writer_load_damage(Writer *writer, Txn *txn, Error *error);
int writer_forget_damage(Txn *txn, uint32_t sink, Error *error);
/* Something was -EBADMSG: true when damaged records were repaired, so that it is worth another try. Outside of transactions. */
bool writer_repaired(Writer *writer, const Error *met);
/* For a writer that is thrown away after it: repairs what the next one will read. 0, or WRITER_NOTHING_DAMAGED. */
enum { WRITER_NOTHING_DAMAGED = 1 };
int writer_repair_for_next(Writer *writer, Error *error);

/* ---- erase.c ---- */
/* In a transaction, and in memory when that is committed: sinks of which something waits are left out. */
int writer_erase(Writer *writer, Txn *txn, const uint32_t *sinks, size_t count, Error *error);
void writer_erased(Writer *writer, const uint32_t *sinks, size_t count);

/* ---- recovery.c ---- */
int writer_recover(Writer *writer, Error *error);
