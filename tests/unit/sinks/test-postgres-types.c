/* PostgreSQL: tables with columns of other types than the driver would make. Each value is kept, or
 * its row is refused. The cases are data: one import for each type. */
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

#include "base/text.h"
#include "tests/unit/sinks/postgres-case.h"

typedef struct TypeCase {
    const char *type; /* of the table's column; NULL: as the line before */
    const char *data_type;
    const char *cell; /* NULL: NULL */
    const char *kept; /* its text in the table; NULL: the row is refused */
} TypeCase;

#define NULL_IS "NULL" /* as the tests' server shows it */
#define UUID "0190163d-8694-739b-aea5-966c26f8ad91"

static const TypeCase cases[] = {
    {"integer", "integer", "2147483647", "2147483647"},
    {NULL, NULL, "-2147483648", "-2147483648"},
    {NULL, NULL, "2147483648", NULL},
    {NULL, NULL, "-2147483649", NULL},
    {NULL, NULL, NULL, NULL_IS},
    {"smallint", "integer", "32767", "32767"},
    {NULL, NULL, "-32768", "-32768"},
    {NULL, NULL, "32768", NULL},
    {"numeric", "integer", "9223372036854775807", "9223372036854775807"},
    {"uuid", "text", UUID, UUID},
    {NULL, NULL, "{0190163D-8694-739B-AEA5-966C26F8AD91}", UUID},
    {NULL, NULL, "0190163d8694739baea5966c26f8ad91", UUID},
    {NULL, NULL, "0190163d", NULL},
    {NULL, NULL, "\"" UUID "\"", NULL},
    {NULL, NULL, "", NULL},
    {NULL, NULL, NULL, NULL_IS},
    {"mood", "text", "glad", "glad"},
    {NULL, NULL, "so, so", "so, so"},
    {NULL, NULL, "Glad", NULL},
    {NULL, NULL, "", NULL},
    {"ill.\"Mood\"", "text", "sad", "sad"},
    {NULL, NULL, "glad", NULL},
    {"citext", "text", "Ann", "Ann"},
    {NULL, NULL, "", ""},
    {"inet", "text", "10.0.0.1", "10.0.0.1"},
    {NULL, NULL, "10.0.0.1/32", "10.0.0.1"},
    {NULL, NULL, "10.0.0.1/8", "10.0.0.1/8"},
    {NULL, NULL, "2001:DB8::1", "2001:db8::1"},
    {NULL, NULL, "10.0.0.256", NULL},
    {NULL, NULL, "host", NULL},
    {"cidr", "text", "10.0.0.0/8", "10.0.0.0/8"},
    {NULL, NULL, "10.0.0.1", "10.0.0.1/32"},
    {NULL, NULL, "10.0.0.1/8", NULL},
    {NULL, NULL, "2001:db8::/32", "2001:db8::/32"},
    {"macaddr", "text", "08:00:2b:01:02:03", "08:00:2b:01:02:03"},
    {NULL, NULL, "08-00-2B-01-02-03", "08:00:2b:01:02:03"},
    {NULL, NULL, "08:00:2b:01:02", NULL},
    {"xml", "text", "<a b=\"c\">d</a>", "<a b=\"c\">d</a>"},
    {NULL, NULL, "text", "text"},
    {NULL, NULL, "<a>", NULL},
    {"timestamp", "timestamp", "2006-01-02T15:04:05.123456Z", "2006-01-02 15:04:05.123456"},
    {"timestamp(6)", "timestamp", "2006-01-02T15:04:05.123456Z", "2006-01-02 15:04:05.123456"},
    {"timestamptz(6)", "timestamp", "2006-01-02T15:04:05.123456Z", "2006-01-02 15:04:05.123456+00"},
    {"json", "json", "{\"a\":1}", "{\"a\":1}"},
    {"smallint", "integer", "-32769", NULL},
    {"double precision", "integer", "9007199254740992", "9.007199254740992e+15"},
    {NULL, NULL, "9007199254740993", NULL},
    {NULL, NULL, "-9223372036854775808", "-9.223372036854776e+18"},
    {NULL, NULL, "9223372036854775807", NULL},
    {"real", "integer", "16777216", "1.6777216e+07"},
    {NULL, NULL, "16777217", NULL},
    {"real", "number", "0.1", "0.1"},
    {NULL, NULL, "-1.50", "-1.5"},
    {NULL, NULL, "1e10", "1e+10"},
    {NULL, NULL, "0", "0"},
    {NULL, NULL, "0.12345678", "0.12345678"},
    {NULL, NULL, "0.123456789", NULL},
    {NULL, NULL, "195721000", NULL},
    {NULL, NULL, "1e39", NULL},
    {"numeric(10,2)", "decimal", "12345678.90", "12345678.90"},
    {NULL, NULL, "12345678.9", "12345678.90"},
    {NULL, NULL, "12345678.900", "12345678.90"},
    {NULL, NULL, "12345678.901", NULL},
    {NULL, NULL, "99999999.995", NULL},
    {NULL, NULL, "100000000", NULL},
    {NULL, NULL, "1e7", "10000000.00"},
    {NULL, NULL, "1e8", NULL},
    {NULL, NULL, "1234e-2", "12.34"},
    {NULL, NULL, "1234e-3", NULL},
    {NULL, NULL, "0e99", "0.00"},
    {NULL, NULL, "-0.01", "-0.01"},
    {NULL, NULL, "-0.001", NULL},
    {NULL, NULL, "0.000", "0.00"},
    {NULL, NULL, NULL, NULL_IS},
    {"numeric(3)", "integer", "999", "999"},
    {NULL, NULL, "-1000", NULL},
    {"numeric(3,-2)", "integer", "99900", "99900"},
    {NULL, NULL, "99950", NULL},
    {NULL, NULL, "100000", NULL},
    {"numeric(2,4)", "number", "0.0099", "0.0099"},
    {NULL, NULL, "0.01", NULL},
    {NULL, NULL, "0.00999", NULL},
    {"varchar(3)", "text", "abc", "abc"},
    {NULL, NULL, "\xc3\xa4\xc3\xb6\xc3\xbc", "\xc3\xa4\xc3\xb6\xc3\xbc"},
    {NULL, NULL, "abcd", NULL},
    {NULL, NULL, "abc ", NULL},
    {NULL, NULL, "ab ", "ab "},
    {NULL, NULL, "a\"b", "a\"b"},
    {NULL, NULL, "a\nb", "a\nb"},
    {"char(3)", "text", "abc", "abc"},
    {NULL, NULL, "a", "a  "},
    {NULL, NULL, "abcd", NULL},
    {NULL, NULL, "abc ", NULL},
    {"bpchar", "text", "abc ", "abc "},
    {"timestamp(3)", "timestamp", "2006-01-02T15:04:05.123000Z", "2006-01-02 15:04:05.123"},
    {NULL, NULL, "2006-01-02T15:04:05.123400Z", NULL},
    {"timestamptz(0)", "timestamp", "2006-01-02T15:04:05.000000Z", "2006-01-02 15:04:05+00"},
    {NULL, NULL, "2006-01-02T15:04:05.000001Z", NULL},
    {"time", "text", "15:04:05.123456", "15:04:05.123456"},
    {NULL, NULL, "15:04", "15:04:00"},
    {NULL, NULL, "24:00:00", "24:00:00"},
    {NULL, NULL, "24:00:01", NULL},
    {NULL, NULL, "15:04:05.1234567", NULL},
    {NULL, NULL, "15:04:05.1234560", "15:04:05.123456"},
    {NULL, NULL, "23:59:60", NULL},
    {NULL, NULL, "15:60", NULL},
    {NULL, NULL, "3 pm", NULL},
    {"time(0)", "text", "15:04:05", "15:04:05"},
    {NULL, NULL, "15:04:05.5", NULL},
    {"interval", "text", "1 day", "1 day"},
    {NULL, NULL, "P1Y2M3DT4H5M6.5S", "1 year 2 mons 3 days 04:05:06.5"},
    {NULL, NULL, "P2W", "14 days"},
    {NULL, NULL, "PT36H", "36:00:00"},
    {NULL, NULL, "P-1DT-2H", "-1 days -02:00:00"},
    {NULL, NULL, "-1 day +02:03:04.25", "-1 days +02:03:04.25"},
    {NULL, NULL, "3 months 2 hours 1.5 seconds", "3 mons 02:00:01.5"},
    {NULL, NULL, "02:03", "02:03:00"},
    {NULL, NULL, "15 Min", "00:15:00"},
    {NULL, NULL, "0.0000001 seconds", NULL},
    {NULL, NULL, "PT0.0000001S", NULL},
    {NULL, NULL, "1.5 days", NULL},
    {NULL, NULL, "1 day 1 day", NULL},
    {NULL, NULL, "999999999 years", NULL},
    {NULL, NULL, "P", NULL},
    {NULL, NULL, "PT", NULL},
    {NULL, NULL, "1", NULL},
    {NULL, NULL, "soon", NULL},
    {NULL, NULL, "", NULL},
    {"interval(1)", "text", "1.5 seconds", "00:00:01.5"},
    {NULL, NULL, "1.55 seconds", NULL},
    {"text[]", "json", "[]", "{}"},
    {NULL, NULL, "[\"a\",null,\"NULL\",\"\"]", "{a,NULL,\"NULL\",\"\"}"},
    {NULL, NULL, "[\"a,b\",\"{c}\",\"d\\\"e\",\"f\\\\g\"]", "{\"a,b\",\"{c}\",\"d\\\"e\",\"f\\\\g\"}"},
    {NULL, NULL, "[\"\\u00e4\",\"\\ud83d\\ude00\",\"\\n\"]", "{\xc3\xa4,\xf0\x9f\x98\x80,\"\n\"}"},
    {NULL, NULL, " [ \"a\" , \"b\" ] ", "{a,b}"},
    {NULL, NULL, "[1]", NULL},
    {NULL, NULL, "[[\"a\"]]", NULL},
    {NULL, NULL, "{\"a\":\"b\"}", NULL},
    {NULL, NULL, "\"a\"", NULL},
    {NULL, NULL, NULL, NULL_IS},
    {"varchar(2)[]", "json", "[\"ab\",\"c\"]", "{ab,c}"},
    {NULL, NULL, "[\"abc\"]", NULL},
    {"code", "text", "abc", "abc"},
    {NULL, NULL, "abcd", NULL},
    {NULL, NULL, "ABC", NULL},
    {"xml", "text", "<?xml version=\"1.0\" encoding=\"UTF-8\"?><a/>", "<a/>"},
    {NULL, NULL, "<?xml version=\"1.0\" standalone=\"yes\"?><a/>", "<?xml version=\"1.0\" standalone=\"yes\"?><a/>"},
    {NULL, NULL, "<a>&amp;&#xe4;<![CDATA[<]]><!-- c --><?p i?></a>t<b/>", "<a>&amp;&#xe4;<![CDATA[<]]><!-- c --><?p i?></a>t<b/>"},
    {NULL, NULL, "", ""},
    {NULL, NULL, "<n:a xmlns:n='u' n:b=''/><m:o/>]] ><?p?>&#x10FFFF;", "<n:a xmlns:n='u' n:b=''/><m:o/>]] ><?p?>&#x10FFFF;"},
    {NULL, NULL, "<a></b>", NULL},
    {NULL, NULL, "<a b=\"1\" b=\"2\"/>", NULL},
    {NULL, NULL, "&nbsp;", NULL},
    {NULL, NULL, "a < b", NULL},
    {NULL, NULL, "<!DOCTYPE a><a/>", NULL},
    {"posint", "integer", "7", "7"},
    {NULL, NULL, "0", NULL},
    {NULL, NULL, "2147483648", NULL},
    {"small_posint", "integer", "7", "7"},
    {NULL, NULL, "100", NULL},
};
enum { CASES = sizeof cases / sizeof cases[0] };

