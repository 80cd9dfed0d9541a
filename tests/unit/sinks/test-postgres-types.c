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

static void run_type(SinkSession *session, const TypeCase *lines, size_t count, int way) {
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
    if (strcmp(rows, buffer_text(&wanted)) != 0 || box.reject_count != refused)
        fail_msg("%s, way %d: %zu rejects, \"%s\" instead of \"%s\"", lines[0].type, way, box.reject_count, rows, buffer_text(&wanted));
    free(rows);
    buffer_deinit(&sql);
    buffer_deinit(&columns);
    buffer_deinit(&wanted);
}

static void each_value_is_kept_or_refused(void **state) {
    SESSION;
    test_postgres_sql(server, "CREATE EXTENSION IF NOT EXISTS citext; CREATE TYPE mood AS ENUM ('glad', 'so, so'); CREATE SCHEMA ill;"
                              "CREATE TYPE ill.\"Mood\" AS ENUM ('sad'); CREATE DOMAIN posint AS integer CHECK (VALUE > 0);"
                              "CREATE DOMAIN small_posint AS posint CHECK (VALUE < 100)");
    for (int way = 0; way < WAYS; way++) {
        for (size_t first = 0; first < CASES; first += lines_of_type(first)) run_type(session, &cases[first], lines_of_type(first), way);
    }
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
        cmocka_unit_test(other_types_are_refused_by_name),
    };
    RUN_WITH_POSTGRES(tests);
}
