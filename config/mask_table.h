/*
 * A mask replaces the value of a column. One table lists the masks: the name, the parameter, the
 * data types that may have the mask, and the key that it needs. This header reads a declared mask,
 * NAME or NAME:PARAMETER. mapping/mask.h makes the masked values. Pure; any thread.
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
    MASK_HAS_PLAIN, /* `plain`, or no parameter */
    MASK_HAS_KEY,   /* the name of a key */
    MASK_HAS_COUNT, /* a whole number, least..most */
    MASK_HAS_STEP,  /* a decimal number above 0, of at most 15 digits */
    MASK_HAS_SHARE, /* a MASK_HAS_STEP of at most 1 */
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
    const char *default_parameter; /* NULL: the parameter is required, or there is none */
    uint32_t least, most;          /* range of a MASK_HAS_COUNT */
    uint32_t types;                /* bits by DataType of the columns that may have it */
    bool needs_key;                /* needs the main key (mask_keys.h), except with `plain` */
    bool may_be_key;               /* distinct values stay distinct, so a primary key may have it */
    const char *sentence;          /* description of the result, for the documents */
    const char *example, *gives;   /* a declared mask, and a value with its masked value; for the documents */
} MaskInfo;

extern const MaskInfo mask_table[MASK_KIND_COUNT_]; /* by MaskKind */

typedef struct Mask {
    const MaskInfo *info;
    Span parameter; /* points into the text or to the default; empty: none */
} Mask;

#define MASK_NUMBER_DIGITS_MAX 15

/* Reads a declared mask. `text` must outlive the mask. -EINVAL: the text of the error follows the
 * declared text, such as "is no mask: …". */
int mask_parse(Span text, Mask *ret_mask, Error *error);
bool mask_takes(const Mask *mask, DataType type);
/* Checks that a column of the type may have the mask. -EINVAL as above; the error names the types
 * that fit. */
int mask_check_type(const Mask *mask, DataType type, Error *error);
/* Returns whether the mask needs the main key. `hmac` does not: it uses a named key. */
bool mask_needs_key(const Mask *mask);
/* Returns whether the mask of one of its columns needs the main key. */
bool sink_needs_mask_key(const Sink *sink);
void mask_table_check(void); /* asserts that the rows are consistent */
/* Appends all masks as a Markdown table. */
void mask_document(Buffer *out);