/* COPY into the table; merge and append by way of the temporary table. */
enum { DIRECTLY, MERGED, APPENDED, WAYS };

/* The lines of one type, from `first` on. */
static size_t lines_of_type(size_t first) {
    size_t count = 1;
    while (first + count < CASES && !cases[first + count].type) count++;
    return count;
}

static void put_wanted(Buffer *out, const TypeCase *lines, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (lines[i].kept) buffer_printf(out, "%s%zu|%s", out->size > 0 ? "\n" : "", i, lines[i].kept);
    }
}

/* Do the column's checks refuse each row that does not fit? The server knows more of a domain. */
static bool is_domain(const char *type) {
    return strstr(type, "posint") || strcmp(type, "code") == 0;
}

/* Does the table come to what the lines say? */
static bool run_type(SinkSession *session, const TypeCase *lines, size_t count, int way) {
    Buffer sql = {0}, columns = {0}, wanted = {0};
    buffer_printf(&sql, "DROP TABLE IF EXISTS typed; CREATE TABLE typed (n bigint%s, v %s)", way == DIRECTLY ? "" : " PRIMARY KEY",
                  lines[0].type);
    test_postgres_sql(server, buffer_text(&sql));
    buffer_printf(&columns, "n:integer%s v:%s", way == DIRECTLY ? "" : ":key", lines[0].data_type);
    CASE("typed", buffer_text(&columns), 1);
    if (way == APPENDED) box.target.table.strategy = STRATEGY_APPEND;
    prepare(session, &box);
    size_t refused = 0;
    for (size_t i = 0; i < count; i++) {
        char number[24];
        (void)snprintf(number, sizeof number, "%zu", i);
        ADD(&box.rows[0], number, lines[i].cell);
        refused += !lines[i].kept;
    }
    import(session, &box);
    put_wanted(&wanted, lines, count);
    char *rows = test_postgres_rows(server, "SET timezone = 'UTC'; SELECT n, v FROM typed ORDER BY n");
    /* Without a search, the rows are read once. */
    bool searched = !is_domain(lines[0].type) && box.rows[0].blocks_given != 1;
    bool is_so = strcmp(rows, buffer_text(&wanted)) == 0 && box.reject_count == refused && !searched;
    if (!is_so)
        print_error("%s, way %d: %zu rejects%s, \"%s\" instead of \"%s\"\n", lines[0].type, way, box.reject_count,
                    searched ? ", which were searched for" : "", rows, buffer_text(&wanted));
    free(rows);
    buffer_deinit(&sql);
    buffer_deinit(&columns);
    buffer_deinit(&wanted);
    return is_so;
}

