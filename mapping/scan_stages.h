/*
 * The scanner in two stages, to be compiled once for each kernel with vectors wide enough for it;
 * only scan_avx2.c and scan_avx512.c include this. Results are those of scan_loop.h, bit by bit; a
 * text that is refused here is given to that loop, which names the fault.
 *
 * Stage 1 takes the text in blocks of 64 bytes and classifies each byte into one bit of a few masks
 * (quotes, backslashes, operators, white space, control characters, not ASCII). With the masks it
 * checks UTF-8, escapes and control characters in strings, and lists the tokens: each operator
 * outside strings, both quotes of each string and the first byte of each number or literal. Nothing
 * in it depends on what the text means, so a processor does not have to guess. The mask of what is
 * inside strings is the prefix XOR of the quotes, as in G. Langdale, D. Lemire, "Parsing gigabytes
 * of JSON per second", The VLDB Journal 28 (2019). Stage 2 goes from token to token and checks the
 * grammar, and numbers and literals byte by byte; it never reads strings, except keys that a path
 * may name. The tokens are made a window at a time: memory does not grow with the text.
 *
 * A kernel has, before it includes this:
 *   static Masks classify(const char *block)                          64 readable bytes
 *   static EscapeMasks classify_escapes(const char *block)            the same
 *   static uint64_t prefix_xor(uint64_t bits)                         bit i: XOR of the bits 0..i
 *   static bool utf8_wrong(const char *block)                         64 bytes that 3 readable ones stand before; a sequence that ends
 *                                                                     behind the block is evaluated with the next one
 *   static const char **put_tokens(const char **to, const char *block, uint64_t bits)   may write 64 items, whatever the bits
 * It may have, and then defines SCAN_KINDS:
 *   static void put_kinds(char *to, const char *block, uint64_t bits)  puts the bytes that have bits; may write 64, whatever the bits
 *   static bool kinds_differ(const char *kinds, const char *others, const char *masks, size_t count)   where the masks have bits; may
 *                                                                     read up to the next 64, which have no masks
 */
#pragma once

#include "mapping/scan_loop.h"
#include "mapping/scan_masks.h"
#include "mapping/scan_shape.h"

#define SCAN_BLOCK 64
/* Tokens that stage 2 takes without looking for more: a key's two quotes, a colon, a string's two
 * quotes, what follows, and one. */
#define SCAN_AHEAD 8
/* Tokens that nothing allows stand behind the last: as many as that, and what fills a vector of
 * scan_shape.h. */
#define SCAN_BEHIND SHAPE_VECTOR

/* What stage 1 carries from one window to the next. */
typedef struct ScanStage {
    const char *at, *end, *start;
    const char **tokens_end; /* of what stands in the window */
#ifdef SCAN_KINDS
    const char *const *window;
    char *kinds; /* the first bytes of the first window's tokens */
#endif
    const char **enough; /* stage 2 asks for more here; far behind all tokens when there are no more */
    uint64_t in_string;  /* all bits: the next block begins inside a string */
    uint64_t escaping;   /* of the next block, bit 0: its first byte stands behind a backslash; from bit 1: those that must be digits */
    uint64_t in_scalar;  /* bit 0: the next block's first byte goes on with a number or literal */
    uint64_t not_ascii;  /* the block before had such bytes */
    uint64_t spaces;     /* not 0: there was white space outside strings */
    uint64_t wrong;      /* not 0: what is there is not JSON */
    bool escapes;        /* there was a backslash */
} ScanStage;

/*
 * Marks what the backslashes of a block escape, bit 0 with the block before: of each run of
 * backslashes every second byte, and the byte behind a run of an odd number. Where the runs begin
 * decides, and a subtraction carries that through them (as in simdjson, by J. Keiser and D. Lemire).
 * `masks` are what may stand behind a backslash.
 */
