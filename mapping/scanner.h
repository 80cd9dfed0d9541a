/*
 * Checks every byte of a JSON text (RFC 8259: grammar, UTF-8, raw control characters, nothing
 * behind the value, no byte order mark, at most SCAN_DEPTH_MAX levels), and finds the values of a
 * path set. There is no recursion, no early exit and no copy. Nothing is allocated after a Scanner
 * has seen its largest path set. The text is never read outside its span.
 *
 * Of equal keys in one object the first one counts for the paths, also if it leads to no value.
 * Keys are compared unescaped, so "\u0061" is "a".
 *
 * At watched places of the set, members of objects that no path names are noted (ScanNote). This
 * list grows with the text.
 *
 * There are several kernels for different processors, with equal results: one loop over the bytes
 * (scan_loop.h; portable, and with SSE2), and two stages over blocks of 64 bytes (scan_stages.h;
 * with AVX2 and with AVX-512). The best one that the processor supports is used.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"
#include "mapping/json_check.h"
#include "mapping/pathset.h"

#define SCAN_DEPTH_MAX 128

typedef enum ScanKind { SCAN_NULL, SCAN_BOOLEAN, SCAN_NUMBER, SCAN_STRING, SCAN_OBJECT, SCAN_ARRAY } ScanKind;

typedef struct ScanValue {
    Span text; /* points into the scanned text; a string has its quotes */
    uint32_t generation;
    uint8_t kind;
    bool escaped; /* a string with escapes */
    bool spaced;  /* an object or array that may hold white space to compact */
} ScanValue;

#define SCAN_WINDOW 1024 /* tokens that are listed at a time */
#define SCAN_WINDOW_SIZE (SCAN_WINDOW + 3 * 64 + 16)

typedef struct ScanFrame {
    const char *start;
    size_t spaces;      /* white space passed before it */
    uint32_t node;      /* PATH_NONE: no path comes here */
    uint32_t keys_left; /* one pass: keys of the node that were not seen yet, and one more in a watched place */
    uint64_t unseen;    /* two stages: which they are, by their place among the keys of `place`, and PATH_WATCHED */
    const PathNode *place;
    size_t token; /* two stages, while a shape is learned: the one that opens it */
    uint32_t index, index_at, index_end;
    bool object;
} ScanFrame;

/* A member of an object at a watched place whose key no path names; each of equal keys is noted. */
typedef struct ScanNote {
    const char *key;   /* points behind the opening quote */
    const char *value; /* its first byte; scan_value_end says where it ends */
    size_t key_size;   /* as it stands in the text */
    uint32_t node;     /* of the object */
} ScanNote;

typedef struct ScanShapes ScanShapes; /* of the kernels in two stages: scan_shape.h */

/* One thread's scratch memory. All-zero is ready. */
typedef struct Scanner {
    uint32_t generation; /* of the last run: older stamps and values are not of it */
    uint32_t *stamps;    /* by node */
    size_t stamp_capacity;
    ScanValue *values; /* by slot */
    size_t value_capacity;
    ScanNote *notes; /* of the last run, in the text's order */
    size_t note_count, note_capacity;
    Buffer key;            /* an unescaped key */
    uint64_t second_looks; /* texts that a kernel refused and the one-pass loop took: none, or the kernel is wrong */
    uint64_t shape_hits;   /* texts whose shape was known */
    ScanShapes *shapes;
    ScanFrame frames[SCAN_DEPTH_MAX + 1];
    const char *window[SCAN_WINDOW_SIZE];
    char kinds[SCAN_WINDOW_SIZE + 64]; /* of kernels that compare shapes by them */
} Scanner;

void scanner_deinit(Scanner *scanner);
/* Forgets all results; for kernels that begin again. */
void scanner_renew(Scanner *scanner);

/* Scans a text. Returns 0, or SCAN_NOT_JSON with the first fault. `set` must be sealed. */
int scanner_run(Scanner *scanner, const PathSet *set, Span text, ScanFault *ret_fault);
/* Returns the value of a path, or NULL if there is none. Valid after a run that returned 0, until
 * the next run. */
static inline const ScanValue *scanner_value(const Scanner *scanner, uint32_t slot) {
    check_debug(slot < scanner->value_capacity);
    const ScanValue *value = scanner->values + slot;
    return value->generation == scanner->generation ? value : NULL;
}

/* The kind of a value that was accepted, without surrounding white space. */
ScanKind scan_kind(Span value);
/* Returns the end of the value that begins at `value`, in a text that was accepted and ends at
 * `end`. */
const char *scan_value_end(const char *value, const char *end);

/* `set` may be NULL; then the text is only checked */
typedef struct ScanKernel {
    const char *name;
    int (*run)(Scanner *scanner, const PathSet *set, Span text, ScanFault *ret_fault);
} ScanKernel;
/* All kernels that this processor supports, the best one first. The last one is the portable one.
 * For tests and benchmarks. */
const ScanKernel *scan_kernels(size_t *ret_count);