static void each_value_is_kept_or_refused(void **state) {
    SESSION;
    test_postgres_sql(server, "CREATE EXTENSION IF NOT EXISTS citext; CREATE TYPE mood AS ENUM ('glad', 'so, so'); CREATE SCHEMA ill;"
                              "CREATE TYPE ill.\"Mood\" AS ENUM ('sad'); CREATE DOMAIN posint AS integer CHECK (VALUE > 0);"
                              "CREATE DOMAIN small_posint AS posint CHECK (VALUE < 100);"
                              "CREATE DOMAIN code AS varchar(3) CHECK (VALUE = lower(VALUE))");
    size_t failures = 0;
    for (int way = 0; way < WAYS; way++) {
        for (size_t first = 0; first < CASES; first += lines_of_type(first))
            failures += !run_type(session, &cases[first], lines_of_type(first), way);
    }
    assert_int_equal(failures, 0);
}

static uint32_t next_random(uint32_t *state) { /* xorshift */
    *state ^= *state << 13;
    *state ^= *state >> 17;
    return *state ^= *state << 5;
}

/* Some of the words, one behind the other. */
static void put_words(Buffer *out, const char *const *words, uint32_t *random) {
    size_t count = 0;
    while (words[count]) count++;
    for (uint32_t left = next_random(random) % 8 + 1; left > 0; left--) buffer_append_text(out, words[next_random(random) % count]);
}

