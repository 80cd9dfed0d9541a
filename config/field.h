/*
 * Reading JSON that people wrote, strictly: kinds, ranges, choices and unknown fields are checked,
 * and an error names the field by its path from the root, in the text
 * ("table.mapping.columns[2].name") and as a pointer that a manifest can turn into line and column.
 * Internal to config/.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "config/refusal.h"

/* A value and the way to it. Nodes live on the stack of who reads; a parent outlives its
 * children. */
typedef struct Node Node;
struct Node {
    const json_t *value; /* NULL: the field is missing */
    const Node *parent;  /* NULL: the root */
    const char *key;     /* NULL: item number `index` of an array */
    size_t index;
};

/* Where an error goes, and at which field it arose. */
typedef struct Fault Fault;
struct Fault {
    Error *error;   /* may be NULL, but for `keep` */
    char path[512]; /* "sinks/0/table", '~' and '/' of a name as "~0" and "~1"; a longer way is cut after a whole step */
    bool is_stored; /* what is read was written by this program: it may hold what people cannot declare */
    bool at_key;    /* it is the name of the field that is wrong, not its value */
    /* Takes the error, so that reading goes on with what does not depend on it; NULL: the first
     * error ends it. */
    void (*keep)(void *context, const Fault *fault);
    void *context;
};

Node node_member(const Node *object, const char *key);
Node node_item(const Node *array, size_t index);
/* Neither missing nor null. */
bool node_given(const Node *node);

/* `Field "a.b[1]" TEXT` at this node; evaluates to -EINVAL. */
int fault_at(Fault *fault, const Node *node, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same without naming the field in the text. */
int fault_plain(Fault *fault, const Node *node, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* `result` of reading something: may what does not depend on it be read as well? An error is given
 * to `keep` first, and is empty then. */
bool fault_goes_on(Fault *fault, int result);

/* An object with no field but those of `allowed` (ends with NULL); `refused` may be NULL. */
int node_object(Fault *fault, const Node *node, const char *const *allowed, const Refusal *refused);
int node_array(Fault *fault, const Node *node, size_t least, size_t most);
/* Text without NUL of least..most bytes; borrowed from the JSON. */
int node_text(Fault *fault, const Node *node, size_t least, size_t most, const char **ret_text);
int node_bool(Fault *fault, const Node *node, bool *ret_value);
int node_integer(Fault *fault, const Node *node, int64_t least, int64_t most, int64_t *ret_value);
/* A size ("8MB", or a number of bytes) and a length of time ("30s") of least..most. */
int node_size(Fault *fault, const Node *node, uint64_t least, uint64_t most, uint64_t *ret_bytes);
int node_duration(Fault *fault, const Node *node, usec_t least, usec_t most, usec_t *ret_usec);
/* The index of the text in `choices` (ends with NULL); `refused` (may be NULL): known names with
 * the reason why not. */
int node_choice(Fault *fault, const Node *node, const char *const *choices, const Refusal *refused, int *ret_choice);

/* "a string", "an object", "nothing" … */
const char *json_kind(const json_t *value);
