/*
 * The world of the simulation: what exists beside the writer, the stager and the loaders, and what
 * must be true of it in the end. Everything follows from one seed. Parts: model.c (what was sent
 * and what must have become of it), destination.c (tables that commit, fail and lie about it),
 * simulation.c (the actors and their order).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/uuid.h"
#include "config/definition.h"
#include "sinks/driver.h"
#include "storage/environment.h"
#include "tests/simulation/course.h"

#define SINKS_MAX 5
#define LOOPS 2
#define COLUMNS 4 /* row number in the model, key, mapping version, payload */

/* ---- the model ------------------------------------------------------------------------------- */

typedef enum Fate { FATE_OPEN, FATE_ACKNOWLEDGED, FATE_REFUSED } Fate; /* REFUSED: not acknowledged; may be there whole */

typedef struct ModelAppend {
    unsigned loop;
    Fate fate;
    size_t first_row, rows; /* of the model's rows */
    size_t events;          /* quarantined */
    size_t events_seen;
} ModelAppend;

typedef struct ModelRow {
    size_t append;
    uint32_t sink;
    uint32_t version;
    unsigned key;
    char *text; /* owned: the row's CSV with its newline */
    size_t size;
    unsigned arrived;  /* times it was committed at a destination */
    unsigned rejected; /* times it is a visible reject */
    bool turned_away;  /* the destination refused it and committed */
    uint64_t number;   /* its number in its sink, as the destination saw it; 0: never seen */
} ModelRow;

typedef struct ModelSink {
    uint32_t number;
    uint32_t version; /* mapping version now */
    uint32_t defined; /* the version before it, if the writer has confirmed that it knows it; else 0 */
    unsigned moves;   /* table changes */
    bool keyed;
    bool lossy; /* files of it expired, were deleted or dropped on purpose */
    unsigned connection;
    uint64_t events_seen, rows_rejected; /* visible rejects, counted by model_check */
} ModelSink;

typedef struct Model {
    ModelAppend *appends;
    size_t append_count, append_capacity;
    ModelRow *rows;
    size_t row_count, row_capacity;
    ModelSink sinks[SINKS_MAX];
    size_t sink_count;
} Model;

/* ---- destinations ---------------------------------------------------------------------------- */

typedef struct LedgerRow {
    Uuid file;
    uint32_t sink;
    uint64_t first_row, rows, bytes, checksum;
} LedgerRow;

typedef struct KeyValue {
    uint32_t sink;
    unsigned key;
    uint64_t number; /* of the row that is there */
    size_t row;      /* of the model */
} KeyValue;

typedef struct Destination {
    LedgerRow *ledger;
    size_t ledger_count, ledger_capacity;
    KeyValue *keys; /* of keyed tables */
    size_t key_count, key_capacity;
    bool refuses_bad_rows; /* a constraint that somebody added */
    bool down;
    Uuid last_file[SINKS_MAX + 1]; /* imported last, by sink */
    unsigned imports, found_imported, slow_imports, judged;
} Destination;

/* Files that wait in a backup: their ids stay in the ledgers. */
typedef struct BackupFiles {
    Uuid *ids; /* owned */
    size_t count, capacity;
} BackupFiles;

typedef struct World {
    Model model;
    Destination destinations[2];
    unsigned fault_percent; /* of imports */
    bool quiet;             /* no faults any more */
    bool counted;           /* model_check has counted what there is, and nothing happens any more */
    bool crash_soon;        /* a destination committed and nobody may hear of it */
    uint64_t commits_seen;
    BackupFiles complete, begun; /* of the last complete backup, and of the one that is being made */
} World;

extern World *world; /* of the seed that runs */

/* model.c */
size_t model_add_append(Model *model, unsigned loop);
/* Makes a row of the sink and appends its text to `out`. */
void model_add_row(Model *model, size_t append, ModelSink *sink, uint32_t version, Buffer *out);
/* The row that a text is, which must be equal byte for byte. */
ModelRow *model_find(Model *model, Span text);
void model_check(Model *model, Environment *environment);
void model_deinit(Model *model);
Sink *model_definition(const ModelSink *sink, uint32_t version);

/* destination.c */
extern const SinkDriver simulated_driver;
void destination_check(void);
bool backup_has(const BackupFiles *files, const Uuid *id);
void destination_deinit(Destination *destination);
