/* A value that people write as a text, a number, a boolean or null, kept as one text. Pure. */
#pragma once

#include <jansson.h>

typedef enum ScalarKind {
    SCALAR_TEXT,    /* the text itself */
    SCALAR_LITERAL, /* a number or a boolean as JSON writes it */
    SCALAR_NULL,    /* "null" */
} ScalarKind;

/* *ret_text: free(); NULL for an object, an array, and a text with NUL. A number has as few digits as give the same double. */
ScalarKind scalar_read(const json_t *value, char **ret_text);
/* What scalar_read was given (new reference). */
json_t *scalar_write(ScalarKind kind, const char *text);
