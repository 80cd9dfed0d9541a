/*
 * The definitions that an admin declares: sources, their sinks, and the columns of a sink. A
 * definition is immutable and reference counted. Any thread may read a definition that it holds. A
 * change makes a new definition. The API and the catalog use the JSON forms of this header.
 *
 * Functions that return int return 0, or a negated errno with the text in `error`. -EINVAL means
 * that the input is not valid.
 */
#pragma once

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "config/bridge_start.h"
#include "config/meta_field.h"
#include "config/scalar.h"
#include "config/settings.h"

typedef enum ColumnType {
    COLUMN_ID,
    COLUMN_DATETIME,
    COLUMN_IP,
    COLUMN_BODY,
    COLUMN_HEADERS,
    COLUMN_PATH,
    COLUMN_TEMPLATE,
    COLUMN_META,
    COLUMN_REST, /* always the last column of a target that infers: the fields that have no column */
} ColumnType;

typedef enum DataType {
    DATA_TEXT,
    DATA_INTEGER,
    DATA_NUMBER,
    DATA_DECIMAL,
    DATA_BOOLEAN,
    DATA_TIMESTAMP,
    DATA_DATE,
    DATA_JSON,
    DATA_BYTES,
    DATA_UUID,
    DATA_JSON_TEXT,
} DataType;
#define DATA_TYPE_COUNT (DATA_JSON_TEXT + 1) /* based on the last type */

/* Properties of a data type. Code tests these instead of switching over all types. */
typedef struct DataTraits {
    bool holds_any;    /* a column holds any text */
    bool holds_number; /* any number */
    bool holds_time;   /* any RFC 3339 time */
    bool holds_json;   /* any JSON */
    bool holds_uuid;   /* any UUID */
    bool keeps_json;   /* a JSON value is stored as JSON; a string keeps its quotes */
    bool is_json;      /* values are stored by their JSON value, not as they are written */
    bool is_date;      /* only the date of a time is stored */
    bool may_be_key;   /* databases can compare the values */
    bool has_order;    /* all destinations sort the values in the same order */
    bool is_binary;    /* a cell is \x and two hexadecimal digits per byte (row.h) */
} DataTraits;
extern const DataTraits data_traits[]; /* by DataType */

/* Who made a column. */
typedef enum ColumnOrigin {
    COLUMN_DECLARED,
    COLUMN_BASE,     /* each target that infers has it: _id, _at, the position of the record, _rest */
    COLUMN_INFERRED, /* made from a field of events; a path whose value may be missing or may not fit */
    COLUMN_VARIANT,  /* made for the values of a field that do not fit its other columns */
} ColumnOrigin;

typedef struct Column {
    char *name; /* 1..63 bytes, no control characters */
    ColumnType type;
    DataType data_type;
    bool primary_key;
    bool optional;       /* path: a missing value becomes NULL */
    bool raw_string;     /* path, template: a JSON string is unquoted and unescaped */
    char *path;          /* COLUMN_PATH, else NULL */
    char *default_value; /* COLUMN_PATH; NULL: none. The text as declared, not JSON-quoted; `default_kind` tells its kind */
    ScalarKind default_kind;
    char *format;         /* input format of a timestamp or date; NULL: RFC 3339 */
    char *template_text;  /* COLUMN_TEMPLATE: Jsonnet, else NULL */
    MetaField meta_field; /* COLUMN_META */
    ColumnOrigin inferred;
    char *mask; /* NULL: none; the syntax is that of mask_table.h */
} Column;
/* Returns whether the column was made from the content of events. Otherwise it is declared or a
 * base column. */
static inline bool column_is_inferred(const Column *column) {
    return column->inferred == COLUMN_INFERRED || column->inferred == COLUMN_VARIANT;
}

/* Fixes the type of the column of a field. Values that do not fit go to a variant column. */
typedef struct TypeHint {
    char *path;
    DataType type; /* integer, decimal, boolean, timestamp, text or json */
} TypeHint;

/* Settings of a target whose columns are made from the fields of events. */
typedef struct Inference {
    uint32_t depth; /* 1..5: deepest level at which members of objects become columns */
    TypeHint *hints;
    size_t hint_count;
    char **exclude; /* paths of fields that are not stored */
    size_t exclude_count;
    uint32_t max_columns; /* 1..1000: maximum number of columns of the target; further fields go to _rest */
} Inference;

typedef enum OnInvalid { ON_INVALID_REJECT, ON_INVALID_QUARANTINE } OnInvalid;
/* STRATEGY_REPLACE: the rows of a run replace those of the table when the run has ended
 * (sinks/replace_run.h). */
