/*
 * What a table looks like at its destination, and how that differs from what a sink needs. The
 * drivers find it out, the comparison is the same for all: each sink column must be there (order
 * free) with a compatible type, columns that the sink does not know must be nullable or have a
 * default, and the primary key must be the same. A primary key that fills itself and that the sink
 * does not name fits a sink that appends rows without a key.
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
    char *type;        /* as the destination writes it */
    char *kind;        /* the type by which it is accepted, as the driver's TypeRules know it; at first as `type` */
    char *labels;      /* of an enum, as the driver reads them; NULL: it is none */
    bool needs_value;  /* NOT NULL without default */
    bool fills_itself; /* a row that does not name it gets a value: default, serial, identity, rowid */
    bool is_identity;  /* GENERATED … AS IDENTITY */
    bool is_generated; /* cannot be written */
    bool is_primary_key;
} FoundColumn;

typedef struct FoundTable {
    FoundColumn *columns;
    size_t count, capacity;
    char *key_name; /* owned; the constraint of the primary key; NULL: none, or it has no name */
} FoundTable;

/* What an admin can change at a table, so that it fits the sink. */
typedef enum TableChangeKind {
    TABLE_CHANGE_ADD,      /* `column` is missing */
    TABLE_CHANGE_TYPE,     /* `there` gets the type of `column` */
    TABLE_CHANGE_WRITABLE, /* `there` is generated, and is not to be */
    TABLE_CHANGE_NULLABLE, /* `there` is to allow NULL */
    TABLE_CHANGE_KEY,      /* the primary key becomes that of the sink, at most once; it may have none */
} TableChangeKind;

typedef struct TableChange {
    TableChangeKind kind;
    const Column *column;     /* borrowed; NULL: of no column of the sink */
    const FoundColumn *there; /* borrowed; NULL: of no column of the table */
} TableChange;

typedef struct TableChanges {
    const SinkTarget *target;
    const FoundTable *found;
    TableChange *items;
    size_t count, capacity;
} TableChanges;

/* How a destination thinks about types. */
typedef struct TypeRules {
    const char *(*type_of)(const Column *column); /* what a new table gets */
    /* Holds every value of the column unchanged, or refuses it. */
    bool (*compatible)(const SinkTarget *target, const Column *column, const FoundColumn *there);
    /* Is compatible and refuses no value; NULL: as compatible. */
    bool (*holds_all)(const SinkTarget *target, const Column *column, const FoundColumn *there);
    /* Appends ": SQL" or " (how): SQL" that makes the changes, or the first ones of them: whole
     * statements, which end with a semicolon, in at most `room` bytes. NULL: there are none. */
    void (*put_changes)(Buffer *out, const TableChanges *changes, size_t room);
    bool ignore_case; /* of column names */
} TypeRules;

/* Copies the texts. */
FoundColumn *found_table_add(FoundTable *found, const char *name, const char *type);
void found_table_deinit(FoundTable *found);

/*
 * Compares. `missing` (NULL or column_count flags) gets which columns are not there; with it,
 * missing columns that are no part of the key are left to the caller to add and are no difference.
 * SINK_DONE, or SINK_REFUSED with one text that names each difference, and ends with the statements
 * that change the table so that it fits. With SCHEMA_DRIFT_IGNORE they are left to the caller to
 * leave out, and it is a difference when the table has none of the columns, or lacks the one that
 * tells which row is newer, or the one of what has no other column.
 */
SinkResult sink_table_compare(const SinkTarget *target, const FoundTable *found, const TypeRules *rules, bool *missing, Error *error);
/* Compares as the target's on_schema_drift says, and notes the missing columns in the inspection:
 * as `adds`, or as `lacks`. */
SinkResult sink_table_inspect(const SinkTarget *target, const FoundTable *found, const TypeRules *rules, TableInspection *inspection,
                              Error *error);

/* "…" with quotes doubled: an identifier of every SQL destination. */
void sql_put_identifier(Buffer *out, const char *name);
/* The names of the columns, quoted, separated by commas; `keys_only`: those of the primary key. */
void sql_put_columns(Buffer *out, const SinkTarget *target, bool keys_only);
bool sink_table_has_key(const SinkTarget *target);
/* Is every column part of the primary key? */
bool sink_table_is_all_key(const SinkTarget *target);
/* The index of the column that tells which of two rows with one key is newer; column_count: the
 * later row is. */
size_t sink_table_newer_by(const SinkTarget *target);
/* "NAME TYPE, …, PRIMARY KEY (…)": what stands between the brackets of CREATE TABLE. */
void sql_put_definition(Buffer *out, const SinkTarget *target, const TypeRules *rules);

/* The failure of a sink whose table is the side table of another one: SINK_REFUSED. */
SinkResult sink_table_is_side(const SinkTarget *target, Error *error);