static ALWAYS_INLINE uint64_t pass_escapes(ScanStage *stage, uint64_t backslashes, EscapeMasks masks) {
    const uint64_t odd = UINT64_C(0xaaaaaaaaaaaaaaaa);
    uint64_t first = stage->escaping & 1;
    uint64_t beginners = backslashes & ~first;
    uint64_t ends = ((beginners << 1 | odd) - beginners) ^ odd;
    uint64_t escaped = ends ^ (backslashes | first);
    uint64_t units = escaped & masks.unit;
    uint64_t digits = stage->escaping >> 1 | units << 1 | units << 2 | units << 3 | units << 4;
    stage->escaping = (ends & backslashes) >> 63 | (units >> 63 | units >> 62 | units >> 61 | units >> 60) << 1;
    stage->wrong |= (escaped & ~masks.letters) | (digits & ~masks.digits);
    return escaped;
}

/* Takes a block in: `masks` are its bytes, which begin at `base` in the text; `filler` are the
 * bytes that are not of the text. The masks are those of the bytes at `block`, shifted by
 * `shift`. */
static ALWAYS_INLINE void index_block(ScanStage *stage, Masks masks, const char *base, const char *block, unsigned shift, uint64_t filler) {
    uint64_t escaped = 0;
    if (__builtin_expect((masks.backslash | stage->escaping) != 0, 0)) {
        escaped = pass_escapes(stage, masks.backslash, escape_masks_shifted(classify_escapes(block), shift));
        stage->escapes = true;
    }
    uint64_t quotes = masks.quote & ~escaped;
    uint64_t strings = prefix_xor(quotes) ^ stage->in_string; /* with the opening quote, without the closing one */
    stage->in_string = (uint64_t)((int64_t)strings >> 63);
    uint64_t outside = ~(strings | quotes);
    uint64_t scalars = outside & ~(masks.operators | masks.space);
    uint64_t starts = scalars & ~(scalars << 1 | stage->in_scalar);
    stage->in_scalar = scalars >> 63;
    stage->spaces |= masks.space & outside & ~filler;
    stage->wrong |= masks.control & strings;
    uint64_t tokens = (masks.operators & outside) | quotes | starts;
#ifdef SCAN_KINDS
    put_kinds(stage->kinds + (stage->tokens_end - stage->window), block, tokens << (shift & 63)); /* by 64: there is none */
#endif
    stage->tokens_end = put_tokens(stage->tokens_end, base, tokens);
}

/* Copies what is left of the text, less than a block, between spaces; the three bytes before it are
 * those of the text, if there are. */
static __attribute__((noinline)) const char *copy_last(char copy[static 3 + SCAN_BLOCK], const char *start, const char *at,
                                                       const char *end) {
    check(at <= end && end - at < SCAN_BLOCK);
    size_t before = at == start ? 0 : 3;
    check_debug((size_t)(at - start) >= before);
    memset(copy, ' ', 3 + SCAN_BLOCK);
    memcpy(copy + 3 - before, at - before, before + (size_t)(end - at));
    return copy + 3;
}

/* The same for a block at the beginning of the text, where nothing stands before it. When its first
 * bytes are ASCII, the block that begins behind them is as good. */
static ALWAYS_INLINE bool first_utf8_wrong(const ScanStage *stage, uint64_t not_ascii) {
    if ((not_ascii & 7) == 0 && stage->end - stage->start >= SCAN_BLOCK + 3) return utf8_wrong(stage->start + 3);
    char copy[3 + SCAN_BLOCK];
    memset(copy, ' ', 3);
    memcpy(copy + 3, stage->start, SCAN_BLOCK);
    return utf8_wrong(copy + 3);
}

static ALWAYS_INLINE void index_whole(ScanStage *stage) {
    check_debug(stage->end - stage->at >= SCAN_BLOCK);
    Masks masks = classify(stage->at);
    if (__builtin_expect((masks.not_ascii | stage->not_ascii) != 0, 0)) {
        stage->not_ascii = masks.not_ascii;
        stage->wrong |= stage->at == stage->start ? first_utf8_wrong(stage, masks.not_ascii) : utf8_wrong(stage->at);
    }
    index_block(stage, masks, stage->at, stage->at, 0, 0);
    stage->at += SCAN_BLOCK;
}

