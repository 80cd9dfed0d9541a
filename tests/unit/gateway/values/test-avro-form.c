/* Vectors that fastavro made (vectors.py), encodings that it does not write, hostile schemas and
 * records. The argument: vectors.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "base/thread.h"
#include "gateway/values/avro_form.h"
#include "mapping/scanner.h"

#define JSON_MAX ((size_t)1 << 20)

static const char *vectors_path;

static AvroForm *compiled(const char *schema) {
    AvroForm *form = NULL;
    Error error = {0};
    if (avro_form_new(span_of(schema), &form, &error) < 0) fail_msg("%s: %s", schema, error.text);
    return form;
}

/* From memory of its own size, so that a read beyond it is seen. */
static int read_exactly(AvroForm *form, Span record, size_t most, Buffer *out, Error *error) {
    char *copy = malloc(record.size ? record.size : 1);
    assert_non_null(copy);
    if (record.size) memcpy(copy, record.data, record.size);
    int r = avro_form_read(form, (Span){copy, record.size}, most, out, error);
    free(copy);
    return r;
}

static void expect_json(const char *schema, Span record, const char *json) {
    AvroForm *form = compiled(schema);
    Buffer out = {0};
    Error error = {0};
    buffer_append_text(&out, "before");
    if (read_exactly(form, record, JSON_MAX, &out, &error) < 0) fail_msg("%s: %s", schema, error.text);
    assert_string_equal(buffer_text(&out) + 6, json);
    ScanFault fault;
    assert_int_equal(scan_validate((Span){out.data + 6, out.size - 6}, &fault), 0);
    buffer_deinit(&out);
    avro_form_free(form);
}

static void expect_refused(const char *schema, Span record, int code, const char *says) {
    AvroForm *form = compiled(schema);
    Buffer out = {0};
    Error error = {0};
    buffer_append_text(&out, "before");
    assert_int_equal(read_exactly(form, record, JSON_MAX, &out, &error), code);
    if (!strstr(error.text, says)) fail_msg("%s: \"%s\" does not say \"%s\"", schema, error.text, says);
    assert_string_equal(buffer_text(&out), "before");
    buffer_deinit(&out);
    avro_form_free(form);
}

static void a_vector_is_read(const json_t *vector) {
    const char *hex = json_string_value(json_object_get(vector, "hex")), *json = json_string_value(json_object_get(vector, "json"));
    const char *name = json_string_value(json_object_get(vector, "name"));
    char *schema = json_dumps(json_object_get(vector, "schema"), JSON_ENCODE_ANY | JSON_COMPACT);
    Buffer record = {0}, out = {0};
    for (size_t i = 0; hex[i]; i += 2) buffer_append_byte(&record, (char)(text_hex(hex[i]) << 4 | text_hex(hex[i + 1])));
    AvroForm *form = compiled(schema);
    Error error = {0};
    if (read_exactly(form, buffer_span(&record), JSON_MAX, &out, &error) < 0) fail_msg("%s: %s", name, error.text);
    if (strcmp(buffer_text(&out), json) != 0) fail_msg("%s: %s\nis not %s", name, buffer_text(&out), json);
    ScanFault fault;
    assert_int_equal(scan_validate(buffer_span(&out), &fault), 0);
    /* A record that was cut off anywhere, or has a byte more, is none; and the limit is exact. */
    for (size_t size = 0; size < record.size; size++) {
        Buffer none = {0};
        if (read_exactly(form, (Span){record.data, size}, JSON_MAX, &none, &error) != -EBADMSG)
            fail_msg("%s: the first %zu bytes are taken: %s", name, size, buffer_text(&none));
        assert_int_equal(none.size, 0);
        buffer_deinit(&none);
    }
    size_t json_bytes = out.size;
    buffer_clear(&out);
    assert_int_equal(read_exactly(form, buffer_span(&record), json_bytes, &out, &error), 0);
    buffer_clear(&out);
    assert_int_equal(read_exactly(form, buffer_span(&record), json_bytes - 1, &out, &error), -EFBIG);
    buffer_append_byte(&record, '\0');
    assert_int_equal(read_exactly(form, buffer_span(&record), JSON_MAX, &out, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "bytes follow the record's end"));
    buffer_deinit(&record);
    buffer_deinit(&out);
    avro_form_free(form);
    free(schema);
}

