/*
 * What an admin declares: sources, their sinks, and the columns of a sink. A definition is
 * immutable once made and reference counted, so any thread may read one that it holds; a change
 * makes a new one. Its JSON form is the API's and the catalog's.
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
    COLUMN_REST, /* of a target that infers, always its last column: what has no column of its own */
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
#define DATA_TYPE_COUNT (DATA_JSON_TEXT + 1) /* of the last one */

/* What decides about a data type without a switch over all of them. */
typedef struct DataTraits {
    bool holds_any;    /* any text */
    bool holds_number; /* any number */
    bool holds_time;   /* any RFC 3339 time */
    bool holds_json;   /* any JSON */
    bool holds_uuid;   /* any UUID */
    bool keeps_json;   /* a JSON value is stored as JSON, a string with its quotes */
    bool is_json;      /* by its value, not as it is written */
    bool is_date;      /* the day that a time begins with is stored, and not the rest */
    bool may_be_key;   /* databases compare it */
    bool has_order;    /* all destinations put its values in the same order */
    bool is_binary;    /* its cells are \x and hexadecimal digits (row.h), two for each byte */
} DataTraits;
extern const DataTraits data_traits[]; /* by DataType */

/* Who made a column. */
typedef enum ColumnOrigin {
    COLUMN_DECLARED,
    COLUMN_BASE,     /* each target that infers has it: _id, _at, where the record stands, _rest */
    COLUMN_INFERRED, /* of a field that events have; a path whose value may be missing, or not fit */
    COLUMN_VARIANT,  /* of the values of a field that do not fit its other columns */
} ColumnOrigin;

typedef struct Column {
    char *name; /* 1..63 bytes, no control characters */
    ColumnType type;
    DataType data_type;
    bool primary_key;
    bool optional;       /* path: a missing value is NULL */
    bool raw_string;     /* path, template: a JSON string is unquoted and unescaped */
    char *path;          /* COLUMN_PATH, else NULL */
    char *default_value; /* COLUMN_PATH, NULL: none; a text as declared, not JSON-quoted, or what `default_kind` says */
    ScalarKind default_kind;
    char *format;         /* of a timestamp or date: how its values are written; NULL: RFC 3339 */
    char *template_text;  /* COLUMN_TEMPLATE: Jsonnet, else NULL */
    MetaField meta_field; /* COLUMN_META */
    ColumnOrigin inferred;
    char *mask; /* NULL: none; mask_table.h reads it */
} Column;
/* Was it made of what events hold? Else it is of the definition: declared, or a base column. */
static inline bool column_is_inferred(const Column *column) {
    return column->inferred == COLUMN_INFERRED || column->inferred == COLUMN_VARIANT;
}

/* The type of a field, whatever its values are: what does not fit goes to a variant. */
typedef struct TypeHint {
    char *path;
    DataType type; /* integer, decimal, boolean, timestamp, text or json */
} TypeHint;

/* Columns are made of the fields that events have. */
typedef struct Inference {
    uint32_t depth; /* 1..5: down to which level the members of objects become columns */
    TypeHint *hints;
    size_t hint_count;
    char **exclude; /* paths that are stored nowhere */
    size_t exclude_count;
    uint32_t max_columns; /* 1..1000: of all columns of the target; beyond it fields go to _rest */
} Inference;

typedef enum OnInvalid { ON_INVALID_REJECT, ON_INVALID_QUARANTINE } OnInvalid;
/* STRATEGY_REPLACE: the rows of a run replace those of the table when the run has ended
 * (sinks/replace_run.h). */
typedef enum Strategy { STRATEGY_APPEND, STRATEGY_MERGE, STRATEGY_REPLACE } Strategy;
/* What is done about columns that the table lacks. SCHEMA_DRIFT_IGNORE: imports leave them out; not
 * with STRATEGY_REPLACE. */
