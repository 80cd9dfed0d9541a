/*
 * The scanner. Lines up to an empty one are paths, the rest is a document; it is placed so that the
 * memory behind it cannot be read.
 *
 * Every kernel must give the same result, fault and values as the first. Whether it is JSON, and
 * where the values of the paths stand, is known from a plain parser here, which is slow and simple.
 * jansson must say the same, outside its gaps. What is before a fault is no fault by itself. Values
 * keep their meaning when they are compacted, unescaped and quoted again.
 */
#include <jansson.h>

#include "base/buffer.h"
#include "mapping/json_text.h"
#include "mapping/pathset.h"
#include "mapping/row.h"
#include "mapping/scanner.h"
#include "mapping/words.h"
#include "tests/fuzz/fuzz.h"

enum { PATHS_MAX = 64 };

static Guard guard;

/* -- the plain parser -- */

typedef struct Place {
    Span text;
    ScanKind kind;
    Span key; /* inside its quotes; of an object's item */
    size_t first, next;
} Place;

#define NO_PLACE SIZE_MAX

typedef struct Plain {
    const char *p, *end;
    Buffer places; /* of Place */
} Plain;

static Place *place_at(const Plain *plain, size_t number) {
    return (Place *)(void *)plain->places.data + number;
}

static bool next_is(Plain *plain, char c) {
    if (plain->p == plain->end || *plain->p != c) return false;
    plain->p++;
    return true;
}

static void pass_spaces(Plain *plain) {
    while (next_is(plain, ' ') || next_is(plain, '\t') || next_is(plain, '\n') || next_is(plain, '\r')) {
    }
}

static bool pass_word(Plain *plain, const char *word) {
    for (; *word; word++)
        if (!next_is(plain, *word)) return false;
    return true;
}

static bool pass_digits(Plain *plain) {
    const char *start = plain->p;
    while (plain->p < plain->end && *plain->p >= '0' && *plain->p <= '9') plain->p++;
    return plain->p > start;
}

static bool pass_number(Plain *plain) {
    (void)next_is(plain, '-');
    if (!next_is(plain, '0') && !pass_digits(plain)) return false;
    if (next_is(plain, '.') && !pass_digits(plain)) return false;
    if (!next_is(plain, 'e') && !next_is(plain, 'E')) return true;
    if (!next_is(plain, '+')) (void)next_is(plain, '-');
    return pass_digits(plain);
}

/* One character of more than one byte. */
static bool pass_character(Plain *plain) {
    unsigned lead = (unsigned char)*plain->p++;
    unsigned more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1, code = lead & (0x3f >> more);
    if (lead < 0xc0 || lead > 0xf7) return false;
    for (unsigned i = 0; i < more; i++) {
        if (plain->p == plain->end || ((unsigned char)*plain->p & 0xc0) != 0x80) return false;
        code = code << 6 | ((unsigned char)*plain->p++ & 0x3f);
    }
    static const unsigned least[] = {0, 0x80, 0x800, 0x10000};
    return code >= least[more] && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
}

static bool pass_escaped(Plain *plain) {
    if (next_is(plain, 'u')) {
        for (int i = 0; i < 4; i++)
            if (plain->p == plain->end || !strchr("0123456789abcdefABCDEF", *plain->p) || !*plain->p++) return false;
        return true;
    }
    for (const char *letter = "\"\\/bfnrt"; *letter; letter++)
        if (next_is(plain, *letter)) return true;
    return false;
}

static bool pass_string(Plain *plain) {
    if (!next_is(plain, '"')) return false;
    while (plain->p < plain->end) {
        if (next_is(plain, '"')) return true;
        if (next_is(plain, '\\')) {
            if (!pass_escaped(plain)) return false;
        } else if ((unsigned char)*plain->p >= 0x80) {
            if (!pass_character(plain)) return false;
        } else if ((unsigned char)*plain->p++ < 0x20) {
            return false;
        }
    }
    return false;
}

static bool read_value(Plain *plain, unsigned depth, size_t *ret_number);

