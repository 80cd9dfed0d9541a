/*
 * Converts application/x-www-form-urlencoded to JSON, so that one scanner reads both. All values
 * are strings.
 *
 * `a[x]=1` makes an object, `a[]=1` takes the next index, and `a[0][x]=1` names an index. Brackets
 * count after percent decoding. A name that begins with a bracket, or whose brackets do not match,
 * is a plain key. Below the top level, keys that are exactly 0, 1, 2, … in this order make an
 * array, other keys make an object. Of equal keys the first one counts, as in JSON: in `a=1&a=2`
 * and `a=1&a[x]=2` the later one is ignored. These are faults: bad percent escapes, invalid UTF-8,
 * more than FORM_PAIRS_MAX pairs, more than FORM_DEPTH_MAX brackets in a name, and `a[]` behind
 * `a[999999999]`.
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"
#include "mapping/json_check.h"

#define FORM_PAIRS_MAX 1000
#define FORM_DEPTH_MAX 32

/* Scratch memory of one thread. All-zero is valid. */
typedef struct Form {
    Buffer text;  /* decoded names and values */
    Buffer nodes; /* of FormNode */
} Form;

void form_deinit(Form *form);

enum { FORM_NOT_A_FORM = 1 };
/* Appends the JSON object to `out`. Returns 0, or FORM_NOT_A_FORM with the place in `body`. */
int form_read(Form *form, Span body, Buffer *out, ScanFault *ret_fault);

/* The same with its own scratch memory, for callers for which speed does not matter. -EBADMSG:
 * `error` has the byte and the reason. */
int form_to_json(Span body, Buffer *out, Error *error);