static void put_number(Buffer *out, uint32_t *random) {
    static const char *const signs[] = {"", "-"}, *const exponents[] = {"", "", "e1", "E-2", "e+3", "e-12", "e40"};
    uint32_t whole = next_random(random) >> next_random(random) % 32, fraction = next_random(random) % 1000;
    buffer_printf(out, "%s%u", signs[next_random(random) % 2], whole);
    if (next_random(random) % 4 > 0) buffer_printf(out, ".%u%s", fraction, next_random(random) % 2 ? "00" : "");
    buffer_append_text(out, exponents[next_random(random) % 7]);
}

/* Random texts: what a check lets through, the server takes, so that nothing is searched for, and
 * it is the value of the text. */
static void the_server_takes_what_the_checks_accept(void **state) {
    enum { ROWS = 5000 };
    static const struct {
        const char *type, *data_type, *differs; /* a condition on raw (text) and v */
        const char *words[24];
    } types[] = {
        {"uuid", "text", "raw::uuid <> v", {"0190163d", "8694", "-", "{0190163d", "739b", "aea5966c", "26f8ad91}", "26f8ad91"}},
        {"inet", "text", "raw::inet <> v", {"10", ".", "0.0.1", "255.", ":", "::", "2001:db8::", "/8", "/32", "/12", "8", "ffff", "1"}},
        {"cidr", "text", "raw::cidr <> v", {"10.", ".", "0.0.0", "192.168.", ":", "::", "2001:db8::", "/8", "/32", "/12", "8", "1"}},
        {"macaddr", "text", "raw::macaddr <> v", {"08:00:2b", "08-00-2b", "08002b", "0800", ":", "-", ".", ":01:02:03", "2b01"}},
        {"time(2)", "text", "raw::time <> v", {"1", "24", "00", ":", ":59", ":00:00", ".", ".25", "000", "6", " "}},
        {"interval(3)", "text", "raw::interval <> v", {"P",    "1Y",  "-2M", "3D",        "T",       "4H", "5M",  "6S",
                                                       ".125", "000", "1 ",  "year ",     "day",     " ",  "-2 ", "hours",
                                                       "02:",  "03",  "+",   "999999999", "seconds", "W",  "min"}},
        {"xml",
         "text",
         "raw <> v::text AND raw NOT LIKE '<?xml %'",
         {"<a",
          ">",
          "/>",
          "</a>",
          "<b>",
          "</b>",
          " c='",
          "'",
          " d=\"\"",
          "&lt;",
          "&#38;",
          "&",
          "<!--",
          "-->",
          "<![CDATA[",
          "]]>",
          "<?p ",
          "?>",
          " ",
          "x",
          "<?xml version='1.0'",
          " standalone='yes'",
          "<a>"}},
        {"numeric(6,2)", "decimal", "raw::numeric <> v", {NULL}},
        {"numeric(3,-2)", "decimal", "raw::numeric <> v", {NULL}},
        {"real", "number", "raw::numeric <> v::text::numeric", {NULL}},
        {"real", "integer", "raw::float8 <> v::float8", {NULL}},
    };
    SESSION;
    uint32_t random = 17;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        Buffer sql = {0}, columns = {0}, cell = {0};
        buffer_printf(&sql, "DROP TABLE IF EXISTS typed; CREATE TABLE typed (raw text, v %s)", types[i].type);
        test_postgres_sql(server, buffer_text(&sql));
        buffer_printf(&columns, "raw:text v:%s", types[i].data_type);
        CASE("typed", buffer_text(&columns), 1);
        box.job.bad_rows_max = ROWS;
        box.rows[0].block_bytes = 1 << 30;
        prepare(session, &box);
        for (int row = 0; row < ROWS; row++) {
            buffer_clear(&cell);
            if (strcmp(types[i].data_type, "integer") == 0)
                buffer_printf(&cell, "%d", (int)next_random(&random) >> next_random(&random) % 32);
            else if (types[i].words[0])
                put_words(&cell, types[i].words, &random);
            else
                put_number(&cell, &random);
            ADD(&box.rows[0], buffer_text(&cell), buffer_text(&cell));
        }
        import(session, &box);
        for (size_t k = 0; k < box.reject_count; k++)
            if (strncmp(box.rejects[k].reason, "column \"v\" is ", 14) != 0)
                fail_msg("%.*s: %s", (int)box.rejects[k].csv.size, box.rejects[k].csv.data, box.rejects[k].reason);
        assert_int_equal(box.rows[0].blocks_given, 1);
        if (box.reject_count == 0 || box.reject_count > ROWS - 10) fail_msg("%s: %zu rejects", types[i].type, box.reject_count);
        buffer_clear(&sql);
        buffer_printf(&sql, "SELECT raw, v FROM typed WHERE %s LIMIT 3", types[i].differs);
        assert_rows(buffer_text(&sql), "");
        buffer_deinit(&sql);
        buffer_deinit(&columns);
        buffer_deinit(&cell);
    }
}

