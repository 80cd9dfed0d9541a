/* The borders of what a column holds, beyond what tests/mapping/values.json has as cases: every
 * code point, every digit count, every limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <iconv.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "mapping/plan.h"
#include "mapping/row.h"
#include "mapping/value.h"

#define SINKS_MAX 8

/* ---- a plan with one sink for each list of columns ------------------------------------------- */

typedef struct Fixture {
    Plan *plan;
    Mapper *mapper;
    size_t count;
    Buffer rows[SINKS_MAX];
    MapFailure failures[SINKS_MAX];
} Fixture;

static Plan *plan_of(const char *const *columns, size_t count, Error *error) {
    Sink *sinks[SINKS_MAX] = {NULL};
    for (size_t i = 0; i < count; i++) {
        json_error_t fault;
        json_t *list = json_loads(columns[i], JSON_ALLOW_NUL, &fault);
        if (!list) fail_msg("%s: %s", columns[i], fault.text);
        json_t *body = json_pack("{s:s, s:s, s:s, s:{s:s, s:{s:o}}}", "sinkId", "sink", "name", "sink", "type", "table", "table", "tableId",
                                 "t", "mapping", "columns", list);
        if (sink_from_request(body, true, &sinks[i], error) < 0) fail_msg("%s: %s", columns[i], error->text);
        json_decref(body);
    }
    Source source = {.source_id = (char *)"source"};
    Plan *plan = NULL;
    if (plan_compile(&source, sinks, count, &plan, error) < 0) plan = NULL;
    for (size_t i = 0; i < count; i++) sink_unref(sinks[i]);
    return plan;
}

static Fixture fixture_new(const char *const *columns, size_t count) {
    Error error = {0};
    Fixture fixture = {.plan = plan_of(columns, count, &error), .mapper = mapper_new(1536u << 10), .count = count};
    if (!fixture.plan) fail_msg("%s", error.text);
    return fixture;
}

static void fixture_deinit(Fixture *fixture) {
    for (size_t i = 0; i < fixture->count; i++) buffer_deinit(&fixture->rows[i]);
    mapper_free(fixture->mapper);
    plan_unref(fixture->plan);
}

/* The rows are made anew; the body is copied into memory of exactly its size. */
static size_t map(Fixture *fixture, Span body) {
    Buffer *rows[SINKS_MAX];
    for (size_t i = 0; i < fixture->count; i++) {
        rows[i] = &fixture->rows[i];
        buffer_clear(rows[i]);
    }
    char *copy = malloc(body.size ? body.size : 1);
    assert_non_null(copy);
    memcpy(copy, body.data, body.size);
    Event event = {.body = {copy, body.size}, .kind = BODY_JSON, .received = 1136214245000000};
    size_t failed = mapper_map(fixture->mapper, fixture->plan, &event, rows, fixture->failures);
    free(copy);
    return failed;
}

/* The only cell of the only row of sink `at`. */
static void assert_cell(const Fixture *fixture, size_t at, Span wanted, uint32_t about) {
    RowReader reader = {.text = buffer_span(&fixture->rows[at])};
    RowCell cell;
    assert_int_equal(fixture->failures[at].error, MAP_OK);
    assert_int_equal(row_read(&reader, &cell, 1), 0);
    assert_int_equal(reader.text.size, 0);
    if (cell.is_null || !span_equal(wanted, (Span){cell.data, cell.size}))
        fail_msg("sink %zu, about U+%04X: %.*s is not %.*s", at, about, (int)cell.size, cell.data, (int)wanted.size, wanted.data);
    row_reader_deinit(&reader);
}

/* ---- strings --------------------------------------------------------------------------------- */

static bool is_surrogate(uint32_t code) {
    return code >= 0xd800 && code <= 0xdfff;
}

static void put_escape(Buffer *out, uint32_t unit) {
    buffer_printf(out, unit % 3 ? "\\u%04x" : "\\u%04X", unit);
}

static void put_escaped(Buffer *out, uint32_t code) {
    if (code >= 0x10000) {
        put_escape(out, 0xd800 + ((code - 0x10000) >> 10));
        put_escape(out, 0xdc00 + (code & 0x3ff));
    } else {
        put_escape(out, code);
    }
}

