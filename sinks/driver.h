/*
 * The interface of a destination, as the loader uses it. A driver is one const struct. It does not
 * retry. It logs only the statements with which it creates or changes tables. Each function does
 * one thing and returns how it ended. SINK_DONE is returned only after the destination's COMMIT
 * succeeded, or after its ledger showed that it had succeeded before.
 *
 * Ledger: a table at the destination (postgres: schema "sluice", table "files"; sqlite:
 * "_sluice_files"; an option of the connection) with the columns file_id uuid primary key, instance
 * uuid, sink text, table_name text, first_row, rows, bytes, checksum, imported_at, left_out,
 * outcomes. The first statement of an import's transaction inserts the id of the file, which is
 * also the look-up: a duplicate means that the file was imported before. If the existing row has
 * other values than the file, that is SINK_REFUSED "ledgerConflict", and never counts as done.
 * There is one exception: the existing row may have up to damaged_rows more rows, which were
 * imported before they were damaged. Fewer rows are a conflict, because the rows that an import
 * leaves out are recorded before it begins.
 *
 * Positions: another table there (postgres: "sluice"."positions"; sqlite: "_sluice_positions"; an
 * option of the connection). It says up to which offset the records of a partition, as a consumer
 * group reads it, are imported into a table (sinks/positions.h). An import of files with runs sets
 * positions in its transaction. It needs this table, and the columns left_out and outcomes of the
 * ledger. A claim creates what is missing of both.
 *
 * Tables that are replaced (STRATEGY_REPLACE, sinks/replace_run.h): prepare and inspect work on the
 * table itself. An import writes rows to the side table. A swap replaces the rows of the table by
 * those of the side table. The ledger names the table itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/span.h"
#include "base/uuid.h"
#include "config/connection.h"
#include "config/definition.h"
#include "config/inference.h"
#include "sinks/ledger_history.h"
#include "sinks/positions.h"
#include "sinks/replace_run.h"

typedef enum SinkResult {
    SINK_DONE = 0,
    /* Nothing was changed, or it is unknown whether something was changed: try again later (busy,
     * time-out, unknown commit). With the error -ESTALE only the session is the cause: it was
     * closed while it was idle, or its file was replaced. A new session may try again at once. */
    SINK_RETRY = 1,
    /* nothing was changed, and no retry helps until somebody changes something (table differs,
     * ledgerConflict, rights) */
    SINK_REFUSED = 2,
    SINK_UNREACHABLE = 3, /* like SINK_RETRY, but the connection is the cause: pause all its sinks */
} SinkResult;

/* A failpoint of an import: with `error` it fails as a destination does that may work again. */
static inline SinkResult sink_failpoint(const char *name, Error *error) {
    return failpoint_error(name, error) < 0 ? SINK_RETRY : SINK_DONE;
}

typedef struct SinkSession SinkSession; /* an open connection; used by one thread at a time */

typedef struct SinkCell {
    const char *data; /* valid until the next call on the rows */
    size_t size;
    bool is_null;
} SinkCell;

typedef struct SinkRange {
    uint64_t first_row, rows; /* rows > 0 */
} SinkRange;

/* The rows of one file in the order of their numbers. They may be read more than once. Implemented
 * by the gateway; only for the loader's thread. */
typedef struct SinkRows SinkRows;
enum { SINK_ROWS_END = 1 };
struct SinkRows {
    /* The next read starts at the first row whose number is >= `row`. */
    int (*seek)(SinkRows *rows, uint64_t row, Error *error);
    /* Returns whole rows as CSV text (see mapping/row.h; COPY … (FORMAT csv) reads the same), up to
     * about 1 MB, valid until the next call. 0 or SINK_ROWS_END. */
    int (*block)(SinkRows *rows, Span *ret_csv, uint64_t *ret_first_row, uint64_t *ret_rows, Error *error);
    /* Returns one row as column_count cells. 0 or SINK_ROWS_END. */
    int (*next)(SinkRows *rows, SinkCell *cells, uint64_t *ret_row, Error *error);
    /* From the next seek on, the rows of these ranges are left out, and those of an earlier call
     * are not any more. The ranges are copied. They are in ascending order and do not touch each
     * other. The row numbers of a block have no gap. */
    void (*leave_out)(SinkRows *rows, const SinkRange *ranges, size_t count);
};

