#include "tests/support/random-json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/error.h"

#define DEPTH_USUAL 7
#define DOCUMENT_BYTES 20000 /* when there is more, only short leaves follow */

const char *const random_json_keys[] = {"a",
                                        "b",
                                        "c",
                                        "0",
                                        "1",
                                        "2",
                                        "key",
                                        "a key that is longer than a block of sixty-four bytes, so it goes over its edge",
                                        "x.y",
                                        "",
                                        "\xc3\xa9\xf0\x9f\x98\x80"};

uint64_t random_json_seed(void) {
    uint64_t seed = 0;
    const char *given = getenv("SLUICE_SEED");
    if (given && *given)
        seed = strtoull(given, NULL, 10);
    else
        check(getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed);
    seed &= 0x7fffffffffffffff;
    (void)printf("SLUICE_SEED=%llu\n", (unsigned long long)seed);
    (void)fflush(stdout);
    return seed;
}

uint32_t random_json_below(RandomJson *random, uint32_t limit) {
    uint64_t z = random->state += 0x9e3779b97f4a7c15; /* splitmix64: any state is a good one */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    z ^= z >> 31;
    return (uint32_t)((z >> 32) * limit >> 32);
}

static bool once_in(RandomJson *random, uint32_t times) {
    return random_json_below(random, times) == 0;
}

/* Mostly few, sometimes many: over the edge of a block, of two, of a page. */
static uint32_t length(RandomJson *random) {
    switch (random_json_below(random, 40)) {
    case 0: return 4000 + random_json_below(random, 200);
    case 1:
    case 2: return 60 + random_json_below(random, 9);
    case 3:
    case 4: return 124 + random_json_below(random, 9);
    case 5:
    case 6:
    case 7: return random_json_below(random, 200);
    default: return random_json_below(random, 12);
    }
}

/* ---- leaves ---------------------------------------------------------------------------------- */

static void put_space(RandomJson *random, Buffer *out) {
    static const char kinds[] = " \t\n\r";
    if (!once_in(random, 4)) return;
    uint32_t count = once_in(random, 8) ? length(random) : 1 + random_json_below(random, 3);
    bool one_kind = once_in(random, 2);
    for (; count > 0; count--) buffer_append_byte(out, kinds[one_kind ? 0 : random_json_below(random, 4)]);
}

static void put_utf8(Buffer *out, uint32_t point) {
    if (point < 0x80) {
        buffer_append_byte(out, (char)point);
    } else if (point < 0x800) {
        buffer_append_byte(out, (char)(0xc0 | point >> 6));
        buffer_append_byte(out, (char)(0x80 | (point & 0x3f)));
    } else if (point < 0x10000) {
        buffer_append_byte(out, (char)(0xe0 | point >> 12));
        buffer_append_byte(out, (char)(0x80 | (point >> 6 & 0x3f)));
        buffer_append_byte(out, (char)(0x80 | (point & 0x3f)));
    } else {
        buffer_append_byte(out, (char)(0xf0 | point >> 18));
        buffer_append_byte(out, (char)(0x80 | (point >> 12 & 0x3f)));
        buffer_append_byte(out, (char)(0x80 | (point >> 6 & 0x3f)));
        buffer_append_byte(out, (char)(0x80 | (point & 0x3f)));
    }
}

/* A scalar value: edges of the lengths often. */
static uint32_t any_point(RandomJson *random) {
    static const uint32_t edges[] = {0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xfeff, 0xffff, 0x10000, 0x10ffff, 0x2028, 0x85};
    if (once_in(random, 3)) return edges[random_json_below(random, sizeof edges / sizeof *edges)];
    switch (random_json_below(random, 3)) {
    case 0: return 0x80 + random_json_below(random, 0x780);
    case 1: return 0x800 + random_json_below(random, 0xd000);
    default: return 0x10000 + random_json_below(random, 0x100000);
    }
}

static void put_unit(RandomJson *random, Buffer *out, uint32_t unit) {
    buffer_printf(out, once_in(random, 2) ? "\\u%04x" : "\\u%04X", unit);
}

static void put_escaped_point(RandomJson *random, Buffer *out, uint32_t point) {
    if (point < 0x10000) {
        put_unit(random, out, point);
        return;
    }
    put_unit(random, out, 0xd800 | (point - 0x10000) >> 10);
    put_unit(random, out, 0xdc00 | ((point - 0x10000) & 0x3ff));
}

