#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/line_writer.h"
#include "base/metrics.h"

enum { PIPE_BYTES = 16384, LINES = 5000, THREADS = 4 };

/* A pipe whose read end is in the hand of the test. */
typedef struct Fixture {
    LineWriter *writer;
    int ends[2];
    char *text; /* what was read */
    size_t size, capacity;
    uint64_t dropped_before;
} Fixture;

static size_t note(uint64_t dropped, char *out, size_t capacity) {
    return (size_t)snprintf(out, capacity, "%" PRIu64 " dropped\n", dropped);
}

static int setup(void **state) {
    Fixture *fixture = calloc(1, sizeof *fixture);
    Error error = {0};
    assert_int_equal(pipe2(fixture->ends, O_CLOEXEC), 0);
    assert_true(fcntl(fixture->ends[1], F_SETPIPE_SZ, PIPE_BYTES) > 0);
    fixture->writer = malloc(sizeof *fixture->writer);
    fixture->dropped_before = metrics_read(METRIC_LOG_LINES_DROPPED);
    assert_int_equal(line_writer_start(fixture->writer, fixture->ends[1], note, &error), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state) {
    Fixture *fixture = *state;
    (void)close(fixture->ends[0]);
    if (fixture->ends[1] >= 0) (void)close(fixture->ends[1]);
    free(fixture->writer);
    free(fixture->text);
    free(fixture);
    return 0;
}

static uint64_t dropped(const Fixture *fixture) {
    return metrics_read(METRIC_LOG_LINES_DROPPED) - fixture->dropped_before;
}

static void add(Fixture *fixture, const char *format, ...) {
    char line[LINE_WRITER_LONGEST_LINE + 1];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    line_writer_add(fixture->writer, (Span){.data = line, .size = (size_t)size});
}

/* False at the end of the pipe. */
static bool read_some(Fixture *fixture) {
    if (fixture->capacity - fixture->size < PIPE_BUF + 1) {
        fixture->capacity = 2 * fixture->capacity + 2 * PIPE_BUF;
        fixture->text = realloc(fixture->text, fixture->capacity);
        assert_non_null(fixture->text);
    }
    ssize_t got = read(fixture->ends[0], fixture->text + fixture->size, PIPE_BUF);
    assert_true(got >= 0);
    fixture->size += (size_t)got;
    fixture->text[fixture->size] = '\0';
    return got > 0;
}

/* NULL: until the end of the pipe, which is a failure else. */
static void read_until(Fixture *fixture, const char *what) {
    while (!what || !fixture->text || !strstr(fixture->text, what))
        if (!read_some(fixture)) {
            assert_null(what);
            return;
        }
}

static void close_writing_end(Fixture *fixture) {
    (void)close(fixture->ends[1]);
    fixture->ends[1] = -1;
}

/* Lines "WORD NUMBER" in order of their numbers; sums up notes. */
static void count_lines(const char *text, uint64_t *ret_lines, uint64_t *ret_noted) {
    long last = -1;
    for (*ret_lines = *ret_noted = 0; *text;) {
        uint64_t count;
        long number;
        char end;
        if (sscanf(text, "line %ld of%c", &number, &end) == 2) {
            assert_true(number > last);
            last = number;
            ++*ret_lines;
        } else {
            assert_int_equal(sscanf(text, "%" SCNu64 " dropped%c", &count, &end), 2);
            *ret_noted += count;
        }
        text = strchr(text, '\n');
        assert_non_null(text);
        text++;
    }
}

static void lines_come_whole_and_in_order(void **state) {
    Fixture *fixture = *state;
    for (int i = 0; i < 20; i++) add(fixture, "line %d of 20\n", i);
    assert_true(line_writer_stop(fixture->writer, 10 * USEC_SECOND));
    close_writing_end(fixture);
    read_until(fixture, NULL);
    uint64_t lines, noted;
    count_lines(fixture->text, &lines, &noted);
    assert_int_equal(lines, 20);
    assert_int_equal(noted, 0);
    assert_int_equal(dropped(fixture), 0);
}

static void a_reader_that_does_not_read_holds_nobody_up(void **state) {
    Fixture *fixture = *state;
    for (int i = 0; i < LINES; i++) add(fixture, "line %d of many, long enough to fill the buffer\n", i);
    assert_true(dropped(fixture) > 0);
    assert_false(line_writer_flush(fixture->writer, USEC_MS));

    /* It reads again: first what was kept, then one line that tells how many were dropped. */
    read_until(fixture, " dropped\n");
    uint64_t lines, noted;
    count_lines(fixture->text, &lines, &noted);
    assert_int_equal(lines + noted, LINES);
    assert_int_equal(noted, dropped(fixture));
    assert_non_null(strstr(fixture->text, "line 0 of"));

    add(fixture, "line %d of the time after\n", LINES);
    read_until(fixture, "the time after\n");
    assert_int_equal(dropped(fixture), noted);
    assert_true(line_writer_stop(fixture->writer, 10 * USEC_SECOND));
}

static void the_end_does_not_wait_for_the_reader(void **state) {
    Fixture *fixture = *state;
    for (int i = 0; i < LINES; i++) add(fixture, "line %d of many, long enough to fill the buffer\n", i);
    assert_true(line_writer_stop(fixture->writer, USEC_MS)); /* the thread is not left behind */
}

static void a_reader_that_is_gone_costs_the_lines_alone(void **state) {
    Fixture *fixture = *state;
    int other[2];
    (void)close(fixture->ends[0]);
    for (int i = 0; i < 10; i++) {
        add(fixture, "line %d of 10\n", i);
        assert_true(line_writer_flush(fixture->writer, 10 * USEC_SECOND));
    }
    assert_int_equal(dropped(fixture), 10);

    /* A new reader is told before the next line. */
    assert_int_equal(pipe2(other, O_CLOEXEC), 0);
    assert_int_equal(dup2(other[1], fixture->ends[1]), fixture->ends[1]);
    (void)close(other[1]);
    fixture->ends[0] = other[0];
    add(fixture, "line 10 of 10\n");
    assert_true(line_writer_stop(fixture->writer, 10 * USEC_SECOND));
    read_until(fixture, "line 10 of 10\n");
    assert_string_equal(fixture->text, "10 dropped\nline 10 of 10\n");
}

static void a_reader_that_goes_while_the_buffer_is_full_costs_the_lines_alone(void **state) {
    Fixture *fixture = *state;
    int other[2];
    for (int i = 0; i < LINES; i++) add(fixture, "line %d of many, long enough to fill the buffer\n", i);
    assert_true(dropped(fixture) > 0);
    (void)close(fixture->ends[0]);
    assert_true(line_writer_flush(fixture->writer, 10 * USEC_SECOND)); /* the write fails and what was kept is dropped */

    assert_int_equal(pipe2(other, O_CLOEXEC), 0);
    assert_int_equal(dup2(other[1], fixture->ends[1]), fixture->ends[1]);
    (void)close(other[1]);
    fixture->ends[0] = other[0];
    uint64_t lost = dropped(fixture);
    add(fixture, "line 0 of the new reader\n");
    assert_true(line_writer_stop(fixture->writer, 10 * USEC_SECOND));
    close_writing_end(fixture);
    read_until(fixture, NULL);
    assert_int_equal(dropped(fixture), lost);
    uint64_t lines, noted;
    count_lines(fixture->text, &lines, &noted);
    assert_int_equal(lines, 1);
    assert_int_equal(noted, lost);
}

static void a_descriptor_that_another_process_made_non_blocking_works(void **state) {
    Fixture *fixture = *state;
    assert_int_equal(fcntl(fixture->ends[1], F_SETFL, O_NONBLOCK), 0);
    static char word[6000];
    memset(word, 'w', sizeof word - 1);
    for (int i = 0; i < 5; i++) add(fixture, "line %d of %s\n", i, word); /* longer than the pipe */
    add(fixture, "the end\n");
    read_until(fixture, "\nthe end\n");
    assert_int_equal(dropped(fixture), 0);
    assert_true(line_writer_stop(fixture->writer, 10 * USEC_SECOND));
}

typedef struct Adder {
    Fixture *fixture;
    Thread thread;
    int number;
} Adder;

static void *add_many(void *context) {
    Adder *adder = context;
    for (int i = 0; i < LINES; i++) add(adder->fixture, "%d %d, and some more text\n", adder->number, i);
    return NULL;
}

static void threads_lose_nothing_uncounted(void **state) {
    Fixture *fixture = *state;
    Adder adders[THREADS];
    for (int i = 0; i < THREADS; i++) {
        adders[i] = (Adder){.fixture = fixture, .number = i};
        assert_int_equal(thread_start(&adders[i].thread, "adder", add_many, &adders[i], NULL), 0);
    }
    for (int i = 0; i < 8; i++) read_some(fixture); /* a reader that lags behind */
    for (int i = 0; i < THREADS; i++) thread_join(&adders[i].thread);
    assert_true(fcntl(fixture->ends[1], F_SETPIPE_SZ, 1 << 20) > 0); /* room for all that is left */
    assert_true(line_writer_stop(fixture->writer, 60 * USEC_SECOND));
    close_writing_end(fixture);
    read_until(fixture, NULL);

    uint64_t lines = 0, noted = 0;
    int last[THREADS] = {[0 ... THREADS - 1] = -1};
    for (const char *at = fixture->text; *at; at = strchr(at, '\n') + 1) {
        int thread, number;
        uint64_t count;
        char end;
        if (sscanf(at, "%d %d,%c", &thread, &number, &end) == 3) {
            assert_in_range(thread, 0, THREADS - 1);
            assert_true(number > last[thread]);
            last[thread] = number;
            lines++;
        } else {
            assert_int_equal(sscanf(at, "%" SCNu64 " dropped%c", &count, &end), 2);
            noted += count;
        }
    }
    assert_int_equal(lines + noted, THREADS * LINES);
    assert_int_equal(noted, dropped(fixture));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_come_whole_and_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reader_that_does_not_read_holds_nobody_up, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_does_not_wait_for_the_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reader_that_is_gone_costs_the_lines_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reader_that_goes_while_the_buffer_is_full_costs_the_lines_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_descriptor_that_another_process_made_non_blocking_works, setup, teardown),
        cmocka_unit_test_setup_teardown(threads_lose_nothing_uncounted, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
