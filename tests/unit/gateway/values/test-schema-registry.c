#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/values/record_value.h"
#include "gateway/values/schema_registry.h"
#include "tests/support/scripted-registry.h"

#define PATIENCE (60 * USEC_SECOND)
#define INT_SCHEMA "{\"schema\":\"\\\"int\\\"\"}"
#define UNKNOWN "{\"error_code\":40403,\"message\":\"Schema not found\"}"

static usec_t now;
static usec_t tell_now(Clock *clock) {
    return now;
}
static Clock test_clock = {.wall = tell_now, .boot = tell_now};

static SchemaRegistry *open_registry(SchemaRegistrySettings settings) {
    SchemaRegistry *registry = NULL;
    Error error = {0};
    now = 1000 * USEC_SECOND;
    if (schema_registry_open(&settings, &test_clock, &registry, &error) < 0) fail_msg("%s", error.text);
    return registry;
}

static SchemaRegistry *open_at(const ScriptedRegistry *server) {
    return open_registry((SchemaRegistrySettings){.url = scripted_registry_url(server)});
}

static SchemaResult find(SchemaRegistry *registry, uint32_t number, Error *why) {
    AvroForm *form = NULL;
    SchemaResult result = schema_registry_find(registry, number, &form, why);
    assert_int_equal(form != NULL, result == SCHEMA_FOUND);
    return result;
}

/* Starts a lookup and takes its answer. */
static SchemaResult look_up(SchemaRegistry *registry, uint32_t number, Error *why) {
    (void)find(registry, number, why);
    schema_registry_wait(registry, PATIENCE);
    return find(registry, number, why);
}

static SchemaRegistryState state_of(const SchemaRegistry *registry) {
    SchemaRegistryState state;
    schema_registry_state(registry, &state);
    return state;
}

static void expect_heard(const ScriptedRegistry *server, const char *line, bool heard) {
    Buffer head = {0};
    scripted_registry_last(server, &head);
    if ((strstr(buffer_text(&head), line) != NULL) != heard) fail_msg("%s\n%s", line, buffer_text(&head));
    buffer_deinit(&head);
}

