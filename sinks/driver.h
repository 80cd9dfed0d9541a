/*
 * A destination, as the loader sees it. A driver is one const struct; it neither retries nor logs,
 * but for the statements with which it makes or changes tables: it does one thing and tells
 * honestly how it ended. SINK_DONE is returned only after the destination's COMMIT succeeded or its
 * ledger said that it had.
 *
 * Ledger: a table at the destination (postgres: schema "sluice", table "files"; sqlite: "_sluice_files"; an option of the connection) of
 *   file_id uuid primary key, instance uuid, sink text, table_name text, first_row, rows, bytes, checksum, imported_at, left_out, outcomes.
 * Inserting a file's id is the look-up and comes first in the import's transaction: a duplicate means that it was imported before.
 * A row that is there with other values than the file's is SINK_REFUSED "ledgerConflict", never "done"; but for up to damaged_rows more rows:
 * they were imported before they were damaged. Fewer are a conflict: what an import leaves out is recorded before it begins.
 *
 * Positions: another table there (postgres: "sluice"."positions"; sqlite: "_sluice_positions"; an
 * option of the connection), where it stands up to which offset a consumer group's records of a
 * partition are in a table (sinks/positions.h). An import of files with runs sets them in its
 * transaction. It needs the columns left_out and outcomes of the ledger, and the table: claim makes
 * what is missing of both.
 *
 * Tables that are replaced (STRATEGY_REPLACE, sinks/replace_run.h): prepare and inspect are about
 * the table itself, import brings rows to its side table, and swap replaces the rows of the table
 * by those of the side table. The ledger has the table itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"
#include "base/uuid.h"
#include "config/connection.h"
#include "config/definition.h"
#include "config/inference.h"
#include "sinks/positions.h"
#include "sinks/replace_run.h"

typedef enum SinkResult {
    SINK_DONE = 0,
    /* Nothing was changed, or it is unknown: ask again later (busy, time-out, unknown commit). With
     * the error -ESTALE only the session is at fault: it died while it was idle, or its file was
     * replaced; a fresh one may do the same at once. */
    SINK_RETRY = 1,
    SINK_REFUSED = 2,     /* nothing was changed and will not be until somebody changes something (table differs, ledgerConflict, rights) */
    SINK_UNREACHABLE = 3, /* as SINK_RETRY, and it is the connection's fault: pause all its sinks */
} SinkResult;

typedef struct SinkSession SinkSession; /* an open connection; one thread at a time */

typedef struct SinkCell {
    const char *data; /* valid until the next call on the rows */
    size_t size;
    bool is_null;
} SinkCell;

typedef struct SinkRange {
    uint64_t first_row, rows; /* rows > 0 */
} SinkRange;

/* The rows of one file, in row-number order, read once or more. Implemented by the gateway; the
 * loader's thread only. */
typedef struct SinkRows SinkRows;
enum { SINK_ROWS_END = 1 };
struct SinkRows {
    /* The next read starts at the first row whose number is >= `row`. */
    int (*seek)(SinkRows *rows, uint64_t row, Error *error);
    /* Whole rows as CSV text (see mapping/row.h: also what COPY … (FORMAT csv) reads), up to about
     * 1 MB, valid until the next call. 0 or SINK_ROWS_END. */
    int (*block)(SinkRows *rows, Span *ret_csv, uint64_t *ret_first_row, uint64_t *ret_rows, Error *error);
    /* One row as cells (column_count of them). 0 or SINK_ROWS_END. */
    int (*next)(SinkRows *rows, SinkCell *cells, uint64_t *ret_row, Error *error);
    /* From the next seek on, the rows of the ranges (copied; in ascending order, they do not touch
     * each other) are not there, and those of an earlier call are. The numbers of a block's rows
     * have no hole. */
    void (*leave_out)(SinkRows *rows, const SinkRange *ranges, size_t count);
};

typedef struct ImportFile {
    Uuid id;
    uint64_t first_row;
    /* That the readers give when nothing is left out: less what is damaged. Out: more, when it was
     * imported before some were damaged. */
    uint64_t rows;
    uint64_t bytes;
    uint64_t damaged_rows; /* that the readers do not give, but may have given to an earlier import */
    uint64_t checksum;
    SinkRows *reader;
    /* Of a bridge's sink, else NULL: the runs that its rows belong to, in row order, also those of
     * the damaged rows (`lost`). All rows that the readers give are in one. Out: their outcomes; of
     * a file that was imported before, those of that import. */
    ImportRun *runs;
    size_t run_count;
    uint64_t left_out;     /* out: of the rows, those of runs that are not taken; the others were imported or refused */
    bool already_imported; /* out: the ledger had it; its rows were not read */
} ImportFile;

