#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

static void grows_and_keeps_what_is_there(void **state) {
    Buffer buffer = {0};
    for (int i = 0; i < 100000; i++) buffer_append_byte(&buffer, (char)(i % 251));
    assert_int_equal(buffer.size, 100000);
    for (int i = 0; i < 100000; i++) assert_int_equal(buffer.data[i], (char)(i % 251));
    assert_true(buffer.capacity < 300000);
    buffer_deinit(&buffer);
    assert_null(buffer.data);
    buffer_append_text(&buffer, "usable again");
    assert_string_equal(buffer_text(&buffer), "usable again");
    buffer_deinit(&buffer);
}

static void nothing_can_be_appended_from_nowhere(void **state) {
    Buffer buffer = {0};
    buffer_append(&buffer, NULL, 0);
    buffer_append_span(&buffer, (Span){0});
    assert_int_equal(buffer.size, 0);
    assert_string_equal(buffer_text(&buffer), "");
    buffer_deinit(&buffer);
}

static void reserve_gives_room_also_for_nothing(void **state) {
    Buffer buffer = {0};
    assert_non_null(buffer_reserve(&buffer, 0));
    memset(buffer_reserve(&buffer, 1000), 'x', 1000);
    buffer.size += 1000;
    assert_int_equal(buffer.data[999], 'x');
    buffer_deinit(&buffer);
}

static void printf_fits_any_length(void **state) {
    Buffer buffer = {0};
    char text[5000];
    memset(text, 'y', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (size_t size = 0; size < 300; size++) {
        buffer_clear(&buffer);
        buffer_printf(&buffer, "%.*s", (int)size, text);
        assert_int_equal(buffer.size, size);
    }
    buffer_clear(&buffer);
    buffer_printf(&buffer, "<%s>%d", text, 12);
    assert_int_equal(buffer.size, sizeof text - 1 + 4);
    assert_string_equal(buffer_text(&buffer) + sizeof text, ">12");
    buffer_deinit(&buffer);
}

static void take_gives_the_bytes_away(void **state) {
    Buffer buffer = {0};
    buffer_append_text(&buffer, "mine");
    char *text = buffer_take(&buffer);
    assert_string_equal(text, "mine");
    assert_null(buffer.data);
    assert_int_equal(buffer.size, 0);
    free(text);
    text = buffer_take(&buffer);
    assert_string_equal(text, "");
    free(text);
}

static void integers_are_little_endian(void **state) {
    Buffer buffer = {0};
    buffer_put_u8(&buffer, 0x01);
    buffer_put_u16(&buffer, 0x0302);
    buffer_put_u32(&buffer, 0x07060504);
    buffer_put_u64(&buffer, 0x0F0E0D0C0B0A0908);
    buffer_put_block(&buffer, SPAN("ab"));
    static const char expected[] = "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B\x0C\x0D\x0E\x0F\x02\0\0\0ab";
    assert_int_equal(buffer.size, sizeof expected - 1);
    assert_memory_equal(buffer.data, expected, sizeof expected - 1);
    buffer_deinit(&buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_keeps_what_is_there),       cmocka_unit_test(nothing_can_be_appended_from_nowhere),
        cmocka_unit_test(reserve_gives_room_also_for_nothing), cmocka_unit_test(printf_fits_any_length),
        cmocka_unit_test(take_gives_the_bytes_away),           cmocka_unit_test(integers_are_little_endian),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