/* As JSON has it without \u wherever it can. */
static void put_literal(Buffer *out, uint32_t code, Span utf8) {
    static const char short_form[0x20] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    if (code == '"' || code == '\\')
        buffer_printf(out, "\\%c", (char)code);
    else if (code < 0x20 && short_form[code])
        buffer_printf(out, "\\%c", short_form[code]);
    else if (code < 0x20)
        put_escape(out, code);
    else
        buffer_append(out, utf8.data, utf8.size);
}

static const char *const string_sinks[] = {
    "[{\"type\":\"path\",\"name\":\"c\",\"path\":\"a\",\"rawString\":true}]",
    "[{\"type\":\"path\",\"name\":\"c\",\"path\":\"b\",\"rawString\":true}]",
    "[{\"type\":\"path\",\"name\":\"c\",\"path\":\"a\",\"dataType\":\"bytes\"}]",
    "[{\"type\":\"path\",\"name\":\"c\",\"path\":\"a\"}]",
    "[{\"type\":\"path\",\"name\":\"c\",\"path\":\"a\",\"dataType\":\"json\"}]",
    "[{\"type\":\"path\",\"name\":\"c\",\"path\":\"b\"}]",
    "[{\"type\":\"path\",\"name\":\"c\",\"path\":\"a\",\"dataType\":\"jsonText\"}]",
};
#define STRING_SINKS (sizeof string_sinks / sizeof *string_sinks)

/* Each code point once as \u escapes and once as it stands, `count` of them in one string; iconv
 * says what they are in UTF-8. */
static void check_code_points(Fixture *fixture, iconv_t to_utf8, uint32_t from, uint32_t count) {
    static const char digits[] = "0123456789abcdef";
    Buffer escaped = {0}, literal = {0}, text = {0}, hex = {0}, body = {0};
    buffer_append_byte(&escaped, '"');
    buffer_append_byte(&literal, '"');
    buffer_append_text(&hex, "\\x");
    for (uint32_t code = from; code < from + count; code++) {
        if (is_surrogate(code)) continue;
        char utf8[8], *in = (char *)&code, *out = utf8;
        size_t in_size = sizeof code, out_size = sizeof utf8;
        assert_int_equal(iconv(to_utf8, &in, &in_size, &out, &out_size), 0);
        Span encoded = {utf8, (size_t)(out - utf8)};
        put_escaped(&escaped, code);
        put_literal(&literal, code, encoded);
        buffer_append(&text, encoded.data, encoded.size);
        for (size_t i = 0; i < encoded.size; i++) {
            buffer_append_byte(&hex, digits[(unsigned char)utf8[i] >> 4]);
            buffer_append_byte(&hex, digits[(unsigned char)utf8[i] & 15]);
        }
    }
    buffer_append_byte(&escaped, '"');
    buffer_append_byte(&literal, '"');
    buffer_printf(&body, "{\"a\":%s,\"b\":%s}", buffer_text(&escaped), buffer_text(&literal));
    size_t failed = map(fixture, buffer_span(&body));
    if (from == 0 && count == 1) { /* NUL is no text, and no JSON that can be queried */
        assert_int_equal(failed, 3);
        assert_int_equal(fixture->failures[0].error, MAP_WRONG_TYPE);
        assert_int_equal(fixture->failures[1].error, MAP_WRONG_TYPE);
        assert_int_equal(fixture->failures[4].error, MAP_WRONG_TYPE);
    } else {
        assert_int_equal(failed, 0);
        assert_cell(fixture, 0, buffer_span(&text), from);
        assert_cell(fixture, 1, buffer_span(&text), from);
        assert_cell(fixture, 4, buffer_span(&escaped), from);
    }
    assert_cell(fixture, 2, buffer_span(&hex), from);
    assert_cell(fixture, 3, buffer_span(&escaped), from);
    assert_cell(fixture, 5, buffer_span(&literal), from);
    assert_cell(fixture, 6, buffer_span(&escaped), from);
    buffer_deinit(&escaped);
    buffer_deinit(&literal);
    buffer_deinit(&text);
    buffer_deinit(&hex);
    buffer_deinit(&body);
}