typedef struct SinkReject {
    uint64_t row; /* number in its sink */
    const Uuid *file;
    const char *reason; /* the destination's words */
    Span csv;           /* the row */
} SinkReject;

/* One import: one transaction at the destination. The caller owns everything; called on a loader
 * thread. */
typedef struct ImportJob {
    Uuid instance;            /* of the data directory */
    const char *sink_label;   /* "SOURCE/SINK", for application_name and the ledger */
    const SinkTarget *target; /* the file's own copy */
    ImportFile *files;        /* in row order */
    size_t file_count;
    /*
     * Of a bridge's sink, else NULL: the positions of the partitions that the files' runs belong
     * to, in key order, each once. Out: as they were read, and as they are after SINK_DONE. The
     * import reads them without a lock, decides which runs go in, and sets those that change, as
     * its last statement before COMMIT and only where they are as they were read. When one is not,
     * it rolls back and starts over, a few times, then it is SINK_RETRY with -EBUSY. A position
     * that is missing is SINK_REFUSED "positionsMissing" with -ENODATA: an import never makes one.
     * Of a table that is replaced: the runs of a group that is not the open run are RUN_OVERTAKEN,
     * their positions are `over`, and it is no failure. So are all when the side table is gone: a
     * claim begins the run anew then.
     */
    ImportPosition *positions;
    size_t position_count;
    const Uuid *settled; /* ledger rows that nobody asks for any more: delete them in the same transaction */
    size_t settled_count;
    uint32_t bad_rows_max; /* more refused rows than this: SINK_REFUSED */
    /* Makes refused rows durable; called before COMMIT, only when there are any or store_none is
     * set (an earlier try may have left some behind that this one must replace). Once, but for an
     * import that starts over since a position has changed: each call replaces what the one before
     * it stored. Not 0: roll back, SINK_RETRY. */
    bool store_none;
    int (*store_rejects)(void *context, const SinkReject *rejects, size_t count, Error *error);
    /* Called now and then; true: give up (roll back, SINK_RETRY, or SINK_UNREACHABLE when the
     * destination does not answer at all). `working`: since the last call the destination was seen
     * at work on a statement of ours, also if no row got further. May be NULL. */
    bool (*progress)(void *context, uint64_t rows_done, bool working);
    void *context;
    usec_t patience; /* how long an import may go on without a row or a sign of work; a driver looks a few times in it; 0: a minute */
    usec_t longest;  /* what the whole import may take; 0: the driver's own limit */
    uint64_t rejected_rows; /* out */
    /* Out: rows that a trigger or rule of the table took and did not store. Those that could be
     * named are rejects as well, unless all rows of their file were taken that way. */
    uint64_t swallowed_rows;
    /* Out, of an import that is not SINK_DONE: the destination ended it because it took too
     * long. */
    bool took_too_long;
    /* Out, of an import that progress ended or that took too long: this try entered all ids anew
     * and did not send its COMMIT. So no earlier one committed any of the files, none of them can
     * any more, and they may be imported under other ids. False also when a driver would have to do
     * something at the destination for that, and could not. */
    bool proven_absent;
} ImportJob;

/*
 * What is done about positions without rows. Each is one transaction, on a loader's thread; the
 * caller owns everything. Not SINK_DONE: nothing was changed, or it is unknown (SINK_RETRY,
 * SINK_UNREACHABLE); all of them may simply be done again.
 */
typedef struct PositionsOwner { /* for people who look at the table */
    Uuid instance;
    const char *sink_label;
} PositionsOwner;

/* One partition of a claim. */
typedef struct PositionClaim {
    PartitionKey key;
    const char *topic_id; /* of the broker, as it tells it; NULL: it does not */
    int64_t start;        /* where the sink begins when it is claimed for the first time */
    int64_t earliest;     /* where it begins with a partition or topic that came later */
    int64_t next;         /* out: where it stands */
    bool was_there;       /* out: it stood there before */
} PositionClaim;

