/*
 * The scanner, each kernel of it, beside jansson and simdjson: all accept and refuse the same
 * texts, and find the same values at the same paths.
 *
 * Where a peer is known to differ from RFC 8259 it is not asked: numbers past 64 bits or past a
 * double, half surrogate pairs, U+0000 in a key, nesting past 128 levels; and jansson where a NUL
 * stands outside of strings, or for values where an object has equal keys.
 *
 *   SLUICE_SEED=N      the same documents again
 *   SLUICE_ROUNDS=N    how many random documents, each with a broken copy (3,000)
 *
 * The argument is the folder of the cases, which are documents too.
 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "case-file.h"
#include "guard.h"
#include "mapping/json_text.h"
#include "mapping/scanner.h"
#include "tests/support/random-json.h"
#include "tests/support/simdjson_peer.h"

#define TEXT_BYTES_MOST ((size_t)1 << 20)
#define LONG_KEY "a key that is longer than a block of sixty-four bytes, so it goes over its edge"

/* A path as the scanner takes it, and as RFC 6901 has it. */
static const struct {
    const char *path, *pointer;
} places[] = {
    {".", ""},
    {"a", "/a"},
    {"b", "/b"},
    {"a.b", "/a/b"},
    {"c[1]", "/c/1"},
    {"[0]", "/0"},
    {"1.a", "/1/a"},
    {"[2][0].key", "/2/0/key"},
    {"a.a.a", "/a/a/a"},
    {"key.0", "/key/0"},
    {"[\"x.y\"]", "/x.y"},
    {"[\"x.y\"].c", "/x.y/c"},
    {"[\"\"]", "/"},
    {"a[\"\"].b", "/a//b"},
    {"\xc3\xa9\xf0\x9f\x98\x80", "/\xc3\xa9\xf0\x9f\x98\x80"},
    {"b.\xc3\xa9\xf0\x9f\x98\x80[1]", "/b/\xc3\xa9\xf0\x9f\x98\x80/1"},
    {"[\"" LONG_KEY "\"]", "/" LONG_KEY},
    {"0[\"" LONG_KEY "\"].2", "/0/" LONG_KEY "/2"},
};
#define PLACES (sizeof places / sizeof *places)

typedef struct Bench {
    PathSet *set;
    Scanner scanner, other;
    const ScanKernel *kernels;
    size_t kernel_count;
    Guard guard;
    SimdjsonPeer *simdjson, *second;
    Buffer scratch;
    uint64_t seed;
    size_t accepted, refused, beyond, values;
} Bench;

static _Noreturn void differ(const Bench *bench, Span text, const char *format, ...) __attribute__((format(printf, 3, 4)));

static _Noreturn void differ(const Bench *bench, Span text, const char *format, ...) {
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    print_error("SLUICE_SEED=%llu: %s\n%zu bytes: ", (unsigned long long)bench->seed, what, text.size);
    for (size_t i = 0; i < text.size && i < 2000; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        print_error(byte < 0x20 || byte >= 0x7f || byte == '\\' ? "\\x%02x" : "%c", byte);
    }
    fail_msg("%s", what);
    abort();
}

/* ---- where the peers are not asked ----------------------------------------------------------- */

static bool is_half_pair(const char *p, const char *end) {
    int unit = 0, low = 0;
    for (int i = 0; i < 4; i++) unit = unit << 4 | text_hex(p[i]);
    if (unit < 0xd800 || unit > 0xdfff) return false;
    if (unit > 0xdbff || end - p < 10 || p[4] != '\\' || p[5] != 'u') return true;
    for (int i = 6; i < 10; i++) low = low << 4 | text_hex(p[i]);
    return low < 0xdc00 || low > 0xdfff;
}

