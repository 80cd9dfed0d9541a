/* What the scanner's kernels in two stages are given and give, and how they fall back on the
 * one-pass loop. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "mapping/scanner.h"

/* The classes of the 64 bytes of a block, a bit each: what a vector kernel gives to
 * scan_stages.h. */
typedef struct Masks {
    uint64_t quote;
    uint64_t backslash;
    uint64_t operators; /* { } [ ] : , and possibly control characters, which stage 2 refuses */
    uint64_t space;     /* JSON's white space */
    uint64_t control;   /* below 0x20 */
    uint64_t not_ascii;
} Masks;

/* The block that begins `by` (0..64) bytes later and is filled up with white space. */
static inline Masks masks_shifted(Masks masks, unsigned by) {
    check_debug(by <= 64);
    if (by == 64) return (Masks){.space = ~UINT64_C(0)};
    return (Masks){
        .quote = masks.quote >> by,
        .backslash = masks.backslash >> by,
        .operators = masks.operators >> by,
        .space = masks.space >> by | (by ? ~UINT64_C(0) << (64 - by) : 0),
        .control = masks.control >> by,
        .not_ascii = masks.not_ascii >> by,
    };
}

/* The classes of bytes behind a backslash, which only blocks with one need. */
typedef struct EscapeMasks {
    uint64_t letters; /* may stand behind a backslash */
    uint64_t unit;    /* u, which four digits follow */
    uint64_t digits;  /* hexadecimal ones */
} EscapeMasks;

/* As masks_shifted. */
static inline EscapeMasks escape_masks_shifted(EscapeMasks masks, unsigned by) {
    check_debug(by <= 64);
    if (by == 64) return (EscapeMasks){0};
    return (EscapeMasks){.letters = masks.letters >> by, .unit = masks.unit >> by, .digits = masks.digits >> by};
}

/* The kernels in two stages; a processor that lacks what they are compiled for must not call
 * them. */
int scan_avx2(Scanner *scanner, const PathSet *set, Span text, ScanFault *ret_fault);
int scan_avx512(Scanner *scanner, const PathSet *set, Span text, ScanFault *ret_fault);
/* What they do with a text that they refuse: the one-pass loop says what is wrong with it, and is
 * right if it should find nothing. */
int scan_again(Scanner *scanner, const PathSet *set, Span text, ScanFault *ret_fault);
