/* What a writer is made with. */
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
    size_t backups_kept;  /* that may be restored; 0: 1 */
    bool give_up_missing; /* quarantine rows that wait and whose staging files are missing; else writer_open is refused because of them */
    void (*given_up)(void *context, const GivenUp *given_up); /* for each of these, in writer_open; NULL: only the log */
    void *given_up_context;
    bool checks_all;             /* assert after each step that all adds up: walks over everything, for simulation and tests */
    void (*wake)(void *context); /* for its mailbox; NULL: mailbox_wait */
    void *wake_context;
} WriterOptions;
