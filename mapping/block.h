/*
 * Sixteen bytes at a time, for cells: SSE2 where the processor has it, else two words of eight.
 * Both give the same; BLOCK_PORTABLE asks for the words, so that a test can hold one against the
 * other. Masks have bit i set for byte i, and no other.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "mapping/words.h"

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

/* Quote, backslash, control character: what a JSON string cannot hold as it is. */
static inline unsigned block_json_special(Block block) {
    __m128i found = _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8('\\')), _mm_cmpeq_epi8(block, _mm_set1_epi8('"')));
    __m128i last_control = _mm_set1_epi8(0x1f);
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(found, _mm_cmpeq_epi8(_mm_max_epu8(block, last_control), last_control)));
}

/* A space or a byte below it: outside a string of JSON that is white space. */
static inline unsigned block_space_or_control(Block block) {
    __m128i space = _mm_set1_epi8(' ');
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_max_epu8(block, space), space));
}

/* NUL, or not ASCII. */
static inline unsigned block_not_ascii_text(Block block) {
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(block, _mm_cmpeq_epi8(block, _mm_setzero_si128())));
}

/* Comma, quote, backslash, CR, LF: what asks for quotes around a cell wherever it stands. */
static inline unsigned block_special(Block block) {
    __m128i found = _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8(',')), _mm_cmpeq_epi8(block, _mm_set1_epi8('"')));
    found = _mm_or_si128(found, _mm_cmpeq_epi8(block, _mm_set1_epi8('\\')));
    found = _mm_or_si128(found, _mm_cmpeq_epi8(block, _mm_set1_epi8('\r')));
    found = _mm_or_si128(found, _mm_cmpeq_epi8(block, _mm_set1_epi8('\n')));
    return (unsigned)_mm_movemask_epi8(found);
}

/* The hexadecimal text of the first and of the last eight bytes, lower case. */
static inline void block_hex(Block block, Block ret_digits[static 2]) {
    __m128i low_half = _mm_set1_epi8(15);
    __m128i high = _mm_and_si128(_mm_srli_epi16(block, 4), low_half), low = _mm_and_si128(block, low_half);
    ret_digits[0] = _mm_unpacklo_epi8(high, low);
    ret_digits[1] = _mm_unpackhi_epi8(high, low);
    for (int i = 0; i < 2; i++) {
        __m128i letter = _mm_and_si128(_mm_cmpgt_epi8(ret_digits[i], _mm_set1_epi8(9)), _mm_set1_epi8('a' - '9' - 1));
        ret_digits[i] = _mm_add_epi8(_mm_add_epi8(ret_digits[i], _mm_set1_epi8('0')), letter);
    }
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

/* The high bit of each byte below 0x20. */
static inline uint64_t block_word_control(uint64_t word) {
    return ~(word | ((word & ~TEXT_HIGHS) + TEXT_ONES * 0x60)) & TEXT_HIGHS;
}

static inline unsigned block_json_special(Block block) {
    return block_equal(block, '\\') | block_equal(block, '"') | block_word_mask(block_word_control(block.low)) |
           block_word_mask(block_word_control(block.high)) << 8;
}

static inline unsigned block_space_or_control(Block block) {
    return block_equal(block, ' ') | block_word_mask(block_word_control(block.low)) | block_word_mask(block_word_control(block.high)) << 8;
}

static inline unsigned block_not_ascii_text(Block block) {
    uint64_t low = (block.low & TEXT_HIGHS) | block_word_equal(block.low, 0),
             high = (block.high & TEXT_HIGHS) | block_word_equal(block.high, 0);
    return block_word_mask(low) | block_word_mask(high) << 8;
}

static inline unsigned block_special(Block block) {
    return block_equal(block, ',') | block_equal(block, '"') | block_equal(block, '\\') | block_equal(block, '\r') |
           block_equal(block, '\n');
}

/* The hexadecimal text of four bytes, the first of which is the lowest of `bytes`. */
static inline uint64_t block_word_hex(uint32_t bytes) {
    uint64_t spread = ((uint64_t)bytes | (uint64_t)bytes << 16) & UINT64_C(0x0000ffff0000ffff);
    spread = (spread | spread << 8) & UINT64_C(0x00ff00ff00ff00ff);
    uint64_t digits = (spread >> 4 | spread << 8) & TEXT_ONES * 15;
    uint64_t letters = (digits + TEXT_ONES * 6) >> 4 & TEXT_ONES;
    return digits + TEXT_ONES * '0' + letters * ('a' - '9' - 1);
}

static inline void block_hex(Block block, Block ret_digits[static 2]) {
    ret_digits[0] = (Block){block_word_hex((uint32_t)block.low), block_word_hex((uint32_t)(block.low >> 32))};
    ret_digits[1] = (Block){block_word_hex((uint32_t)block.high), block_word_hex((uint32_t)(block.high >> 32))};
}

#endif

/* `size` (0..16) bytes with zeros behind; no byte at or past `end` is read, of which `size` bytes
 * are known to be before it. */
static inline Block block_load_part(const char *from, size_t size, const char *end) {
    check_debug(size <= BLOCK_BYTES && (size == 0 || (ptrdiff_t)size <= end - from));
    if (__builtin_expect(end - from >= BLOCK_BYTES, 1)) return block_load(from);
    char part[BLOCK_BYTES] = {0};
    text_copy_short(part, from, size);
    return block_load(part);
}

/* The bits of the first `size` (0..16) bytes. */
static inline unsigned block_first(size_t size) {
    check_debug(size <= 16);
    return (1u << size) - 1;
}

/* 32 lower-case digits for the 16 bytes at `from`. */
static inline void block_put_hex(char *to, const char *from) {
    Block digits[2];
    block_hex(block_load(from), digits);
    block_store(to, digits[0]);
    block_store(to + BLOCK_BYTES, digits[1]);
}
