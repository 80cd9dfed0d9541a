/* The scanner on x86-64, each of which has SSE2; the portable one stays beside it, to be compared
 * with. */
#include <emmintrin.h>

#include "mapping/scan_loop.h"
#include "mapping/scan_masks.h"

static inline const char *skip_plain_sse2(const char *p, const char *end) {
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(0x20);
    while (end - p >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* As signed bytes, control characters and what is not ASCII are below the space. */
        __m128i special = _mm_or_si128(_mm_cmplt_epi8(bytes, space),
                                       _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)));
        unsigned mask = (unsigned)_mm_movemask_epi8(special);
        if (mask) return p + __builtin_ctz(mask);
        p += 16;
    }
    return text_skip_plain(p, end);
}

static int scan_sse2(Scanner *scanner, const PathSet *set, Span text, ScanFault *ret_fault) {
    return scan_with(scanner, set, text, ret_fault, skip_plain_sse2);
}

static int scan_portable(Scanner *scanner, const PathSet *set, Span text, ScanFault *ret_fault) {
    return scan_with(scanner, set, text, ret_fault, text_skip_plain);
}

int scan_again(Scanner *scanner, const PathSet *set, Span text, ScanFault *ret_fault) {
    if (set) scanner_renew(scanner);
    int r = scan_sse2(scanner, set, text, ret_fault);
    if (r == 0 && set) scanner->second_looks++;
    return r;
}

/* What needs most comes first: a processor that has it has what stands behind it. */
const ScanKernel *scan_kernels(size_t *ret_count) {
    static const ScanKernel kernels[] = {{"avx512", scan_avx512}, {"avx2", scan_avx2}, {"sse2", scan_sse2}, {"portable", scan_portable}};
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("popcnt");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi2");
    size_t first = avx512 ? 0 : avx2 ? 1 : 2;
    *ret_count = sizeof kernels / sizeof *kernels - first;
    return kernels + first;
}
