/* What a record of a broker gives an event besides its value: texts of the meta fields, and ids. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
/* clang-format on */

#include "config/source_kind.h"
#include "mapping/meta.h"
#include "mapping/record_id.h"

static void value_is(const EventMeta *meta, MetaField field, const char *expected) {
    Span value = meta->values[field];
    if (!expected) {
        assert_null(value.data);
        return;
    }
    assert_non_null(value.data);
    if (!span_equal(value, span_of(expected)))
        fail_msg("%s is \"%.*s\", not \"%s\"", meta_field_name(field), (int)value.size, value.data, expected);
}

static void a_record_of_kafka(void **state) {
    (void)state;
    RecordMeta record = {0};
    record_meta_kafka(&record, SPAN("shop.orders"), 0, 3, 17, SPAN("k\xff"), 1136214245123);
    const EventMeta *meta = &record.meta;
    assert_int_equal(meta->fields, META_KAFKA);
    value_is(meta, META_TOPIC, "shop.orders");
    value_is(meta, META_PARTITION, "3");
    value_is(meta, META_OFFSET, "17");
    value_is(meta, META_KEY, "k\xff");
    value_is(meta, META_TIMESTAMP, "2006-01-02T15:04:05.123Z");
    value_is(meta, META_BRIDGE, "kafka:shop.orders:3:17");
    value_is(meta, META_SUBJECT, NULL);
    value_is(meta, META_STREAM, NULL);
    value_is(meta, META_SEQUENCE, NULL);

    record_meta_kafka(&record, SPAN("t"), 2, INT32_MAX, INT64_MAX, (Span){0}, -1);
    value_is(meta, META_PARTITION, "2147483647");
    value_is(meta, META_OFFSET, "9223372036854775807");
    value_is(meta, META_KEY, NULL);
    value_is(meta, META_TIMESTAMP, NULL);
    value_is(meta, META_BRIDGE, "kafka:t.2:2147483647:9223372036854775807");

    record_meta_kafka(&record, SPAN("t"), UINT32_MAX, INT32_MAX, INT64_MAX, SPAN(""), 0);
    value_is(meta, META_KEY, "");
    value_is(meta, META_TIMESTAMP, "1970-01-01T00:00:00.000Z");
    value_is(meta, META_BRIDGE, "kafka:t.4294967295:2147483647:9223372036854775807");

    char name[250] = {0};
    memset(name, 'n', sizeof name - 1);
    record_meta_kafka(&record, span_of(name), 0, 0, 0, SPAN(""), INT64_MAX); /* a sender may say any time */
    value_is(meta, META_TIMESTAMP, NULL);
    assert_int_equal(meta->values[META_BRIDGE].size, sizeof "kafka::0:0" - 1 + 249);
    record_meta_deinit(&record);
    assert_null(record.text.data);
}

static void a_message_of_nats(void **state) {
    (void)state;
    RecordMeta record = {0};
    record_meta_nats(&record, SPAN("orders.eu"), SPAN("ORDERS"), 0, UINT64_MAX, 1136214245123456);
    const EventMeta *meta = &record.meta;
    assert_int_equal(meta->fields, META_NATS);
    value_is(meta, META_SUBJECT, "orders.eu");
    value_is(meta, META_STREAM, "ORDERS");
    value_is(meta, META_SEQUENCE, "18446744073709551615");
    value_is(meta, META_TIMESTAMP, "2006-01-02T15:04:05.123456Z");
    value_is(meta, META_BRIDGE, "nats:ORDERS:18446744073709551615");
    value_is(meta, META_TOPIC, NULL);
    record_meta_nats(&record, SPAN("s"), SPAN("S"), 1, 1, -1); /* before 1970 */
    value_is(meta, META_TIMESTAMP, "1969-12-31T23:59:59.999999Z");
    value_is(meta, META_BRIDGE, "nats:S.1:1");
    record_meta_nats(&record, SPAN("s"), SPAN("S"), 0, 1, INT64_MIN);
    value_is(meta, META_TIMESTAMP, NULL);
    record_meta_nats(&record, SPAN("s"), SPAN("S"), 0, 1, INT64_MAX);
    value_is(meta, META_TIMESTAMP, NULL);
    record_meta_deinit(&record);
}

static void a_copy_has_memory_of_its_own(void **state) {
    (void)state;
    char key[] = "key", topic[] = "t";
    RecordMeta record = {0};
    Arena arena = {0};
    record_meta_kafka(&record, span_of(topic), 0, 1, 2, span_of(key), -1);
    const EventMeta *copy = event_meta_copy(&arena, &record.meta);
    memset(key, '-', sizeof key);
    memset(topic, '-', sizeof topic);
    record_meta_kafka(&record, SPAN("other"), 0, 7, 8, SPAN(""), -1);
    value_is(copy, META_KEY, "key");
    value_is(copy, META_TOPIC, "t");
    value_is(copy, META_BRIDGE, "kafka:t:1:2");
    value_is(copy, META_TIMESTAMP, NULL);
    assert_int_equal(copy->fields, META_KAFKA);
    copy = event_meta_copy(&arena, &record.meta);
    value_is(copy, META_KEY, ""); /* empty is not NULL */
    record_meta_deinit(&record);
    arena_deinit(&arena);
}