/*
 * Positions for all partitions of some topics, of one cluster and group. What is there wins and is
 * read back. What is missing begins at `start` when the table has no position of the group at all,
 * else at `earliest`: all topics of the first time belong in one claim.
 *
 * Of a table that is replaced the group is that of a run (run_group), and the claim begins the run,
 * if there is no mark of it, none of its positions, no side table, or one whose columns have other
 * types than the table: it makes the table if it is missing and compares it otherwise, as prepare does, drops the side table with what an earlier run
 * collected and the positions of that run, makes the side table anew, and has each position begin
 * at `earliest`. A run that is not RUN_OPEN is not begun and nothing is changed; the claims of one
 * that is RUN_DONE have the positions that are still there.
 */
typedef struct ClaimJob {
    PositionsOwner owner;
    const SinkTarget *target;
    PositionClaim *claims; /* in key order, each once; at least one */
    size_t count;
    RunState state;     /* out: of the run; 0: the table is not replaced */
    uint64_t later_run; /* out, RUN_SUPERSEDED: by which one */
} ClaimJob;

/* Advances positions over runs of no rows, or over rows that nobody wants (of a file that is
 * deleted), and reads positions. */
typedef struct PositionsJob {
    PositionsOwner owner;
    const SinkTarget *target;
    ImportPosition *positions; /* in key order, each once: all whose runs are here, and all others that are to be read */
    size_t position_count;
    ImportRun *runs; /* decided as in an import; NULL: only read */
    size_t run_count;
} PositionsJob;

/* Sets positions of one cluster and group, and makes those that are missing. */
typedef struct SeekJob {
    PositionsOwner owner;
    const SinkTarget *target;
    ImportPosition *positions; /* in key order, each once. In: next. Out: found and read, as it was before */
    size_t count;
    bool backwards; /* a position may go back; else that is SINK_REFUSED with -ERANGE, nothing is set, and `read` says where it is */
    bool compare;   /* only where each is as found and read say; else SINK_RETRY with -EBUSY, nothing is set, and they say what is there */
} SeekJob;

typedef enum SwapOutcome {
    SWAP_REPLACED = 1, /* the table has the rows of the run */
    SWAP_DONE_BEFORE,  /* it had them already: an earlier swap was committed, of this or another session */
    SWAP_SUPERSEDED,   /* a later run was claimed: this one will never be done */
    /* A position is missing or below its limit, or the run was not claimed, or the side table is
     * gone or has other types than the table: a claim says where to read on. */
    SWAP_NOT_COMPLETE,
    SWAP_EMPTY, /* the table would have no row, and allow_empty is not set. The run stays open */
} SwapOutcome;

typedef struct SwapLimit {
    PartitionKey key;
    int64_t limit; /* its records below are in the side table, or refused */
} SwapLimit;

/*
 * Replaces the rows of a table by those of a run, in one transaction: who reads sees the old rows
 * or the new ones. The table itself stays, with its grants, comments, indexes, triggers and views,
 * and with the foreign keys that point at it. Then the side table is dropped and the run done.
 * Before it, the table is compared with the sink as by prepare. Only SWAP_REPLACED has changed
 * anything, but for columns that were added. SINK_REFUSED: the table or a trigger of it does not
 * take the rows, or rows of other tables would go with the old ones. It has its old rows then. When
 * it is unknown whether it was committed, ask again: SWAP_DONE_BEFORE says so.
 */
typedef struct SwapJob {
    PositionsOwner owner;
    const SinkTarget *target;
    const char *group;       /* of the run */
    const SwapLimit *limits; /* in key order, each once, all of that group; may be none */
    size_t limit_count;
    bool allow_empty;
    /* As in an ImportJob; `rows_done` stays 0. */
    bool (*progress)(void *context, uint64_t rows_done, bool working);
    void *context;
    usec_t patience, longest;
    SwapOutcome outcome;     /* out, SINK_DONE */
    uint64_t later_run;      /* out, SWAP_SUPERSEDED */
    uint64_t rows;           /* out, SWAP_REPLACED: of the table now */
    uint64_t swallowed_rows; /* out, SWAP_REPLACED: that the side table had, and a trigger or rule of the table did not store */
    bool took_too_long;      /* out, not SINK_DONE: the destination ended it because it took too long */
} SwapJob;

/* A group's position, as `list` gives it; the texts belong to the arena. */
typedef struct ListedPosition {
    PartitionKey key;
    const char *topic_id; /* NULL: none */
    int64_t next;
} ListedPosition;