typedef enum SchemaDrift { SCHEMA_DRIFT_FAIL, SCHEMA_DRIFT_EVOLVE, SCHEMA_DRIFT_IGNORE } SchemaDrift;
typedef enum Framing { FRAMING_SINGLE, FRAMING_NDJSON, FRAMING_ARRAY, FRAMING_CONCATENATED, FRAMING_LINES } Framing;
/* What is kept of an event beside its rows, where a sink of the source masks a column. */
typedef enum BodyPolicy { BODY_POLICY_DROP, BODY_POLICY_KEEP } BodyPolicy;
typedef enum ErrorDetail { ERROR_DETAIL_FULL, ERROR_DETAIL_MINIMAL } ErrorDetail;

/* Which change made a definition what it is. */
typedef struct DefinitionVersion {
    uint32_t number;   /* from 1 */
    usec_t at;         /* wall time */
    char *by;          /* description of the token */
    char *description; /* of the change; may be empty */
} DefinitionVersion;

/* Events are taken and staged, and no import starts until somebody resumes it. */
typedef struct Pause {
    usec_t at;      /* wall time of its begin; 0: not paused */
    usec_t running; /* running time (storage/totals.h) of its begin; 0: of a program that did not keep it */
    char *by;       /* owned: description of the token; NULL when not paused */
} Pause;

/* What a sink writes to. */
typedef enum SinkTargetType { TARGET_TABLE } SinkTargetType;

/* Which events delete the row of their key. All-zero: none does. */
typedef struct DeleteOn {
    char *path, *equals; /* those with this text, number or boolean at the path; NULL: none does by it */
    bool tombstone;      /* records without a value */
} DeleteOn;

/* What only a table has. */
typedef struct TableTarget {
    char *table_id; /* "in.c-shop.orders": schema up to the last dot, then the table */
    Strategy strategy;
    char *newer_by;     /* STRATEGY_MERGE: name of the column that tells which of two rows with one key is newer; NULL: the later one is */
    DeleteOn delete_on; /* STRATEGY_MERGE */
    SchemaDrift on_schema_drift;
    bool allow_empty; /* STRATEGY_REPLACE: a run without rows empties the table */
} TableTarget;

/* Where a sink's rows go, and as what. Columns with primary_key are the key. */
typedef struct SinkTarget {
    SinkTargetType type;
    char *connection; /* name of a connection */
    Column *columns;
    size_t column_count; /* 1..100; with `infer` 1..COLUMNS_INFERRED_MAX */
    Inference *infer;    /* NULL: all columns are declared */
    char *explode;       /* path of an array of which each element gives a row; NULL: an event is one row. Not with `infer` */
    TableTarget table;   /* of TARGET_TABLE */
} SinkTarget;

static inline bool sink_target_deletes(const SinkTarget *target) {
    return target->table.delete_on.path || target->table.delete_on.tombstone;
}

/* Cells of a row as it is staged. The last one of a target that deletes is not of a column: NULL,
 * or `d` when the row of the key is deleted. */
static inline size_t sink_target_cells(const SinkTarget *target) {
    return target->column_count + sink_target_deletes(target);
}

#define SINK_FORMER_MAX 4

/* Where a sink begins to read whose table has no position of its source yet; of sources that keep
 * positions at their destinations. */
typedef struct SinkOrigin {
    char *
        key; /* owned: source_positions_key() of its source then: under another one the source starts anew, and none of it counts. NULL: any */
    bool joins;         /* it came to a source that had sinks: it begins where these are */
    SinkTarget *former; /* owned; where its rows went before, the last one first: it begins where they end there */
    size_t former_count;
} SinkOrigin;

/* A run of a table that the sink replaces no more: what is left of it there is removed. */
typedef struct LeftRun {
    SinkTarget target;
    char *group; /* of its positions, "GROUP#RUN" */
} LeftRun;

/* What a sink says of where it begins; of sources that keep positions at their destinations. */
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
    uint32_t mapping_version; /* number of the version that last changed target; rows of two never share a slice or file */
    SinkOrigin origin;
    LeftRun *left; /* owned; the last one first */
    size_t left_count;
    Settings settings;
    DefinitionVersion version;
    usec_t created; /* wall time */
    bool disabled;
    Pause paused;
    usec_t deleted;         /* wall time; 0: not deleted */
    usec_t deleted_running; /* running time (storage/totals.h) at that moment: what its age counts from */
} Sink;

