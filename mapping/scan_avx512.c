/* The scanner in two stages with AVX-512 (F, BW, VBMI2): a block is one register, and its tokens
 * are picked from it at once. */
#include "mapping/scan_masks.h"
#include "mapping/scan_x86.h"

static inline Masks classify(const char *block) {
    const __m128i spaces = SPACES_BY_NIBBLE;
    const __m128i operators = OPERATORS_BY_NIBBLE;
    __m512i bytes = _mm512_loadu_si512((const void *)block);
    __m512i space = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(spaces), bytes);
    __m512i operator= _mm512_shuffle_epi8(_mm512_broadcast_i32x4(operators), bytes);
    return (Masks){
        .quote = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('"')),
        .backslash = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('\\')),
        .operators = _mm512_cmpeq_epi8_mask(_mm512_or_si512(bytes, _mm512_set1_epi8(0x20)), operator),
        .space = _mm512_cmpeq_epi8_mask(bytes, space),
        .control = _mm512_cmplt_epu8_mask(bytes, _mm512_set1_epi8(0x20)),
        .not_ascii = _mm512_movepi8_mask(bytes),
    };
}

static inline EscapeMasks classify_escapes(const char *block) {
    const __m128i letters = ESCAPES_BY_NIBBLE;
    __m512i bytes = _mm512_loadu_si512((const void *)block);
    __m512i letter = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(letters), bytes);
    __m512i lower = _mm512_or_si512(bytes, _mm512_set1_epi8(0x20));
    return (EscapeMasks){
        .letters = _mm512_cmpeq_epi8_mask(bytes, letter) | _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('"')) |
                   _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('r')),
        .unit = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('u')),
        .digits = _mm512_cmple_epu8_mask(_mm512_sub_epi8(bytes, _mm512_set1_epi8('0')), _mm512_set1_epi8(9)) |
                  _mm512_cmple_epu8_mask(_mm512_sub_epi8(lower, _mm512_set1_epi8('a')), _mm512_set1_epi8(5)),
    };
}

static inline __m512i look_up(__m128i table, __m512i nibbles) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), nibbles);
}

static inline __m512i high_nibbles(__m512i bytes) {
    return _mm512_and_si512(_mm512_srli_epi16(bytes, 4), _mm512_set1_epi8(0x0f));
}

static inline bool utf8_wrong(const char *block) {
    const __m128i first_high = utf8_first_high(), first_low = utf8_first_low(), second_high = utf8_second_high();
    __m512i bytes = _mm512_loadu_si512((const void *)block), before = _mm512_loadu_si512((const void *)(block - 1));
    __m512i pairs = _mm512_and_si512(
        _mm512_and_si512(look_up(first_high, high_nibbles(before)), look_up(first_low, _mm512_and_si512(before, _mm512_set1_epi8(0x0f)))),
        look_up(second_high, high_nibbles(bytes)));
    __m512i third = _mm512_subs_epu8(_mm512_loadu_si512((const void *)(block - 2)), _mm512_set1_epi8(UTF8_LEADS_3));
    __m512i fourth = _mm512_subs_epu8(_mm512_loadu_si512((const void *)(block - 3)), _mm512_set1_epi8(UTF8_LEADS_4));
    __m512i must = _mm512_and_si512(_mm512_or_si512(third, fourth), _mm512_set1_epi8((char)0x80));
    return _mm512_cmpneq_epi8_mask(must, pairs) != 0;
}

static inline const char **put_tokens(const char **to, const char *block, uint64_t bits) {
    const __m512i offsets = _mm512_set_epi8(63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40,
                                            39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16,
                                            15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const char **end = to + __builtin_popcountll(bits);
    const __m512i base = _mm512_set1_epi64((long long)(uintptr_t)block);
    __m512i picked = _mm512_maskz_compress_epi8(bits, offsets);
    __m128i low = _mm512_castsi512_si128(picked);
    _mm512_storeu_si512((void *)to, _mm512_add_epi64(_mm512_cvtepu8_epi64(low), base));
    _mm512_storeu_si512((void *)(to + 8), _mm512_add_epi64(_mm512_cvtepu8_epi64(_mm_srli_si128(low, 8)), base));
    if (__builtin_expect(end - to <= 16, 0)) return end;
    __m128i next = _mm512_extracti32x4_epi32(picked, 1);
    _mm512_storeu_si512((void *)(to + 16), _mm512_add_epi64(_mm512_cvtepu8_epi64(next), base));
    _mm512_storeu_si512((void *)(to + 24), _mm512_add_epi64(_mm512_cvtepu8_epi64(_mm_srli_si128(next, 8)), base));
    if (__builtin_expect(end - to <= 32, 1)) return end;
    unsigned char places[64];
    _mm512_storeu_si512((void *)places, picked);
    for (int i = 32; i < 64; i += 8) {
        __m512i eight = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(const void *)(places + i)));
        _mm512_storeu_si512((void *)(to + i), _mm512_add_epi64(eight, base));
    }
    return end;
}

#define SCAN_KINDS

static inline void put_kinds(char *to, const char *block, uint64_t bits) {
    _mm512_storeu_si512((void *)to, _mm512_maskz_compress_epi8(bits, _mm512_loadu_si512((const void *)block)));
}

static inline bool kinds_differ(const char *kinds, const char *others, const char *masks, size_t count) {
    __mmask64 found = 0;
    for (size_t at = 0; at < count; at += 64) {
        __m512i different = _mm512_xor_si512(_mm512_loadu_si512((const void *)(kinds + at)),
                                             _mm512_loadu_si512((const void *)(others + at)));
        found |= _mm512_test_epi8_mask(different, _mm512_loadu_si512((const void *)(masks + at)));
    }
    return found != 0;
}

#include "mapping/scan_stages.h"

int scan_avx512(Scanner *scanner, const PathSet *set, Span text, ScanFault *ret_fault) {
    if (text.size == 0) return scan_again(scanner, set, text, ret_fault);
    return accept_with(scanner, set, text) ? 0 : scan_again(scanner, set, text, ret_fault);
}
