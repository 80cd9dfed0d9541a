/*
 * application/x-www-form-urlencoded as JSON, so that one scanner reads both. Leaves are strings.
 *
 * `a[x]=1` nests, `a[]=1` takes the next index, `a[0][x]=1` names one. Brackets count after percent
 * decoding; a name whose brackets do not match, or that begins with one, is a plain key. Below the
 * top, keys that are exactly 0, 1, 2, … in this order make an array, others an object. As with
 * equal keys in JSON the first counts: of `a=1&a=2` and `a=1&a[x]=2` the later one is passed over.
 * Bad percent escapes, what is not UTF-8, over FORM_PAIRS_MAX pairs, over FORM_DEPTH_MAX brackets
 * in a name, and `a[]` behind `a[999999999]` are faults.
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"
#include "mapping/json_check.h"

#define FORM_PAIRS_MAX 1000
#define FORM_DEPTH_MAX 32

/* One thread's scratch memory. All-zero is ready. */
typedef struct Form {
    Buffer text;  /* decoded names and values */
    Buffer nodes; /* of FormNode */
} Form;

void form_deinit(Form *form);

enum { FORM_NOT_A_FORM = 1 };
/* Appends the JSON object to `out`. 0 or FORM_NOT_A_FORM with the place in `body`. */
int form_read(Form *form, Span body, Buffer *out, ScanFault *ret_fault);

/* The same with scratch memory of its own, for where speed is no matter. -EBADMSG: `error` says at
 * which byte and why. */
int form_to_json(Span body, Buffer *out, Error *error);