static void every_code_point_is_itself(void **state) {
    Fixture fixture = fixture_new(string_sinks, STRING_SINKS);
    iconv_t to_utf8 = iconv_open("UTF-8", "UTF-32LE");
    assert_true(to_utf8 != (iconv_t)-1);
    check_code_points(&fixture, to_utf8, 0, 1);
    for (uint32_t code = 1; code < 0x400; code++) check_code_points(&fixture, to_utf8, code, 1);
    for (uint32_t code = 1; code <= 0x10ffff;) {
        uint32_t count = 1 + code % 997;
        if (code + count > 0x110000) count = 0x110000 - code;
        check_code_points(&fixture, to_utf8, code, count);
        code += count;
    }
    iconv_close(to_utf8);
    fixture_deinit(&fixture);
}

/* `inner` holds a lone surrogate: no text, no bytes and no `json`, but as it stands it is JSON
 * text. */
static void check_lone(Fixture *fixture, const char *inner) {
    Buffer body = {0}, quoted = {0};
    buffer_printf(&quoted, "\"%s\"", inner);
    buffer_printf(&body, "{\"a\":%s,\"b\":\"\"}", buffer_text(&quoted));
    assert_int_equal(map(fixture, buffer_span(&body)), 3);
    assert_int_equal(fixture->failures[0].error, MAP_WRONG_TYPE);
    assert_non_null(strstr(fixture->failures[0].message, "surrogate"));
    assert_int_equal(fixture->failures[2].error, MAP_WRONG_TYPE);
    assert_int_equal(fixture->failures[4].error, MAP_WRONG_TYPE);
    assert_cell(fixture, 3, buffer_span(&quoted), 0xd800);
    assert_cell(fixture, 6, buffer_span(&quoted), 0xd800);
    buffer_deinit(&body);
    buffer_deinit(&quoted);
}

static void every_lone_surrogate_is_refused(void **state) {
    Fixture fixture = fixture_new(string_sinks, STRING_SINKS);
    for (unsigned unit = 0xd800; unit <= 0xdfff; unit++) {
        char inner[64];
        bool high = unit < 0xdc00;
        static const char *const after[] = {"%s\\u%04x",     "%s\\u%04Xx",       "%s\\u%04x\\n",
                                            "%s\\u%04x\\\\", "%s\\u%04x\\u0041", "%s\\u%04x\\ue000"};
        for (size_t i = 0; i < 6; i++) {
            (void)snprintf(inner, sizeof inner, after[i], i % 2 ? "x" : "", unit);
            check_lone(&fixture, inner);
        }
        /* Before another half: only high before low is a pair. */
        (void)snprintf(inner, sizeof inner, "\\u%04x\\u%04x", unit, high ? 0xd800 + unit % 0x400 : 0xdc00 + unit % 0x400);
        check_lone(&fixture, inner);
        (void)snprintf(inner, sizeof inner, "\\u%04x\\u%04x", high ? 0xdc00 + unit % 0x400 : unit, high ? unit : 0xd800 + unit % 0x400);
        check_lone(&fixture, inner);
        (void)snprintf(inner, sizeof inner, "\\ud83d\\ude00\\u%04x", unit);
        check_lone(&fixture, inner);
        /* As three bytes it is not UTF-8, so the body is not JSON. */
        int size = snprintf(inner, sizeof inner, "{\"a\":\"%c%c%c\",\"b\":\"\"}", 0xe0 | (int)(unit >> 12), 0x80 | (int)(unit >> 6 & 0x3f),
                            0x80 | (int)(unit & 0x3f));
        assert_int_equal(map(&fixture, (Span){inner, (size_t)size}), STRING_SINKS);
        assert_int_equal(fixture.failures[0].error, MAP_NOT_JSON);
    }
    fixture_deinit(&fixture);
}

/* ---- value_put ------------------------------------------------------------------------------- */

