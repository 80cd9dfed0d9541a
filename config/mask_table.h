/*
 * Masks: what stands in a column in place of its value. One table: name, parameter, which dataTypes
 * have it, and what it needs. Here is what is declared, as NAME or NAME:PARAMETER; mapping/mask.h
 * makes the masked values. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"
#include "config/definition.h"

typedef enum MaskKind {
    MASK_HASH,
    MASK_HMAC,
    MASK_MD5,
    MASK_REDACT,
    MASK_EMAIL,
    MASK_PHONE,
    MASK_CREDIT_CARD,
    MASK_SSN,
    MASK_PARTIAL,
    MASK_FIRST_LETTER,
    MASK_STARS,
    MASK_FIXED,
    MASK_UUID,
    MASK_ROUND,
    MASK_RANGE,
    MASK_NOISE,
    MASK_DATE_SHIFT,
    MASK_YEAR_ONLY,
    MASK_MONTH_YEAR,
    MASK_KIND_COUNT_, /* not a mask */
} MaskKind;

typedef enum MaskParameter {
    MASK_HAS_NONE,
    MASK_HAS_PLAIN, /* `plain`, or none */
    MASK_HAS_KEY,   /* the name of a key */
    MASK_HAS_COUNT, /* a whole number, least..most */
    MASK_HAS_STEP,  /* a decimal number above 0, of at most 15 digits */
    MASK_HAS_SHARE, /* the same, at most 1 */
    MASK_HAS_TEXT,
} MaskParameter;

typedef enum MaskInput {
    MASK_OF_ANY,    /* any bytes */
    MASK_OF_TEXT,   /* UTF-8 without NUL */
    MASK_OF_NUMBER, /* a JSON number */
    MASK_OF_TIME,   /* an RFC 3339 date or date and time */
} MaskInput;

typedef struct MaskInfo {
    const char *name;
    MaskKind kind;
    MaskInput input;
    MaskParameter parameter;
    const char *default_parameter; /* NULL: it has to be given, or is none */
    uint32_t least, most;          /* MASK_HAS_COUNT */
    uint32_t types;                /* bits by DataType of the columns that may have it */
    bool needs_key;                /* the key of maskKeyFile, or that of the data directory; not with `plain` */
    bool may_be_key;               /* values that differ stay different: a primary key may have it */
    const char *sentence;          /* what it gives; for the documents */
    const char *example, *gives;   /* the same */
} MaskInfo;

extern const MaskInfo mask_table[MASK_KIND_COUNT_]; /* by MaskKind */

typedef struct Mask {
    const MaskInfo *info;
    Span parameter; /* into the text, or the default; empty: none */
} Mask;

#define MASK_NUMBER_DIGITS_MAX 15

/* -EINVAL: the rest of a sentence that begins with the text, such as "is no mask: …". The text outlives the mask. */
int mask_parse(Span text, Mask *ret_mask, Error *error);
bool mask_takes(const Mask *mask, DataType type);
/* May a column of the type have it? -EINVAL as above; names the types that fit. */
int mask_check_type(const Mask *mask, DataType type, Error *error);
/* Does it need the main key? That of `hmac` has a name. */
bool mask_needs_key(const Mask *mask);
/* Does a mask of one of its columns? */
bool sink_needs_mask_key(const Sink *sink);
void mask_table_check(void); /* asserts what the rows promise */
/* A Markdown table of all masks. */
void mask_document(Buffer *out);
