#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cursor.h"

static void reads_what_the_buffer_wrote(void **state) {
    Buffer buffer = {0};
    buffer_put_u8(&buffer, 0xFE);
    buffer_put_u16(&buffer, 0xFEDC);
    buffer_put_u32(&buffer, 0xFEDCBA98);
    buffer_put_u64(&buffer, 0xFEDCBA9876543210);
    buffer_put_block(&buffer, SPAN("block"));
    buffer_put_block(&buffer, (Span){0});
    buffer_append_text(&buffer, "rest");

    Cursor cursor = cursor_of(buffer_span(&buffer));
    assert_int_equal(cursor_u8(&cursor), 0xFE);
    assert_int_equal(cursor_u16(&cursor), 0xFEDC);
    assert_int_equal(cursor_u32(&cursor), 0xFEDCBA98);
    assert_true(cursor_u64(&cursor) == 0xFEDCBA9876543210);
    assert_true(span_equal(cursor_block(&cursor), SPAN("block")));
    assert_int_equal(cursor_block(&cursor).size, 0);
    assert_true(span_equal(cursor_bytes(&cursor, 4), SPAN("rest")));
    assert_false(cursor.failed);
    assert_ptr_equal(cursor.at, cursor.end);
    assert_int_equal(cursor_u8(&cursor), 0);
    assert_true(cursor.failed);
    buffer_deinit(&buffer);
}

/* Every cut of a record fails, and nothing behind the cut is touched: the bytes have an allocation
 * of their own. */
static void a_cut_record_fails_at_every_length(void **state) {
    static const char record[] = "\x01\x02\x02\x03\x03\x03\x03\x04\x04\x04\x04\x04\x04\x04\x04\x03\0\0\0abc";
    for (size_t size = 0; size < sizeof record; size++) {
        char *bytes = malloc(size + 1);
        memcpy(bytes, record, size);
        char *exact = realloc(bytes, size ? size : 1);
        Cursor cursor = cursor_of((Span){.data = exact, .size = size});
        (void)cursor_u8(&cursor);
        (void)cursor_u16(&cursor);
        (void)cursor_u32(&cursor);
        (void)cursor_u64(&cursor);
        Span block = cursor_block(&cursor);
        assert_int_equal(cursor.failed, size < sizeof record - 1);
        assert_int_equal(block.size, cursor.failed ? 0 : 3);
        free(exact);
    }
}

static void a_failed_cursor_reads_zeros_for_ever(void **state) {
    Cursor cursor = cursor_of(SPAN("\x01\x02\x03"));
    assert_int_equal(cursor_u32(&cursor), 0);
    assert_true(cursor.failed);
    assert_int_equal(cursor_u8(&cursor), 0);
    assert_int_equal(cursor_bytes(&cursor, 1).size, 0);
    assert_int_equal(cursor_bytes(&cursor, 0).size, 0);
    assert_true(cursor.failed);
}

static void a_length_that_lies_is_refused(void **state) {
    Cursor cursor = cursor_of(SPAN("\xFF\xFF\xFF\xFFx"));
    Span block = cursor_block(&cursor);
    assert_true(cursor.failed);
    assert_int_equal(block.size, 0);
    cursor = cursor_of(SPAN("abc"));
    (void)cursor_bytes(&cursor, SIZE_MAX);
    assert_true(cursor.failed);
}

static void nothing_is_a_valid_input(void **state) {
    Cursor cursor = cursor_of((Span){0});
    assert_int_equal(cursor_bytes(&cursor, 0).size, 0);
    assert_false(cursor.failed);
    assert_int_equal(cursor_u8(&cursor), 0);
    assert_true(cursor.failed);
}

static void big_endian_access_needs_no_alignment(void **state) {
    char bytes[17] = {0};
    store_be32(bytes + 1, 0x01020304);
    assert_memory_equal(bytes + 1, "\x01\x02\x03\x04", 4);
    assert_int_equal(load_be32(bytes + 1), 0x01020304);
    store_be64(bytes + 5, 0xF102030405060708);
    assert_memory_equal(bytes + 5, "\xF1\x02\x03\x04\x05\x06\x07\x08", 8);
    assert_true(load_be64(bytes + 5) == 0xF102030405060708);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_the_buffer_wrote),
        cmocka_unit_test(a_cut_record_fails_at_every_length),
        cmocka_unit_test(a_failed_cursor_reads_zeros_for_ever),
        cmocka_unit_test(a_length_that_lies_is_refused),
        cmocka_unit_test(nothing_is_a_valid_input),
        cmocka_unit_test(big_endian_access_needs_no_alignment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