/* Behind the string whose quote is at `p`. */
static const char *pass_string(const char *p, const char *end, bool *beyond) {
    for (p++; *p != '"'; p++) {
        if (*p != '\\') continue;
        p++;
        if (*p != 'u') continue;
        if (is_half_pair(p + 1, end)) {
            *beyond = true;
        } else if (p[1] == 'd' || p[1] == 'D') {
            if (strchr("89abAB", p[2])) p += 6; /* the second of the pair is no half by itself */
        }
        if (memcmp(p + 1, "0000", 4) == 0) *beyond = true;
    }
    return p + 1;
}

static double number_of(Span text) {
    char *number = strndup(text.data, text.size);
    check(number);
    double value = strtod(number, NULL);
    free(number);
    return value;
}

static const char *pass_number(const char *p, const char *end, bool *beyond) {
    const char *start = p;
    bool integer = true;
    for (; p < end && (text_is_digit(*p) || memchr("+-.eE", *p, 5)); p++) integer = integer && (text_is_digit(*p) || *p == '-');
    Span text = {start, (size_t)(p - start)};
    if (integer ? text.size - (*start == '-') >= 19 : isinf(number_of(text))) *beyond = true;
    return p;
}

/* Does the text, which is JSON, hold what a peer cannot? */
static bool is_beyond(Span text) {
    bool beyond = false;
    const char *p = text.data, *end = p + text.size;
    while (p < end) {
        if (*p == '"')
            p = pass_string(p, end, &beyond);
        else if (*p == '-' || text_is_digit(*p))
            p = pass_number(p, end, &beyond);
        else
            p++;
    }
    return beyond;
}

/* ---- values ---------------------------------------------------------------------------------- */

static void check_string(Bench *bench, Span text, const ScanValue *mine, Span theirs, const char *path) {
    Span inner = {mine->text.data + 1, mine->text.size - 2};
    bool escaped = inner.size && memchr(inner.data, '\\', inner.size);
    if (escaped != mine->escaped) differ(bench, text, "path %s: escapes in the string, or not", path);
    buffer_clear(&bench->scratch);
    if (json_unescape(&bench->scratch, inner) != 0) differ(bench, text, "path %s: the string has no meaning", path);
    if (!span_equal(buffer_span(&bench->scratch), theirs)) differ(bench, text, "path %s: the string means something else", path);
}

/* Compacted, it still is what the peer found there, and nothing of it but white space is gone. */
static void check_container(Bench *bench, Span text, const ScanValue *mine, const SimdjsonValue *theirs, const char *path) {
    buffer_clear(&bench->scratch);
    json_compact(&bench->scratch, mine->text);
    if (!mine->spaced && !span_equal(buffer_span(&bench->scratch), mine->text)) differ(bench, text, "path %s: it holds white space", path);
    if (!simdjson_peer_accepts(bench->second, bench->scratch.data, bench->scratch.size, NULL))
        differ(bench, text, "path %s: it is not JSON when it is compacted", path);
    SimdjsonValue again = simdjson_peer_at(bench->second, "");
    if (again.kind != theirs->kind || !span_equal((Span){again.text, again.text_size}, (Span){theirs->text, theirs->text_size}))
        differ(bench, text, "path %s: it is something else when it is compacted", path);
}

static void check_against_simdjson(Bench *bench, Span text, const ScanValue *mine, size_t place) {
    const char *path = places[place].path;
    SimdjsonValue theirs = simdjson_peer_at(bench->simdjson, places[place].pointer);
    if (!mine || theirs.kind == SIMDJSON_NOTHING) {
        if (mine || theirs.kind != SIMDJSON_NOTHING)
            differ(bench, text, "path %s: only %s finds a value", path, mine ? "the scanner" : "simdjson");
        return;
    }
    bench->values++;
    bool same = false;
    switch (theirs.kind) {
    case SIMDJSON_NOTHING: break;
    case SIMDJSON_NULL: same = mine->kind == SCAN_NULL && span_equal(mine->text, SPAN("null")); break;
    case SIMDJSON_BOOLEAN:
        same = mine->kind == SCAN_BOOLEAN && span_equal(mine->text, theirs.boolean ? SPAN("true") : SPAN("false"));
        break;
    case SIMDJSON_INTEGER:
    case SIMDJSON_UNSIGNED:
    case SIMDJSON_DOUBLE:
        same = mine->kind == SCAN_NUMBER && memchr("-0123456789", mine->text.data[mine->text.size - 1], 11) &&
               number_of(mine->text) == theirs.number;
        break;
    case SIMDJSON_STRING:
        same = mine->kind == SCAN_STRING;
        if (same) check_string(bench, text, mine, (Span){theirs.text, theirs.text_size}, path);
        break;
    case SIMDJSON_OBJECT:
    case SIMDJSON_ARRAY:
        same = mine->kind == (theirs.kind == SIMDJSON_OBJECT ? SCAN_OBJECT : SCAN_ARRAY);
        if (same) check_container(bench, text, mine, &theirs, path);
        break;
    }
    if (!same) differ(bench, text, "path %s: \"%.*s\" is not what simdjson finds", path, (int)mine->text.size, mine->text.data);
}