typedef struct ImportFile {
    Uuid id;
    uint64_t first_row;
    /* The number of rows that the reader returns if nothing is left out, which does not include
     * damaged rows. Out: a higher number if the file was imported before some rows were damaged. */
    uint64_t rows;
    uint64_t bytes;
    uint64_t damaged_rows; /* rows that the reader does not return, but may have returned to an earlier import */
    uint64_t checksum;
    SinkRows *reader;
    /* For a sink of a bridge: the runs to which the rows belong, in row order, also the runs of
     * damaged rows (`lost`). Each row that the reader returns is in one run. Out: the outcomes of
     * the runs; if the file was imported before, the outcomes of that import. Otherwise NULL. */
    ImportRun *runs;
    size_t run_count;
    uint64_t left_out;     /* out: rows of runs that are not taken; all other rows were imported or refused */
    bool already_imported; /* out: the ledger had it; its rows were not read */
} ImportFile;

typedef struct SinkReject {
    uint64_t row; /* number of the row in its sink */
    const Uuid *file;
    const char *reason; /* the destination's words */
    Span csv;           /* the row */
} SinkReject;

/* One import, which is one transaction at the destination. The caller owns everything. Called on a
 * loader thread. */
typedef struct ImportJob {
    Uuid instance;            /* id of the data directory */
    const char *sink_label;   /* "SOURCE/SINK", for application_name and the ledger */
    const SinkTarget *target; /* the file's own copy */
    ImportFile *files;        /* in row order */
    size_t file_count;
    /*
     * For a sink of a bridge: the positions of the partitions to which the runs of the files
     * belong, in key order, each once. Otherwise NULL. Out: the positions as they were read, and as
     * they are after SINK_DONE. The import reads them without a lock and decides which runs are
     * taken. Its last statement before COMMIT sets those that change, only if they still have the
     * values that were read. If one does not, the import rolls back and starts again, a few times.
     * After that it is SINK_RETRY with -EBUSY. A missing position is SINK_REFUSED
     * "positionsMissing" with -ENODATA: an import never creates one.
     *
     * For a table that is replaced: the runs of a group that is not the open run are RUN_OVERTAKEN,
     * and their positions are `over`. This is not a failure. If the side table is missing, all runs
     * are RUN_OVERTAKEN, and the next claim begins the run again.
     */
    ImportPosition *positions;
    size_t position_count;
    const Uuid *settled; /* ids whose ledger rows are not needed any more: deleted in the same transaction */
    size_t settled_count;
    /* Otherwise NULL: before the ids go in, all files that the ledger has of the instance, the sink
     * and the table are looked at. If they show that the data directory is older than the
     * destination, the import is SINK_REFUSED with -EUCLEAN. */
    LedgerHistory *history;
    uint32_t bad_rows_max; /* if more rows are refused, the import is SINK_REFUSED */
    /* Stores refused rows durably. Called before COMMIT if there are refused rows or if store_none
     * is set (an earlier try may have stored rejects that this one must replace). Called once, or
     * again if the import starts again because a position has changed: each call replaces what the
     * call before it stored. If the result is not 0, the import rolls back and returns
     * SINK_RETRY. */
    bool store_none;
    int (*store_rejects)(void *context, const SinkReject *rejects, size_t count, Error *error);
    /* Called from time to time. If it returns true, the import gives up: it rolls back and returns
     * SINK_RETRY, or SINK_UNREACHABLE if the destination does not answer at all. `working`: since
     * the last call the destination was seen to work on a statement of this import, also if no
     * further row was sent. May be NULL. */
    bool (*progress)(void *context, uint64_t rows_done, bool working);
    void *context;
    usec_t patience;        /* maximum time of an import without a further row or a sign of work, checked several times; 0: one minute */
    usec_t longest;         /* maximum time of the whole import; 0: the limit of the driver */
    uint64_t rejected_rows; /* out */
    /* Out: rows that a trigger or rule of the table did not store. Rows that could be identified
     * are rejects as well, unless no row of their file was stored. */
    uint64_t swallowed_rows;
    /* Out, of a target that keeps rows (sink_target_keeps_rows): rows that changed nothing, because
     * their keys were there before this import. */
    uint64_t existing_rows;
    /* Out, if not SINK_DONE: the destination ended the import because it took too long. */
    bool took_too_long;
    /* Out, if `progress` ended the import or if it took too long: this try inserted all ids anew
     * and did not send its COMMIT. So no earlier try committed any of the files, none can do so any
     * more, and the files may be imported under other ids. Also false if a driver would have to do
     * something at the destination to prove this, and could not. */
    bool proven_absent;
} ImportJob;