static void add_row(SinkCase *box, int number, const char *value) {
    char text[16];
    (void)snprintf(text, sizeof text, "%d", number);
    ADD(&box->rows[0], text, value);
}

/* A file of refused rows is read once, and so is one where each second row is refused. */
static void many_rows_are_refused_in_no_time(void **state) {
    enum { ROWS = 100000 };
    SESSION;
    for (int each = 1; each <= 2; each++) {
        test_postgres_sql(server, "DROP TABLE IF EXISTS typed; CREATE TABLE typed (n bigint PRIMARY KEY, v numeric(10,2))");
        CASE("typed", "n:integer:key v:decimal", 1);
        box.job.bad_rows_max = ROWS;
        box.rows[0].block_bytes = 1 << 20;
        prepare(session, &box);
        for (int i = 0; i < ROWS; i++) add_row(&box, i, i % each == 0 ? "0.001" : "0.01");
        import(session, &box);
        assert_int_equal(box.reject_count, ROWS / each);
        assert_int_equal(box.rejects[1].row, 1 + each);
        assert_string_equal(box.rejects[1].reason, "column \"v\" is numeric(10,2): the value has more digits behind the point");
        assert_rows("SELECT count(*) FROM typed", each == 1 ? "0" : "50000");
        assert_true(box.rows[0].blocks_given <= 3);
    }
}

