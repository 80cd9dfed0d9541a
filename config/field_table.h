/*
 * The fields of a kind of definition as one table: reading with checks, writing back, copying,
 * comparing, freeing and the documents all come from its rows. Internal to config/, but for
 * field_table_document, and for the tables themselves.
 *
 * An object is a struct that begins all-zero and holds what its rows say. Texts and lists in it are
 * owned.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "config/field.h"

typedef enum FieldType {
    FIELD_TEXT,     /* char *; NULL: none */
    FIELD_TEXTS,    /* a list of texts that differ, each without control characters: a char ** at `offset`, their number (size_t) at
                     * `count_offset` */
    FIELD_VALUE,    /* a text, number, boolean or null: a char * at `offset`, NULL: none; its ScalarKind (scalar.h) at `kind_offset` */
    FIELD_BOOL,     /* bool */
    FIELD_COUNT,    /* uint32_t */
    FIELD_SIZE,     /* uint64_t, bytes: "8MB" */
    FIELD_DURATION, /* usec_t, a length of time: "30s" */
    FIELD_CHOICE,   /* an enum */
    FIELD_WORD,     /* the one choice that there is; nothing is stored */
    FIELD_OBJECT,   /* the fields of `fields`, in the struct at `offset` (which may be that of the object itself) */
    FIELD_OPTIONAL, /* the fields of `fields`, in a struct of their own: a pointer at `offset`; NULL: none */
    FIELD_LIST,     /* objects of `fields`: a pointer at `offset`, their number (size_t) at `count_offset` */
    FIELD_MAP,      /* as FIELD_LIST, but written as one object: `fields` has two rows, a FIELD_TEXT that is the name of a member, and what
                     * its value is */
    FIELD_TIME,     /* usec_t, wall time; shown only */
    FIELD_OWN,      /* by `read` and `write` of its own; nothing in it is owned by the object */
} FieldType;

typedef struct FieldTable FieldTable;

typedef struct FieldInfo {
    const char *name; /* as in JSON and YAML; NULL ends the table */
    FieldType type;
    size_t offset, count_offset, kind_offset;
    const char *default_value;  /* as a person would write it; NULL: a missing field stays what it was */
    const char *default_words;  /* for the documents, where no constant tells */
    int64_t least, most;        /* bytes of a text, value of a count, size or duration, items of a list or of texts */
    int64_t item_max;           /* bytes of each of several texts, which has one at least */
    const char *unit;           /* of a count */
    const char *range_words;    /* for the documents, where `validate` or `read` decides */
    const char *type_words;     /* for the documents, of FIELD_OWN; NULL: "object", or "choice" */
    const char *const *choices; /* ends with NULL */
    const unsigned *values;     /* of the choices, by their index; NULL: the index itself. The first one of a value is written */
    const Refusal *not_choices; /* known, and refused; NULL: none */
    const FieldTable *fields;
    uint32_t kinds;        /* bits by the value of the table's `kind` that have the field; 0: all */
    const char *needed;    /* what to say behind `needs ` when it is missing; NULL: it may be */
    const char *read_only; /* shown, but not taken: what to say behind `Field "x" `; NULL: it is taken */
    bool is_plain;         /* a text without control characters */
    bool is_secret;        /* left out where secrets are not shown */
    bool is_optional;      /* not written while it has its default; a text is never written when there is none, nor an empty object */
    int (*validate)(Fault *fault, const Node *field);          /* of a text, or each of several: it was found right before; NULL: none */
    char *(*keep)(const char *text, bool is_stored);           /* of the same: what is kept of it, owned; NULL: all of it */
    int (*read)(Fault *fault, const Node *field, void *place); /* FIELD_OWN */
    json_t *(*write)(const void *place);                       /* FIELD_OWN; new reference, NULL: left out */
    const char *sentence;                                      /* what it is, for the documents; ends with a period */
} FieldInfo;

struct FieldTable {
    const char *owners; /* "columns": for the refusal of a field of other kinds */
    const FieldInfo *fields;
    size_t size;            /* of the struct */
    const Refusal *refused; /* names that people try, and why not; NULL: none */
    const char *kind;       /* the FIELD_CHOICE, before all fields with `kinds`, whose value `kinds` has the bits of; NULL: none */
    /* After all fields were read: what depends on several of them; NULL: nothing. */
    int (*complete)(Fault *fault, const Node *node, void *object);
};

/* What is read from one JSON object may go into several objects, each with a table of its own. */
typedef struct FieldPart {
    const FieldTable *table;
    void *object; /* all-zero, but for what a missing field shall be */
} FieldPart;

/* What was read before an error stays in the objects, and the caller frees it. `refused`: more
 * names that are; NULL: none. */
int fields_read(Fault *fault, const Node *node, const FieldPart *parts, size_t count, const Refusal *refused);
/* Adds the fields to `out`. */
void fields_write(const FieldTable *table, const void *object, bool with_secrets, json_t *out);
/* The object is a bitwise copy of another: makes what it owns its own. */
void fields_unshare(const FieldTable *table, void *object);
void fields_free(const FieldTable *table, void *object); /* what it owns; texts are NULL and lists empty then */
bool fields_equal(const FieldTable *table, const void *a, const void *b);
/* Is all as fields_read left it? For check(): a definition that was read stays valid. */
bool fields_hold(const FieldTable *table, const void *object);

bool field_table_has(const FieldTable *table, const char *name);
bool field_table_is_secret(const FieldTable *table, const char *name); /* it has it, and it is not shown */
bool field_table_takes(const FieldTable *table, const char *name);     /* it has it, and a request may */
/* Asserts what the rows promise: names that differ, a sentence, defaults that are in range, choices
 * of one value only where nothing is stored … */
void field_table_check(const FieldTable *table);
/* A Markdown table: fields of objects in it under "object.field", those of lists not. What is only
 * shown is left out, unless that is all. */
void field_table_document(const FieldTable *table, Buffer *out);