static void a_schema_is_asked_for_once(void **state) {
    ScriptedRegistry *server = scripted_registry_start();
    scripted_registry_answer(server, 200, INT_SCHEMA);
    char url[128];
    (void)snprintf(url, sizeof url, "%s/apis/ccompat/v7//", scripted_registry_url(server));
    SchemaRegistry *registry = open_registry((SchemaRegistrySettings){.url = url});
    assert_int_equal(find(registry, 7, NULL), SCHEMA_WAIT);
    schema_registry_wait(registry, PATIENCE);
    for (size_t i = 0; i < 100; i++) assert_int_equal(find(registry, 7, NULL), SCHEMA_FOUND);
    assert_int_equal(scripted_registry_requests(server), 1);
    expect_heard(server, "GET /apis/ccompat/v7/schemas/ids/7 HTTP/1.1\r\n", true);
    expect_heard(server, "Accept: application/vnd.schemaregistry.v1+json, application/json\r\n", true);
    expect_heard(server, "Authorization", false);
    assert_int_equal(look_up(registry, 4294967295, NULL), SCHEMA_FOUND);
    expect_heard(server, "GET /apis/ccompat/v7/schemas/ids/4294967295 HTTP/1.1\r\n", true);
    assert_int_equal(state_of(registry).schemas, 2);
    assert_int_equal(state_of(registry).lookups, 2);
    assert_int_equal(state_of(registry).down_since, 0);
    schema_registry_close(registry);
    scripted_registry_stop(server);
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void the_login_is_read_for_each_lookup(void **state) {
    ScriptedRegistry *server = scripted_registry_start();
    scripted_registry_answer(server, 200, INT_SCHEMA);
    char path[] = "/tmp/sluice-registry-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    SchemaRegistry *registry = open_registry(
        (SchemaRegistrySettings){.url = scripted_registry_url(server), .user = "reader", .password_file = path});
    write_file(path, "s3cret\r\n");
    assert_int_equal(look_up(registry, 1, NULL), SCHEMA_FOUND);
    expect_heard(server, "Authorization: Basic cmVhZGVyOnMzY3JldA==\r\n", true);
    write_file(path, "other");
    assert_int_equal(look_up(registry, 2, NULL), SCHEMA_FOUND);
    expect_heard(server, "Authorization: Basic cmVhZGVyOm90aGVy\r\n", true);

    /* Without the file nothing is asked, and the reason has no secret. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(look_up(registry, 3, NULL), SCHEMA_WAIT);
    assert_int_equal(scripted_registry_requests(server), 2);
    assert_non_null(strstr(state_of(registry).why, "the password file /tmp/sluice-registry-"));
    assert_null(strstr(state_of(registry).why, "other"));
    schema_registry_close(registry);

    registry = open_registry((SchemaRegistrySettings){.url = scripted_registry_url(server), .user = "reader"});
    assert_int_equal(look_up(registry, 1, NULL), SCHEMA_FOUND);
    expect_heard(server, "Authorization: Basic cmVhZGVyOg==\r\n", true);
    schema_registry_close(registry);
    scripted_registry_stop(server);
}

static void an_unknown_number_is_asked_again(void **state) {
    ScriptedRegistry *server = scripted_registry_start();
    scripted_registry_answer(server, 404, UNKNOWN);
    SchemaRegistry *registry = open_at(server);
    Error why = {0};
    assert_int_equal(look_up(registry, 9, &why), SCHEMA_UNKNOWN);
    assert_string_equal(why.text, "the schema registry has no schema 9");
    now += SCHEMA_UNKNOWN_AGAIN - 1;
    assert_int_equal(look_up(registry, 9, &why), SCHEMA_UNKNOWN);
    assert_int_equal(scripted_registry_requests(server), 1);
    now += 1;
    assert_int_equal(look_up(registry, 9, &why), SCHEMA_UNKNOWN);
    assert_int_equal(scripted_registry_requests(server), 2);

    /* While the registry is down nobody can tell. */
    scripted_registry_answer(server, 503, "{}");
    now += SCHEMA_UNKNOWN_AGAIN;
    assert_int_equal(look_up(registry, 9, &why), SCHEMA_WAIT);
    scripted_registry_answer(server, 200, INT_SCHEMA);
    now += SCHEMA_UNKNOWN_AGAIN;
    assert_int_equal(look_up(registry, 9, &why), SCHEMA_FOUND);
    assert_int_equal(state_of(registry).schemas, 1);
    schema_registry_close(registry);
    scripted_registry_stop(server);
}