/* More than a file may have: nothing is imported, and the session goes on. */
static void too_many_refused_rows(void **state) {
    SESSION;
    test_postgres_sql(server, "DROP TABLE IF EXISTS typed; CREATE TABLE typed (n bigint, v smallint)");
    CASE("typed", "n:integer v:integer", 1);
    box.job.bad_rows_max = 10;
    prepare(session, &box);
    for (int i = 0; i < 20; i++) add_row(&box, i, i < 9 ? "1" : "70000");
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "refused more than 10 rows"));
    assert_non_null(strstr(error.text, "column \"v\" is smallint: the value is out of range"));
    assert_int_equal(box.store_calls, 0);
    box.job.bad_rows_max = 11;
    import(session, &box);
    assert_int_equal(box.reject_count, 11);
    assert_rows("SELECT count(*) FROM typed", "9");
}

/* Refused by a check, by the server, and as a duplicate: in the order of the rows, each as it was
 * mapped. */
static void all_kinds_of_refusals(void **state) {
    static const struct {
        uint64_t row;
        const char *reason, *csv;
    } wanted[] = {
        {2, "value for domain tags violates check constraint \"tags_check\"", "1,\"[\"\"a\"\",\"\"no\\n\"\"]\"\n"},
        {4, "column \"v\" is text[]: the value is not an array of strings", "3,[1]\n"},
        {5, "duplicate key: ", "0,\"[\"\"c\"\"]\"\n"},
        {7, "column \"v\" is text[]: the value is not an array of strings", "6,{}\n"},
        {8, "duplicate key: ", "5,\"[\"\"\\u00e4\"\"]\"\n"},
    };
    SESSION;
    test_postgres_sql(server, "DROP TABLE IF EXISTS typed; CREATE DOMAIN tags AS text[] CHECK (VALUE[2] IS DISTINCT FROM E'no\\n');"
                              "CREATE TABLE typed (n bigint PRIMARY KEY, v tags)");
    CASE("typed", "n:integer:key v:json", 1);
    box.target.table.strategy = STRATEGY_APPEND;
    prepare(session, &box);
    ADD(&box.rows[0], "0", "[\"a\\nb\"]");
    ADD(&box.rows[0], "1", "[\"a\",\"no\\n\"]");
    ADD(&box.rows[0], "2", "[\"b\"]");
    ADD(&box.rows[0], "3", "[1]");
    ADD(&box.rows[0], "0", "[\"c\"]");
    ADD(&box.rows[0], "5", "[\"d\"]");
    ADD(&box.rows[0], "6", "{}");
    ADD(&box.rows[0], "5", "[\"\\u00e4\"]");
    import(session, &box);
    assert_int_equal(box.reject_count, sizeof wanted / sizeof wanted[0]);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        assert_int_equal(box.rejects[i].row, wanted[i].row);
        if (strncmp(box.rejects[i].reason, wanted[i].reason, strlen(wanted[i].reason)) != 0) fail_msg("%s", box.rejects[i].reason);
        assert_int_equal(box.rejects[i].csv.size, strlen(wanted[i].csv));
        assert_memory_equal(box.rejects[i].csv.data, wanted[i].csv, box.rejects[i].csv.size);
    }
    assert_rows("SELECT n, v FROM typed ORDER BY n", "0|{\"a\nb\"}\n2|{b}\n5|{d}");
}

