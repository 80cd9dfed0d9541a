#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/array.h"

static void items_stay_where_they_were_put(void **state) {
    size_t *items = NULL, count = 0, capacity = 0, moves = 0;
    for (size_t i = 0; i < 1000; i++) {
        size_t before = capacity;
        array_reserve(items, count, capacity);
        moves += capacity != before;
        items[count++] = i;
    }
    for (size_t i = 0; i < 1000; i++) assert_int_equal(items[i], i);
    assert_true(capacity >= 1000 && capacity < 2048);
    assert_int_equal(moves, 8); /* 8, 16, … 1024: doubled, so that adding stays cheap */
    free(items);
}

static void a_list_without_capacity_has_room_for_one_more(void **state) {
    char **names = NULL;
    size_t count = 0;
    for (; count < 10; count++) {
        array_extend(names, count);
        names[count] = "name";
    }
    assert_string_equal(names[9], "name");
    free(names);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_stay_where_they_were_put),
        cmocka_unit_test(a_list_without_capacity_has_room_for_one_more),
    };
    return cmocka_run_group_tests_name("array", tests, NULL, NULL);
}