/* Behind the opening bracket of place `number`. */
static bool read_items(Plain *plain, unsigned depth, size_t number, char close) {
    size_t last = NO_PLACE;
    pass_spaces(plain);
    if (next_is(plain, close)) return true;
    for (;;) {
        Span key = {0};
        pass_spaces(plain);
        if (close == '}') {
            const char *start = plain->p + 1;
            if (!pass_string(plain)) return false;
            key = (Span){start, (size_t)(plain->p - 1 - start)};
            pass_spaces(plain);
            if (!next_is(plain, ':')) return false;
        }
        size_t item;
        if (!read_value(plain, depth, &item)) return false;
        place_at(plain, item)->key = key;
        if (last == NO_PLACE)
            place_at(plain, number)->first = item;
        else
            place_at(plain, last)->next = item;
        last = item;
        pass_spaces(plain);
        if (next_is(plain, close)) return true;
        if (!next_is(plain, ',')) return false;
    }
}

static bool read_value(Plain *plain, unsigned depth, size_t *ret_number) {
    pass_spaces(plain);
    if (plain->p == plain->end) return false;
    const char *start = plain->p;
    Place place = {.first = NO_PLACE, .next = NO_PLACE};
    size_t number = *ret_number = plain->places.size / sizeof place;
    bool good;
    switch (*start) {
    case '{': place.kind = SCAN_OBJECT; break;
    case '[': place.kind = SCAN_ARRAY; break;
    case '"': place.kind = SCAN_STRING; break;
    case 't':
    case 'f': place.kind = SCAN_BOOLEAN; break;
    case 'n': place.kind = SCAN_NULL; break;
    default: place.kind = SCAN_NUMBER; break;
    }
    buffer_append(&plain->places, &place, sizeof place);
    if (place.kind == SCAN_OBJECT || place.kind == SCAN_ARRAY) {
        plain->p++;
        good = depth < SCAN_DEPTH_MAX && read_items(plain, depth + 1, number, *start == '{' ? '}' : ']');
    } else if (place.kind == SCAN_STRING) {
        good = pass_string(plain);
    } else if (place.kind == SCAN_NUMBER) {
        good = pass_number(plain);
    } else {
        good = pass_word(plain, *start == 't' ? "true" : *start == 'f' ? "false" : "null");
    }
    place_at(plain, number)->text = (Span){start, (size_t)(plain->p - start)};
    return good;
}

static bool read_document(Plain *plain, Span text) {
    size_t number;
    *plain = (Plain){.p = text.size ? text.data : "", .end = text.size ? text.data + text.size : "", .places = plain->places};
    buffer_clear(&plain->places);
    if (!read_value(plain, 0, &number)) return false;
    pass_spaces(plain);
    return plain->p == plain->end;
}

/* The first item whose key means `text`. */
static size_t find_key(const Plain *plain, size_t object, Span text) {
    Buffer key = {0};
    size_t at = place_at(plain, object)->first;
    for (; at != NO_PLACE; at = place_at(plain, at)->next) {
        buffer_clear(&key);
        if (json_unescape(&key, place_at(plain, at)->key) == 0 && span_equal(buffer_span(&key), text)) break;
    }
    buffer_deinit(&key);
    return at;
}

/* A canonical decimal below 2^31, else -1. */
static int64_t index_of(Span text) {
    int64_t index = 0;
    if (text.size == 0 || text.size > 10 || (text.size > 1 && *text.data == '0')) return -1;
    for (size_t i = 0; i < text.size; i++) {
        if (!text_is_digit(text.data[i])) return -1;
        index = index * 10 + (text.data[i] - '0');
    }
    return index <= INT32_MAX ? index : -1;
}

static size_t find_step(const Plain *plain, size_t at, Span text, bool quoted) {
    if (place_at(plain, at)->kind == SCAN_OBJECT) return find_key(plain, at, text);
    if (place_at(plain, at)->kind != SCAN_ARRAY || quoted || index_of(text) < 0) return NO_PLACE;
    at = place_at(plain, at)->first;
    for (int64_t left = index_of(text); left > 0 && at != NO_PLACE; left--) at = place_at(plain, at)->next;
    return at;
}

