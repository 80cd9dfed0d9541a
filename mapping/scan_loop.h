/*
 * The scanner's loop, to be compiled once for each kernel: scan_with() is inlined into one function
 * per kernel, and the kernel into it. Only scan_portable.c and scan_x86.c include this.
 */
#pragma once

#include "base/array.h"
#include "base/error.h"
#include "mapping/json_text.h"
#include "mapping/scanner.h"
#include "mapping/words.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))
typedef const char *SkipPlain(const char *p, const char *end);

/* Behind the escape that begins at `p`, or NULL with what is wrong and where. */
static const char *pass_escape(const char *p, const char *end, const char **ret_at, const char **ret_what) {
    check_debug(p < end && *p == '\\');
    *ret_at = p;
    *ret_what = "a string has no end";
    if (end - p < 2) {
        *ret_at = end;
        return NULL;
    }
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't': return p + 2;
    case 'u':
        for (int i = 2; i < 6; i++) {
            if (p + i == end) {
                *ret_at = end;
                return NULL;
            }
            if (text_hex(p[i]) < 0) {
                *ret_what = "\\u needs four hexadecimal digits";
                return NULL;
            }
        }
        return p + 6;
    default: *ret_what = "no such escape in a string"; return NULL;
    }
}

/* What the kernel stopped at inside a string, and whatever of its kind follows. */
static const char *pass_special(const char *p, const char *end, bool *escaped, const char **ret_at, const char **ret_what) {
    *ret_at = p;
    if (p == end) {
        *ret_what = "a string has no end";
        return NULL;
    }
    if (*p == '\\') {
        *escaped = true;
        while (p && p < end && *p == '\\') p = pass_escape(p, end, ret_at, ret_what);
        return p;
    }
    if ((unsigned char)*p < 0x20) {
        *ret_what = "a control character in a string must be escaped";
        return NULL;
    }
    while (p < end && (unsigned char)*p >= 0x80) {
        size_t size = text_utf8_size(p, end);
        if (size == 0) {
            *ret_at = p;
            *ret_what = "a string is not UTF-8";
            return NULL;
        }
        p += size;
    }
    return p;
}

static ALWAYS_INLINE const char *pass_digits(const char *p, const char *end) {
    while (end - p >= 8) {
        uint64_t others = text_mask_others(text_load8(p));
        if (others) return p + text_mask_first(others);
        p += 8;
    }
    while (p < end && text_is_digit(*p)) p++;
    return p;
}

/* Behind the number, or NULL with the place. */
static ALWAYS_INLINE const char *pass_number(const char *p, const char *end, const char **ret_at) {
    if (*p == '-') p++;
    *ret_at = p;
    if (p == end || !text_is_digit(*p)) return NULL;
    p = *p == '0' ? p + 1 : pass_digits(p, end);
    if (p == end) return p;
    if (*p == '.') {
        const char *digits = *ret_at = p + 1;
        p = pass_digits(digits, end);
        if (p == digits) return NULL;
        if (p == end) return p;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        if (p < end && (*p == '+' || *p == '-')) p++;
        const char *digits = *ret_at = p;
        p = pass_digits(digits, end);
        if (p == digits) return NULL;
    }
    return p;
}

/* The key that is meant, or NULL. Quotes are not part of `key`. */
static ALWAYS_INLINE const PathKey *find_key(Scanner *scanner, const PathSet *set, const PathNode *place, Span key, bool escaped,
                                             const char *end) {
    if (escaped) {
        if (key.size / 6 > set->key_bytes_max) return NULL;
        buffer_clear(&scanner->key);
        if (json_unescape(&scanner->key, key)) return NULL; /* half a surrogate pair equals no path's text */
        key = buffer_span(&scanner->key);
        end = key.data + key.size;
    }
    return pathset_find(set, place, key.data, key.size, end);
}

/* The key that ends before `key_end` names no path. Where its value begins is found without a
 * check: if it is not JSON, nobody asks. */