/* The value at an RFC 6901 pointer; no key here holds '~' or '/'. */
static const json_t *jansson_at(const json_t *value, const char *pointer) {
    while (value && *pointer == '/') {
        const char *step = pointer + 1, *stop = strchrnul(step, '/');
        size_t size = (size_t)(stop - step);
        if (json_is_object(value)) {
            value = json_object_getn(value, step, size);
        } else {
            bool is_index = json_is_array(value) && size == 1 && text_is_digit(*step);
            value = is_index ? json_array_get(value, (size_t)(*step - '0')) : NULL;
        }
        pointer = stop;
    }
    return value;
}

static void check_against_jansson(Bench *bench, Span text, const json_t *root, const ScanValue *mine, size_t place) {
    const json_t *theirs = jansson_at(root, places[place].pointer);
    const char *path = places[place].path;
    if (!mine || !theirs) {
        if (mine || theirs) differ(bench, text, "path %s: only %s finds a value", path, mine ? "the scanner" : "jansson");
        return;
    }
    if (mine->kind == SCAN_STRING && json_is_string(theirs)) {
        check_string(bench, text, mine, (Span){json_string_value(theirs), json_string_length(theirs)}, path);
        return;
    }
    if (mine->kind == SCAN_NUMBER && json_is_number(theirs)) {
        if (json_number_value(theirs) != number_of(mine->text)) differ(bench, text, "path %s: jansson finds another number", path);
        return;
    }
    buffer_clear(&bench->scratch);
    json_compact(&bench->scratch, mine->text);
    json_t *again = json_loadb(bench->scratch.data, bench->scratch.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool same = again && json_equal(theirs, again);
    json_decref(again);
    if (!same) differ(bench, text, "path %s: jansson finds another value", path);
}

/* ---- one text -------------------------------------------------------------------------------- */

/* Of all kernels; what they find is in bench->scanner. */
static int scan(Bench *bench, Span text, ScanFault *fault) {
    int r = scanner_run(&bench->scanner, bench->set, text, fault);
    for (size_t k = 0; k < bench->kernel_count; k++) {
        const char *name = bench->kernels[k].name;
        ScanFault other = {0};
        bench->other.generation++;
        if (bench->kernels[k].run(&bench->other, bench->set, text, &other) != r) differ(bench, text, "kernel %s has another opinion", name);
        if (r && (other.offset != fault->offset || strcmp(other.what, fault->what) != 0))
            differ(bench, text, "kernel %s: %s at byte %zu, not %s at byte %zu", name, other.what, other.offset, fault->what,
                   fault->offset);
        for (uint32_t slot = 0; slot < PLACES && r == 0; slot++) {
            const ScanValue *mine = scanner_value(&bench->scanner, slot), *theirs = scanner_value(&bench->other, slot);
            bool same = !mine == !theirs;
            if (same && mine)
                same = mine->text.data == theirs->text.data && mine->text.size == theirs->text.size && mine->kind == theirs->kind &&
                       mine->escaped == theirs->escaped;
            if (!same) differ(bench, text, "kernel %s finds another value at path %s", name, places[slot].path);
        }
    }
    if (bench->scanner.second_looks + bench->other.second_looks > 0) differ(bench, text, "a kernel refused at first what is JSON");
    if (r && fault->offset > text.size) differ(bench, text, "the fault is behind the text");
    return r;
}

static void ask_simdjson(Bench *bench, Span text, const ScanFault *fault, bool mine, bool beyond) {
    const char *what = "";
    bool theirs = simdjson_peer_accepts(bench->simdjson, text.data, text.size, &what);
    if (theirs != mine && !beyond)
        differ(bench, text, "only %s accepts it (%s, byte %zu: %s)", mine ? "the scanner" : "simdjson", what, fault->offset, fault->what);
    if (!theirs || !mine) return;
    for (size_t i = 0; i < PLACES; i++) check_against_simdjson(bench, text, scanner_value(&bench->scanner, (uint32_t)i), i);
}

static void ask_jansson(Bench *bench, Span text, const ScanFault *fault, bool mine, bool beyond) {
    json_error_t error;
    bool compare = mine;
    json_t *theirs = json_loadb(text.data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (!theirs && json_error_code(&error) == json_error_duplicate_key) {
        theirs = json_loadb(text.data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        compare = false; /* the last of equal keys counts for jansson */
    }
    bool at_nul = !mine && fault->offset < text.size && text.data[fault->offset] == 0; /* outside of strings it is the end for jansson */
    if (!theirs == mine && !beyond && !at_nul) {
        json_decref(theirs);
        differ(bench, text, "only %s accepts it (%s, byte %zu: %s)", mine ? "the scanner" : "jansson", mine ? error.text : "",
               fault->offset, fault->what);
    }
    for (size_t i = 0; i < PLACES && theirs && compare; i++)
        check_against_jansson(bench, text, theirs, scanner_value(&bench->scanner, (uint32_t)i), i);
    json_decref(theirs);
}

static bool ask_all(Bench *bench, Span bytes) {
    ScanFault fault = {0};
    Span text = guard_place(&bench->guard, bytes.data, bytes.size);
    bool mine = scan(bench, text, &fault) == 0;
    bool beyond = mine ? is_beyond(text) : strcmp(fault.what, "nested deeper than 128 levels") == 0;
    mine ? bench->accepted++ : bench->refused++;
    bench->beyond += beyond;
    ask_simdjson(bench, text, &fault, mine, beyond);
    ask_jansson(bench, text, &fault, mine, beyond);
    return mine;
}

/* ---- texts ----------------------------------------------------------------------------------- */

static unsigned long rounds(void) {
    const char *given = getenv("SLUICE_ROUNDS");
    return given && *given ? strtoul(given, NULL, 10) : 3000;
}

static void random_documents(void **state) {
    Bench *bench = *state;
    RandomJson random = {.state = bench->seed};
    Buffer text = {0};
    for (unsigned long round = rounds(); round > 0; round--) {
        random.wild = round % 8 == 0;
        random.deep = round % 32 == 1;
        buffer_clear(&text);
        random_json_document(&random, &text);
        if (!ask_all(bench, buffer_span(&text)) && !random.deep) differ(bench, buffer_span(&text), "a document is refused");
        random_json_mutate(&random, &text);
        (void)ask_all(bench, buffer_span(&text));
    }
    buffer_deinit(&text);
    print_message("%zu accepted, %zu refused, %zu of both beyond the peers, %zu values\n", bench->accepted, bench->refused, bench->beyond,
                  bench->values);
    assert_true(bench->accepted > rounds() && bench->refused > rounds() / 3 && bench->values > rounds() && bench->beyond < rounds() / 2);
}

/* What a block of 64 bytes may cut in two, at each place of it. */
static void pieces_at_every_offset(void **state) {
    static const char *const pieces[] = {
        "\xc3\xa9",
        "\xe2\x82\xac",
        "\xf0\x9f\x98\x80",
        "\\n",
        "\\\"",
        "\\\\",
        "\\/",
        "\\u00e9",
        "\\ud83d\\ude00",
        "\\u0022",
        "\\\\\\\"",
        "\xed\x9f\xbf",
        "\xf4\x8f\xbf\xbf",
        "\",\"",
        "\":\"",
        "\"],[\"",
        "\" \n, \"", /* not in a string, or not JSON: */
        "\xc3",
        "\xe2\x82",
        "\xf0\x9f\x98",
        "\xa9",
        "\xc0\x80",
        "\xed\xa0\x80",
        "\xf4\x90\x80\x80",
        "\xf8\x88\x80\x80\x80",
        "\xff",
        "\x01",
        "\x1f",
        "\n",
        "\\",
        "\\u12",
        "\\ud83d",
        "\\x",
        "\"",
        "\"\"",
        "\" \"",
        "\",",
        "\",}\"",
        "\x7f",
        "\",true,\"",
        "\",null,false,-0.5e+3,\"",
        "\",tru,\"",
        "\",01,\"",
        "\",-,\"",
        "\",1.,\"",
        "\",{},[],{\"\":{}},\"",
        "\",{\"a\":1,\"a\":\"",
    };
    Bench *bench = *state;
    Buffer text = {0};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        for (size_t before = 0; before < 66; before++) {
            for (size_t behind = 0; behind < 130; behind += behind == 0 ? 1 : 61) {
                buffer_clear(&text);
                buffer_append_text(&text, "[\"");
                for (size_t n = 0; n < before; n++) buffer_append_byte(&text, 'x');
                buffer_append_text(&text, pieces[i]);
                for (size_t n = 0; n < behind; n++) buffer_append_byte(&text, 'y');
                buffer_append_text(&text, "\"]");
                (void)ask_all(bench, buffer_span(&text));
            }
        }
    }
    buffer_deinit(&text);
}

static void backslashes_at_every_offset(void **state) {
    Bench *bench = *state;
    Buffer text = {0};
    for (size_t before = 0; before < 66; before++) {
        for (size_t run = 0; run < 140; run += run < 8 || (run > 60 && run < 68) || run > 124 ? 1 : 7) {
            buffer_clear(&text);
            buffer_append_text(&text, "{\"");
            for (size_t n = 0; n < before; n++) buffer_append_byte(&text, 'k');
            for (size_t n = 0; n < run; n++) buffer_append_byte(&text, '\\');
            buffer_append_text(&text, "\":\"\\\\\"}");
            bool accepted = ask_all(bench, buffer_span(&text));
            if (accepted != (run % 2 == 0)) differ(bench, buffer_span(&text), "%zu backslashes", run);
        }
    }
    buffer_deinit(&text);
}

static void white_space_at_every_length(void **state) {
    static const char *const parts[] = {"", "{", "\"a\"", ":", "[", "1", ",", "\"b\"", "]", ",", "\"c\"", ":", "null", "}", NULL};
    Bench *bench = *state;
    Buffer text = {0};
    for (size_t length = 0; length < 140; length += length < 4 || (length > 60 && length < 68) || length > 126 ? 1 : 11) {
        for (size_t where = 0; parts[where]; where++) {
            buffer_clear(&text);
            for (size_t i = 0; parts[i]; i++) {
                buffer_append_text(&text, parts[i]);
                for (size_t n = 0; n < length && (i == where || where == 0); n++) buffer_append_byte(&text, " \n\t\r"[(n + i) % 4]);
            }
            if (!ask_all(bench, buffer_span(&text))) differ(bench, buffer_span(&text), "white space is refused");
        }
    }
    buffer_deinit(&text);
}

/* A scanner that lists tokens, some number of them at a time, meets each of these behind every
 * number of tokens, and twice as many. */
static void tails_behind_any_number_of_tokens(void **state) {
    static const char *const tails[] = {
        "{\"a\":\"b\",\"key\":[\"c\",\"d\"],\"x.y\":{\"c\":\"e\"}}]",
        "\"a\",\"b\",\"c\",{\"a\":{\"a\":{\"a\":-1}}}]",
        "[[[[[[[[[[{}]]]]]]]]]]]",
        "true,false,null,1.5e3]",
        "\"a\",\"b\":\"c\"]",
        "{\"a\":\"b\",\"c\"}]",
        "{\"a\":{\"b\":tru}}]",
        "\"a\",\"b\",\"c",
        "[[[[[[[]]]]]]",
        "1,]",
    };
    Bench *bench = *state;
    Buffer text = {0};
    for (size_t count = 480; count < 1060; count += count == 545 ? 440 : 1) {
        for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
            buffer_clear(&text);
            buffer_append_text(&text, count % 3 ? "[" : "[ ");
            for (size_t n = 0; n < count; n++) buffer_append_text(&text, n % 7 ? "0," : "\"\",");
            buffer_append_text(&text, tails[i]);
            bool accepted = ask_all(bench, buffer_span(&text));
            if (accepted != (i < 4)) differ(bench, buffer_span(&text), "tail %zu behind %zu elements", i, count);
        }
    }
    buffer_deinit(&text);
}

static const char *folder;

/* What people thought of, and what is near to it. */
static void cases_and_what_is_near(void **state) {
    Bench *bench = *state;
    RandomJson random = {.state = bench->seed + 1};
    MappingCases cases;
    Error error = {0};
    if (mapping_cases_load(folder, &cases, &error) < 0) fail_msg("%s", error.text);
    Buffer text = {0};
    for (size_t i = 0; i < cases.count; i++) {
        Span body = buffer_span(&cases.items[i].body);
        if (body.size <= TEXT_BYTES_MOST) (void)ask_all(bench, body);
        if (body.size > 4096) continue;
        for (int change = 0; change < 4; change++) {
            buffer_clear(&text);
            buffer_append_span(&text, body);
            random_json_mutate(&random, &text);
            (void)ask_all(bench, buffer_span(&text));
        }
    }
    buffer_deinit(&text);
    mapping_cases_deinit(&cases);
}

static int start(void **state) {
    static Bench bench;
    bench = (Bench){.set = pathset_new(), .guard = guard_new(TEXT_BYTES_MOST), .seed = random_json_seed()};
    for (size_t i = 0; i < PLACES; i++) {
        uint32_t slot;
        assert_int_equal(pathset_add(bench.set, span_of(places[i].path), &slot, NULL), 0);
        assert_int_equal(slot, i);
    }
    assert_int_equal(pathset_seal(bench.set, NULL), 0);
    bench.kernels = scan_kernels(&bench.kernel_count);
    ScanFault fault;
    assert_int_equal(scanner_run(&bench.other, bench.set, SPAN("0"), &fault), 0); /* room for the set */
    bench.simdjson = simdjson_peer_new(SCAN_DEPTH_MAX + 1);
    bench.second = simdjson_peer_new(SCAN_DEPTH_MAX + 1);
    print_message("kernels: ");
    for (size_t k = 0; k < bench.kernel_count; k++) print_message("%s ", bench.kernels[k].name);
    print_message("beside simdjson %s\n", simdjson_peer_kernel());
    *state = &bench;
    return 0;
}

static int stop(void **state) {
    Bench *bench = *state;
    scanner_deinit(&bench->scanner);
    scanner_deinit(&bench->other);
    pathset_free(bench->set);
    guard_free(&bench->guard);
    simdjson_peer_free(bench->simdjson);
    simdjson_peer_free(bench->second);
    buffer_deinit(&bench->scratch);
    return 0;
}

int main(int argc, char **argv) {
    folder = argc > 1 ? argv[1] : "tests/mapping";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_documents),
        cmocka_unit_test(pieces_at_every_offset),
        cmocka_unit_test(backslashes_at_every_offset),
        cmocka_unit_test(white_space_at_every_length),
        cmocka_unit_test(tails_behind_any_number_of_tokens),
        cmocka_unit_test(cases_and_what_is_near),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