/* Where a path that was accepted leads, or NO_PLACE. */
static size_t find_path(const Plain *plain, Span path) {
    size_t at = 0;
    if (span_equal(path, SPAN("."))) return at;
    if (path.size && *path.data == '$' && (path.size == 1 || path.data[1] == '.' || path.data[1] == '[')) /* the root, as in JSONPath */
        (void)fuzz_take(&path, path.size > 1 && path.data[1] == '.' ? 2 : 1);
    Buffer step = {0};
    while (path.size && at != NO_PLACE) {
        buffer_clear(&step);
        bool quoted = path.size > 1 && path.data[0] == '[' && path.data[1] == '"';
        if (quoted) {
            Plain string = {.p = path.data + 1, .end = path.data + path.size};
            check(pass_string(&string));
            Span inner = {path.data + 2, (size_t)(string.p - path.data) - 3};
            check(json_unescape(&step, inner) == 0);
            (void)fuzz_take(&path, inner.size + 4);
        } else if (*path.data == '[') {
            (void)fuzz_byte(&path);
            buffer_append_span(&step, fuzz_part(&path, ']'));
        } else {
            if (*path.data == '.') (void)fuzz_byte(&path);
            size_t size = 0;
            while (size < path.size && path.data[size] != '.' && path.data[size] != '[') size++;
            buffer_append_span(&step, fuzz_take(&path, size));
        }
        at = find_step(plain, at, buffer_span(&step), quoted);
    }
    buffer_deinit(&step);
    return at;
}

/* -- what must hold -- */

static void check_equal(const ScanValue *a, const ScanValue *b) {
    check(!a == !b);
    if (!a) return;
    check(a->text.data == b->text.data && a->text.size == b->text.size && a->kind == b->kind && a->escaped == b->escaped);
}

static void check_kernels(const Scanner *first, const PathSet *set, Span text, int r, const ScanFault *fault) {
    static Scanner other;
    size_t count;
    const ScanKernel *kernels = scan_kernels(&count);
    check(count > 0);
    for (size_t k = 0; k < count; k++) {
        ScanFault other_fault = {0};
        check(scanner_run(&other, set, SPAN("0"), &other_fault) == 0); /* room for the set */
        other.generation++;
        check(kernels[k].run(&other, set, text, &other_fault) == r);
        if (r) check(other_fault.offset == fault->offset && strcmp(other_fault.what, fault->what) == 0);
        for (uint32_t slot = 0; r == 0 && slot < set->slot_count; slot++)
            check_equal(scanner_value(first, slot), scanner_value(&other, slot));
        /* Without a path set it is the same check. */
        other_fault = (ScanFault){0};
        check(kernels[k].run(&other, NULL, text, &other_fault) == r);
        if (r) check(other_fault.offset == fault->offset && strcmp(other_fault.what, fault->what) == 0);
    }
    check(other.second_looks == 0);
    scanner_deinit(&other);
}

static void check_fault(Span text, const ScanFault *fault) {
    check(fault->what && fault->offset <= text.size);
    if (fault->offset == text.size) return;
    Span before = {text.data, fault->offset};
    ScanFault earlier;
    if (scan_validate(before, &earlier)) check(earlier.offset == before.size);
}