static void records_of_fastavro_are_read(void **state) {
    json_error_t fault;
    json_t *vectors = json_load_file(vectors_path, JSON_ALLOW_NUL, &fault);
    if (!vectors) fail_msg("%s: %s", vectors_path, fault.text);
    assert_true(json_array_size(vectors) > 100);
    for (size_t i = 0; i < json_array_size(vectors); i++) a_vector_is_read(json_array_get(vectors, i));
    json_decref(vectors);
}

#define DECIMAL(more) "{\"type\":\"bytes\",\"logicalType\":\"decimal\"," more "}"

static void what_fastavro_does_not_write_is_read_too(void **state) {
    /* Blocks with their size in bytes, and several blocks. */
    expect_json("{\"type\":\"array\",\"items\":\"int\"}", SPAN("\x03\x04\x02\x04\x02\x06\x00"), "[1,2,3]");
    expect_json("{\"type\":\"map\",\"values\":\"int\"}",
                SPAN("\x01\x06\x02"
                     "a\x02\x02\x02"
                     "b\x04\x00"),
                "{\"a\":1,\"b\":2}");
    /* A number in more bytes than it needs. */
    expect_json("\"long\"", SPAN("\x82\x80\x80\x00"), "1");
    /* Keys that are there twice stay so. */
    expect_json("{\"type\":\"map\",\"values\":\"int\"}",
                SPAN("\x04\x02"
                     "a\x02\x02"
                     "a\x04\x00"),
                "{\"a\":1,\"a\":2}");
    /* A decimal of no bytes, and with bytes that only repeat its sign. */
    expect_json(DECIMAL("\"precision\":4,\"scale\":2"), SPAN("\x00"), "0.00");
    expect_json(DECIMAL("\"precision\":4,\"scale\":2"), SPAN("\x08\x00\x00\x00\x7f"), "1.27");
    expect_json(DECIMAL("\"precision\":4,\"scale\":2"), SPAN("\x08\xff\xff\xff\x80"), "-1.28");
    expect_json(DECIMAL("\"precision\":4,\"scale\":2"), SPAN("\x04\xff\x00"), "-2.56");
    expect_json("{\"type\":\"fixed\",\"name\":\"U\",\"size\":16,\"logicalType\":\"uuid\"}", SPAN("0123456789abcdef"),
                "\"30313233-3435-3637-3839-616263646566\"");
    expect_json("{\"type\":\"long\",\"logicalType\":\"timestamp-nanos\"}", SPAN("\x01"), "\"1969-12-31T23:59:59.999999999Z\"");
}

static void a_logical_type_that_does_not_fit_is_absent(void **state) {
    expect_json(DECIMAL("\"precision\":2,\"scale\":3"), SPAN("\x02\x01"), "\"AQ==\"");
    expect_json(DECIMAL("\"precision\":0"), SPAN("\x02\x01"), "\"AQ==\"");
    expect_json(DECIMAL("\"precision\":1001"), SPAN("\x02\x01"), "\"AQ==\"");
    expect_json(DECIMAL("\"precision\":10,\"scale\":-1"), SPAN("\x02\x01"), "\"AQ==\"");
    expect_json("{\"type\":\"int\",\"logicalType\":\"decimal\",\"precision\":4}", SPAN("\x02"), "1");
    expect_json("{\"type\":\"long\",\"logicalType\":\"date\"}", SPAN("\x02"), "1");
    expect_json("{\"type\":\"int\",\"logicalType\":5}", SPAN("\x02"), "1");
    expect_json("{\"type\":\"fixed\",\"name\":\"U\",\"size\":1,\"logicalType\":\"uuid\"}", SPAN("a"), "\"YQ==\"");
}