/* Settings of the role, the database or the server do not change what a text means. */
static void settings_of_the_server_change_no_value(void **state) {
    static const struct {
        const char *setting, *value, *type, *column, *text, *question;
    } tried[] = {
        {"array_nulls", "off", "text[]", "v:json", "[null,\"NULL\"]", "SELECT v[1] IS NULL AND v[2] = 'NULL' FROM typed"},
        {"IntervalStyle", "sql_standard", "interval", "v:text", "-1 day 2 hours", "SELECT v = '-1 day +2 hours' FROM typed"},
        {"xmloption", "document", "xml", "v:text", "a<b/>", "SELECT v::text = 'a<b/>' FROM typed"},
    };
    for (size_t i = 0; i < sizeof tried / sizeof tried[0]; i++) {
        char sql[150];
        (void)snprintf(sql, sizeof sql, "ALTER DATABASE postgres SET %s = %s", tried[i].setting, tried[i].value);
        test_postgres_sql(server, sql);
        (void)snprintf(sql, sizeof sql, "DROP TABLE IF EXISTS typed; CREATE TABLE typed (v %s)", tried[i].type);
        test_postgres_sql(server, sql);
        SESSION;
        CASE("typed", tried[i].column, 1);
        prepare(session, &box);
        ADD(&box.rows[0], tried[i].text);
        import(session, &box);
        (void)snprintf(sql, sizeof sql, "ALTER DATABASE postgres RESET %s", tried[i].setting);
        test_postgres_sql(server, sql);
        assert_int_equal(box.reject_count, 0);
        assert_rows(tried[i].question, "t");
    }
}

/* Somebody changes a type between two imports of a session: the values are checked for the new
 * one, and a type that does not fit takes no row. */
static void a_type_is_changed_meanwhile(void **state) {
    SESSION;
    test_postgres_sql(server, "DROP TABLE IF EXISTS typed; CREATE TABLE typed (n bigint, v varchar(10))");
    CASE("typed", "n:integer v:text", 1);
    prepare(session, &box);
    add_row(&box, 0, "abcd");
    import(session, &box);
    assert_int_equal(box.reject_count, 0);
    test_postgres_sql(server, "ALTER TABLE typed ALTER COLUMN v TYPE char(4)");
    sink_case_next_file(&box, 0);
    add_row(&box, 1, "abcde");
    add_row(&box, 2, "abc");
    import(session, &box);
    assert_int_equal(box.reject_count, 1);
    assert_rows("SELECT n, v FROM typed ORDER BY n", "0|abcd\n2|abc ");
    test_postgres_sql(server, "ALTER TABLE typed ALTER COLUMN v TYPE timetz USING '12:00'");
    sink_case_next_file(&box, 0);
    add_row(&box, 3, "12:00");
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "column \"v\" is time with time zone and should be text"));
    assert_rows("SELECT count(*) FROM typed", "2");
}