/* Returns jansson's view of a text that both accept. */
static json_t *check_jansson(Span text, bool accepted, const ScanFault *fault) {
    json_error_t error;
    json_t *theirs = json_loadb(text.size ? text.data : "", text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (accepted == (theirs != NULL)) return theirs;
    if (theirs) {
        /* It goes deeper, and for it a NUL outside strings is the end. */
        check(strstr(fault->what, "levels") || (fault->offset < text.size && text.data[fault->offset] == 0));
        json_decref(theirs);
        return NULL;
    }
    enum json_error_code code = json_error_code(&error);
    check(code == json_error_numeric_overflow || code == json_error_null_byte_in_key || strstr(error.text, "surrogate") ||
          strstr(error.text, "Unicode") || strstr(error.text, "too big"));
    return NULL;
}

static void check_same_meaning(Span a, Span b) {
    json_t *x = json_loadb(a.data, a.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    json_t *y = json_loadb(b.data, b.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    check(!x == !y && (!x || json_equal(x, y)));
    json_decref(x);
    json_decref(y);
}

/* The cell that was put must be what row_put makes of `text`. */
static void check_cell(const Buffer *cell, Span text) {
    Buffer expected = {0};
    row_put(&expected, text);
    check(span_equal(buffer_span(cell), buffer_span(&expected)));
    buffer_deinit(&expected);
}

static void check_container(const ScanValue *value) {
    Buffer compact = {0}, again = {0}, cell = {0};
    ScanFault fault;
    json_compact(&compact, value->text);
    check(scan_validate(buffer_span(&compact), &fault) == 0);
    check(compact.size <= value->text.size && (value->spaced || compact.size == value->text.size));
    json_compact(&again, buffer_span(&compact));
    check(span_equal(buffer_span(&compact), buffer_span(&again)));
    check_same_meaning(value->text, buffer_span(&compact));
    row_put_compact(&cell, value->text);
    check_cell(&cell, buffer_span(&compact));
    buffer_deinit(&cell);
    buffer_deinit(&compact);
    buffer_deinit(&again);
}

/* Well-formed UTF-8; NUL is text here. */
static bool is_utf8(Span text) {
    for (size_t at = 0; at < text.size; at++) {
        at += text_check((Span){text.data + at, text.size - at});
        if (at < text.size && text.data[at]) return false;
    }
    return true;
}

static void check_string(const ScanValue *value) {
    Span inner = {value->text.data + 1, value->text.size - 2};
    check(value->escaped == (inner.size && memchr(inner.data, '\\', inner.size)));
    Buffer meaning = {0}, quoted = {0}, again = {0}, cell = {0};
    ScanFault fault;
    buffer_append_byte(&meaning, 'x');
    int put = row_put_unescaped(&cell, inner, inner.data + inner.size + 1); /* the quote */
    check(put == 0 || cell.size == 0);
    if (json_unescape(&meaning, inner)) {
        check(meaning.size == 1 && value->escaped && put == ROW_LONE_SURROGATE);
    } else {
        Span text = {meaning.data + 1, meaning.size - 1};
        check(is_utf8(text));
        check(put == (text.size && memchr(text.data, 0, text.size) ? ROW_HOLDS_NUL : 0));
        if (put == 0) check_cell(&cell, text);
        if (!value->escaped) check(span_equal(text, inner));
        json_quote(&quoted, text);
        check(scan_validate(buffer_span(&quoted), &fault) == 0);
        check_same_meaning(value->text, buffer_span(&quoted));
        check(json_unescape(&again, (Span){quoted.data + 1, quoted.size - 2}) == 0);
        check(span_equal(buffer_span(&again), text));
    }
    buffer_deinit(&cell);
    buffer_deinit(&meaning);
    buffer_deinit(&quoted);
    buffer_deinit(&again);
}

static void check_value(const ScanValue *value) {
    ScanFault fault;
    check(scan_validate(value->text, &fault) == 0);
    check(scan_kind(value->text) == value->kind);
    if (value->kind == SCAN_OBJECT || value->kind == SCAN_ARRAY) check_container(value);
    if (value->kind == SCAN_STRING) check_string(value);
}

/* Adds the lines that are paths. */
static size_t take_paths(Span *left, PathSet *set, Span *paths, uint32_t *slots) {
    size_t count = 0;
    for (size_t i = 0; i < PATHS_MAX; i++) {
        Span path = fuzz_part(left, '\n');
        if (path.size == 0) break;
        if (pathset_add(set, path, &slots[count], NULL) == 0) paths[count++] = path;
    }
    return count;
}

static void run(Span left, PathSet *set) {
    static Scanner scanner;
    static Plain plain;
    Span paths[PATHS_MAX];
    uint32_t slots[PATHS_MAX];
    size_t count = take_paths(&left, set, paths, slots);
    if (pathset_seal(set, NULL)) return;
    Span text = fuzz_guarded(&guard, left);
    ScanFault fault = {0};
    int r = scanner_run(&scanner, set, text, &fault);
    check(r == 0 || r == SCAN_NOT_JSON);
    check_kernels(&scanner, set, text, r, &fault);
    check(read_document(&plain, text) == (r == 0));
    json_decref(check_jansson(text, r == 0, &fault));
    if (r) {
        check_fault(text, &fault);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const ScanValue *value = scanner_value(&scanner, slots[i]);
        size_t at = find_path(&plain, paths[i]);
        check(!value == (at == NO_PLACE));
        if (!value) continue;
        const Place *place = place_at(&plain, at);
        check(value->text.data == place->text.data && value->text.size == place->text.size && value->kind == place->kind);
        check_value(value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PathSet *set = pathset_new();
    run(fuzz_input(data, size), set);
    pathset_free(set);
    return 0;
}