typedef enum Strategy { STRATEGY_APPEND, STRATEGY_MERGE, STRATEGY_REPLACE } Strategy;
/* Action for columns that the table lacks. SCHEMA_DRIFT_IGNORE: imports omit these columns; it is
 * not allowed with STRATEGY_REPLACE. */
typedef enum SchemaDrift { SCHEMA_DRIFT_FAIL, SCHEMA_DRIFT_EVOLVE, SCHEMA_DRIFT_IGNORE } SchemaDrift;
typedef enum Framing { FRAMING_SINGLE, FRAMING_NDJSON, FRAMING_ARRAY, FRAMING_CONCATENATED, FRAMING_LINES } Framing;
/* Whether the body of an event is kept in addition to its rows, if a sink of the source masks a
 * column. */
typedef enum BodyPolicy { BODY_POLICY_DROP, BODY_POLICY_KEEP } BodyPolicy;
typedef enum ErrorDetail { ERROR_DETAIL_FULL, ERROR_DETAIL_MINIMAL } ErrorDetail;

/* The change that made this version of a definition. */
typedef struct DefinitionVersion {
    uint32_t number;   /* from 1 */
    usec_t at;         /* wall time */
    char *by;          /* description of the token */
    char *description; /* of the change; may be empty */
} DefinitionVersion;

/* While a pause lasts, events are accepted and staged, but no import starts. */
typedef struct Pause {
    usec_t at;      /* wall time of its start; 0: not paused */
    usec_t running; /* running time (storage/totals.h) of its start; 0: unknown, an older program stored the pause */
    char *by;       /* owned: description of the token; NULL when not paused */
} Pause;

/* What a sink writes to. */
typedef enum SinkTargetType { TARGET_TABLE } SinkTargetType;

/* The events that delete the row with their key. All-zero: no event does. */
typedef struct DeleteOn {
    char *path, *equals; /* events with this text, number or boolean at the path; NULL: not used */
    bool tombstone;      /* records without a value */
} DeleteOn;

/* The fields of a target that is a table. */
typedef struct TableTarget {
    char *table_id; /* "in.c-shop.orders": schema up to the last dot, then the table */
    Strategy strategy;
    char *newer_by;     /* STRATEGY_MERGE: column that tells which of two rows with one key is newer; NULL: the later row */
    DeleteOn delete_on; /* STRATEGY_MERGE */
    SchemaDrift on_schema_drift;
    bool allow_empty; /* STRATEGY_REPLACE: a run without rows empties the table */
    bool keeps_rows;  /* see sink_target_keeps_rows; only the server sets it, in the target of a file */
} TableTarget;

/* The destination of a sink's rows and their columns. The columns with primary_key are the key. */
typedef struct SinkTarget {
    SinkTargetType type;
    char *connection; /* name of a connection */
    Column *columns;
    size_t column_count; /* 1..100; with `infer` 1..COLUMNS_INFERRED_MAX */
    Inference *infer;    /* NULL: all columns are declared */
    char *explode;       /* path of an array whose elements become rows; NULL: one row per event. Not with `infer` */
    TableTarget table;   /* of TARGET_TABLE */
} SinkTarget;

static inline bool sink_target_deletes(const SinkTarget *target) {
    return target->table.delete_on.path || target->table.delete_on.tombstone;
}

/* Returns whether an import leaves the rows of the table as they are whose keys were there before
 * it. Rows of the file with such a key change nothing, deletions included, and are no rejects. Rows
 * with other keys are imported as usual. */
static inline bool sink_target_keeps_rows(const SinkTarget *target) {
    bool keyed = false;
    for (size_t i = 0; i < target->column_count; i++) keyed = keyed || target->columns[i].primary_key;
    return keyed && target->table.keeps_rows;
}

/* Returns the number of cells of a staged row. A target that deletes has one cell more than
 * columns, the last one: it is NULL, or `d` when the row with the key is deleted. */
static inline size_t sink_target_cells(const SinkTarget *target) {
    return target->column_count + sink_target_deletes(target);
}

#define SINK_FORMER_MAX 4

/* Tells where a sink starts to read while its table has no position of the source. Only for
 * sources that keep positions at their destinations. */
typedef struct SinkOrigin {
    char *
        key; /* owned: source_positions_key() of the source when this was noted. It does not apply to a source with another key. NULL: any */
    bool joins;         /* the sink was added to a source that had sinks: it starts at their positions */
    SinkTarget *former; /* owned; former destinations of its rows, the last one first: it starts where they end there */
    size_t former_count;
} SinkOrigin;

/* The last run of a table that the sink no longer replaces. Its remains at the destination are
 * removed. */