typedef struct SourceKind SourceKind; /* source_kind.h */

typedef struct Source {
    atomic_uint references;
    uint32_t number; /* from the catalog, from 1, never reused; 0 until it has one */
    char *source_id;
    char *name;
    char *description;
    const SourceKind *kind;
    void *part; /* what its kind declares: HttpSource … (source_http.h) */
    BodyPolicy body_policy;
    Settings settings;
    DefinitionVersion version;
    usec_t created;
    bool disabled;
    Pause paused; /* of all its sinks */
    usec_t
        run; /* wall time, whole ms: when its present run was asked for; each is later than the one before. 0: it has none, see source_ends */
    usec_t deleted, deleted_running;
} Source;

/* Asserts what the tables of fields and the kinds of sources promise. */
void definition_check_tables(void);

#define SINKS_A_SOURCE_MAX 20
#define COLUMNS_A_SINK_MAX 100                   /* that are declared */
#define CELLS_A_ROW_MAX (COLUMNS_A_SINK_MAX + 1) /* of a target that does not infer */
#define COLUMNS_INFERRED_MAX 1000                /* of a target that infers, all of them: no array on a stack is sized by it */

Sink *sink_ref(const Sink *sink);
void sink_unref(Sink *sink); /* NULL-safe, any thread */
Source *source_ref(const Source *source);
void source_unref(Source *source);
DEFINE_CLEANUP(Sink, sink_unref)
DEFINE_CLEANUP(Source, source_unref)

/*
 * From the body of a POST (API form, without what the server decides: number, version, created), to
 * a complete definition. Missing ids become the slug of the name, a missing secret a random one.
 * Unknown and not-yet-supported fields are -EINVAL and are named with the values that would be
 * right. `first_rejects`: the sink is the first of a source for which source_first_sink_rejects.
 */
int source_from_request(const json_t *body, Source **ret_source, Error *error);
int sink_from_request(const json_t *body, bool first_rejects, Sink **ret_sink, Error *error);
/* RFC 7396 merge of `patch` into the API form, then as above; `columns` is replaced whole; ids,
 * numbers and kinds cannot change. The result has the same version as `old`; the caller sets the
 * next one with …_stamp. */
int source_patched(const Source *old, const json_t *patch, Source **ret_source, Error *error);
int sink_patched(const Sink *old, const json_t *patch, Sink **ret_sink, Error *error);
/* The definition that a manifest declares, in place of `old`: what `body` (as for
 * …_from_request) leaves out has its default, but for what manifest_keeps.h lists. Settings are
 * those of `old`. Versions, ids, numbers and kinds as in …_patched. */
int source_declared(const Source *old, const json_t *body, Source **ret_source, Error *error);
int sink_declared(const Sink *old, const json_t *body, Sink **ret_sink, Error *error);
/* A sink that infers, and that no source has seen: gets the columns that each such sink of the
 * source has (config/inference.h). Nothing for others. For an unshared object, before it is
 * stored. */
void sink_complete(const Source *source, Sink *sink);
/* Copies to change one thing: a fresh, unshared object (references 1) that its one owner may still
 * write to. */
Source *source_copy(const Source *source);
Sink *sink_copy(const Sink *sink);
/* Takes copies of the texts; for an unshared object. */
void source_stamp(Source *source, uint32_t version, usec_t at, const char *by, const char *description);
void sink_stamp(Sink *sink, uint32_t version, usec_t at, const char *by, const char *description);
/* Of an unshared copy: another run, that was asked for at `now` (wall). */
void source_begin_run(Source *source, usec_t now);
/* The rows of an unshared copy go elsewhere than those of `old`: notes the place of these as the
 * last former one. `key`: as SinkOrigin.key. */
