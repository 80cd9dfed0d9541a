/*
 * Random JSON documents and what breaks them, for tests that compare readers of JSON. The same seed
 * gives the same documents.
 *
 * A document is RFC 8259 in any form that a scanner has to know: nesting, empty containers, white
 * space runs, every escape, surrogate pairs, UTF-8 of all lengths, numbers of each form, strings
 * longer than a block of 64 bytes and than a page, runs of backslashes, equal keys, escaped keys.
 * Its keys and indexes are few (random_json_keys), so that the paths of a test are often there.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

typedef struct RandomJson {
    uint64_t state;
    bool wild; /* also what many readers cannot hold: numbers past a double or 64 bits, half surrogate pairs, U+0000 */
    bool deep; /* one branch goes down to 120..135 levels */
} RandomJson;

/* From SLUICE_SEED, else a new one; printed, so that a failure can be run again. */
uint64_t random_json_seed(void);
uint32_t random_json_below(RandomJson *random, uint32_t limit);
/* What a document's keys mean: names, digits, one with a dot, the empty one, letters beyond
 * ASCII. */
extern const char *const random_json_keys[];
#define RANDOM_JSON_KEYS 11

/* Appends a document, with white space around it. */
void random_json_document(RandomJson *random, Buffer *out);
/* Breaks it, or not: one to four changes of bytes, ranges, quotes, backslashes, brackets; or it is
 * cut. */
void random_json_mutate(RandomJson *random, Buffer *text);