static void put_piece(RandomJson *random, Buffer *out) {
    static const char shorts[] = "\"\\/bfnrt";
    switch (random_json_below(random, 9)) {
    case 0:
    case 1: put_utf8(out, any_point(random)); return;
    case 2: put_escaped_point(random, out, once_in(random, 2) ? any_point(random) : 1 + random_json_below(random, 0x7e)); return;
    case 3:
        buffer_append_byte(out, '\\');
        buffer_append_byte(out, shorts[random_json_below(random, sizeof shorts - 1)]);
        return;
    case 4:
        for (uint32_t count = length(random); count > 0; count--) buffer_append_text(out, "\\\\");
        return;
    case 5: /* what has a meaning outside of strings */ buffer_append_byte(out, "{}[]:,'/*#tfn0- "[random_json_below(random, 16)]); return;
    case 6:
        if (random->wild && once_in(random, 4)) put_unit(random, out, once_in(random, 3) ? 0 : 0xd800 + random_json_below(random, 0x800));
        return;
    default:
        for (uint32_t count = length(random); count > 0; count--) buffer_append_byte(out, (char)('a' + random_json_below(random, 26)));
    }
}

static void put_string(RandomJson *random, Buffer *out) {
    buffer_append_byte(out, '"');
    for (uint32_t pieces = random_json_below(random, 5); pieces > 0 && out->size < DOCUMENT_BYTES; pieces--) put_piece(random, out);
    buffer_append_byte(out, '"');
}

static void put_digits(RandomJson *random, Buffer *out, uint32_t count, bool leading_zero) {
    for (uint32_t i = 0; i < count; i++)
        buffer_append_byte(out, (char)(i == 0 && !leading_zero && count > 1 ? '1' + (int)random_json_below(random, 9)
                                                                            : '0' + (int)random_json_below(random, 10)));
}

static void put_number(RandomJson *random, Buffer *out) {
    static const char *const edges[] = {"0",
                                        "-0",
                                        "-0.0",
                                        "0e0",
                                        "1E+0",
                                        "9007199254740993",
                                        "9223372036854775807",
                                        "-9223372036854775808",
                                        "1.7976931348623157e308",
                                        "4.9e-324",
                                        "1e-400",
                                        "0.1",
                                        "1.50",
                                        "2.2250738585072011e-308"};
    static const char *const wild[] = {
        "9223372036854775808",   "18446744073709551615", "18446744073709551616", "1e400", "-1e309", "123456789012345678901234567890",
        "1e99999999999999999999"};
    if (once_in(random, 4)) {
        buffer_append_text(out, edges[random_json_below(random, sizeof edges / sizeof *edges)]);
        return;
    }
    if (random->wild && once_in(random, 4)) {
        buffer_append_text(out, wild[random_json_below(random, sizeof wild / sizeof *wild)]);
        return;
    }
    if (once_in(random, 2)) buffer_append_byte(out, '-');
    put_digits(random, out, 1 + random_json_below(random, once_in(random, 4) ? 18 : 4), false);
    if (once_in(random, 2)) {
        buffer_append_byte(out, '.');
        put_digits(random, out, 1 + (once_in(random, 8) ? length(random) : random_json_below(random, 5)), true);
    }
    if (once_in(random, 3)) {
        buffer_append_byte(out, once_in(random, 2) ? 'e' : 'E');
        if (once_in(random, 2)) buffer_append_byte(out, once_in(random, 2) ? '+' : '-');
        put_digits(random, out, 1 + random_json_below(random, 2), true);
    }
}

static void put_leaf(RandomJson *random, Buffer *out) {
    static const char *const words[] = {"true", "false", "null", "{}", "[]", "{ }", "[\n]"};
    switch (random_json_below(random, 8)) {
    case 0:
    case 1: buffer_append_text(out, words[random_json_below(random, sizeof words / sizeof *words)]); return;
    case 2:
    case 3:
    case 4: put_number(random, out); return;
    default: put_string(random, out);
    }
}

/* ---- documents ------------------------------------------------------------------------------- */

static void put_key(RandomJson *random, Buffer *out) {
    if (once_in(random, 8)) {
        put_string(random, out);
        return;
    }
    const char *key = random_json_keys[random_json_below(random, RANDOM_JSON_KEYS)];
    bool escape = once_in(random, 5) && (unsigned char)key[0] < 0x80;
    buffer_append_byte(out, '"');
    for (; *key; key++) {
        if (escape && once_in(random, 2))
            put_unit(random, out, (unsigned char)*key);
        else
            buffer_append_byte(out, *key);
    }
    buffer_append_byte(out, '"');
}

