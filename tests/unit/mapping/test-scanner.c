#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "guard.h"
#include "mapping/json_text.h"
#include "mapping/scanner.h"

static const char document[] =
    "{\"issue\":{\"id\":123456,\"tags\":[\"a\",\"b\\n\\u00e9\",{\"x\":[1.5e-3,true,false,null]}],\"sum\\u006dary\":\"na\xc3\xafve "
    "\xe6\x97\xa5\xe6\x9c\xac\xf0\x9f\x98\x80 text\"},\t\"user\" : { \"name\" : \"Jane Doe, esquire\" , \"n\":-0.25 } }\n";

static int scan(const char *text, size_t size, ScanFault *fault) {
    return scan_validate((Span){text, size}, fault);
}

static void faults_name_the_byte(void **state) {
    static const struct {
        const char *text;
        size_t offset;
        const char *what;
    } rows[] = {
        {"", 0, "there is no value"},
        {"  ", 2, "there is no value"},
        {"{\"a\":1,}", 7, "expected a key in quotes"},
        {"[1,]", 3, "expected a value"},
        {"[1 2]", 3, "expected \",\" or \"]\""},
        {"{\"a\" 1}", 5, "expected \":\""},
        {"{\"a\":1 \"b\":2}", 7, "expected \",\" or \"}\""},
        {"[01]", 2, "expected \",\" or \"]\""},
        {"[1.]", 3, "a number needs a digit here"},
        {"[1e+]", 4, "a number needs a digit here"},
        {"-", 1, "a number needs a digit here"},
        {"\"ab\\qc\"", 3, "no such escape in a string"},
        {"\"ab\\u12g4\"", 3, "\\u needs four hexadecimal digits"},
        {"\"ab", 3, "a string has no end"},
        {"\"ab\\", 4, "a string has no end"},
        {"\"a\nb\"", 2, "a control character in a string must be escaped"},
        {"\"abcdefghij\xff\"", 11, "a string is not UTF-8"},
        {"{\"k\xc0\xaf\":1}", 3, "a string is not UTF-8"},
        {"1 x", 2, "something follows the value"},
        {"\xef\xbb\xbf{}", 0, "a byte order mark is not JSON"},
        {"tru", 0, "expected a value"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ScanFault fault = {0};
        assert_int_equal(scan(rows[i].text, strlen(rows[i].text), &fault), SCAN_NOT_JSON);
        assert_int_equal(fault.offset, rows[i].offset);
        assert_string_equal(fault.what, rows[i].what);
    }
}

static void nul_is_no_json(void **state) {
    ScanFault fault;
    assert_int_equal(scan("1\0", 2, &fault), SCAN_NOT_JSON);
    assert_int_equal(fault.offset, 1);
    assert_int_equal(scan("\"a\0b\"", 5, &fault), SCAN_NOT_JSON);
    assert_int_equal(fault.offset, 2);
    assert_int_equal(scan("\0", 1, &fault), SCAN_NOT_JSON);
    assert_int_equal(scan(NULL, 0, &fault), SCAN_NOT_JSON);
}

/* By the table of Unicode, chapter 3: every lead byte with every second byte, and the edges of the
 * others, at each place in a word. */
static bool utf8_by_table(const unsigned char *u, size_t size) {
    if (size == 2) return u[0] >= 0xc2 && u[0] <= 0xdf && u[1] >= 0x80 && u[1] <= 0xbf;
    if (u[2] < 0x80 || u[2] > 0xbf || u[1] < 0x80 || u[1] > 0xbf) return false;
    if (size == 3) {
        if (u[0] == 0xe0) return u[1] >= 0xa0;
        if (u[0] == 0xed) return u[1] <= 0x9f;
        return u[0] >= 0xe1 && u[0] <= 0xef;
    }
    if (u[3] < 0x80 || u[3] > 0xbf) return false;
    if (u[0] == 0xf0) return u[1] >= 0x90;
    if (u[0] == 0xf4) return u[1] <= 0x8f;
    return u[0] >= 0xf1 && u[0] <= 0xf3;
}

static void utf8_is_checked_everywhere(void **state) {
    static const unsigned char edges[] = {0x00 + 0x20, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    ScanFault fault;
    for (unsigned lead = 0x80; lead <= 0xff; lead++) {
        for (unsigned second = 0; second < sizeof edges; second++) {
            for (unsigned third = 0; third < sizeof edges; third++) {
                for (unsigned fourth = 0; fourth < sizeof edges; fourth++) {
                    unsigned char u[4] = {(unsigned char)lead, edges[second], edges[third], edges[fourth]};
                    for (size_t size = 2; size <= 4; size++) {
                        if ((size < 3 && third) || (size < 4 && fourth)) continue;
                        char text[32];
                        size_t before = (lead + second + third) % 11;
                        memset(text, 'x', sizeof text);
                        text[0] = '"';
                        memcpy(text + 1 + before, u, size);
                        text[1 + before + size] = '"';
                        bool whole = utf8_by_table(u, size);
                        /* What is not one sequence may still be a shorter one and ASCII. */
                        if (!whole && size > 2 && utf8_by_table(u, 2) && u[2] < 0x80 && (size == 3 || u[3] < 0x80)) whole = true;
                        if (!whole && size == 4 && utf8_by_table(u, 3) && u[3] < 0x80) whole = true;
                        assert_int_equal(scan(text, before + size + 2, &fault) == 0, whole);
                    }
                }
            }
        }
    }
}

static PathSet *paths_of(const char *const *paths, size_t count) {
    PathSet *set = pathset_new();
    Error error = {0};
    for (size_t i = 0; i < count; i++) {
        uint32_t slot;
        assert_int_equal(pathset_add(set, span_of(paths[i]), &slot, &error), 0);
        assert_int_equal(slot, i);
    }
    assert_int_equal(pathset_seal(set, &error), 0);
    return set;
}

static void values_stand_where_they_are(void **state) {
    static const char *const paths[] = {"issue.id", "issue.tags[1]", "issue.tags.2.x[3]", "issue.summary",
                                        "user",     "user.n",        "user.nothing",      "issue.tags[3]"};
    static const char *const texts[] = {
        "123456", "\"b\\n\\u00e9\"", "null", NULL, "{ \"name\" : \"Jane Doe, esquire\" , \"n\":-0.25 }", "-0.25", NULL, NULL};
    PathSet *set = paths_of(paths, 8);
    Scanner scanner = {0};
    ScanFault fault;
    for (int round = 0; round < 3; round++) {
        assert_int_equal(scanner_run(&scanner, set, (Span){document, sizeof document - 1}, &fault), 0);
        for (uint32_t i = 0; i < 8; i++) {
            const ScanValue *value = scanner_value(&scanner, i);
            if (i == 3) {
                assert_int_equal(value->kind, SCAN_STRING);
                assert_false(value->escaped);
                continue;
            }
            if (!texts[i]) {
                assert_null(value);
                continue;
            }
            assert_non_null(value);
            assert_int_equal(value->text.size, strlen(texts[i]));
            assert_memory_equal(value->text.data, texts[i], value->text.size);
        }
        assert_true(scanner_value(&scanner, 1)->escaped);
        assert_true(scanner_value(&scanner, 4)->spaced);
        /* The next document has none of them: nothing of the last run is left. */
        assert_int_equal(scanner_run(&scanner, set, SPAN("{\"other\":[1,2,3]}"), &fault), 0);
        for (uint32_t i = 0; i < 8; i++) assert_null(scanner_value(&scanner, i));
        if (round == 1) scanner.generation = UINT32_MAX; /* the count of runs may go round */
    }
    scanner_deinit(&scanner);
    pathset_free(set);
}

static void each_prefix_ends_at_the_end(void **state) {
    static const char *const paths[] = {"issue.id", "issue.tags[1]", "issue.tags.2.x[3]", "issue.summary", "user.name", "u", "."};
    PathSet *set = paths_of(paths, 7);
    Guard guard = guard_new(sizeof document);
    Scanner scanner = {0};
    ScanFault fault;
    size_t kernel_count;
    const ScanKernel *kernels = scan_kernels(&kernel_count);
    for (size_t k = 0; k < kernel_count; k++) {
        for (size_t size = 0; size < sizeof document; size++) {
            for (size_t from = 0; from <= 16 && from <= size; from++) {
                Span text = guard_place(&guard, document + from, size - from);
                int r = scanner_run(&scanner, set, text, &fault);
                scanner.generation++;
                assert_int_equal(kernels[k].run(&scanner, set, text, &fault), r);
                if (from == 0) assert_int_equal(r == 0, size >= sizeof document - 2);
                if (r) assert_true(fault.offset <= size - from);
            }
        }
    }
    guard_free(&guard);
    scanner_deinit(&scanner);
    pathset_free(set);
}

static void deep_and_long_documents_take_no_stack_and_no_time(void **state) {
    size_t size = 8 << 20;
    char *text = malloc(size);
    ScanFault fault;
    memset(text, '[', size);
    assert_int_equal(scan(text, size, &fault), SCAN_NOT_JSON);
    assert_int_equal(fault.offset, 128);
    /* 1 MB of equal keys, of other keys with the same beginning, and of escapes, against a set with
     * hundreds of keys. */
    PathSet *set = pathset_new();
    for (int i = 0; i < 500; i++) {
        char path[64];
        uint32_t slot;
        snprintf(path, sizeof path, "same_beginning_of_the_key_%d.x", i);
        assert_int_equal(pathset_add(set, span_of(path), &slot, NULL), 0);
    }
    assert_int_equal(pathset_seal(set, NULL), 0);
    Scanner scanner = {0};
    size_t at = 0;
    text[at++] = '{';
    for (unsigned i = 0; at < size - 100; i++)
        at += (size_t)sprintf(
            text + at, i % 3 ? "\"same_beginning_of_the_key_%u\":0," : "\"\\u0073ame_beginning_of_the_key_%u\":{\"x\":1},", i % 5000);
    at += (size_t)sprintf(text + at, "\"z\":1}");
    assert_int_equal(scanner_run(&scanner, set, (Span){text, at}, &fault), 0);
    assert_non_null(scanner_value(&scanner, 300));
    assert_null(scanner_value(&scanner, 301));
    scanner_deinit(&scanner);
    pathset_free(set);
    free(text);
}

static uint64_t random_state = 88172645463325252;
static uint32_t random_below(uint32_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % limit;
}

static void random_value(Buffer *out, int depth) {
    static const char *const leaves[] = {"0",
                                         "-1",
                                         "1.5",
                                         "1e3",
                                         "true",
                                         "false",
                                         "null",
                                         "\"\"",
                                         "12",
                                         "\"abc\"",
                                         "\"x\\ny\"",
                                         "\"\\u00e9\"",
                                         "\"\\ud83d\\ude00\"",
                                         "\"\xc3\xa9\"",
                                         "\"longer than a word\"",
                                         "-0.0"};
    uint32_t kind = depth > 5 ? 0 : random_below(4);
    if (kind < 2) {
        buffer_append_text(out, leaves[random_below(16)]);
        return;
    }
    uint32_t count = random_below(4);
    buffer_append_byte(out, kind == 2 ? '[' : '{');
    for (uint32_t i = 0; i < count; i++) {
        if (i) buffer_append_text(out, random_below(5) ? "," : " ,\n");
        if (kind == 3) buffer_printf(out, random_below(4) ? "\"%c\":" : "\"\\u00%02x\" : ", random_below(4) + 'a');
        random_value(out, depth + 1);
    }
    buffer_append_byte(out, kind == 2 ? ']' : '}');
}

/* What is compared: the kernels over one path set. */
typedef struct Kernels {
    PathSet *set;
    Scanner first, other;
    Buffer compact;
    Guard guard; /* no kernel reads behind the text */
    unsigned accepted, refused;
} Kernels;

static Kernels kernels_new(size_t bytes) {
    static const char *const paths[] = {".", "a", "b.c", "c[1]", "d.a.b"};
    return (Kernels){.set = paths_of(paths, 5), .guard = guard_new(bytes)};
}

static void kernels_free(Kernels *kernels) {
    assert_int_equal(kernels->first.second_looks + kernels->other.second_looks, 0); /* no kernel refused what another one takes */
    scanner_deinit(&kernels->first);
    scanner_deinit(&kernels->other);
    pathset_free(kernels->set);
    buffer_deinit(&kernels->compact);
    guard_free(&kernels->guard);
}

/* Every kernel says the same of a text, accepted or not: result, place, and where the values
 * stand. */
static void same_of_all(Kernels *kernels, Span text) {
    size_t count;
    const ScanKernel *all = scan_kernels(&count);
    Span placed = guard_place(&kernels->guard, text.data, text.size);
    ScanFault fault = {0}, other_fault = {0};
    assert_string_equal(all[count - 1].name, "portable");
    (void)scanner_run(&kernels->first, kernels->set, SPAN("0"), &other_fault); /* room for the set */
    (void)scanner_run(&kernels->other, kernels->set, SPAN("0"), &other_fault);
    scanner_renew(&kernels->first);
    int r = all[count - 1].run(&kernels->first, kernels->set, placed, &fault);
    *(r ? &kernels->refused : &kernels->accepted) += 1;
    for (size_t k = 0; k + 1 < count; k++) {
        scanner_renew(&kernels->other);
        int mine = all[k].run(&kernels->other, kernels->set, placed, &other_fault);
        if (mine != r) print_error("%s: %.*s\n", all[k].name, (int)text.size, text.data);
        assert_int_equal(mine, r);
        if (r) {
            assert_int_equal(fault.offset, other_fault.offset);
            assert_string_equal(fault.what, other_fault.what);
            continue;
        }
        for (uint32_t slot = 0; slot < 5; slot++) {
            const ScanValue *value = scanner_value(&kernels->first, slot), *other = scanner_value(&kernels->other, slot);
            assert_int_equal(value != NULL, other != NULL);
            if (!value) continue;
            assert_ptr_equal(value->text.data, other->text.data);
            assert_int_equal(value->text.size, other->text.size);
            assert_int_equal(value->kind, other->kind);
            assert_int_equal(value->escaped, other->escaped);
            if (other->kind < SCAN_OBJECT || other->spaced) continue;
            buffer_clear(&kernels->compact);
            json_compact(&kernels->compact, other->text);
            assert_int_equal(kernels->compact.size, other->text.size);
        }
    }
}

static void kernels_agree(void **state) {
    static const char junk[] = "{}[],:\"\\ \n01.e-tn\x01\x0c\x1a\x80\xc3\xa9\xf0";
    Kernels kernels = kernels_new(1 << 16);
    Buffer text = {0};
    for (int round = 0; round < 20000; round++) {
        buffer_clear(&text);
        for (uint32_t i = round % 4 ? 0 : random_below(100); i > 0; i--) buffer_append_byte(&text, ' ');
        if (round % 8 == 1) {
            buffer_append_text(&text, "[[1,\"padding of the text that follows");
            for (uint32_t i = random_below(80); i > 0; i--) buffer_append_text(&text, random_below(6) ? "x" : "\\\\");
            buffer_append_text(&text, "\"],");
        }
        random_value(&text, 0);
        if (round % 8 == 1) buffer_append_byte(&text, ']');
        for (uint32_t i = random_below(3); i > 0; i--) text.data[random_below((uint32_t)text.size)] = junk[random_below(sizeof junk - 1)];
        if (text.size <= kernels.guard.bytes) same_of_all(&kernels, buffer_span(&text));
    }
    assert_true(kernels.accepted > 3000 && kernels.refused > 3000);
    buffer_deinit(&text);
    kernels_free(&kernels);
}

/* Kernels take 64 bytes at a time: whatever can go on behind the end of a block does so at each
 * place. */
static void blocks_have_no_edges(void **state) {
    static const char *const parts[] = {
        "\\\\",
        "\\\"",
        "\\\\\\\"",
        "\\u00e9",
        "\\ud83d\\ude00",
        "\\x",
        "\\u12",
        "\\u12\"",
        "\xc3\xa9",
        "\xe2\x82\xac",
        "\xf0\x9f\x98\x80",
        "\xf4\x8f\xbf\xbf",
        "\xc3",
        "\xe2\x82",
        "\xf0\x9f\x98",
        "\xa9",
        "\xc3\xa9\xa9",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\x01",
        "\x1f",
        "\x7f",
        "\t",
        "\n",
        "\",\"a\":12345678901234567890.5e-10,\"d\" : { \"a\":{\"b\" :null}}, \"x\":\"",
        "\",\"a\":tru,\"x\":\"",
        "\",\"a\":-,\"x\":\"",
        "\"\"",
        "\" \x0c,\"y\":\"",
        "\" \x1a\"y\":\"",
        "\",\"a\":1\x1a\"",
    };
    Kernels kernels = kernels_new(1 << 12);
    Buffer text = {0};
    for (size_t part = 0; part < sizeof parts / sizeof *parts; part++) {
        for (size_t before = 0; before < 140; before++) {
            for (size_t after = 0; after < 140; after += after < 4 ? 1 : 45) {
                buffer_clear(&text);
                buffer_append_text(&text, before % 2 ? "{\"c\":\"" : "{ \"c\":[0, \"");
                for (size_t i = 0; i < before; i++) buffer_append_byte(&text, 'x');
                buffer_append_text(&text, parts[part]);
                for (size_t i = 0; i < after; i++) buffer_append_byte(&text, 'y');
                buffer_append_text(&text, before % 2 ? "\"}" : "\"]}");
                same_of_all(&kernels, buffer_span(&text));
                text.size -= 1 + before % 3;
                same_of_all(&kernels, buffer_span(&text));
            }
        }
    }
    for (size_t before = 0; before < 70; before++) {
        for (size_t backslashes = 0; backslashes < 140; backslashes++) {
            buffer_clear(&text);
            buffer_append_text(&text, "{\"a\":\"");
            for (size_t i = 0; i < before; i++) buffer_append_byte(&text, 'x');
            for (size_t i = 0; i < backslashes; i++) buffer_append_byte(&text, '\\');
            buffer_append_text(&text, "\",\"d\":\"\"}");
            same_of_all(&kernels, buffer_span(&text));
        }
    }
    assert_true(kernels.accepted > 5000 && kernels.refused > 5000);
    buffer_deinit(&text);
    kernels_free(&kernels);
}

/* Each byte behind a backslash, and as each digit of a unit, on both sides of a block's end. */
static void escapes_have_their_letters_and_digits(void **state) {
    Kernels kernels = kernels_new(1 << 12);
    Buffer text = {0};
    for (int byte = 1; byte < 256; byte++) {
        for (size_t at = 1; at < 6; at++) {
            for (size_t before = 50; before < 62; before++) {
                char escape[] = "\\uaF09";
                escape[at] = (char)byte;
                buffer_clear(&text);
                buffer_append_text(&text, "{\"c\":\"");
                for (size_t i = 0; i < before; i++) buffer_append_byte(&text, 'x');
                buffer_append(&text, escape, sizeof escape - 1);
                buffer_append_text(&text, before % 2 ? "\"}" : " and more than what is left of the block, and of that behind it\"}");
                same_of_all(&kernels, buffer_span(&text));
            }
        }
    }
    assert_true(kernels.accepted > 1000 && kernels.refused > 5000);
    buffer_deinit(&text);
    kernels_free(&kernels);
}

/* More tokens than a window of the kernels holds, cut off and spoilt at many places. */
static void windows_have_no_edges(void **state) {
    Kernels kernels = kernels_new(1 << 17);
    Buffer text = {0};
    for (int round = 0; round < 6; round++) {
        buffer_clear(&text);
        buffer_append_text(&text, "{\"b\":");
        buffer_append_byte(&text, '[');
        for (int i = 0; i < 3 * SCAN_WINDOW; i++) {
            if (i) buffer_append_byte(&text, ',');
            if (round % 3 == 0) buffer_append_text(&text, i % 7 ? "{}" : "[[],1]");
            if (round % 3 == 1) buffer_append_text(&text, i % 5 ? "\"\"" : "{\"k\":\"v\",\"l\":[{}]}");
            if (round % 3 == 2) buffer_append_byte(&text, '1');
        }
        buffer_append_text(&text, "],\"b\":{\"c\":1},\"a\": \"last\" }");
        same_of_all(&kernels, buffer_span(&text));
        for (int cut = 0; cut < 150; cut++) {
            size_t size = text.size;
            size_t at = 3 + random_below((uint32_t)size - 3);
            char byte = text.data[at];
            if (cut % 2)
                text.size = at;
            else
                text.data[at] = "{}[],:\"1 "[random_below(9)];
            same_of_all(&kernels, buffer_span(&text));
            text.size = size;
            text.data[at] = byte;
        }
    }
    assert_true(kernels.accepted > 6 && kernels.refused > 500);
    buffer_deinit(&text);
    kernels_free(&kernels);
}

static void random_object(Buffer *out) {
    static const char *const names[] = {"a", "b", "c", "d", "x", "longer than eight bytes", "", "\\u0061"};
    uint32_t count = 1 + random_below(5);
    for (uint32_t i = 0; i < count; i++) {
        buffer_printf(out, "%s\"%s\":", i ? "," : "{", names[random_below(8)]);
        if (random_below(3))
            random_value(out, 3);
        else
            buffer_printf(out, random_below(2) ? "{\"%c\":%u}" : "[%u,{\"c\":\"%c\"}]", random_below(4) + 'a', random_below(4) + 'a');
    }
    buffer_append_byte(out, '}');
}

/* A text of a known shape, and those that differ from it in one byte: in a key, in a value, or in
 * what they are. The one-pass loop, which has no shapes, says what is right of each. */
static void shapes_are_told_apart(void **state) {
    static const char junk[] = "abcdx{}[],:\"\\ 09.-etfn\x80\x01";
    Kernels kernels = kernels_new(1 << 12);
    Buffer text = {0};
    for (int round = 0; round < 400; round++) {
        buffer_clear(&text);
        random_object(&text);
        if (text.size > 600) continue;
        for (int again = 0; again < 20; again++) same_of_all(&kernels, buffer_span(&text)); /* learned, at the latest */
        for (size_t at = 0; at < text.size; at++) {
            char byte = text.data[at];
            for (int i = 0; i < 4; i++) {
                text.data[at] = junk[random_below(sizeof junk - 1)];
                same_of_all(&kernels, buffer_span(&text));
            }
            text.data[at] = byte;
            same_of_all(&kernels, buffer_span(&text));
        }
    }
    size_t count;
    bool has_shapes = strncmp(scan_kernels(&count)[0].name, "avx", 3) == 0;
    assert_true(kernels.accepted > 20000 && kernels.refused > 20000);
    assert_true(!has_shapes || kernels.other.shape_hits > 20000);
    buffer_deinit(&text);
    kernels_free(&kernels);
}

/* One scanner, two path sets, and texts of more tokens and keys than a shape has. */
static void shapes_belong_to_their_set(void **state) {
    static const char *const paths[][1] = {{"a"}, {"b"}};
    PathSet *sets[] = {paths_of(paths[0], 1), paths_of(paths[1], 1)};
    Scanner scanner = {0};
    ScanFault fault;
    for (int round = 0; round < 100; round++) {
        Span text = round % 3 ? SPAN("{\"a\":1,\"b\":22}") : SPAN("{\"b\":22,\"a\":1}");
        assert_int_equal(scanner_run(&scanner, sets[round % 2], text, &fault), 0);
        const ScanValue *value = scanner_value(&scanner, 0);
        assert_int_equal(value->text.size, 1 + round % 2);
        assert_int_equal(*value->text.data, '1' + round % 2);
    }
    Buffer many = {0};
    for (int parts = 1; parts < 140; parts++) {
        buffer_clear(&many);
        for (int i = 0; i < parts; i++) buffer_printf(&many, "%s\"key number %d\":%d", i ? "," : "{", i, i);
        buffer_append_text(&many, ",\"a\":7}");
        for (int again = 0; again < 30; again++) {
            assert_int_equal(scanner_run(&scanner, sets[0], buffer_span(&many), &fault), 0);
            assert_int_equal(*scanner_value(&scanner, 0)->text.data, '7');
        }
    }
    buffer_deinit(&many);
    scanner_deinit(&scanner);
    pathset_free(sets[0]);
    pathset_free(sets[1]);
}

/* jansson as the other opinion, on what it is right about: it refuses U+0000, half pairs of
 * surrogates, and numbers out of its range. */
static void agrees_with_jansson(void **state) {
    static const char junk[] = "{}[],:\"\\ \n0123456789.eE+-truefalsn\x01\x80\xc3\xe2\xff/u";
    Buffer text = {0}, compact = {0};
    int accepted = 0, refused = 0;
    for (int round = 0; round < 30000; round++) {
        buffer_clear(&text);
        random_value(&text, 0);
        for (uint32_t i = random_below(3); i > 0; i--) text.data[random_below((uint32_t)text.size)] = junk[random_below(sizeof junk - 1)];
        ScanFault fault;
        bool mine = scan_validate(buffer_span(&text), &fault) == 0;
        json_error_t error;
        json_t *theirs = json_loadb(text.data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        if (mine != (theirs != NULL)) {
            enum json_error_code code = theirs ? json_error_unknown : json_error_code(&error);
            bool known_gap = mine && (code == json_error_numeric_overflow || strstr(error.text, "surrogate") ||
                                      strstr(error.text, "Unicode") || strstr(error.text, "too big") || strstr(error.text, "overflow"));
            if (!known_gap) print_error("%.*s: %s\n", (int)text.size, text.data, theirs ? "only jansson accepts" : error.text);
            assert_true(known_gap);
        }
        if (mine && theirs) {
            accepted++;
            buffer_clear(&compact);
            json_compact(&compact, buffer_span(&text));
            json_t *again = json_loadb(compact.data, compact.size, JSON_DECODE_ANY, NULL);
            assert_true(json_equal(theirs, again));
            json_decref(again);
        } else {
            refused++;
        }
        json_decref(theirs);
    }
    assert_true(accepted > 3000 && refused > 3000);
    buffer_deinit(&text);
    buffer_deinit(&compact);
}

/* Where nothing is to compact no kernel says so, however the text ends in its last block; where
 * something is, each does. */
static void white_space_is_that_of_the_text(void **state) {
    static const char *const paths[] = {"a"};
    PathSet *set = paths_of(paths, 1);
    Guard guard = guard_new(256);
    Scanner scanner = {0};
    ScanFault fault;
    size_t count;
    const ScanKernel *kernels = scan_kernels(&count);
    for (size_t k = 0; k < count; k++) {
        for (int size = 0; size < 150; size++) {
            for (int spaced = 0; spaced < 2; spaced++) {
                char text[256];
                int bytes = snprintf(text, sizeof text, "{\"a\":[\"%0*d\"%s]}", size + 1, 0, spaced ? " " : "");
                assert_int_equal(scanner_run(&scanner, set, SPAN("0"), &fault), 0); /* room for the set */
                scanner_renew(&scanner);
                assert_int_equal(kernels[k].run(&scanner, set, guard_place(&guard, text, (size_t)bytes), &fault), 0);
                assert_int_equal(scanner_value(&scanner, 0)->spaced, spaced);
            }
        }
    }
    guard_free(&guard);
    scanner_deinit(&scanner);
    pathset_free(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_name_the_byte),
        cmocka_unit_test(nul_is_no_json),
        cmocka_unit_test(utf8_is_checked_everywhere),
        cmocka_unit_test(values_stand_where_they_are),
        cmocka_unit_test(each_prefix_ends_at_the_end),
        cmocka_unit_test(deep_and_long_documents_take_no_stack_and_no_time),
        cmocka_unit_test(kernels_agree),
        cmocka_unit_test(blocks_have_no_edges),
        cmocka_unit_test(escapes_have_their_letters_and_digits),
        cmocka_unit_test(windows_have_no_edges),
        cmocka_unit_test(shapes_are_told_apart),
        cmocka_unit_test(shapes_belong_to_their_set),
        cmocka_unit_test(agrees_with_jansson),
        cmocka_unit_test(white_space_is_that_of_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
