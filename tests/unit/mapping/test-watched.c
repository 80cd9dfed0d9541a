/*
 * Members of watched objects that no path names: every kernel notes the same ones, which are those
 * that a plain walk over the members finds.
 *
 *   SLUICE_SEED=N      the same documents again
 *   SLUICE_ROUNDS=N    how many random documents, each with a broken copy (2,000)
 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "mapping/json_text.h"
#include "mapping/scanner.h"
#include "tests/support/random-json.h"

/* Watched places of every set here, and their keys that paths name; a number is the watched place
 * that the key leads to, -1: none. */
typedef struct Place {
    const char *path;
    struct {
        const char *key;
        int place;
    } keys[4];
} Place;

static const Place places[] = {
    {".", {{"a", 1}, {"b", -1}, {"x.y", 2}}},
    {"[\"a\"]", {{"a", -1}, {"0", 3}}},
    {"[\"x.y\"]", {{NULL, 0}}}, /* it has no keys at all */
    {"[\"a\"][\"0\"]", {{"\xc3\xa9\xf0\x9f\x98\x80", -1}}},
};
#define PLACES (sizeof places / sizeof *places)

typedef struct Expected {
    const char *key, *value;
    size_t key_size, value_size, place;
} Expected;

typedef struct Watch {
    PathSet *set;
    uint32_t slots[PLACES];
    Scanner scanner;
    Expected *expected;
    size_t count, capacity;
    unsigned fillers;
    Buffer key;
    uint64_t notes;
} Watch;

static uint32_t add(PathSet *set, const char *path) {
    uint32_t slot;
    Error error = {0};
    if (pathset_add(set, span_of(path), &slot, &error) < 0) fail_msg("%s: %s", path, error.text);
    return slot;
}

/* `fillers`: keys of the document besides, so that it has a table of keys, or more keys than a word
 * has bits. */
static Watch watch_new(unsigned fillers) {
    Watch watch = {.set = pathset_new(), .fillers = fillers};
    char path[64];
    for (size_t i = 0; i < PLACES; i++) {
        watch.slots[i] = add(watch.set, places[i].path);
        pathset_watch(watch.set, watch.slots[i]);
        for (size_t k = 0; k < 4 && places[i].keys[k].key; k++) {
            (void)snprintf(path, sizeof path, "%s[\"%s\"]", i ? places[i].path : "", places[i].keys[k].key);
            (void)add(watch.set, path);
        }
    }
    (void)add(watch.set, "key.0");      /* a place that is not watched */
    (void)add(watch.set, "a.0.b[1].c"); /* an index in an array of the same path leads to another place */
    for (unsigned i = 0; i < fillers; i++) {
        (void)snprintf(path, sizeof path, "filler_%u", i);
        (void)add(watch.set, path);
    }
    assert_int_equal(pathset_seal(watch.set, NULL), 0);
    ScanFault fault;
    assert_int_equal(scanner_run(&watch.scanner, watch.set, SPAN("0"), &fault), 0); /* room for the set */
    assert_int_equal(watch.scanner.note_count, 0);
    return watch;
}

static void watch_free(Watch *watch) {
    assert_int_equal(watch->scanner.second_looks, 0);
    scanner_deinit(&watch->scanner);
    pathset_free(watch->set);
    buffer_deinit(&watch->key);
    free(watch->expected);
}

static const char *pass_space(const char *p) {
    while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r') p++;
    return p;
}

static bool is_filler(const Watch *watch, Span key) {
    char text[32];
    for (unsigned i = 0; i < watch->fillers; i++) {
        (void)snprintf(text, sizeof text, "filler_%u", i);
        if (span_equal(key, span_of(text))) return true;
    }
    return false;
}

/* Lists what is expected of the object that begins at `p`; everything inside is JSON. */
static void walk(Watch *watch, size_t place, const char *p, const char *end) {
    bool seen[4] = {false};
    assert_true(*p == '{');
    for (p = pass_space(p + 1); *p != '}'; p = pass_space(*p == ',' ? p + 1 : p)) {
        const char *key = p + 1, *stop = scan_value_end(p, end) - 1, *value = pass_space(pass_space(stop + 1) + 1);
        p = pass_space(scan_value_end(value, end));
        buffer_clear(&watch->key);
        bool is_text = json_unescape(&watch->key, (Span){key, (size_t)(stop - key)}) == 0, known = false;
        Span meant = buffer_span(&watch->key);
        int leads = -1;
        for (size_t k = 0; is_text && k < 4 && places[place].keys[k].key && !known; k++) {
            known = span_equal(meant, span_of(places[place].keys[k].key));
            if (!known || seen[k]) continue;
            seen[k] = true;
            leads = places[place].keys[k].place;
        }
        if (is_text && place == 0) known = known || span_equal(meant, SPAN("key")) || is_filler(watch, meant);
        if (is_text && place == 3) known = known || span_equal(meant, SPAN("b"));
        if (leads >= 0 && *value == '{') walk(watch, (size_t)leads, value, end);
        if (known) continue;
        array_reserve(watch->expected, watch->count, watch->capacity);
        watch->expected[watch->count++] = (Expected){key, value, (size_t)(stop - key), (size_t)(scan_value_end(value, end) - value), place};
    }
}

