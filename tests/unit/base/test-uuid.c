#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/uuid.h"

static int compare(const Uuid *a, const Uuid *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

static uint64_t milliseconds_of(const Uuid *id) {
    uint64_t ms = 0;
    for (int i = 0; i < 6; i++) ms = ms << 8 | id->bytes[i];
    return ms;
}

static void layout_is_version_7(void **state) {
    UuidSource source = {0};
    Uuid id;
    for (int i = 0; i < 1000; i++) {
        uuid_next(&source, 0x0123456789AB * USEC_MS + 999 + i * USEC_MS, &id);
        assert_true(milliseconds_of(&id) == 0x0123456789ABu + (uint64_t)i);
        assert_int_equal(id.bytes[6] >> 4, 7);
        assert_int_equal(id.bytes[8] >> 6, 2);
    }
}

/* More ids in one millisecond than the counter can hold. */
static void ids_ascend_within_a_millisecond(void **state) {
    UuidSource source = {0};
    Uuid before = {0}, id;
    for (int i = 0; i < 50000; i++) {
        uuid_next(&source, 1700000000 * USEC_SECOND, &id);
        assert_true(compare(&before, &id) < 0);
        before = id;
    }
    /* each step of the clock is worth 2048 ids or more */
    assert_true(milliseconds_of(&id) <= 1700000000000u + 50000 / 2048 + 1);
    uuid_next(&source, 1700000000 * USEC_SECOND + 5 * USEC_MS, &id);
    assert_true(compare(&before, &id) < 0);
}

static void ids_ascend_when_the_clock_goes_back(void **state) {
    UuidSource source = {0};
    Uuid before, id;
    uuid_next(&source, 1700000000 * USEC_SECOND, &before);
    for (usec_t back = 0; back < 10000; back++) {
        uuid_next(&source, 1700000000 * USEC_SECOND - back * USEC_HOUR, &id);
        assert_true(compare(&before, &id) < 0);
        before = id;
    }
}

static void random_parts_differ(void **state) {
    UuidSource source = {0}, other = {0};
    Uuid a, b;
    uint64_t ones = 0, zeros = 0;
    for (int i = 0; i < 200; i++) {
        uint64_t low;
        uuid_next(&source, USEC_SECOND, &a);
        uuid_next(&other, USEC_SECOND, &b);
        assert_memory_not_equal(a.bytes + 8, b.bytes + 8, 8);
        memcpy(&low, a.bytes + 8, 8);
        ones |= low;
        zeros |= ~low;
    }
    assert_true((ones & zeros) == (UINT64_MAX & ~(uint64_t)0xC0)); /* all but the variant's two bits vary */
}

/* As python3 -c 'import xxhash; print(xxhash.xxh3_128_hexdigest(NAME))' gives them, with 4 bits of
 * the version and 2 of the variant set. */
static void a_name_has_one_id(void **state) {
    static char many[1000];
    memset(many, 'x', sizeof many);
    const struct {
        Span name;
        const char *id;
    } rows[] = {
        {{0}, "99aa06d3-0147-88d8-a001-c324468d497f"},
        {SPAN(""), "99aa06d3-0147-88d8-a001-c324468d497f"},
        {SPAN("abc"), "06b05ab6-733a-8185-b8af-5f94892f3950"},
        {{many, sizeof many}, "50a1af5a-5f2d-8f01-80a4-877b962cba82"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Uuid id;
        char text[UUID_TEXT_SIZE + 1] = "";
        uuid_derive(rows[i].name, &id);
        uuid_format(&id, text);
        assert_string_equal(text, rows[i].id);
        assert_int_equal(id.bytes[6] >> 4, 8);
        assert_int_equal(id.bytes[8] >> 6, 2);
    }
}

static void text_goes_both_ways(void **state) {
    Uuid id, other;
    char text[UUID_TEXT_SIZE + 1] = "";
    assert_true(uuid_parse(SPAN("017F22E2-79B0-7CC3-98C4-dc0c0c07398f"), &id));
    uuid_format(&id, text);
    assert_string_equal(text, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    assert_int_equal(id.bytes[0], 0x01);
    assert_int_equal(id.bytes[15], 0x8F);
    assert_true(uuid_parse(span_of(text), &other));
    assert_true(uuid_equal(&id, &other));
    other.bytes[15] ^= 1;
    assert_false(uuid_equal(&id, &other));
    assert_false(uuid_is_nil(&id));
    assert_true(uuid_is_nil(&(Uuid){0}));
}

static void each_byte_has_its_digits_at_each_place(void **state) {
    char text[UUID_TEXT_SIZE], wanted[64];
    for (unsigned value = 0; value < 256; value++) {
        Uuid id;
        for (unsigned i = 0; i < sizeof id.bytes; i++) id.bytes[i] = (uint8_t)(value + 17 * i);
        char *to = wanted;
        for (unsigned i = 0; i < sizeof id.bytes; i++)
            to += sprintf(to, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id.bytes[i]);
        uuid_format(&id, text);
        assert_memory_equal(text, wanted, sizeof text);
    }
}

static void other_texts_are_refused(void **state) {
    static const char *const texts[] = {
        "",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f0",
        "017f22e279b0-7cc3-98c4-dc0c0c07398f-",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
        "{17f22e2-79b0-7cc3-98c4-dc0c0c07398f",
        "017f22e2+79b0-7cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-98c4-dc0c0c0739 f",
    };
    Uuid id = {.bytes = {9}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) assert_false(uuid_parse(span_of(texts[i]), &id));
    assert_int_equal(id.bytes[0], 9);
}

static Uuid id_of(const char *text) {
    Uuid id;
    assert_true(uuid_parse(span_of(text), &id));
    return id;
}

static void times_are_those_of_version_7(void **state) {
    uint64_t ms = 9;
    Uuid id = id_of("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"), other = id_of("017f22e2-79b0-8cc3-98c4-dc0c0c07398f");
    assert_true(uuid_time(&id, &ms));
    assert_int_equal(ms, 0x017f22e279b0);
    ms = 9;
    assert_false(uuid_time(&other, &ms));
    assert_false(uuid_time(&(Uuid){0}, &ms));
    assert_int_equal(ms, 9);
}

/* In any order, and in both halves of the id. */
static void a_range_has_the_smallest_and_the_greatest(void **state) {
    const Uuid ids[] = {id_of("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"), id_of("017f22e2-79b0-7cc3-98c4-dc0c0c073990"),
                        id_of("017f22e2-79b0-7cc3-78c4-dc0c0c07398f"), id_of("017f22e2-79b1-7cc3-98c4-dc0c0c07398f"),
                        id_of("017f22e2-79af-7cc3-98c4-dc0c0c07398f"), id_of("f17f22e2-79af-7cc3-98c4-dc0c0c07398f")};
    const size_t count = sizeof ids / sizeof *ids;
    for (size_t start = 0; start < count; start++) {
        UuidRange range = {0};
        range.first = ids[start];
        for (size_t i = 0; i < count; i++) uuid_range_extend(&range, &ids[(start + i) % count]);
        assert_true(uuid_equal(&range.first, &ids[4]) && uuid_equal(&range.last, &ids[5]));
    }
    UuidRange range = {ids[2], ids[0]}, more = {ids[0], ids[3]};
    assert_true(uuid_range_may_have(&range, &ids[2]) && uuid_range_may_have(&range, &ids[0]));
    assert_false(uuid_range_may_have(&range, &ids[1]));
    assert_false(uuid_range_may_have(&range, &ids[4]));
    uuid_range_add(&range, &more);
    assert_true(uuid_equal(&range.first, &ids[2]) && uuid_equal(&range.last, &ids[3]));
    /* What is not known makes the sum unknown. */
    uuid_range_add(&range, &(UuidRange){0});
    assert_false(uuid_range_is_known(&range));
    uuid_range_add(&range, &more);
    assert_false(uuid_range_is_known(&range));
    assert_true(uuid_range_may_have(&range, &ids[5]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_is_version_7),
        cmocka_unit_test(ids_ascend_within_a_millisecond),
        cmocka_unit_test(ids_ascend_when_the_clock_goes_back),
        cmocka_unit_test(random_parts_differ),
        cmocka_unit_test(a_name_has_one_id),
        cmocka_unit_test(text_goes_both_ways),
        cmocka_unit_test(each_byte_has_its_digits_at_each_place),
        cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(times_are_those_of_version_7),
        cmocka_unit_test(a_range_has_the_smallest_and_the_greatest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
