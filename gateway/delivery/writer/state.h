/*
 * What the writer knows, as the files of this folder share it. Everything here belongs to the
 * writer's thread. Writer and SinkState hold little themselves: they point to parts, and a file
 * sees those of which it includes the header. The parts:
 *
 *   step_clock.h   the time of the step
 *   sinks.h        all sinks by number, and when each is evaluated again
 *   storage/partitions.h  the partitions that bridges read
 *   watch.h        those that they ask for
 *   stored.h       the totals that changed since they were stored
 *   log_state.h    the commit log: how large it is, what may be trimmed
 *   connections.h  the connections, and the sinks that queue there
 *   staging.h      what the stager has, and what it gets next
 *   imports.h      what the loaders have
 *   space_state.h  how much space is used
 *   drain_state.h  how far the end is
 *   backup_state.h how far a backup is, and what waits for it
 *   lending.h      whether another thread may read all this
 *   of a sink: group_plan.h, rules.h, versions.h, sink_log.h, sink_ends.h, watch.h, staging.h, open_file.h, waiting.h, imports.h, settled.h,
 *     waiters.h
 *
 * and the files that work on them, none of which includes one that includes it:
 *
 *   writer.c        the step, messages, open and close; above all others
 *   transaction.c   transactions of the environment
 *   commit.c        group commit: Appends to commit groups
 *   recorded.c      what came back in a step, in one transaction
 *   stage.c         what leaves the log: judging sinks, giving out Stages, recording slices, closing files
 *   unreachable.c   connections that cannot be reached
 *   closed.c        a closed file begins to wait
 *   import.c        what leaves the packs: picking files, giving out LoadJobs, recording how they ended, pauses
 *   chains.c        of a bridge's sink, what becomes of the chains of its partitions
 *   positions_alone.c  positions without rows; files of bridges that are deleted
 *   job_runs.c      the runs of a job
 *   left_out.c      what an import left out
 *   slices.c        the slices of a file, and those that are damaged
 *   divide.c        a file that takes too long becomes several
 *   failed.c        what a destination did not take: rejects, and files that are set aside
 *   define_sinks.c  what the control thread says of sinks and connections
 *   asked.c         what else the control thread asks for
 *   backup_point.c  the writer's part of a backup
 *   figures.c       what it asks to know
 *   progress.c      what a bridge asks
 *   pause.c         imports that an admin holds back
 *   space.c         trimming, retention, the disk budget
 *   drain.c         the end
 *   recover.c       what a start finds
 *   give_up.c       staging files that a start does not find
 *   erase.c         sinks that are erased
 *   damage.c        damaged records and what is known of them
 *   sums.c          does it all add up?
 *   repaired.c      the same, met while the writer works
 *
 * Rule of changes: a transaction that records what happened (stage, import, close) changes memory
 * as it goes, and its failure breaks the writer: the process ends and starts again from the disk.
 * Only Appends, rejects and what an admin asks can fail by themselves: their memory is changed
 * after the commit. So that a full disk breaks nothing, disk blocks are reserved for the former,
 * and Appends are refused before they would use those (writer_record_reserve).
 */
#pragma once

#include "base/random.h"
#include "base/thread.h"
#include "gateway/delivery/scheduler.h"
#include "gateway/delivery/writer/writer_options.h"
#include "storage/totals.h"

struct WaitingFile; /* waiting.h */
struct Partitions;  /* storage/partitions.h */

typedef struct SinkState {
    Timer timer; /* first: evaluated again when it is due */
    SinkTotals totals;
    bool dirty;             /* totals changed since they were stored */
    bool changed;           /* in this step, or is looked at anyway: sums.h */
    bool stopped;           /* its numbers have an unexplained hole */
    bool stays_stopped;     /* what is stored of it does not fit together: none of its files is touched */
    uint64_t unaccounted;   /* received rows that are nowhere: sums.h */
    char *label;            /* "SOURCE/SINK"; NULL: not known yet */
    char *last_error;       /* owned; see sink_set_error */
    char last_refusal[256]; /* why the destination refused a row of the last import that had such rows, since the start; "" none had */
    usec_t made_table;      /* wall: an import found its table missing and made it, since the start; 0: none did, or a seek followed */
    char damage[256];       /* of a record of it that was damaged, and what became of it; "": none was */

    /* its parts, in one block with it */
    struct GroupPlan *plan;        /* group_plan.h: its place in the group commit in progress */
    struct SinkRules *rules;       /* rules.h */
    struct SinkVersions *versions; /* versions.h */
    struct SinkLog *log;           /* sink_log.h: its rows in the log */
    struct SinkEnds *ends;         /* sink_ends.h: of a bridge's sink, which records of the partitions wait here */
    struct SinkWatch *watch;       /* watch.h: of a bridge's sink, where its destination stands */
    struct SinkStaging *stage;     /* staging.h: on the way from the log into packs */
    struct OpenFile *open;         /* open_file.h */
    struct WaitingFiles *waiting;  /* waiting.h: closed files */
    struct SinkImports *imports;   /* imports.h: on the way from packs into the table */
    struct SettledFiles *settled;  /* settled.h: imported files */
    struct SinkWaiters *waiters;   /* waiters.h: who waits for that */
} SinkState;

struct Writer {
    WriterOptions options;
    Mailbox *mailbox;
    ThreadOwner owner;
    Random random;
    UuidSource ids;
    bool broken;         /* the promise cannot be kept any more */
    usec_t repair_after; /* boot: damaged records are not looked for before */
    Define *held;        /* wait until the stage of their sink is back */

    /* its parts, in one block with it */
    struct StepClock *now;               /* step_clock.h */
    struct SinkTable *sinks;             /* sinks.h */
    struct Partitions *partitions;       /* that bridges read: storage/partitions.h */
    struct WatchedKeys *watched;         /* that they ask for: watch.h */
    struct StoredTotals *stored;         /* stored.h */
    struct LogState *log;                /* log_state.h */
    struct ConnectionTable *connections; /* connections.h */
    struct StageQueue *stages;           /* staging.h */
    struct ImportState *imports;         /* imports.h */
    struct SpaceState *space;            /* space_state.h */
    struct DrainState *drain;            /* drain_state.h */
    struct BackupState *backup;          /* backup_state.h */
    struct Lending *lending;             /* lending.h */
    struct GroupBuilder *builder;        /* commit.c */
};

/* When a failed try is repeated: longer after each failure, with jitter. */
usec_t writer_backoff(Writer *writer, unsigned failures);