/*
 * Operations on positions without rows. Each one is one transaction, on a loader's thread. The
 * caller owns everything. If the result is not SINK_DONE, nothing was changed, or it is unknown
 * (SINK_RETRY, SINK_UNREACHABLE). All operations may be repeated.
 */
typedef struct PositionsOwner { /* stored for people who read the table */
    Uuid instance;
    const char *sink_label;
} PositionsOwner;

/* One partition of a claim. */
typedef struct PositionClaim {
    PartitionKey key;
    const char *topic_id; /* the broker's id of the topic; NULL: it has none */
    int64_t start;        /* where the sink begins at the first claim of the group */
    int64_t earliest;     /* where it begins with a partition or topic that was added later */
    int64_t next;         /* out: the position */
    bool was_there;       /* out: the position existed before */
} PositionClaim;

/*
 * Creates the positions of all partitions of some topics, for one cluster and group. Existing
 * positions are not changed; they are returned. Missing ones begin at `start` if the table has no
 * position of the group at all, otherwise at `earliest`. So the first claim has to have all topics.
 *
 * For a table that is replaced, the group is that of a run (run_group). The claim begins the run if
 * there is no mark of it, none of its positions, or no side table. Then it creates the table or
 * compares it, as prepare does; drops the side table and the positions of an earlier run; creates a
 * new side table; and sets each position to `earliest`. A run that is not RUN_OPEN is not begun,
 * and nothing is changed. For a run that is RUN_DONE the claims return the positions that still
 * exist.
 */
typedef struct ClaimJob {
    PositionsOwner owner;
    const SinkTarget *target;
    PositionClaim *claims; /* in key order, each once; at least one */
    size_t count;
    RunState state;     /* out: state of the run; 0: the table is not replaced */
    uint64_t later_run; /* out, if RUN_SUPERSEDED: the later run */
} ClaimJob;

/* Advances positions over runs without rows, or over rows that are given up (of a file that is
 * deleted), and reads positions. */
typedef struct PositionsJob {
    PositionsOwner owner;
    const SinkTarget *target;
    ImportPosition *positions; /* in key order, each once: those of all `runs`, and all others that are to be read */
    size_t position_count;
    ImportRun *runs; /* decided as in an import; NULL: positions are only read */
    size_t run_count;
} PositionsJob;

/* Sets positions of one cluster and group, and creates missing ones. */
typedef struct SeekJob {
    PositionsOwner owner;
    const SinkTarget *target;
    ImportPosition *positions; /* in key order, each once. In: next. Out: found and read, with the values before */
    size_t count;
    bool backwards; /* a position may decrease; otherwise that is SINK_REFUSED with -ERANGE, nothing is set, and `read` has the position */
    /* set only if all positions are as `found` and `read` say; otherwise SINK_RETRY with -EBUSY,
     * nothing is set, and both have the values there */
    bool compare;
} SeekJob;