/* NULL: refused. The text is given in memory of exactly its size. */
static char *value_cell(DataType type, Span text, unsigned known) {
    Buffer row = {0};
    const char *reason = NULL;
    char *copy = malloc(text.size ? text.size : 1);
    assert_non_null(copy);
    memcpy(copy, text.data, text.size);
    buffer_append_text(&row, "before,");
    int r = value_put(&row, type, (Span){copy, text.size}, known, &reason);
    free(copy);
    assert_memory_equal(buffer_text(&row), "before,", 7);
    if (r) {
        assert_int_equal(r, VALUE_DOES_NOT_FIT);
        assert_int_equal(row.size, 7);
        assert_true(reason && strlen(reason) > 10);
        buffer_deinit(&row);
        return NULL;
    }
    char *cell = strdup(row.data + 7);
    buffer_deinit(&row);
    return cell;
}

static void expect(DataType type, const char *text, const char *wanted) {
    char *cell = value_cell(type, span_of(text), 0);
    if (!cell != !wanted || (cell && strcmp(cell, wanted) != 0))
        fail_msg("%s of \"%.60s\" (%zu bytes): %.60s, not %.60s", data_type_name(type), text, strlen(text), cell ? cell : "refused",
                 wanted ? wanted : "refused");
    free(cell);
}

static char *repeat(const char *before, char what, size_t count, const char *after) {
    char *text = malloc(strlen(before) + count + strlen(after) + 1), *to = text;
    assert_non_null(text);
    to = stpcpy(to, before);
    memset(to, what, count);
    strcpy(to + count, after);
    return text;
}

/* Fits as it stands when `fits`, with the same text without quotes. */
static void expect_repeated(DataType type, const char *before, char what, size_t count, const char *after, const char *wanted) {
    char *text = repeat(before, what, count, after);
    expect(type, text, wanted && *wanted == '=' ? text : wanted);
    free(text);
}