typedef struct LeftRun {
    SinkTarget target;
    char *group; /* group of its positions: "GROUP#RUN" */
} LeftRun;

/* The sink's own `startFrom`. Only for sources that keep positions at their destinations. */
typedef struct SinkStart {
    bool given;
    BridgeStart at;
} SinkStart;

typedef struct Sink {
    atomic_uint references;
    uint32_t number; /* from the catalog, from 1, never reused; 0 until it has one */
    char *sink_id;
    char *name;
    char *description;
    OnInvalid on_invalid;
    SinkStart start;
    SinkTarget target;
    uint32_t mapping_version; /* version that last changed `target`; rows of two mapping versions never share a slice or file */
    SinkOrigin origin;
    LeftRun *left; /* owned; the last one first */
    size_t left_count;
    Settings settings;
    DefinitionVersion version;
    usec_t created; /* wall time */
    bool disabled;
    Pause paused;
    usec_t deleted;         /* wall time; 0: not deleted */
    usec_t deleted_running; /* running time (storage/totals.h) of the deletion; its age counts from here */
} Sink;

typedef struct SourceKind SourceKind; /* source_kind.h */

typedef struct Source {
    atomic_uint references;
    uint32_t number; /* from the catalog, from 1, never reused; 0 until it has one */
    char *source_id;
    char *name;
    char *description;
    const SourceKind *kind;
    void *part; /* the fields of its kind, owned: HttpSource … (source_http.h) */
    BodyPolicy body_policy;
    Settings settings;
    DefinitionVersion version;
    usec_t created;
    bool disabled;
    Pause paused; /* pauses all its sinks */
    usec_t
        run; /* wall time, whole ms: time at which the current run was requested, later than that of the run before; 0: no run, see source_ends */
    usec_t deleted, deleted_running;
} Source;

/* Asserts that the tables of fields and the kinds of sources are consistent. */
void definition_check_tables(void);

#define SINKS_A_SOURCE_MAX 20
#define COLUMNS_A_SINK_MAX 100                   /* declared columns */
#define CELLS_A_ROW_MAX (COLUMNS_A_SINK_MAX + 1) /* of a target that does not infer */
#define COLUMNS_INFERRED_MAX 1000                /* all columns of a target that infers; too large for an array on the stack */

Sink *sink_ref(const Sink *sink);
void sink_unref(Sink *sink); /* NULL-safe, any thread */
Source *source_ref(const Source *source);
void source_unref(Source *source);
DEFINE_CLEANUP(Sink, sink_unref)
DEFINE_CLEANUP(Source, source_unref)

/*
 * Make a complete definition from the body of a POST. The body has the API form without the fields
 * that the server sets: number, version, created. A missing id becomes the slug of the name. A
 * missing secret becomes a random one. An unknown or unsupported field is -EINVAL; the text names
 * the field and the valid values. `first_rejects`: the sink is the first sink of a source for which
 * source_first_sink_rejects is true. The caller gets one reference.
 */
int source_from_request(const json_t *body, Source **ret_source, Error *error);
int sink_from_request(const json_t *body, bool first_rejects, Sink **ret_sink, Error *error);
/* Merge `patch` into the API form of `old` (RFC 7396) and make a definition from the result, as
 * above. `columns` is replaced as a whole. Ids, numbers and kinds cannot change. The result has the
 * version of `old`; the caller sets the next version with …_stamp. */
int source_patched(const Source *old, const json_t *patch, Source **ret_source, Error *error);
int sink_patched(const Sink *old, const json_t *patch, Sink **ret_sink, Error *error);
/* Make the definition that a manifest declares in place of `old`. `body`: as in …_from_request. A
 * field that `body` omits gets its default, except for the fields of manifest_keeps.h. The
 * settings are those of `old`. Versions, ids, numbers and kinds are treated as in …_patched. */
int source_declared(const Source *old, const json_t *body, Source **ret_source, Error *error);
int sink_declared(const Sink *old, const json_t *body, Sink **ret_sink, Error *error);
/* Adds the base columns of the source (config/inference.h) to a new sink that infers. It does
 * nothing for other sinks. The sink must be unshared and not yet stored. */
void sink_complete(const Source *source, Sink *sink);
/* Return an unshared copy with one reference. Its owner may change it until it is shared. */
Source *source_copy(const Source *source);
Sink *sink_copy(const Sink *sink);
/* Set the version of an unshared object. `at` is wall time. The texts are copied. */
void source_stamp(Source *source, uint32_t version, usec_t at, const char *by, const char *description);
void sink_stamp(Sink *sink, uint32_t version, usec_t at, const char *by, const char *description);
/* Starts another run of an unshared copy. `now`: wall time of the request. */
void source_begin_run(Source *source, usec_t now);
/* Notes the target `old` as the latest former destination of an unshared copy, whose rows go to
 * another place now. `key`: as SinkOrigin.key. */