typedef enum SwapOutcome {
    SWAP_REPLACED = 1, /* the table has the rows of the run */
    SWAP_DONE_BEFORE,  /* an earlier swap was committed, of this or another session */
    SWAP_SUPERSEDED,   /* a later run was claimed; this run can never be done */
    /* A position is missing or below its limit, the run was not claimed, or the side table is
     * missing. A claim says where to continue reading. */
    SWAP_NOT_COMPLETE,
    SWAP_EMPTY, /* the table would have no row, and allow_empty is not set. The run stays open */
} SwapOutcome;

typedef struct SwapLimit {
    PartitionKey key;
    int64_t limit; /* all records below it are in the side table, or were refused */
} SwapLimit;

/*
 * Replaces the rows of a table by those of a run, in one transaction: a reader sees the old rows or
 * the new ones. The table itself stays, with its grants, comments, indexes, triggers and views, and
 * with the foreign keys that point at it. Then the side table is dropped and the run is done.
 * Before the swap the table is compared with the sink, as by prepare. Only SWAP_REPLACED has
 * changed something, except for columns that were added. SINK_REFUSED: the table or one of its
 * triggers does not take the rows, or rows of other tables would be deleted with the old ones. Then
 * the table has its old rows. If it is unknown whether the swap was committed, call it again: the
 * result is SWAP_DONE_BEFORE if it was.
 */
typedef struct SwapJob {
    PositionsOwner owner;
    const SinkTarget *target;
    const char *group;       /* group of the run */
    const SwapLimit *limits; /* in key order, each once, all of that group; may be empty */
    size_t limit_count;
    bool allow_empty;
    /* As in an ImportJob; `rows_done` stays 0. */
    bool (*progress)(void *context, uint64_t rows_done, bool working);
    void *context;
    usec_t patience, longest;
    SwapOutcome outcome; /* out, SINK_DONE */
    uint64_t later_run;  /* out, SWAP_SUPERSEDED */
    uint64_t rows;       /* out, if SWAP_REPLACED: rows that the table has now */
    /* Out, if SWAP_REPLACED or SWAP_EMPTY: rows of the side table that a trigger or rule of the
     * table did not store. */
    uint64_t swallowed_rows;
    bool took_too_long; /* out, if not SINK_DONE: the destination ended the swap because it took too long */
} SwapJob;

/* A position of a group, as `list` returns it. The texts belong to the arena. */
typedef struct ListedPosition {
    PartitionKey key;
    const char *topic_id; /* NULL: none */
    int64_t next;
} ListedPosition;

typedef struct PositionsDriver {
    SinkResult (*claim)(SinkSession *session, ClaimJob *job, Error *error);
    /* Compares and sets like an import. -ENODATA as in an import, but only for positions that a run
     * needs. Other missing positions are not `found`. */
    SinkResult (*advance)(SinkSession *session, PositionsJob *job, Error *error);
    SinkResult (*seek)(SinkSession *session, SeekJob *job, Error *error);
    /* Returns all positions of the group in the table, in key order. *ret_list belongs to the
     * arena. The list is empty if there is no table of positions. */
    SinkResult (*list)(SinkSession *session, const SinkTarget *target, const char *group, Arena *arena, ListedPosition **ret_list,
                       size_t *ret_count, Error *error);
    /* Removes all positions of the group in the table (a purge). Removes none if an instance other
     * than `instance` has set any of them; NULL: this is not checked. For a table that is replaced,
     * it also removes the marks that name the group or an earlier run of it, and the side table of
     * its open run. */
    SinkResult (*remove)(SinkSession *session, const SinkTarget *target, const char *group, const Uuid *instance, uint64_t *ret_count,
                         Error *error);
    /* Does the same for a table that is replaced, but only if the run of the group is open. Without
     * the side table the positions of such a run are of no use. Keeps the mark of an earlier run. */
    SinkResult (*give_up)(SinkSession *session, const SinkTarget *target, const char *group, const Uuid *instance, uint64_t *ret_count,
                          Error *error);
    /* Copies positions to another table of the same database (`?positions=keep`). Existing
     * positions are not changed. */
    SinkResult (*copy)(SinkSession *session, const SinkTarget *from, const SinkTarget *to, const char *group, uint64_t *ret_count,
                       Error *error);
    /* Only for tables that are replaced. */
    SinkResult (*swap)(SinkSession *session, SwapJob *job, Error *error);
} PositionsDriver;