static void digits_are_counted(void **state) {
    /* A decimal: 1,000 digits before and behind the point, in whatever form. */
    expect_repeated(DATA_DECIMAL, "", '7', 1000, "", "=");
    expect_repeated(DATA_DECIMAL, "", '7', 1001, "", NULL);
    expect_repeated(DATA_DECIMAL, "-", '7', 1000, "", "=");
    expect_repeated(DATA_DECIMAL, "-", '7', 1001, "", NULL);
    expect_repeated(DATA_DECIMAL, "0.", '7', 999, "", "=");
    expect_repeated(DATA_DECIMAL, "0.", '7', 1000, "", NULL);
    expect_repeated(DATA_DECIMAL, "0.", '0', 999, "", "=");
    expect_repeated(DATA_DECIMAL, "0.", '0', 1000, "", NULL);
    expect_repeated(DATA_DECIMAL, "", '7', 500, "e500", "=");
    expect_repeated(DATA_DECIMAL, "", '7', 500, "e501", NULL);
    expect_repeated(DATA_DECIMAL, "", '7', 500, "e-999", "=");
    expect_repeated(DATA_DECIMAL, "", '7', 500, "e-1000", NULL);
    expect_repeated(DATA_DECIMAL, "", '7', 1000, "e-500", "=");
    expect_repeated(DATA_DECIMAL, "", '7', 1001, "e-500", NULL);
    expect_repeated(DATA_DECIMAL, "1.", '7', 1000, "e1000", NULL);
    expect_repeated(DATA_DECIMAL, "1.", '7', 999, "e999", "=");
    expect_repeated(DATA_DECIMAL, "1.", '7', 1000, "e500", NULL);
    expect_repeated(DATA_DECIMAL, "1.", '7', 999, "e-1", NULL);
    expect_repeated(DATA_DECIMAL, "1e", '0', 5000, "999", "=");
    expect_repeated(DATA_DECIMAL, "1e+", '0', 5000, "1000", NULL);
    expect_repeated(DATA_DECIMAL, "1e-", '0', 5000, "999", "=");
    expect_repeated(DATA_DECIMAL, "0e", '9', 5000, "", NULL);
    expect_repeated(DATA_DECIMAL, "1e-", '9', 5000, "", NULL);
    /* An integer: its value decides, not its length. */
    expect_repeated(DATA_INTEGER, "9223372036854775807.", '0', 5000, "", "9223372036854775807");
    expect_repeated(DATA_INTEGER, "9223372036854775807.", '0', 5000, "1", NULL);
    expect_repeated(DATA_INTEGER, "-9223372036854775808", '0', 5000, "e-5000", "-9223372036854775808");
    expect_repeated(DATA_INTEGER, "-9223372036854775809", '0', 5000, "e-5000", NULL);
    expect_repeated(DATA_INTEGER, "9223372036854775808", '0', 5000, "e-5000", NULL);
    expect_repeated(DATA_INTEGER, "0.", '0', 5000, "7e5001", "7");
    expect_repeated(DATA_INTEGER, "0.", '0', 5000, "7e5000", NULL);
    expect_repeated(DATA_INTEGER, "0.", '0', 5000, "7e5019", "7000000000000000000");
    expect_repeated(DATA_INTEGER, "0.", '0', 5000, "7e5020", NULL);
    expect_repeated(DATA_INTEGER, "1e", '0', 5000, "18", "1000000000000000000");
    expect_repeated(DATA_INTEGER, "1e", '0', 5000, "19", NULL);
    expect_repeated(DATA_INTEGER, "0e", '9', 5000, "", "0");
    expect_repeated(DATA_INTEGER, "-0e-", '9', 5000, "", "0");
    expect_repeated(DATA_INTEGER, "1e-", '9', 5000, "", NULL);
    expect_repeated(DATA_INTEGER, "1e", '9', 5000, "", NULL);
    /* A number: a double decides. */
    expect_repeated(DATA_NUMBER, "1", '0', 308, "", "=");
    expect_repeated(DATA_NUMBER, "1", '0', 309, "", NULL);
    expect_repeated(DATA_NUMBER, "1", '0', 5000, "e-4692", "=");
    expect_repeated(DATA_NUMBER, "1", '0', 5000, "e-4691", NULL);
    expect_repeated(DATA_NUMBER, "0.", '0', 5000, "1e5309", "=");
    expect_repeated(DATA_NUMBER, "0.", '0', 5000, "1e5310", NULL);
    expect_repeated(DATA_NUMBER, "0.", '0', 5000, "1", "0");
    expect_repeated(DATA_NUMBER, "-0.", '0', 322, "9", "=");
    expect_repeated(DATA_NUMBER, "-0.", '0', 324, "9", "-0");
    expect_repeated(DATA_NUMBER, "1e-", '9', 5000, "", "0");
    expect_repeated(DATA_NUMBER, "-1e-", '9', 5000, "", "-0");
    expect_repeated(DATA_NUMBER, "0e", '9', 5000, "", "=");
    expect_repeated(DATA_NUMBER, "1e", '9', 5000, "", NULL);
    /* A time: any number of digits behind the second. */
    expect_repeated(DATA_TIMESTAMP, "2006-01-02T15:04:05.", '9', 5000, "Z", "2006-01-02T15:04:05.999999Z");
    expect_repeated(DATA_TIMESTAMP, "2006-01-02T15:04:05.", '9', 5000, "", NULL);
}

/* Every exponent around the borders, against the value written out without one. */
static void integers_with_exponents_are_what_they_say(void **state) {
    static const char *const digits[] = {"9223372036854775807",  "9223372036854775808", "9223372036854775809", "1",
                                         "10000000000000000000", "999999999999999999",  "18446744073709551616"};
    for (size_t i = 0; i < sizeof digits / sizeof *digits; i++) {
        for (int shift = 0; shift <= 25; shift++) {
            for (int negative = 0; negative < 2; negative++) {
                char text[80], wanted[40];
                bool fits = i == 3 || i == 5 || i == 0 || (i == 1 && negative);
                (void)snprintf(wanted, sizeof wanted, "%s%s", negative ? "-" : "", digits[i]);
                (void)snprintf(text, sizeof text, "%s%.*se-%d", wanted, shift, "0000000000000000000000000", shift);
                expect(DATA_INTEGER, text, fits ? wanted : NULL);
                int whole = (int)strlen(digits[i]) - shift;
                if (whole < 1) continue;
                (void)snprintf(text, sizeof text, "%s%.*s.%s0E+%d", negative ? "-" : "", whole, digits[i], digits[i] + whole, shift);
                expect(DATA_INTEGER, text, fits ? wanted : NULL);
            }
        }
    }
}