void sink_note_former(Sink *sink, const SinkTarget *old, const char *key);
/* Notes that an unshared copy no longer replaces the table of `old`. `group` is the group of the
 * last run there. Returns false when the list was full: its oldest entry is dropped then. */
bool sink_note_left(Sink *sink, const SinkTarget *old, const char *group);
void sink_forget_left(Sink *sink, size_t index); /* drops one entry of an unshared copy */
/* Returns whether the origin is valid for a source with that key. */
bool sink_origin_counts(const SinkOrigin *origin, const char *key);
/* Returns whether the names of connection and table are equal. */
bool sink_target_same_place(const SinkTarget *a, const SinkTarget *b);
/* Starts a pause. `by` is copied. A pause that has already started is left unchanged. */
void pause_begin(Pause *pause, usec_t at, usec_t running, const char *by);
void pause_end(Pause *pause); /* frees its text; allowed for a pause that never started */
/* Returns {"at","by"} as the API shows it, or JSON null; new reference. */
json_t *pause_to_json(const Pause *pause);
/* Convert to the form of the catalog and back. -EINVAL: pause_store did not make it. */
json_t *pause_store(const Pause *pause);
int pause_load(const json_t *stored, Pause *ret_pause, Error *error);
/* Returns whether the targets differ, so that the open file must be closed. */
bool sink_target_differs(const Sink *a, const Sink *b);

/* Return the names of the request fields and settings that differ: ["name", "table.tableId",
 * "settings.KEY"]. New reference. */
json_t *source_differences(const Source *old, const Source *now);
json_t *sink_differences(const Sink *old, const Sink *now);
/* Return the same with the values: [{"path","old","new"}, …]. A column is identified by its name
 * ("table.mapping.columns[NAME].dataType"). `old` or `new` is absent where the field is missing. A
 * secret has neither; it has "hidden": true. Long values and long lists are cut. New reference. */
json_t *source_changes(const Source *old, const Source *now);
json_t *sink_changes(const Sink *old, const Sink *now);

/* Properties of the kind of the source, see source_kind.h. */
const char *source_kind_name(const Source *source);
bool source_first_sink_rejects(const Source *source);
Framing source_framing(const Source *source);
const char *source_without_sink(const Source *source);
unsigned source_meta_fields(const Source *source); /* META_BIT of the meta fields that its events have */
/* Appends `sources of type "kafka" have topic, offset`, or `… have no meta fields`. */
void source_meta_words(const Source *source, Buffer *out);

/* Return the form of the API; new reference. A secret is shown as it is, or as "***". */
json_t *source_to_json(const Source *source, const char *public_url, uint32_t project, bool show_secret);
json_t *sink_to_json(const Sink *sink);
/* Convert all of a definition to the form of the catalog (new reference) and back. */
json_t *source_store(const Source *source);
int source_load(const json_t *stored, Source **ret_source, Error *error);
json_t *sink_store(const Sink *sink);
/* Returns the same without the inferred columns. Old versions are stored in this form. */
json_t *sink_store_past(const Sink *sink);
int sink_load(const json_t *stored, Sink **ret_sink, Error *error);
/* Convert the target alone. Each file stores a copy of the target of its rows. */
json_t *sink_target_store(const SinkTarget *target);
int sink_target_load(const json_t *stored, SinkTarget *ret_target, Error *error);
void sink_target_deinit(SinkTarget *target);
/* Returns the display name of a target of any type: "in.c-shop.orders". It is borrowed from the
 * target. Code that needs a table reads target->table. */
const char *sink_target_name(const SinkTarget *target);

/* Makes an identifier of a name: "My Source" -> "my-source". It removes accents. The result has at
 * most 48 characters. free(). It is empty when no character is left. */
char *identifier_slug(const char *name);
/* Returns whether it matches [a-z0-9][a-z0-9-_]{0,47}. */
bool identifier_valid(const char *id);

const char *column_type_name(ColumnType type);
const char *data_type_name(DataType type);
/* Returns whether a column of the sink has a mask. */
bool sink_masks(const Sink *sink);
/* Returns whether the values of such a column can have its data type. A type that never fits is
 * refused when it is declared, not at each event. */
bool column_type_fits(const Column *column);
/* Returns whether the values of the field can have that type. */
bool meta_field_fits(MetaField field, DataType type);