static __attribute__((noinline)) void note_unknown(Scanner *scanner, const PathSet *set, const PathNode *place, Span key, const char *end) {
    const char *p = key.data + key.size + 1;
    while (p < end && text_is_space(*p)) p++;
    if (p < end && *p == ':') p++;
    while (p < end && text_is_space(*p)) p++;
    array_reserve(scanner->notes, scanner->note_count, scanner->note_capacity);
    scanner->notes[scanner->note_count++] = (ScanNote){
        .key = key.data, .value = p, .key_size = key.size, .node = (uint32_t)(place - set->nodes)};
}

/* The child of the frame's node that this key leads to; a key counts once in a document's object.
 * Quotes are not part of `key`. */
static ALWAYS_INLINE uint32_t find_child(Scanner *scanner, const PathSet *set, ScanFrame *frame, Span key, bool escaped, const char *end) {
    check_debug(frame->node < set->node_count);
    const PathNode *place = &set->nodes[frame->node];
    check_debug(frame->keys_left <= place->key_count + place->watched);
    const PathKey *found = find_key(scanner, set, place, key, escaped, end);
    if (!found) {
        if (place->watched) note_unknown(scanner, set, place, key, end);
        return PATH_NONE;
    }
    if (scanner->stamps[found->node] == scanner->generation) return PATH_NONE;
    scanner->stamps[found->node] = scanner->generation;
    frame->keys_left--;
    return found->node;
}

static ALWAYS_INLINE void capture(Scanner *scanner, const PathSet *set, uint32_t number, ScanValue value) {
    check_debug(number < set->node_count && value.text.size > 0);
    const PathNode *node = &set->nodes[number];
    if (node->slot_count == 0) return;
    const uint32_t *slot = set->slots + node->slot_first;
    check_debug(*slot < scanner->value_capacity);
    ScanValue *first = scanner->values + *slot;
    value.generation = scanner->generation;
    *first = value;
    for (uint32_t i = 1; i < node->slot_count; i++) scanner->values[slot[i]] = *first;
}

static ALWAYS_INLINE const char *pass_space(const char *p, const char *end, size_t *spaces) {
    if (p < end && (unsigned char)*p > ' ') return p;
    const char *start = p;
    while (p < end && text_is_space(*p)) p++;
    *spaces += (size_t)(p - start);
    return p;
}

static int fault_at(Span text, const char *at, const char *what, ScanFault *ret_fault) {
    check(at >= text.data && (size_t)(at - text.data) <= text.size && what);
    *ret_fault = (ScanFault){.offset = (size_t)(at - text.data), .what = what};
    return SCAN_NOT_JSON;
}

