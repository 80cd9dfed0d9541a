/*
 * A table describes the fields of one kind of definition. The functions here read and check, write,
 * copy, compare, free and document objects by the rows of their table. Only field_table_document
 * and the tables themselves are used outside config/.
 *
 * An object is a struct that starts all-zero. Its members are those that the rows name. The object
 * owns its texts and lists.
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
    FIELD_TEXTS,    /* a list of distinct texts without control characters: a char ** at `offset`, their number (size_t) at
                     * `count_offset` */
    FIELD_VALUE,    /* a text, number, boolean or null: a char * at `offset`, NULL: none; its ScalarKind (scalar.h) at `kind_offset` */
    FIELD_BOOL,     /* bool */
    FIELD_COUNT,    /* uint32_t */
    FIELD_SIZE,     /* uint64_t, bytes: "8MB" */
    FIELD_DURATION, /* usec_t, a length of time: "30s" */
    FIELD_CHOICE,   /* an enum */
    FIELD_WORD,     /* a choice with one value only; nothing is stored */
    FIELD_OBJECT,   /* the fields of `fields`, in the struct at `offset`; it may be the struct of the object itself */
    FIELD_OPTIONAL, /* the fields of `fields`, in a separate struct: a pointer at `offset`; NULL: none */
    FIELD_LIST,     /* objects of `fields`: a pointer at `offset`, their number (size_t) at `count_offset` */
    FIELD_MAP,      /* as FIELD_LIST, but written as one object. `fields` has two rows: a FIELD_TEXT for the name of a member,
                     * and one row for its value */
    FIELD_TIME,     /* usec_t, wall time; shown only */
    FIELD_OWN,      /* read and written by its own `read` and `write`; the object owns nothing in it */
} FieldType;

typedef struct FieldTable FieldTable;

typedef struct FieldInfo {
    const char *name; /* as in JSON and YAML; NULL ends the table */
    FieldType type;
    size_t offset, count_offset, kind_offset;
    const char *default_value;  /* as a person would write it; NULL: a missing field is left unchanged */
    const char *default_words;  /* for the documents, where the default is no constant */
    int64_t least, most;        /* range: bytes of a text, value of a count, size or duration, items of a list or of texts */
    int64_t item_max;           /* FIELD_TEXTS: maximum bytes of each text; the minimum is 1 */
    const char *unit;           /* of a count */
    const char *range_words;    /* for the documents, where `validate` or `read` checks the range */
    const char *type_words;     /* for the documents, of FIELD_OWN; NULL: "object", or "choice" */
    const char *const *choices; /* ends with NULL */
    const unsigned *values;     /* values of the choices, by index; NULL: the index itself. The first choice with a value is written */
    const Refusal *not_choices; /* choices that are known but refused; NULL: none */
    const FieldTable *fields;
    uint32_t kinds;        /* bits of the values of the table's `kind` that have the field; 0: all */
    const char *needed;    /* required: the text after `needs ` when the field is missing; NULL: the field is optional */
    const char *read_only; /* shown, but refused in a request: the text after `Field "x" `; NULL: it is accepted */
    bool is_plain;         /* a text without control characters */
    bool is_secret;        /* omitted where secrets are not shown */
    bool is_optional;      /* not written while it has its default; a missing text and an empty object are never written */
    int (*validate)(Fault *fault, const Node *field); /* checks a text, or each of several texts, after the checks of the row; NULL: none */
    char *(*keep)(const char *text, bool is_stored);  /* for the same texts: the text to store, owned; NULL: stored unchanged */
    int (*read)(Fault *fault, const Node *field, void *place); /* FIELD_OWN */
    json_t *(*write)(const void *place);                       /* FIELD_OWN; returns a new reference, or NULL: the field is omitted */
    const char *sentence;                                      /* description for the documents; ends with a period */
} FieldInfo;

struct FieldTable {
    const char *owners; /* "columns": for the error about a field of another kind */
    const FieldInfo *fields;
    size_t size;            /* of the struct */
    const Refusal *refused; /* names that people try and that are refused, with the reason; NULL: none */
    /* Name of the FIELD_CHOICE whose values are the bits of `kinds`. Its row comes before all rows
     * with `kinds`. NULL: none. */
    const char *kind;
    /* Checks or fills in what depends on several fields. It is called after all fields were read.
     * NULL: none. */
    int (*complete)(Fault *fault, const Node *node, void *object);
};

/* The fields of one JSON object may belong to several objects. Each object has its own table. */
typedef struct FieldPart {
    const FieldTable *table;
    void *object; /* all-zero, except for values that a missing field shall have */
} FieldPart;

/* Reads the fields of `node` into the objects of `parts`. After an error the objects keep what was
 * read before it, and the caller frees it. `refused`: further names that are refused; NULL: none. */
int fields_read(Fault *fault, const Node *node, const FieldPart *parts, size_t count, const Refusal *refused);
/* Adds the fields of the object to `out`. */
void fields_write(const FieldTable *table, const void *object, bool with_secrets, json_t *out);
/* Turns a bitwise copy of another object into an independent one: copies the texts and lists. */
void fields_unshare(const FieldTable *table, void *object);
void fields_free(const FieldTable *table, void *object); /* frees what the object owns; its texts are NULL and its lists empty then */
bool fields_equal(const FieldTable *table, const void *a, const void *b);
/* Does every field hold a value that fields_read can produce? For check(). */
bool fields_hold(const FieldTable *table, const void *object);

bool field_table_has(const FieldTable *table, const char *name);
bool field_table_is_secret(const FieldTable *table, const char *name); /* the table has the field, and the field is a secret */
bool field_table_takes(const FieldTable *table, const char *name);     /* the table has the field, and a request may set it */
/* Asserts that the rows are consistent: distinct names, a sentence, defaults within their range, a
 * single choice only where nothing is stored, and more. */
void field_table_check(const FieldTable *table);
/* Appends the fields as a Markdown table. A field of an object has the name "object.field". Fields
 * of lists are omitted. Read-only fields are omitted unless the table has no others. */
void field_table_document(const FieldTable *table, Buffer *out);