/* ---- by hand --------------------------------------------------------------------------------- */

static const SourceKind kafka_like = {.name = "tap", .meta_fields = META_KAFKA}, nats_like = {.name = "nap", .meta_fields = META_NATS};
static const Source tap = {.kind = &kafka_like}, nap = {.kind = &nats_like}, http = {.kind = &source_kind_http};

static void what_a_person_gives_is_looked_at(void **state) {
    (void)state;
    static const struct {
        const Source *source;
        const char *name, *value, *says; /* NULL: taken */
    } rows[] = {
        {&tap, "topic", "t", NULL},
        {&tap, "topic", "", "which is not a text"},
        {&tap, "topic", "\xff", "which is not a text"},
        {&tap, "partition", "0", NULL},
        {&tap, "partition", "-1", "the meta field \"partition\" is \"-1\", which is not a whole number from 0"},
        {&tap, "partition", "007", "not a whole number"},
        {&tap, "offset", "9223372036854775807", NULL},
        {&tap, "offset", "9223372036854775808", "not a whole number"},
        {&tap, "offset", "1.0", "not a whole number"},
        {&tap, "offset", "1e3", "not a whole number"},
        {&tap, "offset", " 1", "not a whole number"},
        {&tap, "offset", "", "not a whole number"},
        {&tap, "key", "", NULL},
        {&tap, "key", "\xff", NULL},
        {&tap, "timestamp", "2026-11-30T10:00:00Z", NULL},
        {&tap, "timestamp", "2026-11-30", "which is not RFC 3339"},
        {&tap, "timestamp", "yesterday", "which is not RFC 3339"},
        {&tap, "bridge", "any", NULL},
        {&tap, "subject", "s",
         "there is no meta field \"subject\": sources of type \"tap\" have topic, partition, offset, key, timestamp, bridge"},
        {&tap, "Topic", "t", "there is no meta field \"Topic\""},
        {&tap, "", "t", "there is no meta field \"\""},
        {&nap, "subject", "s", NULL},
        {&nap, "stream", "S", NULL},
        {&nap, "sequence", "5", NULL},
        {&nap, "offset", "5", "sources of type \"nap\" have subject, stream, sequence, timestamp, bridge"},
        {&http, "topic", "t", "there is no meta field \"topic\": sources of type \"http\" have no meta fields"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        EventMeta meta = {.fields = source_meta_fields(rows[i].source)};
        Error error = {0};
        MetaField field;
        int r = event_meta_set(&meta, rows[i].source, span_of(rows[i].name), span_of(rows[i].value), &error);
        assert_int_equal(r, rows[i].says ? -EINVAL : 0);
        if (rows[i].says && !strstr(error.text, rows[i].says)) fail_msg("\"%s\" lacks \"%s\"", error.text, rows[i].says);
        if (rows[i].says) continue;
        assert_true(meta_field_find(span_of(rows[i].name), &field));
        value_is(&meta, field, rows[i].value);
        assert_int_equal(event_meta_set(&meta, rows[i].source, span_of(rows[i].name), span_of(rows[i].value), &error), -EINVAL);
        assert_non_null(strstr(error.text, "is given twice"));
    }
}

static void the_event_id_follows_from_the_place(void **state) {
    (void)state;
    Arena arena = {0};
    EventMeta meta = {.fields = META_KAFKA, .values = {[META_TOPIC] = SPAN("t"), [META_OFFSET] = SPAN("5")}};
    event_meta_complete(&meta, &arena);
    value_is(&meta, META_BRIDGE, NULL); /* of no partition */
    meta.values[META_PARTITION] = SPAN("0");
    event_meta_complete(&meta, &arena);
    value_is(&meta, META_BRIDGE, "kafka:t:0:5");
    meta.values[META_BRIDGE] = SPAN("given");
    event_meta_complete(&meta, &arena);
    value_is(&meta, META_BRIDGE, "given");
    EventMeta of_nats = {.fields = META_NATS, .values = {[META_STREAM] = SPAN("S"), [META_SEQUENCE] = SPAN("5")}};
    event_meta_complete(&of_nats, &arena);
    value_is(&of_nats, META_BRIDGE, "nats:S:5");
    arena_deinit(&arena);
}

static void fields_fit_types(void **state) {
    (void)state;
    for (MetaField field = 0; field < META_FIELD_COUNT_; field++) {
        bool number = field == META_PARTITION || field == META_OFFSET || field == META_SEQUENCE, key = field == META_KEY;
        assert_true(meta_field_fits(field, DATA_TEXT) && meta_field_fits(field, DATA_BYTES));
        assert_int_equal(meta_field_fits(field, DATA_INTEGER), number || key);
        assert_int_equal(meta_field_fits(field, DATA_NUMBER), number || key);
        assert_int_equal(meta_field_fits(field, DATA_DECIMAL), number || key);
        assert_int_equal(meta_field_fits(field, DATA_TIMESTAMP), field == META_TIMESTAMP || key);
        assert_int_equal(meta_field_fits(field, DATA_DATE), field == META_TIMESTAMP || key);
        assert_int_equal(meta_field_fits(field, DATA_BOOLEAN), key);
        assert_int_equal(meta_field_fits(field, DATA_JSON), key);
    }
}

/* ---- ids ------------------------------------------------------------------------------------- */

static void id_is(const Uuid *id, const char *expected) {
    char text[UUID_TEXT_SIZE + 1] = "";
    uuid_format(id, text);
    assert_string_equal(text, expected);
}

/* Made by the Python program of docs/formats.md: they may never change, since what is read again
 * would get other ids. */
static void ids_of_records(void **state) {
    (void)state;
    static const struct {
        const char *cluster, *topic;
        uint32_t generation;
        int32_t partition;
        const char *space;
        struct {
            int64_t offset;
            uint32_t row;
            const char *id;
        } ids[3];
    } rows[] = {
        {"MkU3OEVBNTcwNTJENDM2Qg",
         "shop.orders",
         0,
         0,
         "cdded173-9dac-82fd-b23c-758e5c86a0ab",
         {{0, 0, "a2679e6d-fa76-8f9e-bd4a-f91d9da21d85"},
          {17, 0, "7adfca25-8688-8319-a746-48ea3b561220"},
          {17, 1, "a09eef07-cab8-8d52-850f-090fc146ef34"}}},
        {"MkU3OEVBNTcwNTJENDM2Qg",
         "shop.orders",
         1,
         7,
         "64a35e62-78fb-8347-bc9a-bbb0a848f727",
         {{17, 0, "80cb7e3d-a289-81b9-a921-41f0e7a65861"},
          {17, 1, "1a540111-b674-8422-8f0e-6374c90148b2"},
          {INT64_C(9007199254740993), 0, "57ea9a8a-fc71-8f7d-a01e-a42e5c63f77e"}}},
        {"A 2026-11-30T10:00:00.123456789Z",
         "ORDERS",
         0,
         0,
         "f8e19b6f-6375-87e6-89d1-576ce2e6d820",
         {{0, 0, "300c7593-7981-8370-9147-db2ea0beaa87"},
          {17, 0, "5798425a-ca86-8a17-b085-786733226684"},
          {17, 1, "c8bc8ce3-c922-8d7f-9abe-55d2639305ec"}}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Uuid space, id;
        record_id_space(span_of(rows[i].cluster), span_of(rows[i].topic), rows[i].generation, rows[i].partition, &space);
        id_is(&space, rows[i].space);
        for (size_t k = 0; k < 3; k++) {
            record_id(&space, rows[i].ids[k].offset, rows[i].ids[k].row, &id);
            id_is(&id, rows[i].ids[k].id);
        }
    }
}

static int compare(const void *a, const void *b) {
    return memcmp(a, b, sizeof(Uuid));
}

/* Each part of the place counts, and none runs into its neighbour. */
static void each_place_has_its_own_id(void **state) {
    (void)state;
    static const char *const names[] = {"", "a", "ab", "b", "ba", "a\x01"};
    enum { NAMES = sizeof names / sizeof *names, NUMBERS = 3, EVENTS = 5 };
    static Uuid all[NAMES * NAMES * NUMBERS * NUMBERS * EVENTS * EVENTS];
    size_t count = 0;
    for (size_t cluster = 0; cluster < NAMES; cluster++)
        for (size_t topic = 0; topic < NAMES; topic++)
            for (uint32_t place = 0; place < NUMBERS * NUMBERS; place++) {
                Uuid space;
                record_id_space(span_of(names[cluster]), span_of(names[topic]), place / NUMBERS, (int32_t)(place % NUMBERS), &space);
                for (uint32_t event = 0; event < EVENTS * EVENTS; event++) record_id(&space, event / EVENTS, event % EVENTS, &all[count++]);
            }
    assert_int_equal(count, sizeof all / sizeof *all);
    qsort(all, count, sizeof *all, compare);
    for (size_t i = 1; i < count; i++) assert_true(compare(&all[i - 1], &all[i]) < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_of_kafka),
        cmocka_unit_test(a_message_of_nats),
        cmocka_unit_test(a_copy_has_memory_of_its_own),
        cmocka_unit_test(what_a_person_gives_is_looked_at),
        cmocka_unit_test(the_event_id_follows_from_the_place),
        cmocka_unit_test(fields_fit_types),
        cmocka_unit_test(ids_of_records),
        cmocka_unit_test(each_place_has_its_own_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