/* What is no text is found wherever it stands. */
static void no_text_at_any_place(void **state) {
    static const struct {
        const char *bytes;
        size_t size;
        bool is_text;
    } pieces[] = {{"\0", 1, false},
                  {"\x80", 1, false},
                  {"\xc3", 1, false},
                  {"\xc0\xaf", 2, false},
                  {"\xe0\x9f\xbf", 3, false},
                  {"\xed\xa0\x80", 3, false},
                  {"\xf0\x8f\xbf\xbf", 4, false},
                  {"\xf4\x90\x80\x80", 4, false},
                  {"\xf8\x88\x80\x80\x80", 5, false},
                  {"\xff", 1, false},
                  {"\xc2\x80", 2, true},
                  {"\xef\xbf\xbf", 3, true},
                  {"\xf4\x8f\xbf\xbf", 4, true}};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        for (size_t before = 0; before < 70; before++) {
            for (size_t after = 0; after < 40; after += 1 + after / 3) {
                char text[128];
                memset(text, 'x', sizeof text);
                memcpy(text + before, pieces[i].bytes, pieces[i].size);
                Span span = {text, before + pieces[i].size + after};
                char *cell = value_cell(DATA_TEXT, span, 0);
                assert_int_equal(cell != NULL, pieces[i].is_text);
                if (cell) assert_memory_equal(cell, text, span.size);
                free(cell);
                char *bytes = value_cell(DATA_BYTES, span, 0);
                assert_int_equal(strlen(bytes), 4 + 2 * span.size);
                free(bytes);
            }
        }
    }
}

/* ---- defaults -------------------------------------------------------------------------------- */

/* A default is the cell that a string with its text would be, or is refused with the sink. */
static void defaults_are_what_a_string_is(void **state) {
    static const char *const texts[] = {"",
                                        "42",
                                        "-0",
                                        "1e3",
                                        "9223372036854775808",
                                        "1.50",
                                        "1e400",
                                        "1e-400",
                                        "1e1000",
                                        "true",
                                        "false",
                                        "TRUE",
                                        "2006-01-02",
                                        "0000-01-01",
                                        "2006-01-02T15:04:05+01:00",
                                        "2016-12-31T23:59:60Z",
                                        "2006-01-02T24:00:00Z",
                                        "null",
                                        "{\"a\": 1}",
                                        "[1",
                                        "\\.",
                                        "\\u0041",
                                        "a,\"b\"\r\n",
                                        " x ",
                                        "é😀"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (int type = DATA_TEXT; type <= DATA_BYTES; type++) {
            for (int raw = 0; raw < 2; raw++) {
                Error error = {0};
                json_t *with = json_pack("[{s:s, s:s, s:s, s:s, s:b, s:s}]", "type", "path", "name", "c", "path", "a", "dataType",
                                         data_type_name((DataType)type), "rawString", raw, "defaultValue", texts[i]);
                json_t *without = json_deep_copy(with), *event = json_pack("{s:s}", "a", texts[i]);
                json_object_del(json_array_get(without, 0), "defaultValue");
                char *columns[] = {json_dumps(without, 0), json_dumps(with, 0)}, *body = json_dumps(event, JSON_COMPACT);
                Fixture fixture = fixture_new((const char *const *)columns, 1);
                size_t failed = map(&fixture, span_of(body));
                Plan *plan = plan_of((const char *const *)columns + 1, 1, &error);
                if ((failed == 0) != (plan != NULL)) fail_msg("%s, %s: %s", columns[1], body, failed ? "refused" : "taken");
                if (plan) {
                    Fixture other = {.plan = plan, .mapper = mapper_new(1 << 20), .count = 1};
                    assert_int_equal(map(&other, SPAN("{}")), 0);
                    /* jansson's escapes of a string may be others than a default's, which without
                     * rawString are kept. */
                    if (raw || (type != DATA_TEXT && type != DATA_JSON))
                        assert_true(span_equal(buffer_span(&fixture.rows[0]), buffer_span(&other.rows[0])));
                    fixture_deinit(&other);
                } else {
                    assert_non_null(strstr(error.text, "defaultValue"));
                }
                fixture_deinit(&fixture);
                free(columns[0]);
                free(columns[1]);
                free(body);
                json_decref(with);
                json_decref(without);
                json_decref(event);
            }
        }
    }
}

