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
static inline __m128i utf8_first_high(void) {
    return _mm_setr_epi8(UTF8_LONG, UTF8_LONG, UTF8_LONG, UTF8_LONG, UTF8_LONG, UTF8_LONG, UTF8_LONG, UTF8_LONG, UTF8(UTF8_CONTINUED),
                         UTF8(UTF8_CONTINUED), UTF8(UTF8_CONTINUED), UTF8(UTF8_CONTINUED), UTF8_SHORT | UTF8_OVERLONG_2, UTF8_SHORT,
                         UTF8_SHORT | UTF8_OVERLONG_3 | UTF8_SURROGATE, UTF8_SHORT | UTF8_LARGE | UTF8_OVERLONG_4);
}

static inline __m128i utf8_first_low(void) {
    const char large = UTF8(UTF8_ANY | UTF8_LARGE | UTF8_OVERLONG_4);
    return _mm_setr_epi8(UTF8(UTF8_ANY | UTF8_OVERLONG_2 | UTF8_OVERLONG_3 | UTF8_OVERLONG_4), UTF8(UTF8_ANY | UTF8_OVERLONG_2),
                         UTF8(UTF8_ANY), UTF8(UTF8_ANY), UTF8(UTF8_ANY | UTF8_LARGE), large, large, large, large, large, large, large,
                         large, UTF8(UTF8_ANY | UTF8_LARGE | UTF8_OVERLONG_4 | UTF8_SURROGATE), large, large);
}

static inline __m128i utf8_second_high(void) {
    const char second = UTF8(UTF8_LONG | UTF8_CONTINUED | UTF8_OVERLONG_2);
    return _mm_setr_epi8(UTF8_SHORT, UTF8_SHORT, UTF8_SHORT, UTF8_SHORT, UTF8_SHORT, UTF8_SHORT, UTF8_SHORT, UTF8_SHORT,
                         UTF8(second | UTF8_OVERLONG_3 | UTF8_OVERLONG_4), UTF8(second | UTF8_OVERLONG_3 | UTF8_LARGE),
                         UTF8(second | UTF8_SURROGATE | UTF8_LARGE), UTF8(second | UTF8_SURROGATE | UTF8_LARGE), UTF8_SHORT, UTF8_SHORT,
                         UTF8_SHORT, UTF8_SHORT);
}

/* The third byte of three or four, and the fourth of four, must be continued ones; nothing else
 * may. So a byte is compared with what leads two and three bytes before it. */
#define UTF8_LEADS_3 ((char)(0xe0 - 0x80))
#define UTF8_LEADS_4 ((char)(0xf0 - 0x80))