typedef struct PositionsDriver {
    SinkResult (*claim)(SinkSession *session, ClaimJob *job, Error *error);
    /* Compare-and-set as in an import. -ENODATA as there, but only for positions that a run needs:
     * others that are missing are not `found`. */
    SinkResult (*advance)(SinkSession *session, PositionsJob *job, Error *error);
    SinkResult (*seek)(SinkSession *session, SeekJob *job, Error *error);
    /* All of the group in the table, in key order; *ret_list is of the arena. None when there is no
     * table of positions. */
    SinkResult (*list)(SinkSession *session, const SinkTarget *target, const char *group, Arena *arena, ListedPosition **ret_list,
                       size_t *ret_count, Error *error);
    /* Removes all of the group in the table (a purge); but none if another instance than this one
     * has set any of them. NULL: whoever set them. Of a table that is replaced also the marks that
     * name the group, and the side table of its open run. */
    SinkResult (*remove)(SinkSession *session, const SinkTarget *target, const char *group, const Uuid *instance, uint64_t *ret_count,
                         Error *error);
    /* To another table of the same database (`?positions=keep`). What is there already wins. */
    SinkResult (*copy)(SinkSession *session, const SinkTarget *from, const SinkTarget *to, const char *group, uint64_t *ret_count,
                       Error *error);
    /* Only of tables that are replaced. */
    SinkResult (*swap)(SinkSession *session, SwapJob *job, Error *error);
} PositionsDriver;

/*
 * Names for the columns of fields that were found: what the map of the table at the destination
 * has, and what is added to it, with the table's columns, in one transaction, under a lock for the
 * table. So all who import into it use the same names and types. The map is a table there
 * (postgres: "sluice"."columns"; sqlite: "_sluice_columns"; an option of the connection); it is
 * made when it is missing.
 */
typedef struct ColumnsJob {
    PositionsOwner owner;
    const SinkTarget *target;     /* that infers */
    const InferredColumn *wanted; /* without names, each once; the column of a field before its variants */
    size_t wanted_count;
    size_t most;             /* of the map: columns that the table or the target has; what is beyond it is not named */
    InferredColumn *columns; /* out, SINK_DONE: those of `wanted` that have names and places, with their types; the caller's */
    size_t count;
} ColumnsJob;

/*
 * How long the caller bears a call that waits: for the network, for a server that is silent, for a
 * lock. Asked several times a second while one waits, on the caller's thread. When it is over the
 * call gives up as soon as it can: SINK_RETRY with -ECANCELED, or what it found till then.
 */
typedef struct SinkPatience {
    bool (*is_over)(void *context);
    void *context;
} SinkPatience;
#define SINK_PATIENCE_TURN (100 * USEC_MS) /* how often it is asked */

static inline bool sink_patience_is_over(const SinkPatience *patience) { /* NULL: it never is */
    return patience && patience->is_over(patience->context);
}

/* What prepare would do to a table. */
typedef struct TableInspection {
    bool creates; /* it is not there */
    bool *adds;   /* owned; by index of the sink's columns: it is missing, and would be added. NULL: none */
    bool *lacks;  /* the same: it is missing, and imports are to leave it out (SCHEMA_DRIFT_IGNORE) */
} TableInspection;
void table_inspection_deinit(TableInspection *inspection); /* all-zero then */
static inline bool table_inspection_adds(const TableInspection *inspection, size_t column) {
    return inspection->adds && inspection->adds[column];
}
static inline bool table_inspection_lacks(const TableInspection *inspection, size_t column) {
    return inspection->lacks && inspection->lacks[column];
}

/* What a test of a connection found. */
typedef enum SinkFault {
    SINK_SOUND,
    SINK_FAULT_UNREACHABLE, /* nobody answers there, or not in time */
    SINK_FAULT_TLS,         /* the two sides do not agree on encryption, or a certificate is not trusted */
    SINK_FAULT_LOGIN,       /* the login was refused */
    SINK_FAULT_DATABASE,    /* the database, or the file's folder, is missing, or it is no database */
    SINK_FAULT_TOPIC,       /* a topic or stream that a source reads is missing */
    SINK_FAULT_RIGHTS,      /* a right is missing that an import needs */
    SINK_FAULT_OTHER,
} SinkFault;
#define SINK_FAULT_COUNT (SINK_FAULT_OTHER + 1)