static void put_value(RandomJson *random, Buffer *out, int depth) {
    bool is_leaf = depth == 0 ? once_in(random, 12)
                              : depth >= DEPTH_USUAL || out->size > DOCUMENT_BYTES || random_json_below(random, 5) < 3;
    if (is_leaf) {
        put_leaf(random, out);
        return;
    }
    bool is_object = once_in(random, 2);
    uint32_t count = out->size > DOCUMENT_BYTES / 2 ? random_json_below(random, 2)
                                                    : random_json_below(random, once_in(random, 20) ? 60 : 6);
    if (depth == 0 && once_in(random, 100)) count = 2000; /* of elements that are short once there are many bytes */
    buffer_append_byte(out, is_object ? '{' : '[');
    put_space(random, out);
    for (uint32_t i = 0; i < count; i++) {
        if (i) {
            buffer_append_byte(out, ',');
            put_space(random, out);
        }
        if (is_object) {
            put_key(random, out);
            put_space(random, out);
            buffer_append_byte(out, ':');
            put_space(random, out);
        }
        put_value(random, out, depth + 1);
        put_space(random, out);
    }
    buffer_append_byte(out, is_object ? '}' : ']');
}

static void put_deep(RandomJson *random, Buffer *out) {
    char closing[160];
    uint32_t depth = 120 + random_json_below(random, 16);
    for (uint32_t i = 0; i < depth; i++) {
        bool is_object = once_in(random, 2);
        buffer_append_text(out, is_object ? "{\"a\":" : "[");
        closing[i] = is_object ? '}' : ']';
    }
    put_leaf(random, out);
    while (depth > 0) buffer_append_byte(out, closing[--depth]);
}

void random_json_document(RandomJson *random, Buffer *out) {
    put_space(random, out);
    if (random->deep)
        put_deep(random, out);
    else
        put_value(random, out, 0);
    put_space(random, out);
}

/* ---- mutations ------------------------------------------------------------------------------- */

static const char junk[] = "{}[],:\"\"\\\\ \n\t0123456789.eE+-truefalsn\x00\x01\x1f\x7f\x80\xbf\xc0\xc3\xe2\xed\xf0\xf4\xf5\xff/u'*#";

static char any_junk(RandomJson *random) {
    return once_in(random, 6) ? (char)random_json_below(random, 256) : junk[random_json_below(random, sizeof junk - 1)];
}

/* Room at `at` for `count` bytes, which are what stood there. */
static void make_room(Buffer *text, size_t at, size_t count) {
    (void)buffer_reserve(text, count);
    memmove(text->data + at + count, text->data + at, text->size - at);
    text->size += count;
}

static void take_away(Buffer *text, size_t at, size_t count) {
    if (count > text->size - at) count = text->size - at;
    memmove(text->data + at, text->data + at + count, text->size - at - count);
    text->size -= count;
}

/* The place of some quote or backslash, else any place. */
static size_t place_of_quote(RandomJson *random, const Buffer *text) {
    size_t from = random_json_below(random, (uint32_t)text->size);
    for (size_t i = 0; i < text->size; i++) {
        size_t at = (from + i) % text->size;
        if (text->data[at] == '"' || text->data[at] == '\\') return at;
    }
    return from;
}

static void change(RandomJson *random, Buffer *text) {
    if (text->size == 0) {
        buffer_append_byte(text, any_junk(random));
        return;
    }
    size_t at = random_json_below(random, (uint32_t)text->size);
    size_t count = once_in(random, 3) ? 1 + random_json_below(random, 70) : 1;
    switch (random_json_below(random, 9)) {
    case 0: text->data[at] = (char)(text->data[at] ^ 1 << random_json_below(random, 8)); return;
    case 1: text->data[at] = any_junk(random); return;
    case 2:
        make_room(text, at, 1);
        text->data[at] = any_junk(random);
        return;
    case 3: take_away(text, at, count); return;
    case 4: /* twice */
        if (count > text->size - at) count = text->size - at;
        make_room(text, at, count);
        memcpy(text->data + at, text->data + at + count, count);
        return;
    case 5: /* a quote for a backslash, or the other way round */
        at = place_of_quote(random, text);
        text->data[at] = text->data[at] == '"' ? '\\' : '"';
        return;
    case 6: take_away(text, place_of_quote(random, text), 1); return;
    case 7: /* two bytes change places */
        if (at + 1 < text->size) {
            char byte = text->data[at];
            text->data[at] = text->data[at + 1];
            text->data[at + 1] = byte;
        }
        return;
    default: text->size = at;
    }
}

void random_json_mutate(RandomJson *random, Buffer *text) {
    static const uint32_t changes[] = {1, 1, 1, 2, 2, 4};
    for (uint32_t left = changes[random_json_below(random, 6)]; left > 0; left--) change(random, text);
}
