/*
 * Senders repeat themselves: most events of a source have the same keys in the same places, and
 * differ in their values only. A shape is what stage 2 of the scanner found in such a text: the
 * first byte of each token, the keys that it compared, and the tokens of the values that paths lead
 * to. A text whose tokens and keys are those of a shape is JSON if its numbers and literals are,
 * and has its values at the same tokens. So stage 2 is not needed for it.
 *
 * A scanner keeps some shapes, by path set and number of tokens. Texts with very many tokens, sets
 * with watched places and sets with places of more than 63 keys have none. Only scan_stages.h
 * includes this.
 */
#pragma once

#include <smmintrin.h>
#include <stdlib.h>

#include "mapping/scan_loop.h"

#define SHAPE_TOKENS_MAX 256
#define SHAPE_PARTS_MAX 64 /* keys, scalars, values */
#define SHAPE_KEY_BYTES_MAX 512
#define SHAPES 32
#define SHAPE_VECTOR 16
/* Texts of another shape before a place takes one of them; doubled when it was of no use. */
#define SHAPE_PATIENCE 8
#define SHAPE_PATIENCE_MAX 1024

typedef struct ShapeKey {
    uint16_t token, size; /* of its opening quote; bytes */
    uint16_t text_at;
} ShapeKey;

typedef struct ShapeScalar {
    uint32_t node; /* PATH_NONE: no path leads to it */
    uint16_t token;
} ShapeScalar;

/* A string or a container that a path leads to. */
typedef struct ShapeValue {
    uint32_t node;
    uint16_t first, last; /* tokens */
    uint8_t kind;
} ShapeValue;

typedef struct ScanShape {
    uint64_t set; /* its number; 0: there is no shape here */
    size_t token_count;
    int patience, next_patience;
    bool broken; /* while it is learned: it cannot be one */
    size_t key_count, scalar_count, value_count, text_size;
    char kinds[SHAPE_TOKENS_MAX]; /* first bytes of tokens */
    char masks[SHAPE_TOKENS_MAX]; /* 0: a number or literal, whose first byte may differ; else all bits */
    ShapeKey keys[SHAPE_PARTS_MAX];
    ShapeScalar scalars[SHAPE_PARTS_MAX];
    ShapeValue values[SHAPE_PARTS_MAX];
    char text[SHAPE_KEY_BYTES_MAX]; /* of the keys, one behind the other */
} ScanShape;

struct ScanShapes {
    ScanShape places[SHAPES];
};

/* ---- learning -------------------------------------------------------------------------------- */

static void shape_begin(ScanShape *shape) {
    shape->set = 0;
    shape->broken = false;
    shape->key_count = shape->scalar_count = shape->value_count = shape->text_size = 0;
    memset(shape->masks, 0, sizeof shape->masks);
}

static void shape_add_key(ScanShape *shape, size_t token, Span key) {
    if (shape->key_count == SHAPE_PARTS_MAX || key.size > SHAPE_KEY_BYTES_MAX - shape->text_size) {
        shape->broken = true;
        return;
    }
    shape->keys[shape->key_count++] = (ShapeKey){
        .token = (uint16_t)token, .size = (uint16_t)key.size, .text_at = (uint16_t)shape->text_size};
    if (key.size) memcpy(shape->text + shape->text_size, key.data, key.size);
    shape->text_size += key.size;
}

static void shape_add_scalar(ScanShape *shape, size_t token, uint32_t node) {
    if (shape->scalar_count == SHAPE_PARTS_MAX)
        shape->broken = true;
    else
        shape->scalars[shape->scalar_count++] = (ShapeScalar){.node = node, .token = (uint16_t)token};
}

static void shape_add_value(ScanShape *shape, const PathSet *set, uint32_t node, ScanKind kind, size_t first, size_t last) {
    if (set->nodes[node].slot_count == 0) return;
    if (shape->value_count == SHAPE_PARTS_MAX)
        shape->broken = true;
    else
        shape->values[shape->value_count++] = (ShapeValue){
            .node = node, .first = (uint16_t)first, .last = (uint16_t)last, .kind = (uint8_t)kind};
}

static void shape_end(ScanShape *shape, const PathSet *set, const char *const *tokens, size_t count) {
    check(count <= SHAPE_TOKENS_MAX);
    if (shape->broken) return;
    memset(shape->masks, 0xff, count);
    for (size_t i = 0; i < count; i++) shape->kinds[i] = *tokens[i];
    for (size_t i = 0; i < shape->scalar_count; i++) shape->masks[shape->scalars[i].token] = 0;
    shape->token_count = count;
    shape->set = set->number;
}

/* ---- comparing ------------------------------------------------------------------------------- */

#ifndef SCAN_KINDS
/* The tokens are followed by as many more as fill the last vector. */
static ALWAYS_INLINE bool shape_has_tokens(const ScanShape *shape, const char *const *tokens, size_t count) {
    for (size_t at = 0; at < count; at += SHAPE_VECTOR, tokens += SHAPE_VECTOR) {
        __m128i seen = _mm_cvtsi32_si128(*tokens[0]);
        seen = _mm_insert_epi8(seen, *tokens[1], 1);
        seen = _mm_insert_epi8(seen, *tokens[2], 2);
        seen = _mm_insert_epi8(seen, *tokens[3], 3);
        seen = _mm_insert_epi8(seen, *tokens[4], 4);
        seen = _mm_insert_epi8(seen, *tokens[5], 5);
        seen = _mm_insert_epi8(seen, *tokens[6], 6);
        seen = _mm_insert_epi8(seen, *tokens[7], 7);
        __m128i more = _mm_cvtsi32_si128(*tokens[8]);
        more = _mm_insert_epi8(more, *tokens[9], 1);
        more = _mm_insert_epi8(more, *tokens[10], 2);
        more = _mm_insert_epi8(more, *tokens[11], 3);
        more = _mm_insert_epi8(more, *tokens[12], 4);
        more = _mm_insert_epi8(more, *tokens[13], 5);
        more = _mm_insert_epi8(more, *tokens[14], 6);
        more = _mm_insert_epi8(more, *tokens[15], 7);
        __m128i kinds = _mm_loadu_si128((const __m128i *)(const void *)(shape->kinds + at));
        __m128i masks = _mm_loadu_si128((const __m128i *)(const void *)(shape->masks + at));
        if (!_mm_testz_si128(_mm_xor_si128(_mm_unpacklo_epi64(seen, more), kinds), masks)) return false;
    }
    return true;
}
#endif

static ALWAYS_INLINE bool shape_has_keys(const ScanShape *shape, const char *const *tokens, const char *end) {
    const ShapeKey *key = shape->keys, *stop = key + shape->key_count;
    for (; key < stop; key++) {
        const char *text = tokens[key->token] + 1, *wanted = shape->text + key->text_at;
        size_t size = key->size;
        if (tokens[key->token + 1] - text != (ptrdiff_t)size) return false;
        if (size > 8 || end - text < 8 || key->text_at > SHAPE_KEY_BYTES_MAX - 8) {
            if (memcmp(text, wanted, size) != 0) return false;
        } else if (size > 0 && (text_load8(text) ^ text_load8(wanted)) << (64 - 8 * size)) {
            return false;
        }
    }
    return true;
}