typedef struct SinkTest {
    /* In: ids of the tables that sinks on the connection have; of a broker, the topics or streams
     * that sources read. */
    const char *const *tables;
    size_t table_count;
    const bool *replaced;         /* in, by table: its rows are replaced by runs; NULL: those of none are */
    bool with_positions;          /* in: sinks of bridges are among them, so that positions are needed as well */
    bool with_columns;            /* in: sinks that infer are among them, so that the map of columns is needed as well */
    const SinkPatience *patience; /* in; borrowed; NULL: no end */
    SinkFault fault;              /* out */
    char version[128];            /* out: of the destination, "PostgreSQL 15.6"; "" when it was not reached */
    char note[256];               /* out: of a sound one, a sentence on what it cannot do; "" none */
} SinkTest;

typedef struct SinkDriver {
    const ConnectionType *type; /* the connections that it serves */
    /* What it can do. The loaders import only through drivers that are transactional and keep a
     * ledger: exactly once rests on both. */
    unsigned jobs_max;                /* on one connection at once; 0: any number */
    bool transactional;               /* an import is there whole or not at all */
    bool keeps_ledger;                /* at the destination, in the import's transaction */
    bool is_local;                    /* what it writes is on this machine: two gateways never share it */
    bool keeps_order;                 /* rows of one import take effect in their order, so that the last of equal keys wins */
    const PositionsDriver *positions; /* it keeps positions in the import's transaction; NULL: it takes no rows of bridges */
    SinkTargetType target;            /* the targets that it takes; the others are never given to it */
    /* Are two targets on one connection one and the same? Pure. */
    bool (*same_target)(const SinkTarget *target, const SinkTarget *other);
    /* `data_directory`: what relative paths are relative to. */
    /* `patience` holds for all calls on the session and is borrowed as long; NULL: no end. */
    SinkResult (*connect)(const Connection *connection, const char *data_directory, const char *application_name,
                          const SinkPatience *patience, SinkSession **ret_session, Error *error);
    /* Creates schema, table and ledger if missing, else compares: SINK_REFUSED names EACH
     * difference (missing column, type, key), or adds missing columns when on_schema_drift is
     * evolve. With ignore missing columns are no difference but for those that no import can do
     * without (sink_table_compare); an import gets a target without the others, and rows without
     * their cells. */
    SinkResult (*prepare)(SinkSession *session, const SinkTarget *target, Error *error);
    /* NULL: it keeps no map of columns, and no target there may infer. */
    SinkResult (*columns)(SinkSession *session, ColumnsJob *job, Error *error);
    /* Says what prepare would do, and changes nothing; a right that prepare would lack is not
     * looked for. SINK_REFUSED as of prepare. The inspection is the caller's, whatever the
     * result. */
    SinkResult (*inspect)(SinkSession *session, const SinkTarget *target, TableInspection *ret_inspection, Error *error);
    SinkResult (*import)(SinkSession *session, ImportJob *job, Error *error);
    /* Is the file in the ledger? */
    SinkResult (*look_up)(SinkSession *session, const Uuid *file, bool *ret_found, Error *error);
    void (*disconnect)(SinkSession *session); /* NULL-safe */
    /* Could imports into the tables work? On a session of its own, within a time limit of its own;
     * changes nothing at the destination, and makes nothing. SINK_SOUND, or the fault with the
     * error, a sentence; also in the test. */
    SinkFault (*test)(const Connection *connection, const char *data_directory, SinkTest *test, Error *error);
} SinkDriver;

extern const ConnectionType connection_type_sqlite, connection_type_postgres, connection_type_kafka, connection_type_nats;
extern const SinkDriver sink_driver_sqlite, sink_driver_postgres;

/* All drivers; ends with NULL. */
extern const SinkDriver *const sink_drivers[];
/* All types of connections, for options_load; ends with NULL. The connection "local" is of the
 * first one. */
extern const ConnectionType *const connection_types[];
/* NULL: connections of the type serve sources, and no sink can import there. */
const SinkDriver *sink_driver_of(const ConnectionType *type);
/* Tests a connection of any type, also of those that serve sources only: see SinkDriver.test. */
SinkFault sink_connection_test(const Connection *connection, const char *data_directory, SinkTest *test, Error *error);
/* As in the API: "unreachable"; NULL: SINK_SOUND. */
const char *sink_fault_name(SinkFault fault);