static void a_registry_that_is_down_is_asked_again_and_says_why(void **state) {
    static const struct {
        const char *says, *why;
    } cases[] = {
        {"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "answers 500"},
        {"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n", "answers 503"},
        {"HTTP/1.1 429 Slowly\r\nContent-Length: 0\r\n\r\n", "answers 429"},
        {"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "answers 401: the user or the password is wrong"},
        {"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "answers 403: the user or the password is wrong"},
        {"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\nNot found", "answers 404: the URL must be that of its Confluent API"},
        {"HTTP/1.1 404 No\r\nContent-Length: 20\r\n\r\n{\"error_code\": 40401}", "answers 404"},
        {"HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "answers 302: redirects are not followed"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "is it a schema registry"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"schema\":{}}", "is it a schema registry"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"schema\":", "127.0.0.1"},
        {"220 mail.example ESMTP\r\n", "127.0.0.1"},
        {"", "127.0.0.1"},
    };
    ScriptedRegistry *server = scripted_registry_start();
    SchemaRegistry *registry = open_at(server);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t number = (uint32_t)i + 1;
        scripted_registry_say(server, cases[i].says);
        size_t before = scripted_registry_requests(server);
        assert_int_equal(look_up(registry, number, NULL), SCHEMA_WAIT);
        SchemaRegistryState down = state_of(registry);
        if (!strstr(down.why, cases[i].why)) fail_msg("\"%s\" does not say \"%s\"", down.why, cases[i].why);
        assert_int_equal(down.down_since, now);
        /* The pauses are longer and longer. */
        for (usec_t pause = USEC_SECOND; pause <= 4 * USEC_SECOND; pause *= 2) {
            now += pause - 1;
            assert_int_equal(look_up(registry, number, NULL), SCHEMA_WAIT);
            assert_int_equal(scripted_registry_requests(server), before + 1);
            now += 1;
            assert_int_equal(look_up(registry, number, NULL), SCHEMA_WAIT);
            assert_int_equal(scripted_registry_requests(server), ++before + 1);
        }
        assert_int_equal(state_of(registry).down_since, down.down_since);
        now += SCHEMA_DOWN_AGAIN_MAX;
        scripted_registry_answer(server, 200, INT_SCHEMA);
        assert_int_equal(look_up(registry, number, NULL), SCHEMA_FOUND);
        assert_int_equal(state_of(registry).down_since, 0);
        assert_string_equal(state_of(registry).why, "");
    }
    /* What was found before is there all the time, and the pause has an upper bound. */
    scripted_registry_stop(server);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(look_up(registry, 1000, NULL), SCHEMA_WAIT);
        assert_int_equal(find(registry, 1, NULL), SCHEMA_FOUND);
        now += SCHEMA_DOWN_AGAIN_MAX;
    }
    assert_int_equal(state_of(registry).lookups, 20 + 5 * sizeof cases / sizeof *cases);
    schema_registry_close(registry);
}

static void what_cannot_be_used_is_said(void **state) {
    static const struct {
        const char *answer, *why;
    } cases[] = {
        {"{\"schema\":\"\\\"int\\\"\",\"references\":[{\"name\":\"a\",\"subject\":\"b\",\"version\":1}]}",
         "schema 1 has references to other schemas"},
        {"{\"schema\":\"{}\",\"schemaType\":\"JSON\"}", "schema 2 is of type JSON, not AVRO"},
        {"{\"schema\":\"syntax = 1\",\"schemaType\":\"PROTOBUF\"}", "schema 3 is of type PROTOBUF, not AVRO"},
        {"{\"schema\":\"{}\"}", "is not an Avro schema"},
        {"{\"schema\":\"\"}", "not JSON"},
        {"{\"schema\":\"\\u0000\"}", "not JSON"},
    };
    ScriptedRegistry *server = scripted_registry_start();
    SchemaRegistry *registry = open_at(server);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error why = {0};
        scripted_registry_answer(server, 200, cases[i].answer);
        assert_int_equal(look_up(registry, (uint32_t)i + 1, &why), SCHEMA_UNFIT);
        if (!strstr(why.text, cases[i].why)) fail_msg("\"%s\" does not say \"%s\"", why.text, cases[i].why);
        assert_int_equal(find(registry, (uint32_t)i + 1, &why), SCHEMA_UNFIT);
        assert_int_equal(scripted_registry_requests(server), i + 1);
    }
    /* An answer without end does not stop others. */
    Buffer long_answer = {0};
    buffer_append_text(&long_answer, "{\"schema\":\"");
    memset(buffer_reserve(&long_answer, 7 << 20), ' ', 7 << 20);
    long_answer.size += 7 << 20;
    buffer_append_text(&long_answer, "\"}");
    scripted_registry_answer(server, 200, buffer_text(&long_answer));
    Error why = {0};
    assert_int_equal(look_up(registry, 100, &why), SCHEMA_UNFIT);
    assert_string_equal(why.text, "schema 100 is too long");
    assert_int_equal(state_of(registry).down_since, 0);
    buffer_deinit(&long_answer);
    schema_registry_close(registry);
    scripted_registry_stop(server);
}

