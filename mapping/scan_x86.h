/* What the kernels with AVX2 and with AVX-512 share. A file that includes this is compiled for both
 * AVX2 and PCLMULQDQ. */
#pragma once

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

static inline uint64_t prefix_xor(uint64_t bits) {
    __m128i product = _mm_clmulepi64_si128(_mm_set_epi64x(0, (long long)bits), _mm_set1_epi8(-1), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

/*
 * By its low nibble, the one character of the class with that nibble; a byte over 0x7f looks up 0.
 * Where there is none stands what no byte equals that looks it up. `[` and `{`, `]` and `}` differ
 * in 0x20 only; operators are compared with that bit set, which `:` and `,` have.
 */
#define NO_SPACE ((char)0x80)
#define SPACES_BY_NIBBLE                                                                                                                   \
    _mm_setr_epi8(' ', NO_SPACE, NO_SPACE, NO_SPACE, NO_SPACE, NO_SPACE, NO_SPACE, NO_SPACE, NO_SPACE, '\t', '\n', NO_SPACE, NO_SPACE,     \
                  '\r', NO_SPACE, NO_SPACE)
#define OPERATORS_BY_NIBBLE _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ':', '{', ',', '}', 0, 0)

/* The same for what may stand behind a backslash, but for `"` and `r`, which have the nibble of
 * `b`. */
#define NO_LETTER NO_SPACE
#define ESCAPES_BY_NIBBLE                                                                                                                  \
    _mm_setr_epi8(NO_LETTER, NO_LETTER, 'b', NO_LETTER, 't', 'u', 'f', NO_LETTER, NO_LETTER, NO_LETTER, NO_LETTER, NO_LETTER, '\\',        \
                  NO_LETTER, 'n', '/')

static inline __m256i load32(const char *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

static inline __m256i look_up(__m128i table, __m256i nibbles) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), nibbles);
}

static inline __m256i high_nibbles(__m256i bytes) {
    return _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(0x0f));
}

/* What can be wrong with a byte and the one behind it. The high bit stands for two continuation
 * bytes: whether that is wrong depends on the bytes before them. */
enum {
    UTF8_SHORT = 0x01,      /* a lead byte, then no continuation byte */
    UTF8_LONG = 0x02,       /* ASCII, then a continuation byte */
    UTF8_OVERLONG_3 = 0x04, /* e0 80..9f */
    UTF8_LARGE = 0x08,      /* f4 90..bf, f5..ff 90..bf: over U+10FFFF */
    UTF8_SURROGATE = 0x10,  /* ed a0..bf */
    UTF8_OVERLONG_2 = 0x20, /* c0..c1 */
    UTF8_OVERLONG_4 = 0x40, /* f0 80..8f, and f5..ff 80..8f, which are too large */
    UTF8_CONTINUED = 0x80,
    UTF8_ANY = UTF8_SHORT | UTF8_LONG | UTF8_CONTINUED,
};
#define UTF8(bits) ((char)(bits))

/*
 * Three tables of 16, of the first byte's two nibbles and of the second byte's high one; where all
 * three have a bit, the pair is wrong so. From J. Keiser, D. Lemire, "Validating UTF-8 in less than
 * one instruction per byte", Software: Practice and Experience 51 (2021).
 */
static inline __m256i utf8_faults(const char *p) {
    const __m128i first_high = _mm_setr_epi8(UTF8_LONG, UTF8_LONG, UTF8_LONG, UTF8_LONG, UTF8_LONG, UTF8_LONG, UTF8_LONG, UTF8_LONG,
                                             UTF8(UTF8_CONTINUED), UTF8(UTF8_CONTINUED), UTF8(UTF8_CONTINUED), UTF8(UTF8_CONTINUED),
                                             UTF8_SHORT | UTF8_OVERLONG_2, UTF8_SHORT, UTF8_SHORT | UTF8_OVERLONG_3 | UTF8_SURROGATE,
                                             UTF8_SHORT | UTF8_LARGE | UTF8_OVERLONG_4);
    const char large = UTF8(UTF8_ANY | UTF8_LARGE | UTF8_OVERLONG_4);
    const __m128i first_low = _mm_setr_epi8(UTF8(UTF8_ANY | UTF8_OVERLONG_2 | UTF8_OVERLONG_3 | UTF8_OVERLONG_4),
                                            UTF8(UTF8_ANY | UTF8_OVERLONG_2), UTF8(UTF8_ANY), UTF8(UTF8_ANY), UTF8(UTF8_ANY | UTF8_LARGE),
                                            large, large, large, large, large, large, large, large,
                                            UTF8(UTF8_ANY | UTF8_LARGE | UTF8_OVERLONG_4 | UTF8_SURROGATE), large, large);
    const char second = UTF8(UTF8_LONG | UTF8_CONTINUED | UTF8_OVERLONG_2);
    const __m128i second_high = _mm_setr_epi8(UTF8_SHORT, UTF8_SHORT, UTF8_SHORT, UTF8_SHORT, UTF8_SHORT, UTF8_SHORT, UTF8_SHORT,
                                              UTF8_SHORT, UTF8(second | UTF8_OVERLONG_3 | UTF8_OVERLONG_4),
                                              UTF8(second | UTF8_OVERLONG_3 | UTF8_LARGE), UTF8(second | UTF8_SURROGATE | UTF8_LARGE),
                                              UTF8(second | UTF8_SURROGATE | UTF8_LARGE), UTF8_SHORT, UTF8_SHORT, UTF8_SHORT, UTF8_SHORT);
    __m256i bytes = load32(p), before = load32(p - 1);
    __m256i pairs = _mm256_and_si256(
        _mm256_and_si256(look_up(first_high, high_nibbles(before)), look_up(first_low, _mm256_and_si256(before, _mm256_set1_epi8(0x0f)))),
        look_up(second_high, high_nibbles(bytes)));
    /* The third byte of three or four, and the fourth of four, must be continued ones; nothing else
     * may. */
    __m256i third = _mm256_subs_epu8(load32(p - 2), _mm256_set1_epi8((char)(0xe0 - 0x80)));
    __m256i fourth = _mm256_subs_epu8(load32(p - 3), _mm256_set1_epi8((char)(0xf0 - 0x80)));
    __m256i must = _mm256_and_si256(_mm256_or_si256(third, fourth), _mm256_set1_epi8((char)0x80));
    return _mm256_xor_si256(must, pairs);
}

static inline bool utf8_wrong(const char *block) {
    __m256i faults = _mm256_or_si256(utf8_faults(block), utf8_faults(block + 32));
    return !_mm256_testz_si256(faults, faults);
}
