/* The rows of an event in row text, by the column that has its id. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/delivery/find_rows.h"

#define A "019d2c7a-51c3-7a04-8f0e-3d7f6f0c2b11"
#define B "019d2c7a-51c3-7a04-8f0e-3d7f6f0c2b12"

static const IdColumn second = {.column = 1, .cells = 3};

static FoundRows find(const char *text, const char *id, uint64_t wanted_rows, int result) {
    FoundRows found = {0};
    Uuid uuid;
    uint64_t rows = 0;
    assert_true(uuid_parse(span_of(id), &uuid));
    assert_int_equal(find_rows_in_text(&second, &uuid, 10, span_of(text), &found, &rows), result);
    if (result == 0) assert_int_equal(rows, wanted_rows);
    return found;
}

static void rows_are_found(void **state) {
    /* Quoted line ends, the id in other columns and in a longer text, NULL, and several rows of one event. */
    const char *text = "1," B ",x\n"
                       "\"a\n" A "\"," B ",\n" A ",," A "\n"
                       "2,\"" A "\",x\n"
                       "3," A ",\"\"\n"
                       "4," A "9,x\n"
                       "5," B ",x\n";
    FoundRows found = find(text, A, 7, 0);
    assert_int_equal(found.first_row, 13);
    assert_int_equal(found.rows, 2);
    found = find(text, B, 7, 0);
    assert_int_equal(found.first_row, 10);
    found = find(text, "019d2c7a-51c3-7a04-8f0e-3d7f6f0c2b13", 7, 0);
    assert_int_equal(found.rows, 0);
    assert_int_equal(find("", A, 0, 0).rows, 0);
}

static void what_is_no_row_is_refused(void **state) {
    (void)find("1," A ",x", A, 0, -EBADMSG);
    (void)find("1," A "\n", A, 0, -EBADMSG);
    (void)find("1," A ",x,y\n", A, 0, -EBADMSG);
    assert_int_equal(find("1,x\n", A, 1, 0).rows, 0); /* only rows with the id are taken apart */
}

static void the_column_is_of_type_id_and_not_masked(void **state) {
    Column columns[] = {{.type = COLUMN_PATH}, {.type = COLUMN_ID, .mask = (char *)"hash"}, {.type = COLUMN_ID}};
    SinkTarget target = {.columns = columns, .column_count = 3};
    IdColumn column;
    assert_true(id_column_find(&target, &column));
    assert_int_equal(column.column, 2);
    assert_int_equal(column.cells, 3);
    assert_false(column.may_be_empty);
    target.table.delete_on.tombstone = true;
    assert_true(id_column_find(&target, &column));
    assert_int_equal(column.cells, 4);
    assert_true(column.may_be_empty); /* a row that deletes has only its key */
    columns[2].primary_key = true;
    assert_true(id_column_find(&target, &column));
    assert_false(column.may_be_empty);
    target.column_count = 2;
    assert_false(id_column_find(&target, &column));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_found),
        cmocka_unit_test(what_is_no_row_is_refused),
        cmocka_unit_test(the_column_is_of_type_id_and_not_masked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