static void nobody_waits_for_a_registry_that_hangs(void **state) {
    ScriptedRegistry *server = scripted_registry_start();
    Clock *clock = clock_system();
    for (size_t i = 0; i < 2; i++) {
        if (i == 0)
            scripted_registry_say(server, NULL);
        else
            scripted_registry_trickle(
                server,
                "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{\"schema\":\"                                                        ");
        SchemaRegistry *registry = open_at(server);
        usec_t start = clock->boot(clock);
        size_t before = scripted_registry_requests(server);
        while (scripted_registry_requests(server) == before) {
            assert_int_equal(find(registry, 1, NULL), SCHEMA_WAIT);
            assert_int_equal(find(registry, 2, NULL), SCHEMA_WAIT); /* behind the first: one at a time */
            assert_true(clock->boot(clock) - start < PATIENCE);
        }
        schema_registry_wait(registry, 10 * USEC_MS);
        assert_int_equal(find(registry, 2, NULL), SCHEMA_WAIT);
        assert_int_equal(scripted_registry_requests(server), before + 1);
        start = clock->boot(clock);
        schema_registry_close(registry);
        assert_true(clock->boot(clock) - start < 9 * USEC_SECOND); /* sooner than any limit of the lookup */
    }
    scripted_registry_stop(server);
}

static void what_is_kept_is_bounded(void **state) {
    ScriptedRegistry *server = scripted_registry_start();
    SchemaRegistry *registry = open_at(server);
    scripted_registry_answer(server, 200, INT_SCHEMA);
    for (uint32_t number = 1; number <= SCHEMA_COUNT_MAX + 20; number++) {
        assert_int_equal(look_up(registry, number, NULL), SCHEMA_FOUND);
        assert_int_equal(find(registry, 1, NULL), SCHEMA_FOUND); /* the one that is used stays */
        assert_true(state_of(registry).schemas <= SCHEMA_COUNT_MAX && state_of(registry).bytes <= SCHEMA_BYTES_MAX);
    }
    size_t asked = scripted_registry_requests(server);
    assert_int_equal(find(registry, SCHEMA_COUNT_MAX + 20, NULL), SCHEMA_FOUND);
    assert_int_equal(find(registry, 2, NULL), SCHEMA_WAIT); /* the one that was used long ago is gone */
    schema_registry_wait(registry, PATIENCE);
    assert_int_equal(scripted_registry_requests(server), asked + 1);

    /* Schemas of a megabyte each: fewer. */
    Buffer answer = {0};
    buffer_append_text(&answer, "{\"schema\":\"{\\\"type\\\":\\\"record\\\",\\\"name\\\":\\\"R\\\",\\\"fields\\\":[");
    for (size_t i = 0; i < 4000; i++)
        buffer_printf(&answer, "%s{\\\"name\\\":\\\"f%zu\\\",\\\"type\\\":[\\\"null\\\",\\\"int\\\"]}", i ? "," : "", i);
    buffer_append_text(&answer, "]}\"}");
    scripted_registry_answer(server, 200, buffer_text(&answer));
    buffer_deinit(&answer);
    for (uint32_t number = 1000; number < 1020; number++) {
        assert_int_equal(look_up(registry, number, NULL), SCHEMA_FOUND);
        assert_true(state_of(registry).bytes <= SCHEMA_BYTES_MAX);
    }
    assert_true(state_of(registry).schemas < 20);
    schema_registry_close(registry);
    scripted_registry_stop(server);
}

static void wrong_urls_are_refused(void **state) {
    static const char *const urls[] = {"",         "ftp://a",          "host:8081",        "http://",
                                       "https://", "http://u:p@host/", "http://host/?a=b", "http://host/#a"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        SchemaRegistry *registry = NULL;
        Error error = {0};
        assert_int_equal(schema_registry_open(&(SchemaRegistrySettings){.url = urls[i]}, &test_clock, &registry, &error), -EINVAL);
        assert_null(strstr(error.text, "u:p"));
    }
}