/*
 * Gives names to the columns of new fields. It reads the map of the table at the destination, and
 * adds lines to the map and columns to the table, in one transaction and under a lock for the
 * table. So all gateways that import into the table use the same names and types. The map is a
 * table there (postgres: "sluice"."columns"; sqlite: "_sluice_columns"; an option of the
 * connection). It is created if it is missing.
 */
typedef struct ColumnsJob {
    PositionsOwner owner;
    const SinkTarget *target;     /* a target that infers */
    const InferredColumn *wanted; /* fields without names, each once; the column of a field comes before its variants */
    size_t wanted_count;
    size_t most;             /* maximum number of columns that the table or the target has; further fields get no names */
    InferredColumn *columns; /* out, if SINK_DONE: those of `wanted` that have names and places, with their types; owned by the caller */
    size_t count;
} ColumnsJob;

/*
 * Says when a call that waits has to give up: it may wait for the network, for a silent server, or
 * for a lock. is_over is called several times per second while the call waits, on the caller's
 * thread. If it returns true, the call gives up as soon as it can. It returns SINK_RETRY with
 * -ECANCELED, or what it has found until then.
 */
typedef struct SinkPatience {
    bool (*is_over)(void *context);
    void *context;
} SinkPatience;
#define SINK_PATIENCE_TURN (100 * USEC_MS) /* interval of the calls */

static inline bool sink_patience_is_over(const SinkPatience *patience) { /* NULL: the wait is never over */
    return patience && patience->is_over(patience->context);
}

/* What prepare would do with a table. */
typedef struct TableInspection {
    bool creates; /* the table does not exist */
    bool *adds;   /* owned; by index of the sink's columns: the column is missing and would be added. NULL: none */
    bool *lacks;  /* the same: the column is missing, and imports leave it out (SCHEMA_DRIFT_IGNORE) */
} TableInspection;
void table_inspection_deinit(TableInspection *inspection); /* all-zero afterwards */
static inline bool table_inspection_adds(const TableInspection *inspection, size_t column) {
    return inspection->adds && inspection->adds[column];
}
static inline bool table_inspection_lacks(const TableInspection *inspection, size_t column) {
    return inspection->lacks && inspection->lacks[column];
}

/* The result of a test of a connection. */
typedef enum SinkFault {
    SINK_SOUND,
    SINK_FAULT_UNREACHABLE, /* no server answers there in time */
    SINK_FAULT_TLS,         /* the two sides do not agree on encryption, or a certificate is not trusted */
    SINK_FAULT_LOGIN,       /* the login was refused */
    SINK_FAULT_DATABASE,    /* the database or the directory of the file is missing, or the file is not a database */
    SINK_FAULT_TOPIC,       /* a topic or stream that a source reads is missing */
    SINK_FAULT_RIGHTS,      /* a right is missing that an import needs */
    SINK_FAULT_OTHER,
} SinkFault;
#define SINK_FAULT_COUNT (SINK_FAULT_OTHER + 1)

/* What imports into a table need besides INSERT; bits. */
enum {
    TABLE_IS_REPLACED = 1, /* its rows are replaced by runs */
    TABLE_IS_KEYED = 2,    /* has a primary key of its sink: rows are compared with those that are there */
    TABLE_IS_MERGED = 4,   /* rows are changed */
    TABLE_DELETES = 8,     /* rows are deleted */
};

typedef struct SinkTest {
    /* In: ids of the tables of sinks on the connection. For a broker: the topics or streams that
     * sources read. */
    const char *const *tables;
    size_t table_count;
    const unsigned *needs;        /* in, by table: bits, see above; NULL: none needs more than INSERT */
    bool with_positions;          /* in: some sinks belong to bridges, so positions are needed as well */
    bool with_columns;            /* in: some sinks infer, so the map of columns is needed as well */
    const SinkPatience *patience; /* in; borrowed; NULL: no limit */
    SinkFault fault;              /* out */
    char version[128];            /* out: version of the destination, "PostgreSQL 15.6"; "" if it was not reached */
    char note[256];               /* out, if SINK_SOUND: a sentence about what the destination cannot do; "" if there is nothing to say */
} SinkTest;

