/*
 * The writer W: every LMDB write transaction, all row numbers, and the decision what is staged and imported when. A state machine:
 * writer_step takes what waits in its mailbox, commits it in one transaction (group commit: the next group forms meanwhile), sends
 * completions, and gives out work to the stager and the loaders. A thin thread or the simulation calls it.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/mailbox.h"
#include "base/uuid.h"
#include "gateway/flow/messages.h"
#include "gateway/flow/usage.h"
#include "storage/environment.h"

typedef struct Writer Writer;

/* Rows without a gap of one sink that an admin gave up. */
typedef struct GivenUp {
    const char *label; /* "SOURCE/SINK" */
    uint64_t first_row, rows;
    usec_t first_time, last_time; /* receive times, wall */
} GivenUp;

typedef struct WriterOptions {
    Environment *environment; /* borrowed, as all of these */
    Files *files;
    Clock *clock;
    Usage *usage;
    Uuid instance;
    Mailbox *stager;
    Mailbox *control;                                      /* MESSAGE_BROKEN, MESSAGE_DRAINED */
    void (*post_import)(void *context, LoadJob *take_job); /* to the loaders */
    void *post_import_context;
    uint64_t seed;        /* jitter, ids in tests */
    uint64_t disk_budget; /* bytes; already resolved */
    uint32_t disk_share_percent;
    uint64_t log_high_mark;
    usec_t retain_imported, retain_failed, retain_rejects; /* all in running time (storage/totals.h) */
    usec_t retain_expired, retain_orphans;                 /* 0: for ever */
    uint64_t rejects_bytes;
    bool give_up_missing; /* quarantine rows that wait and whose staging files are missing; else writer_open is refused because of them */
    void (*given_up)(void *context, const GivenUp *given_up); /* for each of these, in writer_open; NULL: only the log */
    void *given_up_context;
    void (*wake)(void *context); /* for its mailbox; NULL: mailbox_wait */
    void *wake_context;
} WriterOptions;

/* Recovery: loads totals, replays the log behind them, re-queues what waits. No destination is touched. Sinks become known by MESSAGE_DEFINE;
 * rows of sinks that are not known yet are kept. -EILSEQ: staging files of rows that wait are missing (give_up_missing); nothing was changed. */
int writer_open(const WriterOptions *options, Writer **ret_writer, Error *error);
Mailbox *writer_mailbox(Writer *writer);
/* Does what there is to do; returns how long nothing will change without a message (USEC_NEVER: for ever). Never fails: a broken writer
 * answers APPEND_FAILED, sets usage->broken and tells the control thread once. */
usec_t writer_step(Writer *writer);
/* While it waits for a commit, the writer lends its memory: what MESSAGE_TOTALS would answer, now. Any thread; false: it does not wait for one. */
bool writer_lent_statistics(Writer *writer, TotalsQuery *query);
/* Nothing is staged, imported or owed a reply at present. */
bool writer_is_idle(const Writer *writer);
/* Stores the totals, so that the next start replays nothing; answers what waits with APPEND_FAILED. NULL-safe. */
void writer_close(Writer *writer);
/* Frees everything and writes nothing, as a crash would: after MESSAGE_BROKEN, and in tests. NULL-safe. */
void writer_abandon(Writer *writer);
