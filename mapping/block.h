/*
 * Sixteen bytes at a time, for cells: SSE2 where the processor has it, else two words of eight. Both give the same; BLOCK_PORTABLE asks
 * for the words, so that a test can hold one against the other. Masks have bit i set for byte i, and no other.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#include "mapping/text.h"

#define BLOCK_BYTES 16

#if defined __SSE2__ && !defined BLOCK_PORTABLE

#include <emmintrin.h>

typedef __m128i Block;

static inline Block block_load(const char *from) {
    return _mm_loadu_si128((const __m128i *)(const void *)from);
}

static inline void block_store(char *to, Block block) {
    _mm_storeu_si128((__m128i *)(void *)to, block);
}

static inline unsigned block_equal(Block block, char byte) {
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(block, _mm_set1_epi8(byte)));
}

/* Comma, quote, backslash, CR, LF: what asks for quotes around a cell wherever it stands. */
static inline unsigned block_special(Block block) {
    __m128i found = _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8(',')), _mm_cmpeq_epi8(block, _mm_set1_epi8('"')));
    found = _mm_or_si128(found, _mm_cmpeq_epi8(block, _mm_set1_epi8('\\')));
    found = _mm_or_si128(found, _mm_cmpeq_epi8(block, _mm_set1_epi8('\r')));
    found = _mm_or_si128(found, _mm_cmpeq_epi8(block, _mm_set1_epi8('\n')));
    return (unsigned)_mm_movemask_epi8(found);
}

#else

typedef struct Block {
    uint64_t low, high;
} Block;

static inline Block block_load(const char *from) {
    return (Block){text_load8(from), text_load8(from + 8)};
}

static inline void block_store(char *to, Block block) {
    uint64_t low = htole64(block.low), high = htole64(block.high);
    memcpy(to, &low, 8);
    memcpy(to + 8, &high, 8);
}

/* The high bit of each byte that equals; exact for all of them, unlike text_mask_equal. */
static inline uint64_t block_word_equal(uint64_t word, char byte) {
    uint64_t difference = word ^ TEXT_ONES * (unsigned char)byte;
    return ~(((difference & ~TEXT_HIGHS) + ~TEXT_HIGHS) | difference | ~TEXT_HIGHS);
}

/* The eight high bits side by side. */
static inline unsigned block_word_mask(uint64_t marks) {
    return (unsigned)((marks >> 7) * UINT64_C(0x0102040810204080) >> 56);
}

static inline unsigned block_equal(Block block, char byte) {
    return block_word_mask(block_word_equal(block.low, byte)) | block_word_mask(block_word_equal(block.high, byte)) << 8;
}

static inline unsigned block_special(Block block) {
    return block_equal(block, ',') | block_equal(block, '"') | block_equal(block, '\\') | block_equal(block, '\r') |
           block_equal(block, '\n');
}

#endif

/* `size` (0..16) bytes with zeros behind; no byte at or past `end` is read, of which `size` bytes are known to be before it. */
static inline Block block_load_part(const char *from, size_t size, const char *end) {
    if (__builtin_expect(end - from >= BLOCK_BYTES, 1)) return block_load(from);
    char part[BLOCK_BYTES] = {0};
    text_copy(part, from, size);
    return block_load(part);
}

/* The bits of the first `size` (0..16) bytes. */
static inline unsigned block_first(size_t size) {
    return (1u << size) - 1;
}