/* The last block, which the text does not fill: the rest of it is white space. */
static ALWAYS_INLINE void index_last(ScanStage *stage) {
    check_debug(stage->at <= stage->end && stage->end - stage->at < SCAN_BLOCK);
    char copy[3 + SCAN_BLOCK];
    const char *block;
    unsigned shift = 0;
    Masks masks;
    if (stage->end - stage->start >= SCAN_BLOCK + 3) {
        block = stage->end - SCAN_BLOCK; /* it ends where the text ends, part of it was taken in before */
        shift = (unsigned)(stage->at - block);
        masks = masks_shifted(classify(block), shift);
        if (__builtin_expect((masks.not_ascii | stage->not_ascii) != 0, 0)) {
            const unsigned char *end = (const unsigned char *)stage->end;
            stage->wrong |= utf8_wrong(block) || end[-1] >= 0xc0 || end[-2] >= 0xe0 || end[-3] >= 0xf0; /* or a sequence is cut off */
        }
    } else {
        block = copy_last(copy, stage->start, stage->at, stage->end);
        masks = classify(block);
        if (masks.not_ascii | stage->not_ascii) stage->wrong |= utf8_wrong(block);
    }
    index_block(stage, masks, stage->at, block, shift, ~UINT64_C(0) << (stage->end - stage->at));
    stage->at = stage->end;
}

/* Keeps the tokens from `from` on and fills the window; gives where the kept ones begin now. Behind
 * the last come tokens that nothing allows. */
static __attribute__((noinline)) const char **more_tokens(ScanStage *kept_stage, const char **window, const char **from) {
    static const char nothing[1];
    ScanStage stage = *kept_stage;   /* in registers */
    check(from <= stage.tokens_end); /* stage 2 has not run past what stage 1 made */
    size_t kept = (size_t)(stage.tokens_end - from);
    for (size_t i = 0; i < kept; i++) window[i] = from[i];
    stage.tokens_end = window + kept;
    const char **full = window + SCAN_WINDOW;
    while (stage.tokens_end <= full && stage.end - stage.at >= SCAN_BLOCK) index_whole(&stage);
    if (stage.end - stage.at >= SCAN_BLOCK) {
        stage.enough = stage.tokens_end - SCAN_AHEAD;
    } else {
        if (stage.at < stage.end || stage.not_ascii) index_last(&stage);
        stage.wrong |= stage.in_string;
        for (int i = 0; i < SCAN_BEHIND; i++) stage.tokens_end[i] = nothing;
        stage.enough = window + SCAN_WINDOW_SIZE;
    }
    check(stage.tokens_end <= window + SCAN_WINDOW_SIZE - SCAN_BEHIND);
    *kept_stage = stage;
    return window;
}

/* Whether a number or literal that ends at `p` ends there, and does not go on as something else. */
static ALWAYS_INLINE bool ends_well(const char *p, const char *next_token, const char *end) {
    return p == next_token || p == end || text_is_space(*p);
}

/* The child of `place` that a key leads to, when something keeps find_child_fast from it. */
static __attribute__((noinline)) uint32_t find_child_slowly(Scanner *scanner, const PathSet *set, const PathNode *place, Span key,
                                                            const char *end, uint64_t *unseen) {
    const PathKey *found = find_key(scanner, set, place, key, key.size && memchr(key.data, '\\', key.size), end);
    if (!found) {
        if (place->watched) note_unknown(scanner, set, place, key, end);
        return PATH_NONE;
    }
    if (place->key_count > 63) {
        if (scanner->stamps[found->node] == scanner->generation) return PATH_NONE;
        scanner->stamps[found->node] = scanner->generation;
        return found->node;
    }
    check(found >= set->keys + place->key_first && found - (set->keys + place->key_first) < place->key_count);
    uint64_t bit = UINT64_C(1) << (found - (set->keys + place->key_first));
    if (!(*unseen & bit)) return PATH_NONE;
    *unseen &= ~bit;
    return found->node;
}

/* The same for a key without escapes and a place with few keys; eight bytes can be read from the
 * key's first on. */