/* `set` is NULL when only the check is wanted. */
static ALWAYS_INLINE int scan_with(Scanner *scanner, const PathSet *set, Span text, ScanFault *ret_fault, SkipPlain *skip_plain) {
    static const char empty[1];
    if (!text.data) text.data = empty;
    const char *p = text.data, *end = p + text.size, *at = NULL, *what = NULL;
    ScanFrame *frame = scanner->frames; /* the first one is of no container */
    ScanFrame *deepest = frame + SCAN_DEPTH_MAX;
    uint32_t node = set ? 0 : PATH_NONE;
    ScanValue value;
    size_t spaces = 0;

    if (text.size >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) return fault_at(text, p, "a byte order mark is not JSON", ret_fault);
    p = pass_space(p, end, &spaces);
    if (p == end) return fault_at(text, p, "there is no value", ret_fault);

value:
    if (p == end) return fault_at(text, p, "expected a value", ret_fault);
    value = (ScanValue){.text.data = p};
    switch (*p) {
    case '"':
        value.kind = SCAN_STRING;
        p++;
        while ((p = skip_plain(p, end)) == end || *p != '"')
            if (!(p = pass_special(p, end, &value.escaped, &at, &what))) return fault_at(text, at, what, ret_fault);
        p++;
        break;
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
    case '9':
        value.kind = SCAN_NUMBER;
        if (!(p = pass_number(p, end, &at))) return fault_at(text, at, "a number needs a digit here", ret_fault);
        break;
    case 't':
        value.kind = SCAN_BOOLEAN;
        if (end - p < 4 || memcmp(p, "true", 4) != 0) return fault_at(text, p, "expected a value", ret_fault);
        p += 4;
        break;
    case 'f':
        value.kind = SCAN_BOOLEAN;
        if (end - p < 5 || memcmp(p, "false", 5) != 0) return fault_at(text, p, "expected a value", ret_fault);
        p += 5;
        break;
    case 'n':
        value.kind = SCAN_NULL;
        if (end - p < 4 || memcmp(p, "null", 4) != 0) return fault_at(text, p, "expected a value", ret_fault);
        p += 4;
        break;
    case '{':
    case '[':
        if (frame == deepest) return fault_at(text, p, "nested deeper than 128 levels", ret_fault);
        frame++;
        *frame = (ScanFrame){.start = p, .spaces = spaces, .node = node, .object = *p == '{'};
        if (node != PATH_NONE) {
            const PathNode *place = &set->nodes[node];
            frame->keys_left = place->key_count + place->watched;
            frame->index_at = place->index_first;
            frame->index_end = place->index_first + place->index_count;
        }
        p = pass_space(p + 1, end, &spaces);
        if (frame->object) {
            if (p < end && *p == '}') goto close;
            goto key;
        }
        if (p < end && *p == ']') goto close;
        goto element;
    default: return fault_at(text, p, "expected a value", ret_fault);
    }
    if (node != PATH_NONE) {
        value.text.size = (size_t)(p - value.text.data);
        capture(scanner, set, node, value);
    }

after:
    p = pass_space(p, end, &spaces);
    if (frame == scanner->frames) {
        if (p < end) return fault_at(text, p, "something follows the value", ret_fault);
        check_debug(p == end);
        return 0;
    }
    if (frame->object) {
        if (p < end && *p == ',') {
            p = pass_space(p + 1, end, &spaces);
            goto key;
        }
        if (p < end && *p == '}') goto close;
        return fault_at(text, p, "expected \",\" or \"}\"", ret_fault);
    }
    if (p < end && *p == ',') {
        p = pass_space(p + 1, end, &spaces);
        frame->index++;
        goto element;
    }
    if (p < end && *p == ']') goto close;
    return fault_at(text, p, "expected \",\" or \"]\"", ret_fault);

element:
    node = PATH_NONE;
    if (frame->index_at < frame->index_end && set->indexes[frame->index_at].index == frame->index)
        node = set->indexes[frame->index_at++].node;
    goto value;

key:
    if (p == end || *p != '"') return fault_at(text, p, "expected a key in quotes", ret_fault);
    value.escaped = false;
    value.text.data = ++p;
    while ((p = skip_plain(p, end)) == end || *p != '"')
        if (!(p = pass_special(p, end, &value.escaped, &at, &what))) return fault_at(text, at, what, ret_fault);
    node = PATH_NONE;
    if (frame->keys_left) {
        value.text.size = (size_t)(p - value.text.data);
        node = find_child(scanner, set, frame, value.text, value.escaped, end);
    }
    p = pass_space(p + 1, end, &spaces);
    if (p == end || *p != ':') return fault_at(text, p, "expected \":\"", ret_fault);
    p = pass_space(p + 1, end, &spaces);
    goto value;

close:
    check_debug(frame > scanner->frames && p < end);
    p++;
    if (frame->node != PATH_NONE && set->nodes[frame->node].slot_count)
        capture(scanner, set, frame->node,
                (ScanValue){.text = {frame->start, (size_t)(p - frame->start)},
                            .kind = frame->object ? SCAN_OBJECT : SCAN_ARRAY,
                            .spaced = spaces != frame->spaces});
    frame--;
    goto after;
}