static void a_time_without_a_text_stays_a_number(void **state) {
    expect_json("{\"type\":\"int\",\"logicalType\":\"date\"}", SPAN("\xfe\xff\xff\xff\x0f"), "2147483647");
    expect_json("{\"type\":\"int\",\"logicalType\":\"date\"}", SPAN("\xff\xff\xff\xff\x0f"), "-2147483648");
    expect_json("{\"type\":\"int\",\"logicalType\":\"time-millis\"}", SPAN("\x01"), "-1");
    expect_json("{\"type\":\"int\",\"logicalType\":\"time-millis\"}", SPAN("\x80\xf0\xb2\x52"), "86400000");
    expect_json("{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}", SPAN("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
                "-9223372036854775808");
    expect_json("{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}", SPAN("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
                "9223372036854775807");
}

static void wrong_records_are_refused_with_their_place(void **state) {
    const char *nested =
        "{\"type\":\"record\",\"name\":\"A\",\"fields\":[{\"name\":\"customer\",\"type\":{\"type\":\"record\",\"name\":\"B\","
        "\"fields\":[{\"name\":\"id\",\"type\":\"int\"},{\"name\":\"name\",\"type\":\"string\"}]}}]}";
    expect_refused(nested, SPAN("\x02\x04\xc3\x28"), -EBADMSG, "field \"customer.name\": a string is not UTF-8");
    expect_refused(nested,
                   SPAN("\x02\x08"
                        "abc"),
                   -EBADMSG, "field \"customer.name\": a length is wrong, or the record ends before its value does");
    expect_refused(nested, SPAN("\xfe\xff\xff\xff\x1f\x00"), -EBADMSG, "field \"customer.id\": an int has more than 32 bits");
    expect_refused(nested, SPAN("\x02\x01"), -EBADMSG, "field \"customer.name\": ");
    expect_refused("\"bytes\"", SPAN("\x01"), -EBADMSG, "a length is wrong");
    expect_refused("\"long\"", SPAN("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), -EBADMSG, "a number has more than 10 bytes");
    expect_refused("\"boolean\"", SPAN("\x02"), -EBADMSG, "a boolean");
    expect_refused("[\"null\",\"int\"]", SPAN("\x04\x02"), -EBADMSG, "a union");
    expect_refused("[\"null\",\"int\"]", SPAN("\x01\x02"), -EBADMSG, "a union");
    expect_refused("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}", SPAN("\x02"), -EBADMSG, "an enum");
    expect_refused("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}", SPAN("\x01"), -EBADMSG, "an enum");
    expect_refused("{\"type\":\"map\",\"values\":\"int\"}", SPAN("\x02\x02\xff\x02\x00"), -EBADMSG, "not UTF-8");
    expect_refused("\"null\"", SPAN("x"), -EBADMSG, "bytes follow");
}

/* Lengths that no memory has. */
static void lengths_are_not_trusted(void **state) {
    static const char huge[] = "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", large[] = "\x80\x80\x80\x80\x20"; /* 2^63 - 1, 2^32 */
    static const char *const schemas[] = {"\"string\"", "\"bytes\"", "{\"type\":\"map\",\"values\":\"null\"}"};
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        Buffer record = {0};
        if (i == 2) buffer_append_byte(&record, '\x02');
        buffer_append_text(&record, huge);
        expect_refused(schemas[i], buffer_span(&record), -EBADMSG, "ends before");
        record.size = i == 2;
        buffer_append_text(&record, large);
        expect_refused(schemas[i], buffer_span(&record), -EBADMSG, "ends before");
        buffer_deinit(&record);
    }
    expect_refused("{\"type\":\"fixed\",\"name\":\"F\",\"size\":60000000}", SPAN("abc"), -EBADMSG, "ends before");
}

static void counts_of_blocks_are_not_trusted(void **state) {
    static const char *const items[] = {"\"null\"", "{\"type\":\"record\",\"name\":\"N\",\"fields\":[]}"};
    static const char *const counts[] = {"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x80\xa8\xd6\xb9\x07", "\x82\x80\x80\x80\x20"};
    struct timespec start, end;
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < 3; j++) {
            char schema[128];
            (void)snprintf(schema, sizeof schema, "{\"type\":\"array\",\"items\":%s}", items[i]);
            expect_refused(schema, span_of(counts[j]), -EFBIG, "larger than an event may be");
        }
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    assert_true(end.tv_sec - start.tv_sec < 60); /* the nulls of one block would take centuries */

    /* A million nulls that fit are read. */
    AvroForm *form = compiled("{\"type\":\"array\",\"items\":\"null\"}");
    Buffer out = {0};
    assert_int_equal(avro_form_read(form, SPAN("\x80\x89\x7a\x00"), 8 << 20, &out, NULL), 0);
    assert_int_equal(out.size, 5000001);
    buffer_deinit(&out);
    avro_form_free(form);

    /* 2^32 looks to libavro's callbacks like the end of the array; the lowest number is its own
     * negative. */
    const char *ints = "{\"type\":\"array\",\"items\":\"int\"}";
    expect_refused(ints, SPAN("\x80\x80\x80\x80\x20\x02\x04\x06\x00"), -EBADMSG, "too many items");
    expect_refused(ints, SPAN("\x02\x02\x80\x80\x80\x80\x20\x02\x04\x06\x00"), -EBADMSG, "too many items");
    expect_refused(ints, SPAN("\x02\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02"), -EBADMSG, "ends before");
    /* In an array of the same type, whose counts could be taken for those of the inner one. */
    const char *tree = "{\"type\":\"record\",\"name\":\"T\",\"fields\":[{\"name\":\"b\",\"type\":{\"type\":\"array\",\"items\":\"T\"}}]}";
    expect_refused(tree, SPAN("\x02\x02\x00\x80\x80\x80\x80\x20\x00\x00\x00\x00\x00"), -EBADMSG, "");
    expect_refused(tree, SPAN("\x02\x80\x80\x80\x80\x20\x00\x00\x00\x00\x00\x00"), -EBADMSG, "too many items");
}

static void depth_is_bounded(void **state) {
    /* Without end, and of no bytes; as deep as its bytes say; twice as many in each level. */
    expect_refused("{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"r\",\"type\":\"R\"}]}", SPAN(""), -EFBIG,
                   "deeper than 128");
    const char *chain = "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"r\",\"type\":[\"null\",\"R\"]}]}";
    Buffer record = {0};
    for (size_t i = 0; i < AVRO_FORM_DEPTH_MAX - 1; i++) buffer_append_byte(&record, '\x02');
    AvroForm *form = compiled(chain);
    Buffer out = {0};
    buffer_append_byte(&record, '\x00');
    assert_int_equal(avro_form_read(form, buffer_span(&record), JSON_MAX, &out, NULL), 0);
    ScanFault fault;
    assert_int_equal(scan_validate(buffer_span(&out), &fault), 0);
    record.size--;
    for (size_t i = 0; i < 100000; i++) buffer_append_byte(&record, '\x02');
    buffer_clear(&out);
    assert_int_equal(avro_form_read(form, buffer_span(&record), JSON_MAX, &out, NULL), -EFBIG);
    buffer_deinit(&out);
    avro_form_free(form);

    Buffer schema = {0};
    for (int i = 0; i < 60; i++) buffer_printf(&schema, "{\"type\":\"record\",\"name\":\"R%d\",\"fields\":[{\"name\":\"a\",\"type\":", i);
    buffer_append_text(&schema, "{\"type\":\"record\",\"name\":\"E\",\"fields\":[]}");
    for (int i = 59; i >= 0; i--)
        buffer_printf(&schema, "},{\"name\":\"b\",\"type\":\"%s%.0d\"}]}", i == 59 ? "E" : "R", i == 59 ? 0 : i + 1);
    expect_refused(buffer_text(&schema), SPAN(""), -EFBIG, "larger than an event may be");
    buffer_deinit(&schema);
    buffer_deinit(&record);
}

static void nested(Buffer *schema, const char *before, const char *inner, const char *behind, size_t times) {
    buffer_clear(schema);
    for (size_t i = 0; i < times; i++) buffer_append_text(schema, before);
    buffer_append_text(schema, inner);
    for (size_t i = 0; i < times; i++) buffer_append_text(schema, behind);
}

static void refuse_schema(Span schema, const char *says) {
    AvroForm *form = NULL;
    Error error = {0};
    assert_int_equal(avro_form_new(schema, &form, &error), -EINVAL);
    assert_null(form);
    if (!strstr(error.text, says)) fail_msg("\"%s\" does not say \"%s\"", error.text, says);
    assert_true(text_is_plain(span_of(error.text)));
}

static void wrong_schemas_are_refused(void **state) {
    static const struct {
        const char *schema, *says;
    } cases[] = {
        {"", "not JSON"},
        {"{", "not JSON"},
        {"5", "is not an Avro schema"},
        {"\"strin\\u0001g\"", "not an Avro schema: "},
        {"\"other.Record\"", "not an Avro schema: "},
        {"{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"a\",\"type\":\"int\"}]}",
         "two fields \"a\""},
        {"{\"type\":\"fixed\",\"name\":\"F\",\"size\":-1}", "a fixed has -1 bytes"},
        {"{\"type\":\"fixed\",\"name\":\"F\",\"size\":9223372036854775807}", "a fixed has 9223372036854775807 bytes"},
        {"[[\"int\"]]", "a union has a union"},
        {"[]", "is not an Avro schema"},
        {"{\"type\":\"record\",\"name\":\"R\"}", "is not an Avro schema"},
        {"{\"type\":\"array\"}", "is not an Avro schema"},
        {"{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[1]}", "is not an Avro schema"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuse_schema(span_of(cases[i].schema), cases[i].says);
    Buffer schema = {0};
    nested(&schema, "{\"type\":\"array\",\"items\":", "\"int\"", "}", AVRO_FORM_DEPTH_MAX + 1);
    refuse_schema(buffer_span(&schema), "more than 128 nested types");
    nested(&schema, "{\"type\":\"array\",\"items\":", "\"int\"", "}", 1000);
    refuse_schema(buffer_span(&schema), "too deep");
    nested(&schema, "[", "\"int\"", "]", 100000);
    refuse_schema(buffer_span(&schema), "not JSON");
    nested(&schema, "[\"int\"],", "", "", 30000);
    schema.data[schema.size - 1] = ' ';
    Buffer many = {0};
    buffer_printf(&many, "[%.*s]", (int)schema.size, schema.data);
    refuse_schema(buffer_span(&many), "more than 20000 parts");
    nested(&schema, " ", "\"int\"", "", AVRO_SCHEMA_BYTES_MAX);
    refuse_schema(buffer_span(&schema), "the maximum is");
    buffer_deinit(&many);
    buffer_deinit(&schema);
}

/* Each with a form of its own: libavro has one error text and one allocator for all of them. */
static void *read_often(void *context) {
    const char *schema =
        "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"string\"},{\"name\":\"r\",\"type\":[\"null\",\"R\"]}]}";
    for (size_t i = 0; i < 300; i++) {
        AvroForm *form = compiled(schema);
        Buffer out = {0};
        Error error = {0};
        for (size_t j = 0; j < 5; j++) {
            buffer_clear(&out);
            check(avro_form_read(form, SPAN("\x02x\x02\x04yz\x00"), JSON_MAX, &out, &error) == 0);
            check(span_equal(buffer_span(&out), SPAN("{\"a\":\"x\",\"r\":{\"a\":\"yz\",\"r\":null}}")));
            check(avro_form_read(form, SPAN("\x02x\x02\x04y"), JSON_MAX, &out, &error) == -EBADMSG);
            check(avro_form_new(SPAN("\"nothing\""), &(AvroForm *){NULL}, &error) == -EINVAL);
        }
        buffer_deinit(&out);
        avro_form_free(form);
    }
    return NULL;
}

static void threads_do_not_meet(void **state) {
    Thread threads[4];
    for (size_t i = 0; i < 4; i++) assert_int_equal(thread_start(&threads[i], "reader", read_often, NULL, NULL), 0);
    for (size_t i = 0; i < 4; i++) thread_join(&threads[i]);
}

int main(int argc, char **argv) {
    check(argc == 2);
    vectors_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_fastavro_are_read),
        cmocka_unit_test(what_fastavro_does_not_write_is_read_too),
        cmocka_unit_test(a_logical_type_that_does_not_fit_is_absent),
        cmocka_unit_test(a_time_without_a_text_stays_a_number),
        cmocka_unit_test(wrong_records_are_refused_with_their_place),
        cmocka_unit_test(lengths_are_not_trusted),
        cmocka_unit_test(counts_of_blocks_are_not_trusted),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(wrong_schemas_are_refused),
        cmocka_unit_test(threads_do_not_meet),
    };
    return cmocka_run_group_tests_name("avro-form", tests, NULL, NULL);
}