static ALWAYS_INLINE uint32_t find_child_fast(Scanner *scanner, const PathSet *set, const PathNode *place, const char *key, size_t size,
                                              const char *end, uint64_t *unseen) {
    check_debug(place->key_count <= PATH_KEYS_LINEAR && place->table_mask == 0 && (place->key_count > 0 || place->watched));
    if (!(place->key_sizes >> (size & 63) & 1)) goto unknown;
    uint64_t head = text_load8(key);
    if (size < 8) head &= ~(~UINT64_C(0) << (size * 8));
    const PathKey *at = set->keys + place->key_first, *stop = at + place->key_count;
    uint64_t bit = 1;
    do {
        if (at->head == head && at->size == size && (size <= 8 || memcmp(at->text + 8, key + 8, size - 8) == 0)) {
            uint32_t child = *unseen & bit ? at->node : PATH_NONE;
            *unseen &= ~bit;
            return child;
        }
        bit <<= 1;
    } while (++at < stop);
unknown:
    if (__builtin_expect((*unseen & PATH_WATCHED) != 0, 0)) note_unknown(scanner, set, place, (Span){key, size}, end);
    return PATH_NONE;
}

/* Eight bytes can be read up to `near_end`. */
static ALWAYS_INLINE bool has_backslash(const char *p, const char *stop, const char *near_end) {
    for (; p < stop; p += 8) {
        if (p > near_end || stop - p > 64) return memchr(p, '\\', (size_t)(stop - p));
        uint64_t mask = text_mask_equal(text_load8(p), '\\');
        if (mask) return p + text_mask_first(mask) < stop;
    }
    return false;
}

static ALWAYS_INLINE void capture_string(Scanner *scanner, const PathSet *set, uint32_t node, const char *open, const char *close,
                                         bool escaped) {
    check_debug(close > open && *open == '"' && *close == '"');
    Span text = {open, (size_t)(close + 1 - open)};
    capture(scanner, set, node, (ScanValue){.text = text, .kind = SCAN_STRING, .escaped = escaped});
}

/* Stage 2, from the first window on; true: the text is accepted. With `shape`, which is possible
 * when the window has all tokens, it is noted what is found. */
static ALWAYS_INLINE bool walk(Scanner *scanner, const PathSet *set, ScanStage stage, ScanShape *shape) {
    const char **window = scanner->window, **t = window;
    const char *end = stage.end, *near_end = end - stage.start >= 8 ? end - 8 : NULL, *p, *at;
    ScanFrame *frame = scanner->frames, *deepest = frame + SCAN_DEPTH_MAX; /* the first one is of no container */
    uint32_t node = set ? 0 : PATH_NONE;
    ScanKind kind;

    frame->object = false;
    p = *t++;

value: /* begins at p, t is behind it */
    at = p;
    switch (*p) {
    case '"':
        if (node != PATH_NONE) {
            if (shape) shape_add_value(shape, set, node, SCAN_STRING, (size_t)(t - 1 - window), (size_t)(t - window));
            capture_string(scanner, set, node, p, *t, stage.escapes && has_backslash(p, *t, near_end));
        }
        t++;
        goto after;
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9': {
        const char *fault;
        kind = SCAN_NUMBER;
        p = pass_number(p, end, &fault);
        if (!p) return false;
        break;
    }
    case 't':
        if (end - p < 4 || memcmp(p, "true", 4) != 0) return false;
        kind = SCAN_BOOLEAN;
        p += 4;
        break;
    case 'f':
        if (end - p < 5 || memcmp(p, "false", 5) != 0) return false;
        kind = SCAN_BOOLEAN;
        p += 5;
        break;
    case 'n':
        if (end - p < 4 || memcmp(p, "null", 4) != 0) return false;
        kind = SCAN_NULL;
        p += 4;
        break;
    case '{':
        if (frame == deepest) return false;
        frame++;
        frame->start = p;
        if (shape) frame->token = (size_t)(t - 1 - window);
        frame->node = node;
        frame->object = true;
        frame->unseen = 0;
        if (node != PATH_NONE) {
            frame->place = &set->nodes[node];
            frame->unseen = frame->place->key_unseen;
        }
        if (**t == '}') goto close;
        goto key;
    case '[':
        if (frame == deepest) return false;
        frame++;
        frame->start = p;
        if (shape) frame->token = (size_t)(t - 1 - window);
        frame->node = node;
        frame->object = false;
        frame->index = 0;
        frame->index_at = frame->index_end = 0;
        if (node != PATH_NONE) {
            frame->index_at = set->nodes[node].index_first;
            frame->index_end = frame->index_at + set->nodes[node].index_count;
        }
        if (**t == ']') goto close;
        goto element;
    default: return false;
    }
    if (!ends_well(p, *t, end)) return false;
    if (shape) shape_add_scalar(shape, (size_t)(t - 1 - window), node);
    if (node != PATH_NONE) capture(scanner, set, node, (ScanValue){.text = {at, (size_t)(p - at)}, .kind = (uint8_t)kind});