/* Keys, the column that says which row is newer, and deletions, by the types of the table. */
static void keys_of_other_types(void **state) {
    SESSION;
    test_postgres_sql(server, "DROP TABLE IF EXISTS typed; CREATE TABLE typed (u uuid, c citext, at timestamp(3), v varchar(5)[],"
                              " PRIMARY KEY (u, c))");
    CASE("typed", "u:text:key c:text:key at:timestamp v:json deletes", 1);
    box.target.table.newer_by = (char *)"at";
    prepare(session, &box);
#define AT(ms) "2006-01-02T15:04:05." ms "Z"
    ADD(&box.rows[0], UUID, "Ann", AT("001000"), "[\"a\"]", NULL);
    ADD(&box.rows[0], "{" UUID "}", "ANN", AT("003000"), "[\"c\"]", NULL);
    ADD(&box.rows[0], UUID, "ann", AT("002000"), "[\"b\"]", NULL);
    ADD(&box.rows[0], UUID, "ann", AT("004100"), "[\"d\"]", NULL);
    ADD(&box.rows[0], UUID, "bob", AT("001000"), "[\"longer\"]", NULL);
    ADD(&box.rows[0], UUID, "bob", AT("001000"), "[\"e\"]", NULL);
    ADD(&box.rows[0], "no", "bob", AT("001000"), "[\"e\"]", "d");
    import(session, &box);
    assert_int_equal(box.reject_count, 3);
    assert_rows("SELECT c, at, v FROM typed ORDER BY c", "ANN|2006-01-02 15:04:05.003|{c}\nbob|2006-01-02 15:04:05.001|{e}");
    sink_case_next_file(&box, 0);
    ADD(&box.rows[0], UUID, "ANN", AT("002000"), NULL, "d");
    ADD(&box.rows[0], UUID, "BOB", AT("002000"), NULL, "d");
    import(session, &box);
    assert_int_equal(box.reject_count, 0);
    assert_rows("SELECT c FROM typed", "ANN");
}

/* What would change values. */
static void other_types_are_refused_by_name(void **state) {
    static const struct {
        const char *type, *data_type, *words;
    } refused[] = {
        {"integer", "text", "is integer and should be text, or the sink's dataType integer."},
        {"money", "decimal", "is money and should be numeric."},
        {"bigint", "number", "is bigint and should be double precision, or the sink's dataType integer."},
        {"numeric", "text", "is numeric and should be text, or the sink's dataType integer, number or decimal."},
        {"json", "text", "is json and should be text, or the sink's dataType json or jsonText."},
        {"uuid", "integer", "is uuid and should be bigint, or the sink's dataType text or uuid."},
        {"mood", "integer", "is mood and should be bigint, or the sink's dataType text."},
        {"timetz", "text", "is time with time zone and should be text."},
    };
    SESSION;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        Buffer sql = {0}, columns = {0};
        buffer_printf(&sql, "DROP TABLE IF EXISTS typed; CREATE TABLE typed (v %s)", refused[i].type);
        test_postgres_sql(server, buffer_text(&sql));
        buffer_printf(&columns, "v:%s", refused[i].data_type);
        CASE("typed", buffer_text(&columns), 1);
        box.columns[0].type = COLUMN_PATH;
        assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
        if (!strstr(error.text, refused[i].words)) fail_msg("\"%s\" is missing in: %s", refused[i].words, error.text);
        buffer_deinit(&sql);
        buffer_deinit(&columns);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_value_is_kept_or_refused),
        cmocka_unit_test(the_server_takes_what_the_checks_accept),
        cmocka_unit_test(many_rows_are_refused_in_no_time),
        cmocka_unit_test(too_many_refused_rows),
        cmocka_unit_test(all_kinds_of_refusals),
        cmocka_unit_test(settings_of_the_server_change_no_value),
        cmocka_unit_test(a_type_is_changed_meanwhile),
        cmocka_unit_test(keys_of_other_types),
        cmocka_unit_test(other_types_are_refused_by_name),
    };
    RUN_WITH_POSTGRES(tests);
}
