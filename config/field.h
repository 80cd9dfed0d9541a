/*
 * Strict reading of JSON that people wrote. The functions check kinds, ranges, choices and unknown
 * fields. An error names the field by its path from the root: in the text
 * ("table.mapping.columns[2].name"), and as a pointer that a manifest converts to line and column.
 * The node_… functions return 0, or -EINVAL with the error in the fault. Internal to config/.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "config/refusal.h"

/* A value and its path. Nodes live on the stack of the reader. A parent outlives its children. */
typedef struct Node Node;
struct Node {
    const json_t *value; /* NULL: the field is missing */
    const Node *parent;  /* NULL: the root */
    const char *key;     /* NULL: item number `index` of an array */
    size_t index;
};

/* Receives an error and the path of its field. */
typedef struct Fault Fault;
struct Fault {
    Error *error;   /* may be NULL unless `keep` is set */
    char path[512]; /* "sinks/0/table", '~' and '/' of a name as "~0" and "~1"; a longer path is cut after a whole step */
    bool is_stored; /* the input was written by this program: it may contain what people cannot declare */
    bool at_key;    /* the error is about the name of the field, not about its value */
    /* Takes the error. Reading continues with the fields that do not depend on it. NULL: reading
     * stops at the first error. */
    void (*keep)(void *context, const Fault *fault);
    void *context;
};

Node node_member(const Node *object, const char *key);
Node node_item(const Node *array, size_t index);
/* Returns whether the value is neither missing nor null. */
bool node_given(const Node *node);

/* Sets the error `Field "a.b[1]" TEXT` at this node. Returns -EINVAL. */
int fault_at(Fault *fault, const Node *node, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Does the same, but the text does not name the field. */
int fault_plain(Fault *fault, const Node *node, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Returns whether reading may continue after `result`, with fields that do not depend on it. An
 * error is first given to `keep`, and is empty then. */
bool fault_goes_on(Fault *fault, int result);

/* Checks that the node is an object whose fields are all in `allowed`, which ends with NULL.
 * `refused` may be NULL. */
int node_object(Fault *fault, const Node *node, const char *const *allowed, const Refusal *refused);
int node_array(Fault *fault, const Node *node, size_t least, size_t most);
/* Reads a text of least..most bytes without NUL. It is borrowed from the JSON. */
int node_text(Fault *fault, const Node *node, size_t least, size_t most, const char **ret_text);
int node_bool(Fault *fault, const Node *node, bool *ret_value);
int node_integer(Fault *fault, const Node *node, int64_t least, int64_t most, int64_t *ret_value);
/* Read a size ("8MB", or a number of bytes) or a duration ("30s") of least..most. */
int node_size(Fault *fault, const Node *node, uint64_t least, uint64_t most, uint64_t *ret_bytes);
int node_duration(Fault *fault, const Node *node, usec_t least, usec_t most, usec_t *ret_usec);
/* Reads a text of `choices`, which ends with NULL, as its index. `refused` (may be NULL): known
 * names that are refused, with the reason. */
int node_choice(Fault *fault, const Node *node, const char *const *choices, const Refusal *refused, int *ret_choice);

/* "a string", "an object", "nothing" … */
const char *json_kind(const json_t *value);