after:
    if (frame->object) goto after_member;
    if (frame == scanner->frames) return t == stage.tokens_end && stage.at == end && !stage.wrong;
    if (**t == ',') {
        t++;
        frame->index++;
        goto element;
    }
    if (**t == ']') goto close;
    return false;

element:
    if (t >= stage.enough) {
        t = more_tokens(&stage, window, t);
        if (stage.wrong) return false;
    }
    node = PATH_NONE;
    if (frame->index_at < frame->index_end && set->indexes[frame->index_at].index == frame->index)
        node = set->indexes[frame->index_at++].node;
    p = *t++;
    goto value;

after_member:
    if (**t != ',') {
        if (**t == '}') goto close;
        return false;
    }
    t++;

key:
    if (t >= stage.enough) {
        t = more_tokens(&stage, window, t);
        if (stage.wrong) return false;
    }
    if (*t[0] != '"' || *t[2] != ':') return false;
    node = PATH_NONE;
    if (frame->unseen) {
        const PathNode *place = frame->place;
        const char *key = t[0] + 1;
        size_t size = (size_t)(t[1] - key);
        if (shape) {
            shape_add_key(shape, (size_t)(t - window), (Span){key, size});
            shape->broken |= (frame->unseen & PATH_WATCHED) != 0; /* what it does not know is noted, too */
        }
        if (__builtin_expect((place->table_mask != 0) | (key > near_end), 0) || (stage.escapes && has_backslash(key, t[1], near_end)))
            node = find_child_slowly(scanner, set, place, (Span){key, size}, end, &frame->unseen);
        else
            node = find_child_fast(scanner, set, place, key, size, end, &frame->unseen);
    }
    p = t[3];
    t += 4;
    if (*p != '"') goto value;
    if (node != PATH_NONE) {
        if (shape) shape_add_value(shape, set, node, SCAN_STRING, (size_t)(t - 1 - window), (size_t)(t - window));
        capture_string(scanner, set, node, p, *t, stage.escapes && has_backslash(p, *t, near_end));
    }
    t++;
    goto after_member;

close:
    check_debug(frame > scanner->frames && t < stage.tokens_end);
    if (shape && frame->node != PATH_NONE)
        shape_add_value(shape, set, frame->node, frame->object ? SCAN_OBJECT : SCAN_ARRAY, frame->token, (size_t)(t - window));
    if (frame->node != PATH_NONE)
        capture(scanner, set, frame->node,
                (ScanValue){.text = {frame->start, (size_t)(*t + 1 - frame->start)},
                            .kind = frame->object ? SCAN_OBJECT : SCAN_ARRAY,
                            .spaced = stage.spaces != 0});
    t++;
    frame--;
    if (t >= stage.enough) {
        t = more_tokens(&stage, window, t);
        if (stage.wrong) return false;
    }
    goto after;
}

static __attribute__((noinline)) bool learn(Scanner *scanner, const PathSet *set, const ScanStage *stage, ScanShape *shape) {
    shape->next_patience = shape->next_patience < SHAPE_PATIENCE ? SHAPE_PATIENCE : shape->next_patience * 2;
    if (shape->next_patience > SHAPE_PATIENCE_MAX) shape->next_patience = SHAPE_PATIENCE_MAX;
    shape->patience = shape->next_patience;
    shape_begin(shape);
    if (!walk(scanner, set, *stage, shape)) return false;
    shape_end(shape, set, scanner->window, (size_t)(stage->tokens_end - scanner->window));
    return true;
}