/* -- values ------------------------------------------------------------------------------------ */

static RecordResult read_value(RecordReader *reader, Span value, const char *body, BodyKind kind, Error *why) {
    Span is;
    BodyKind is_kind;
    RecordResult result = record_value_read(reader, value, &is, &is_kind, why);
    if (result == RECORD_READ) {
        assert_true(span_equal(is, span_of(body)));
        assert_int_equal(is_kind, kind);
    }
    return result;
}

static void values_without_a_schema_are_bodies(void **state) {
    RecordReader reader = {.kind = RECORD_JSON};
    assert_int_equal(read_value(&reader, SPAN("{\"a\":1}"), "{\"a\":1}", BODY_JSON, NULL), RECORD_READ);
    assert_int_equal(read_value(&reader, (Span){0}, "", BODY_JSON, NULL), RECORD_READ);
    reader.kind = RECORD_TEXT;
    assert_int_equal(read_value(&reader, SPAN("some text"), "some text", BODY_OTHER, NULL), RECORD_READ);
    reader.kind = RECORD_BYTES;
    assert_int_equal(read_value(&reader, SPAN("\x00\xff\x10z"), "AP8Qeg==", BODY_OTHER, NULL), RECORD_READ);
    assert_int_equal(read_value(&reader, (Span){0}, "", BODY_OTHER, NULL), RECORD_READ);
    Buffer large = {0}; /* of several slices of base64 */
    memset(buffer_reserve(&large, 1000000), 'x', 1000000);
    large.size = 1000000;
    Span body;
    BodyKind kind;
    assert_int_equal(record_value_read(&reader, buffer_span(&large), &body, &kind, NULL), RECORD_READ);
    assert_int_equal(body.size, 1333336);
    assert_memory_equal(body.data + body.size - 8, "eHh4eA==", 8);
    for (size_t i = 0; i + 4 < body.size; i += 4) assert_memory_equal(body.data + i, "eHh4", 4);
    buffer_deinit(&large);
    record_reader_deinit(&reader);
}

static void avro_comes_with_the_number_of_its_schema(void **state) {
    ScriptedRegistry *server = scripted_registry_start();
    scripted_registry_answer(server, 200, "{\"schema\":\"{\\\"type\\\":\\\"array\\\",\\\"items\\\":\\\"null\\\"}\"}");
    RecordReader reader = {.kind = RECORD_AVRO, .event_bytes_max = 21, .registry = open_at(server)};
    Error why = {0};
    static const Span wrong[] = {{NULL, 0}, {"\0\0\0\0", 4}, {"{\"a\":1}", 7}, {"\1\0\0\0\1\0", 6}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(read_value(&reader, wrong[i], "", BODY_JSON, &why), RECORD_POISON);
        assert_non_null(strstr(why.text, "Confluent wire format"));
    }
    assert_int_equal(scripted_registry_requests(server), 0);

    Span record = SPAN("\0\0\0\1\2\x04\0");
    assert_int_equal(read_value(&reader, record, "", BODY_JSON, &why), RECORD_LATER);
    schema_registry_wait(reader.registry, PATIENCE);
    expect_heard(server, "GET /schemas/ids/258 HTTP/1.1\r\n", true);
    assert_int_equal(read_value(&reader, record, "[null,null]", BODY_JSON, &why), RECORD_READ);
    assert_int_equal(read_value(&reader, SPAN("\0\0\0\1\2\x08\0"), "[null,null,null,null]", BODY_JSON, &why), RECORD_READ);
    assert_int_equal(read_value(&reader, SPAN("\0\0\0\1\2\x0a\0"), "", BODY_JSON, &why), RECORD_POISON);
    assert_string_equal(why.text, "not a record of schema 258: the JSON form is larger than an event may be");
    assert_int_equal(read_value(&reader, SPAN("\0\0\0\1\2"), "", BODY_JSON, &why), RECORD_POISON);

    scripted_registry_answer(server, 404, UNKNOWN);
    (void)read_value(&reader, SPAN("\0\0\0\0\3\0"), "", BODY_JSON, &why);
    schema_registry_wait(reader.registry, PATIENCE);
    assert_int_equal(read_value(&reader, SPAN("\0\0\0\0\3\0"), "", BODY_JSON, &why), RECORD_UNKNOWN_ID);
    scripted_registry_answer(server, 200, "{\"schema\":\"{}\",\"schemaType\":\"JSON\"}");
    (void)read_value(&reader, SPAN("\0\0\0\0\4\0"), "", BODY_JSON, &why);
    schema_registry_wait(reader.registry, PATIENCE);
    assert_int_equal(read_value(&reader, SPAN("\0\0\0\0\4\0"), "", BODY_JSON, &why), RECORD_POISON);
    assert_string_equal(why.text, "schema 4 is of type JSON, not AVRO");
    schema_registry_close(reader.registry);
    record_reader_deinit(&reader);
    scripted_registry_stop(server);
}