void sink_note_former(Sink *sink, const SinkTarget *old, const char *key);
/* An unshared copy replaces the table of `old` no more, of which the run `group` was the last one.
 * false: it has left too many tables, and the first of them is forgotten. */
bool sink_note_left(Sink *sink, const SinkTarget *old, const char *group);
void sink_forget_left(Sink *sink, size_t index); /* of an unshared copy */
/* Do the facts of the origin count for a source with that key? */
bool sink_origin_counts(const SinkOrigin *origin, const char *key);
/* Is it one place, by the names of connection and table? */
bool sink_target_same_place(const SinkTarget *a, const SinkTarget *b);
/* Takes a copy of `by`; a pause that has begun keeps its begin. */
void pause_begin(Pause *pause, usec_t at, usec_t running, const char *by);
void pause_end(Pause *pause); /* frees its text; also of one that never began */
/* {"at","by"} as the API shows it, or null (new reference). */
json_t *pause_to_json(const Pause *pause);
/* For the catalog, and back. -EINVAL: not what pause_store made. */
json_t *pause_store(const Pause *pause);
int pause_load(const json_t *stored, Pause *ret_pause, Error *error);
/* Do the targets differ, so that the open file must be closed? */
bool sink_target_differs(const Sink *a, const Sink *b);

/* The fields of a request, and the settings, in which they differ: ["name", "table.tableId",
 * "settings.KEY"] (new reference). */
json_t *source_differences(const Source *old, const Source *now);
json_t *sink_differences(const Sink *old, const Sink *now);
/* The same with the values: [{"path","old","new"}, …], columns by their names
 * ("table.mapping.columns[NAME].dataType"). `old` or `new` is missing where the field is; a secret
 * has neither, but "hidden": true. Long values are cut (…), and long lists end. */
json_t *source_changes(const Source *old, const Source *now);
json_t *sink_changes(const Sink *old, const Sink *now);

/* What the kind of the source says, see source_kind.h. */
const char *source_kind_name(const Source *source);
bool source_first_sink_rejects(const Source *source);
Framing source_framing(const Source *source);
const char *source_without_sink(const Source *source);
unsigned source_meta_fields(const Source *source); /* META_BIT of those that its events have */
/* `sources of type "kafka" have topic, offset`, or `… have no meta fields` */
void source_meta_words(const Source *source, Buffer *out);

/* The API's form (new reference). Secrets are shown as they are, or as "***". */
json_t *source_to_json(const Source *source, const char *public_url, uint32_t project, bool show_secret);
json_t *sink_to_json(const Sink *sink);
/* Everything, for the catalog, and back. */
json_t *source_store(const Source *source);
int source_load(const json_t *stored, Source **ret_source, Error *error);
json_t *sink_store(const Sink *sink);
/* The same without the columns that were inferred: what a version that is not the newest is kept
 * as. */
json_t *sink_store_past(const Sink *sink);
int sink_load(const json_t *stored, Sink **ret_sink, Error *error);
/* The target alone: each file keeps its own copy of where its rows go. */
json_t *sink_target_store(const SinkTarget *target);
int sink_target_load(const json_t *stored, SinkTarget *ret_target, Error *error);
void sink_target_deinit(SinkTarget *target);
/* What people call the target, of any type: "in.c-shop.orders". Lasts as long as the target. Who
 * needs a table reads target->table. */
const char *sink_target_name(const SinkTarget *target);

/* "My Source" -> "my-source": accents stripped, at most 48 characters; free(). Empty when nothing
 * is left. */
char *identifier_slug(const char *name);
/* [a-z0-9][a-z0-9-_]{0,47} */
bool identifier_valid(const char *id);

const char *column_type_name(ColumnType type);
const char *data_type_name(DataType type);
/* Does a column of the sink have a mask? */
bool sink_masks(const Sink *sink);
/* Can what such a column is filled with be of its data type? A type that never fits is refused at
 * once, not event by event. */
bool column_type_fits(const Column *column);
/* Can values of the field be of that type? */
bool meta_field_fits(MetaField field, DataType type);
