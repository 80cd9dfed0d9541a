#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/thread.h"
#include "gateway/flow/discoveries.h"
#include "gateway/flow/messages.h"

static void add(Discoveries *discoveries, Mailbox *control, const char *path, bool is_variant, DataType type) {
    discoveries_add(discoveries, &(MapDiscovery){.path = span_of(path), .is_variant = is_variant, .type = type}, control);
}

/* What is taken, as one text: "a:text a~json". */
static void assert_taken(Discoveries *discoveries, const char *wanted) {
    Buffer text = {0};
    size_t count;
    InferredColumn *columns = discoveries_take(discoveries, &count);
    for (size_t i = 0; i < count; i++) {
        assert_null(columns[i].name);
        buffer_printf(&text, "%s%s%s%s", i > 0 ? " " : "", columns[i].path, columns[i].is_variant ? "~" : ":",
                      data_type_name(columns[i].type));
    }
    assert_string_equal(buffer_text(&text), wanted);
    inferred_columns_free(columns, count);
    buffer_deinit(&text);
}

static void control_is_told_once(void **state) {
    (void)state;
    Mailbox *control = mailbox_new(NULL, NULL);
    Discoveries *discoveries = discoveries_new(7);
    assert_int_equal(discoveries_sink(discoveries), 7);
    for (int round = 0; round < 3; round++) {
        add(discoveries, control, "a", false, DATA_INTEGER);
        add(discoveries, control, "b", false, DATA_TEXT);
        Message *message = mailbox_take(control);
        assert_non_null(message);
        assert_null(message->next);
        Discoveries *told = discoveries_of(message);
        assert_ptr_equal(told, discoveries);
        add(told, control, "c", false, DATA_JSON); /* while control waits for more */
        assert_null(mailbox_take(control));
        assert_taken(told, "a:integer b:text c:json");
        assert_taken(told, "");
        discoveries_unref(told);
    }
    add(discoveries, control, "a", false, DATA_INTEGER);
    discoveries_unref(discoveries); /* the message holds it */
    Discoveries *last = discoveries_of(mailbox_take(control));
    assert_taken(last, "a:integer");
    discoveries_unref(last);
    mailbox_free(control);
}

static void types_are_widened(void **state) {
    (void)state;
    Mailbox *control = mailbox_new(NULL, NULL);
    Discoveries *discoveries = discoveries_new(1);
    add(discoveries, control, "n", false, DATA_INTEGER);
    add(discoveries, control, "t", true, DATA_JSON);
    add(discoveries, control, "n", false, DATA_DECIMAL);
    add(discoveries, control, "t", true, DATA_INTEGER);
    add(discoveries, control, "m", false, DATA_BOOLEAN);
    add(discoveries, control, "t", false, DATA_TIMESTAMP);
    add(discoveries, control, "t", true, DATA_JSON);
    add(discoveries, control, "m", false, DATA_TEXT);
    add(discoveries, control, "t", false, DATA_TEXT);
    Discoveries *told = discoveries_of(mailbox_take(control));
    assert_taken(told, "n:decimal t:text t~integer t~json m:json");
    discoveries_unref(told);
    discoveries_unref(discoveries);
    mailbox_free(control);
}

static void there_is_a_bound(void **state) {
    (void)state;
    Mailbox *control = mailbox_new(NULL, NULL);
    Discoveries *discoveries = discoveries_new(1);
    size_t count;
    char path[32];
    for (unsigned i = 0; i < 100000; i++) {
        (void)snprintf(path, sizeof path, "f%u", i);
        add(discoveries, control, path, i % 2, DATA_TEXT);
    }
    Discoveries *told = discoveries_of(mailbox_take(control));
    InferredColumn *columns = discoveries_take(told, &count);
    assert_int_equal(count, DISCOVERIES_MAX);
    assert_string_equal(columns[0].path, "f0");
    assert_string_equal(columns[count - 1].path, "f999");
    inferred_columns_free(columns, count);
    discoveries_unref(told);
    discoveries_unref(discoveries);
    mailbox_free(control);
}

/* Threads add while control takes: what each adds last is taken at last. */
typedef struct Adder {
    Thread thread;
    Discoveries *discoveries;
    Mailbox *control;
    unsigned number;
} Adder;

static void *add_many(void *context) {
    Adder *adder = context;
    char path[32];
    for (unsigned i = 0; i < 20000; i++) {
        (void)snprintf(path, sizeof path, "t%u_%u", adder->number, i % 50);
        add(adder->discoveries, adder->control, path, false, DATA_INTEGER);
    }
    (void)snprintf(path, sizeof path, "last_%u", adder->number);
    add(adder->discoveries, adder->control, path, false, DATA_TEXT);
    return NULL;
}

#define ADDERS 3

static void threads_add_while_control_takes(void **state) {
    (void)state;
    Mailbox *control = mailbox_new(NULL, NULL);
    Discoveries *discoveries = discoveries_new(1);
    Adder adders[ADDERS];
    Error error = {0};
    unsigned last = 0, took = 0;
    for (unsigned i = 0; i < ADDERS; i++) {
        adders[i] = (Adder){.discoveries = discoveries, .control = control, .number = i};
        assert_int_equal(thread_start(&adders[i].thread, "adder", add_many, &adders[i], &error), 0);
    }
    while (last < ADDERS) {
        assert_true(mailbox_wait(control, 60 * USEC_SECOND));
        Message *message = mailbox_take(control);
        assert_null(message->next);
        Discoveries *told = discoveries_of(message);
        size_t count;
        InferredColumn *columns = discoveries_take(told, &count);
        assert_true(count > 0 && count <= ADDERS * 51);
        for (size_t i = 0; i < count; i++) last += strncmp(columns[i].path, "last_", 5) == 0;
        inferred_columns_free(columns, count);
        discoveries_unref(told);
        took++;
    }
    for (unsigned i = 0; i < ADDERS; i++) thread_join(&adders[i].thread);
    print_message("taken %u times\n", took);
    discoveries_unref(discoveries);
    mailbox_free(control);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_is_told_once),
        cmocka_unit_test(types_are_widened),
        cmocka_unit_test(there_is_a_bound),
        cmocka_unit_test(threads_add_while_control_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
