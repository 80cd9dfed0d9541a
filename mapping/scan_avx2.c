/* The scanner in two stages with AVX2: 32 bytes at a time. */
#include "mapping/scan_masks.h"
#include "mapping/scan_x86.h"

static inline __m256i load32(const char *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

static inline __m256i look_up(__m128i table, __m256i nibbles) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), nibbles);
}

static inline __m256i high_nibbles(__m256i bytes) {
    return _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(0x0f));
}

static inline uint64_t bits_of(__m256i low, __m256i high) {
    return (uint64_t)(uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

static inline uint64_t bits_equal(__m256i low, __m256i high, char byte) {
    __m256i all = _mm256_set1_epi8(byte);
    return bits_of(_mm256_cmpeq_epi8(low, all), _mm256_cmpeq_epi8(high, all));
}

static inline Masks classify(const char *block) {
    const __m128i spaces = SPACES_BY_NIBBLE;
    const __m128i operators = OPERATORS_BY_NIBBLE;
    const __m256i curl = _mm256_set1_epi8(0x20), control = _mm256_set1_epi8(0x1f);
    __m256i low = load32(block), high = load32(block + 32);
    return (Masks){
        .quote = bits_equal(low, high, '"'),
        .backslash = bits_equal(low, high, '\\'),
        .operators = bits_of(_mm256_cmpeq_epi8(_mm256_or_si256(low, curl), look_up(operators, low)),
                             _mm256_cmpeq_epi8(_mm256_or_si256(high, curl), look_up(operators, high))),
        .space = bits_of(_mm256_cmpeq_epi8(low, look_up(spaces, low)), _mm256_cmpeq_epi8(high, look_up(spaces, high))),
        .control = bits_of(_mm256_cmpeq_epi8(_mm256_min_epu8(low, control), low), _mm256_cmpeq_epi8(_mm256_min_epu8(high, control), high)),
        .not_ascii = bits_of(low, high),
    };
}

static inline __m256i escape_letters(__m256i bytes) {
    const __m128i letters = ESCAPES_BY_NIBBLE;
    __m256i others = _mm256_or_si256(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('"')), _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('r')));
    return _mm256_or_si256(_mm256_cmpeq_epi8(bytes, look_up(letters, bytes)), others);
}

static inline __m256i hexadecimal(__m256i bytes) {
    __m256i digit = _mm256_sub_epi8(bytes, _mm256_set1_epi8('0'));
    __m256i letter = _mm256_sub_epi8(_mm256_or_si256(bytes, _mm256_set1_epi8(0x20)), _mm256_set1_epi8('a'));
    return _mm256_or_si256(_mm256_cmpeq_epi8(_mm256_min_epu8(digit, _mm256_set1_epi8(9)), digit),
                           _mm256_cmpeq_epi8(_mm256_min_epu8(letter, _mm256_set1_epi8(5)), letter));
}

static inline EscapeMasks classify_escapes(const char *block) {
    __m256i low = load32(block), high = load32(block + 32);
    return (EscapeMasks){
        .letters = bits_of(escape_letters(low), escape_letters(high)),
        .unit = bits_equal(low, high, 'u'),
        .digits = bits_of(hexadecimal(low), hexadecimal(high)),
    };
}

static inline __m256i utf8_faults(const char *p) {
    const __m128i first_high = utf8_first_high(), first_low = utf8_first_low(), second_high = utf8_second_high();
    __m256i bytes = load32(p), before = load32(p - 1);
    __m256i pairs = _mm256_and_si256(
        _mm256_and_si256(look_up(first_high, high_nibbles(before)), look_up(first_low, _mm256_and_si256(before, _mm256_set1_epi8(0x0f)))),
        look_up(second_high, high_nibbles(bytes)));
    __m256i third = _mm256_subs_epu8(load32(p - 2), _mm256_set1_epi8(UTF8_LEADS_3));
    __m256i fourth = _mm256_subs_epu8(load32(p - 3), _mm256_set1_epi8(UTF8_LEADS_4));
    __m256i must = _mm256_and_si256(_mm256_or_si256(third, fourth), _mm256_set1_epi8((char)0x80));
    return _mm256_xor_si256(must, pairs);
}

static inline bool utf8_wrong(const char *block) {
    __m256i faults = _mm256_or_si256(utf8_faults(block), utf8_faults(block + 32));
    return !_mm256_testz_si256(faults, faults);
}

/* Eight at a time: most blocks have 8 to 24, so that the loop's end is seldom guessed wrong. */
static inline const char **put_tokens(const char **to, const char *block, uint64_t bits) {
    const char **end = to + __builtin_popcountll(bits);
    while (bits) {
        for (int i = 0; i < 8; i++) {
            to[i] = block + _tzcnt_u64(bits);
            bits = _blsr_u64(bits);
        }
        to += 8;
    }
    return end;
}

#include "mapping/scan_stages.h"

int scan_avx2(Scanner *scanner, const PathSet *set, Span text, ScanFault *ret_fault) {
    if (text.size == 0) return scan_again(scanner, set, text, ret_fault);
    return accept_with(scanner, set, text) ? 0 : scan_again(scanner, set, text, ret_fault);
}
