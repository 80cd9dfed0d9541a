/*
 * Functions that work on eight bytes at a time: the portable kernels that scanner, rows and checks
 * share. Each returns a place, never reads at or past `end`, and gives the same result on any byte
 * order. A SIMD version must give identical results.
 */
#pragma once

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"

#define TEXT_ONES UINT64_C(0x0101010101010101)
#define TEXT_HIGHS UINT64_C(0x8080808080808080)

static inline uint64_t text_load8(const char *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return le64toh(word);
}

/* `size` (0..7) bytes as text_load8 would give them, zeros behind; reads no other byte. */
static inline uint64_t text_load_short(const char *p, size_t size) {
    check_debug(size < 8);
    if (size >= 4) {
        uint32_t head, tail;
        memcpy(&head, p, sizeof head);
        memcpy(&tail, p + size - 4, sizeof tail);
        return le32toh(head) | (uint64_t)le32toh(tail) << ((size - 4) * 8);
    }
    if (size == 0) return 0;
    size_t middle = size / 2, last = size - 1;
    return (uint64_t)(unsigned char)p[0] | (uint64_t)(unsigned char)p[middle] << (middle * 8) |
           (uint64_t)(unsigned char)p[last] << (last * 8);
}

/* memcpy for data that is mostly short, for which a call costs more than the copy. */
static inline void text_copy_short(char *to, const char *from, size_t size) {
    if (size > 16) {
        memcpy(to, from, size);
    } else if (size >= 8) {
        uint64_t head, tail;
        memcpy(&head, from, 8);
        memcpy(&tail, from + size - 8, 8);
        memcpy(to, &head, 8);
        memcpy(to + size - 8, &tail, 8);
    } else if (size >= 4) {
        uint32_t head, tail;
        memcpy(&head, from, 4);
        memcpy(&tail, from + size - 4, 4);
        memcpy(to, &head, 4);
        memcpy(to + size - 4, &tail, 4);
    } else if (size > 0) {
        char middle = from[size / 2], last = from[size - 1];
        to[0] = from[0];
        to[size / 2] = middle;
        to[size - 1] = last;
    }
}

/* High bit set in the bytes of `word` that equal `byte`; exact up to and including the first of
 * them. */
static inline uint64_t text_mask_equal(uint64_t word, unsigned char byte) {
    uint64_t difference = word ^ (TEXT_ONES * byte);
    return (difference - TEXT_ONES) & ~difference & TEXT_HIGHS;
}

/* High bit set in the bytes of `word` that are not decimal digits. */
static inline uint64_t text_mask_others(uint64_t word) {
    uint64_t value = word ^ (TEXT_ONES * '0'); /* 0..9 for digits */
    return (((value & ~TEXT_HIGHS) + TEXT_ONES * 0x76) | value) & TEXT_HIGHS;
}

/* Index of the first marked byte; mask is not 0. */
static inline size_t text_mask_first(uint64_t mask) {
    check_debug(mask != 0);
    return (size_t)__builtin_ctzll(mask) >> 3;
}

/* The first byte that cannot simply be passed over inside a JSON string: quote, backslash, control
 * character or not ASCII; or `end`. */
static inline const char *text_skip_plain(const char *p, const char *end) {
    while (end - p >= 8) {
        uint64_t word = text_load8(p);
        uint64_t control = (word - TEXT_ONES * 0x20) & ~word & TEXT_HIGHS;
        uint64_t mask = text_mask_equal(word, '"') | text_mask_equal(word, '\\') | control | (word & TEXT_HIGHS);
        if (mask) return p + text_mask_first(mask);
        p += 8;
    }
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80) p++;
    return p;
}

/* JSON's white space. */
static inline bool text_is_space(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}
