/*
 * The definition of a table at its destination, and how it differs from what a sink needs. A driver
 * reads the definition; the comparison is the same for all drivers. Each column of the sink must
 * exist, in any order, with a compatible type. A column that the sink does not have must be
 * nullable or have a default. The primary key must be the same. A primary key that fills itself and
 * that the sink does not name is accepted for a sink that appends rows without a key.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "config/definition.h"
#include "sinks/driver.h"

typedef struct FoundColumn {
    char *name;
    char *type;        /* the destination's name of the type */
    char *kind;        /* the name of the type that the driver's TypeRules use; initially the same as `type` */
    char *labels;      /* labels of an enum, in the driver's format; NULL: not an enum */
    bool needs_value;  /* NOT NULL without default */
    bool fills_itself; /* a row without a value for it gets one: default, serial, identity, rowid */
    bool is_identity;  /* GENERATED … AS IDENTITY */
    bool is_generated; /* cannot be written */
    bool is_primary_key;
} FoundColumn;

typedef struct FoundTable {
    FoundColumn *columns;
    size_t count, capacity;
    char *key_name; /* owned; name of the primary key constraint; NULL: no key, or the key has no name */
} FoundTable;

/* A change by which an administrator makes the table fit the sink. */
typedef enum TableChangeKind {
    TABLE_CHANGE_ADD,      /* `column` is missing */
    TABLE_CHANGE_TYPE,     /* `there` gets the type of `column` */
    TABLE_CHANGE_WRITABLE, /* `there` is a generated column, and must become an ordinary one */
    TABLE_CHANGE_NULLABLE, /* `there` must allow NULL */
    TABLE_CHANGE_KEY,      /* the table gets the primary key of the sink, which may have none; at most one such change */
} TableChangeKind;

typedef struct TableChange {
    TableChangeKind kind;
    const Column *column;     /* borrowed; NULL: the change concerns no column of the sink */
    const FoundColumn *there; /* borrowed; NULL: the change concerns no column of the table */
} TableChange;

typedef struct TableChanges {
    const SinkTarget *target;
    const FoundTable *found;
    TableChange *items;
    size_t count, capacity;
} TableChanges;

/* The rules of a destination for types. */
typedef struct TypeRules {
    const char *(*type_of)(const Column *column); /* the type of the column in a new table */
    /* Does `there` either store each value of the column unchanged or refuse it? */
    bool (*compatible)(const SinkTarget *target, const Column *column, const FoundColumn *there);
    /* Is `there` compatible, and does it refuse no value? NULL: the same as `compatible`. */
    bool (*holds_all)(const SinkTarget *target, const Column *column, const FoundColumn *there);
    /* Appends ": SQL" or " (how): SQL", where SQL makes the changes or the first ones of them. The
     * SQL consists of complete statements with a semicolon each, in at most `room` bytes. NULL: the
     * destination has no such statements. */
    void (*put_changes)(Buffer *out, const TableChanges *changes, size_t room);
    bool ignore_case; /* column names are compared without regard to case */
} TypeRules;

/* Adds a column and returns it. Copies the texts. The pointer is valid until the next call. */
FoundColumn *found_table_add(FoundTable *found, const char *name, const char *type);
void found_table_deinit(FoundTable *found);

/*
 * Compares the table with the target. Returns SINK_DONE, or SINK_REFUSED with one text that names
 * each difference and ends with the statements that make the table fit. `missing` is NULL or an
 * array of column_count flags, which are set for the columns that the table lacks. With it, a
 * missing column that is not part of the key is not a difference: the caller adds it, or with
 * SCHEMA_DRIFT_IGNORE leaves it out. With SCHEMA_DRIFT_IGNORE three cases still are differences:
 * the table has none of the columns, it lacks the column that tells which row is newer, or it lacks
 * the column for values that have no other column.
 */
SinkResult sink_table_compare(const SinkTarget *target, const FoundTable *found, const TypeRules *rules, bool *missing, Error *error);
/* Compares according to the target's on_schema_drift. Records the missing columns in the
 * inspection, as `adds` or as `lacks`. The results are those of sink_table_compare. */
SinkResult sink_table_inspect(const SinkTarget *target, const FoundTable *found, const TypeRules *rules, TableInspection *inspection,
                              Error *error);

/* Appends the name in double quotes, with quotes inside doubled. All SQL destinations take this as
 * an identifier. */
void sql_put_identifier(Buffer *out, const char *name);
/* Appends the quoted names of the columns, separated by commas. `keys_only`: only those of the
 * primary key. */
void sql_put_columns(Buffer *out, const SinkTarget *target, bool keys_only);
bool sink_table_has_key(const SinkTarget *target);
/* Does the sink have a column of this name? The names are compared as bytes. */
bool sink_target_has_column(const SinkTarget *target, const char *name);
/* Is every column part of the primary key? */
bool sink_table_is_all_key(const SinkTarget *target);
/* Returns the index of the column that tells which of two rows with the same key is newer. Returns
 * column_count if there is no such column: then the row that comes later is the newer one. */
size_t sink_table_newer_by(const SinkTarget *target);
/* Appends "NAME TYPE, …, PRIMARY KEY (…)", the text between the brackets of CREATE TABLE. */
void sql_put_definition(Buffer *out, const SinkTarget *target, const TypeRules *rules);

/* Sets the error of a sink whose table is the side table of another sink, and returns
 * SINK_REFUSED. */
SinkResult sink_table_is_side(const SinkTarget *target, Error *error);