static void json_with_a_schema_is_taken_as_it_stands(void **state) {
    ScriptedRegistry *server = scripted_registry_start();
    /* Not checked, so references do no harm. */
    scripted_registry_answer(server, 200,
                             "{\"schema\":\"{\\\"type\\\":\\\"object\\\"}\",\"schemaType\":\"JSON\",\"references\":[{\"name\":\"a\"}]}");
    SchemaRegistry *registry = open_registry((SchemaRegistrySettings){.url = scripted_registry_url(server), .kind = SCHEMA_JSON});
    RecordReader reader = {.kind = RECORD_JSON_SCHEMA, .event_bytes_max = 100, .registry = registry};
    Error why = {0};
    Span record = SPAN("\0\0\0\0\1[1, 2]");
    assert_int_equal(read_value(&reader, record, "", BODY_JSON, &why), RECORD_LATER);
    schema_registry_wait(registry, PATIENCE);
    assert_int_equal(read_value(&reader, record, "[1, 2]", BODY_JSON, &why), RECORD_READ);
    assert_int_equal(read_value(&reader, SPAN("[1, 2]"), "", BODY_JSON, &why), RECORD_POISON);
    scripted_registry_answer(server, 200, INT_SCHEMA);
    (void)read_value(&reader, SPAN("\0\0\0\0\2{}"), "", BODY_JSON, &why);
    schema_registry_wait(registry, PATIENCE);
    assert_int_equal(read_value(&reader, SPAN("\0\0\0\0\2{}"), "", BODY_JSON, &why), RECORD_POISON);
    assert_string_equal(why.text, "schema 2 is of type AVRO, not JSON");
    schema_registry_close(registry);
    record_reader_deinit(&reader);
    scripted_registry_stop(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_schema_is_asked_for_once),
        cmocka_unit_test(the_login_is_read_for_each_lookup),
        cmocka_unit_test(an_unknown_number_is_asked_again),
        cmocka_unit_test(a_registry_that_is_down_is_asked_again_and_says_why),
        cmocka_unit_test(what_cannot_be_used_is_said),
        cmocka_unit_test(nobody_waits_for_a_registry_that_hangs),
        cmocka_unit_test(what_is_kept_is_bounded),
        cmocka_unit_test(wrong_urls_are_refused),
        cmocka_unit_test(values_without_a_schema_are_bodies),
        cmocka_unit_test(avro_comes_with_the_number_of_its_schema),
        cmocka_unit_test(json_with_a_schema_is_taken_as_it_stands),
    };
    return cmocka_run_group_tests_name("schema-registry", tests, NULL, NULL);
}