static __attribute__((noinline)) void begin_shapes(Scanner *scanner) {
    scanner->shapes = calloc(1, sizeof *scanner->shapes);
    check(scanner->shapes);
}

/* Behind the number or literal at `p`, or NULL. */
static ALWAYS_INLINE const char *pass_scalar(const char *p, const char *end, ScanKind *ret_kind) {
    const char *fault;
    switch (*p) {
    case 't': *ret_kind = SCAN_BOOLEAN; return end - p >= 4 && memcmp(p, "true", 4) == 0 ? p + 4 : NULL;
    case 'f': *ret_kind = SCAN_BOOLEAN; return end - p >= 5 && memcmp(p, "false", 5) == 0 ? p + 5 : NULL;
    case 'n': *ret_kind = SCAN_NULL; return end - p >= 4 && memcmp(p, "null", 4) == 0 ? p + 4 : NULL;
    default: *ret_kind = SCAN_NUMBER; return pass_number(p, end, &fault);
    }
}

/* false: it is not proven that the text has the shape, and nothing was captured. */
static ALWAYS_INLINE bool has_shape(Scanner *scanner, const PathSet *set, const ScanStage *stage, const ScanShape *shape) {
    const char *const *tokens = scanner->window, *end = stage->end, *near_end = end - stage->start >= 8 ? end - 8 : NULL;
#ifdef SCAN_KINDS
    if (kinds_differ(scanner->kinds, shape->kinds, shape->masks, shape->token_count)) return false;
#else
    if (!shape_has_tokens(shape, tokens, shape->token_count)) return false;
#endif
    if (!shape_has_keys(shape, tokens, end)) return false;
    for (size_t i = 0; i < shape->scalar_count; i++) {
        const ShapeScalar *scalar = &shape->scalars[i];
        const char *at = tokens[scalar->token];
        ScanKind kind;
        const char *p = pass_scalar(at, end, &kind);
        if (!p || !ends_well(p, tokens[scalar->token + 1], end)) {
            scanner_renew(scanner); /* what was captured before */
            return false;
        }
        if (scalar->node != PATH_NONE)
            capture(scanner, set, scalar->node, (ScanValue){.text = {at, (size_t)(p - at)}, .kind = (uint8_t)kind});
    }
    for (size_t i = 0; i < shape->value_count; i++) {
        const ShapeValue *value = &shape->values[i];
        const char *first = tokens[value->first], *last = tokens[value->last];
        capture(scanner, set, value->node,
                (ScanValue){.text = {first, (size_t)(last + 1 - first)},
                            .kind = value->kind,
                            .escaped = value->kind == SCAN_STRING && stage->escapes && has_backslash(first, last, near_end),
                            .spaced = value->kind != SCAN_STRING && stage->spaces != 0});
    }
    return true;
}

/* true: the text is accepted. `set` is NULL when only the check is wanted. */
static ALWAYS_INLINE bool accept_with(Scanner *scanner, const PathSet *set, Span text) {
    const char **window = scanner->window;
    ScanStage stage = {.at = text.data, .start = text.data, .end = text.data + text.size, .tokens_end = window};
#ifdef SCAN_KINDS
    stage.window = window;
    stage.kinds = scanner->kinds;
#endif
    more_tokens(&stage, window, window);
    if (stage.wrong) return false; /* from here on, a quote that opens has one that closes */
    size_t count = (size_t)(stage.tokens_end - window);
    if (set && stage.at == stage.end && count <= SHAPE_TOKENS_MAX) {
        if (__builtin_expect(!scanner->shapes, 0)) begin_shapes(scanner);
        ScanShape *shape = &scanner->shapes->places[(set->number + count) % SHAPES];
        if (shape->set == set->number && shape->token_count == count && has_shape(scanner, set, &stage, shape)) {
            shape->patience = shape->next_patience = SHAPE_PATIENCE;
            scanner->shape_hits++;
            return true;
        }
        if (--shape->patience < 0) return learn(scanner, set, &stage, shape);
    }
    return walk(scanner, set, stage, NULL);
}