/* ---- the row limit --------------------------------------------------------------------------- */

/* For every limit: a row of exactly the limit is taken; over it the column is named that makes it
 * too large, and nothing is left behind. */
static void row_limit_to_the_byte(void **state) {
    static const char *const columns =
        "[{\"type\":\"id\",\"name\":\"id\"},{\"type\":\"datetime\",\"name\":\"at\"},{\"type\":\"ip\",\"name\":\"ip\"},"
        "{\"type\":\"headers\",\"name\":\"headers\"},{\"type\":\"body\",\"name\":\"body\"},{\"type\":\"body\",\"name\":\"hex\","
        "\"dataType\":\"bytes\"},"
        "{\"type\":\"path\",\"name\":\"raw\",\"path\":\"a\",\"rawString\":true},{\"type\":\"path\",\"name\":\"null\",\"path\":\"b\"},"
        "{\"type\":\"path\",\"name\":\"list\",\"path\":\"c\",\"dataType\":\"json\"},{\"type\":\"path\",\"name\":\"n\",\"path\":\"d\","
        "\"dataType\":\"integer\"},{\"type\":\"path\",\"name\":\"default\",\"path\":\"e\",\"defaultValue\":\"x\\\"y\"}]";
    enum { COUNT = 11 };
    Error error = {0};
    Plan *plan = plan_of(&columns, 1, &error);
    assert_non_null(plan);
    EventHeader header = {SPAN("X-One"), SPAN("two, three")};
    Event event = {.body = SPAN("{\"a\":\"say \\\"hi\\\"\",\"b\":null,\"c\":[1, {\"x\" : 2}],\"d\":1e3}"),
                   .kind = BODY_JSON,
                   .received = 1136214245000000,
                   .ip = SPAN("192.0.2.7"),
                   .headers = &header,
                   .header_count = 1};
    Buffer whole = {0}, *rows = &whole;
    MapFailure failure = {0};
    Mapper *mapper = mapper_new(1 << 20);
    if (mapper_map(mapper, plan, &event, &rows, &failure)) fail_msg("%s", failure.message);
    mapper_free(mapper);
    /* Where each cell ends in the text of the row: outside of quotes a comma or the newline
     * follows. */
    size_t ends[COUNT], cells = 0;
    bool quoted = false;
    for (size_t i = 0; i < whole.size; i++) {
        if (whole.data[i] == '"') quoted = !quoted;
        if (quoted || (whole.data[i] != ',' && whole.data[i] != '\n')) continue;
        assert_true(cells < COUNT);
        ends[cells++] = i;
    }
    assert_int_equal(cells, COUNT);
    const Sink *sink = plan_sink(plan, 0);
    for (size_t limit = 1; limit <= whole.size + 2; limit++) {
        Buffer row = {0};
        rows = &row;
        buffer_append_text(&row, "earlier\n");
        mapper = mapper_new(limit);
        size_t failed = mapper_map(mapper, plan, &event, &rows, &failure);
        assert_int_equal(failed, limit < whole.size);
        if (failed) {
            size_t at = 0;
            while (ends[at] + 1 <= limit) at++; /* with the byte that follows the cell */
            assert_int_equal(failure.error, MAP_ROW_TOO_LARGE);
            assert_string_equal(failure.column, sink->target.columns[at].name);
            char wanted[40];
            (void)snprintf(wanted, sizeof wanted, "than %zu bytes", limit);
            assert_non_null(strstr(failure.message, wanted));
            assert_string_equal(buffer_text(&row), "earlier\n");
        } else {
            assert_int_equal(row.size, 8 + whole.size);
            assert_memory_equal(row.data + 8, whole.data, whole.size);
        }
        mapper_free(mapper);
        buffer_deinit(&row);
    }
    buffer_deinit(&whole);
    plan_unref(plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_is_itself), cmocka_unit_test(every_lone_surrogate_is_refused),
        cmocka_unit_test(digits_are_counted),         cmocka_unit_test(integers_with_exponents_are_what_they_say),
        cmocka_unit_test(no_text_at_any_place),       cmocka_unit_test(defaults_are_what_a_string_is),
        cmocka_unit_test(row_limit_to_the_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