typedef struct SinkDriver {
    const ConnectionType *type; /* the type of its connections */
    /* Abilities of the driver. The loaders import only through drivers that are transactional and
     * keep a ledger, because exactly once needs both. */
    unsigned jobs_max;  /* maximum number of jobs on one connection at the same time; 0: no limit */
    bool transactional; /* an import is stored completely or not at all */
    bool keeps_ledger;  /* it keeps the ledger at the destination, in the import's transaction */
    bool is_local;      /* its tables are on this machine: two gateways never share them */
    bool keeps_order;   /* rows of one import take effect in their order, so the last row of equal keys stays */
    /* functions for positions, which are set in the import's transaction; NULL: it takes no rows of
     * bridges */
    const PositionsDriver *positions;
    SinkTargetType target; /* the type of its targets */
    /* Are two targets on one connection the same table? Pure. */
    bool (*same_target)(const SinkTarget *target, const SinkTarget *other);
    /* Opens a session. Relative paths are relative to `data_directory`. */
    /* `patience` is used by all calls on the session and borrowed as long as the session exists;
     * NULL: no limit. */
    SinkResult (*connect)(const Connection *connection, const char *data_directory, const char *application_name,
                          const SinkPatience *patience, SinkSession **ret_session, Error *error);
    /* Creates the schema, the table and the ledger if they are missing. Otherwise it compares the
     * table with the target: SINK_REFUSED names EACH difference (missing column, type, key). If
     * on_schema_drift is evolve, missing columns are added. With ignore, missing columns are no
     * difference, except those that every import needs (sink_table_compare). Then an import gets a
     * target without the missing columns, and rows without their cells. */
    SinkResult (*prepare)(SinkSession *session, const SinkTarget *target, Error *error);
    /* NULL: the driver keeps no map of columns, and its targets cannot infer. */
    SinkResult (*columns)(SinkSession *session, ColumnsJob *job, Error *error);
    /* Returns what prepare would do, and changes nothing. It does not check rights. SINK_REFUSED as
     * in prepare. The inspection belongs to the caller, whatever the result is. */
    SinkResult (*inspect)(SinkSession *session, const SinkTarget *target, TableInspection *ret_inspection, Error *error);
    SinkResult (*import)(SinkSession *session, ImportJob *job, Error *error);
    /* Is the id of the file in the ledger? */
    SinkResult (*look_up)(SinkSession *session, const Uuid *file, bool *ret_found, Error *error);
    void (*disconnect)(SinkSession *session); /* NULL-safe */
    /* Would imports into the tables work? Uses its own session and its own time limit. It changes
     * and creates nothing at the destination. Returns SINK_SOUND, or the fault; the error is a
     * sentence. The fault is also in `test`. */
    SinkFault (*test)(const Connection *connection, const char *data_directory, SinkTest *test, Error *error);
} SinkDriver;

extern const ConnectionType connection_type_sqlite, connection_type_postgres, connection_type_kafka, connection_type_nats;
extern const SinkDriver sink_driver_sqlite, sink_driver_postgres;

/* All drivers. NULL ends the list. */
extern const SinkDriver *const sink_drivers[];
/* All types of connections, for options_load. NULL ends the list. The connection "local" has the
 * first type. */
extern const ConnectionType *const connection_types[];
/* The driver of a type of connection. NULL: the type is only for sources, so no sink can import
 * there. */
const SinkDriver *sink_driver_of(const ConnectionType *type);
/* Tests a connection of any type, also of types that are only for sources: see SinkDriver.test. */
SinkFault sink_connection_test(const Connection *connection, const char *data_directory, SinkTest *test, Error *error);
/* The name in the API, such as "unreachable"; NULL for SINK_SOUND. */
const char *sink_fault_name(SinkFault fault);