static void check_text(Watch *watch, Span text) {
    ScanFault fault;
    size_t kernel_count;
    const ScanKernel *kernels = scan_kernels(&kernel_count);
    /* A copy without anything behind it. */
    char *copy = malloc(text.size + 1);
    assert_non_null(copy);
    memcpy(copy, text.data, text.size);
    Span placed = {copy, text.size};
    for (size_t k = 0; k < kernel_count; k++) {
        scanner_renew(&watch->scanner);
        if (kernels[k].run(&watch->scanner, watch->set, placed, &fault)) continue;
        const char *begin = copy;
        while (begin < copy + text.size && (*begin == ' ' || *begin == '\t' || *begin == '\n' || *begin == '\r')) begin++;
        watch->count = 0;
        copy[text.size] = 0;
        if (*begin == '{') walk(watch, 0, begin, copy + text.size);
        watch->notes += watch->count;
        if (watch->scanner.note_count != watch->count) {
            print_error("%s: %zu notes, expected %zu: %.*s\n", kernels[k].name, watch->scanner.note_count, watch->count, (int)text.size,
                        text.data);
            fail();
        }
        for (size_t i = 0; i < watch->count; i++) {
            const ScanNote *note = &watch->scanner.notes[i];
            const Expected *expected = &watch->expected[i];
            assert_ptr_equal(note->key, expected->key);
            assert_int_equal(note->key_size, expected->key_size);
            assert_ptr_equal(note->value, expected->value);
            assert_ptr_equal(scan_value_end(note->value, copy + text.size), expected->value + expected->value_size);
            assert_int_equal(note->node, pathset_node(watch->set, watch->slots[expected->place]));
        }
    }
    free(copy);
}

static void kernels_note_what_a_walk_finds(void **state) {
    (void)state;
    static const unsigned fillers[] = {0, 5, 30, 58, 59, 60, 61, 62, 200};
    const char *given = getenv("SLUICE_ROUNDS");
    unsigned long rounds = given && *given ? strtoul(given, NULL, 10) : 2000;
    RandomJson random = {.state = random_json_seed()};
    Buffer text = {0};
    for (size_t i = 0; i < sizeof fillers / sizeof *fillers; i++) {
        Watch watch = watch_new(fillers[i]);
        for (unsigned long round = 0; round < rounds / 4; round++) {
            random.wild = round % 8 == 0;
            buffer_clear(&text);
            random_json_document(&random, &text);
            check_text(&watch, buffer_span(&text));
            random_json_mutate(&random, &text);
            check_text(&watch, buffer_span(&text));
        }
        assert_true(watch.notes > rounds / 4);
        watch_free(&watch);
    }
    buffer_deinit(&text);
}

/* Equal keys, escaped ones, half surrogate pairs, and what looks like a known key but is none,
 * behind every known key. */
static void keys_by_meaning(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{}",
        "{\"a\":1,\"b\":2,\"x.y\":3}",
        "{\"\\u0061\":{\"q\":1},\"a\":{\"r\":1},\"b\":1,\"\\u0062\":2,\"c\":3,\"\\u0063\":4,\"c\":5}",
        "{\"a\":1,\"a\":{\"z\":1},\"b\":1,\"x.y\":{\"a\":{\"a\":1},\"a\":2},\"x.y\":{\"lost\":1},\"n\":null}",
        "{\"a\":{\"0\":{\"q\":1,\"b\":[0,{\"c\":1,\"d\":2}]},\"0\":{\"r\":1},\"1\":{}},\"\":\"\",\"\\ud800\":1}",
        "{\"a\":[{\"q\":1},{\"r\":1}],\"x.y\":[],\"x\":{\"y\":1},\"aa\":1,\"A\":1,\"b \":1}",
        "[{\"q\":1}]",
        "\"text\"",
        "{ \"new\" : { \"a\" : 1 } , \"b\" : [ ] }",
        "{\"a long key that is no name of any path, and is longer than a block of sixty-four bytes\":{},\"b\":1}",
    };
    for (unsigned fillers = 0; fillers < 130; fillers += fillers ? 12 : 7) {
        Watch watch = watch_new(fillers);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) check_text(&watch, span_of(texts[i]));
        watch_free(&watch);
    }
    /* All keys of the document were seen, and more come. */
    Watch watch = watch_new(70);
    Buffer text = {0};
    buffer_append_text(&text, "{\"a\":1,\"b\":1,\"x.y\":1,\"key\":1");
    for (int i = 0; i < 70; i++) buffer_printf(&text, ",\"filler_%d\":%d", i, i);
    buffer_append_text(&text, ",\"more\":1,\"filler_69\":2,\"filler_70\":1,\"a\":2}");
    check_text(&watch, buffer_span(&text));
    assert_true(watch.notes >= 1);
    buffer_deinit(&text);
    watch_free(&watch);
}

/* The list is of the last run alone, and a text of new keys only costs a list as long as the text
 * says. */
static void notes_are_of_one_run(void **state) {
    (void)state;
    Watch watch = watch_new(0);
    ScanFault fault;
    Buffer text = {0};
    buffer_append_byte(&text, '{');
    for (unsigned i = 0; i < 100000; i++) buffer_printf(&text, "%s\"new_%u\":%u", i ? "," : "", i, i);
    buffer_append_byte(&text, '}');
    assert_int_equal(scanner_run(&watch.scanner, watch.set, buffer_span(&text), &fault), 0);
    assert_int_equal(watch.scanner.note_count, 100000);
    assert_true(watch.scanner.note_capacity < 300000);
    assert_int_equal(scanner_run(&watch.scanner, watch.set, SPAN("{\"b\":1}"), &fault), 0);
    assert_int_equal(watch.scanner.note_count, 0);
    buffer_deinit(&text);
    watch_free(&watch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_note_what_a_walk_finds),
        cmocka_unit_test(keys_by_meaning),
        cmocka_unit_test(notes_are_of_one_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
