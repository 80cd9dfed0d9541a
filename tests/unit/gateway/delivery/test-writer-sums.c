/* What the writer asserts at the end of each step: a number that is wrong by one ends the process.
 * Each case has a process of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/delivery/writer/connections.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/staging.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/sums.h"
#include "gateway/delivery/writer/waiting.h"
#include "tests/unit/gateway/delivery/fixture.h"

#define NEVER (1000 * USEC_DAY)

typedef struct Case {
    const char *what;
    void (*corrupt)(Writer *writer, SinkState *sink); /* sink 1 has a file that waits and rows in the log; sink 2 has an open file */
    uint32_t sink;
    bool needs_all; /* found by the walk over everything only */
} Case;

static void nothing(Writer *writer, SinkState *sink) {
}

static void imported_rows(Writer *writer, SinkState *sink) {
    sink->totals.imported.rows++;
}

static void dropped_rows(Writer *writer, SinkState *sink) {
    sink->totals.dropped_rows++;
}

static void rows_in_the_log(Writer *writer, SinkState *sink) {
    sink->log->rows++;
}

static void first_row_in_the_log(Writer *writer, SinkState *sink) {
    sink->log->runs[0].first_row++;
}

static void rows_that_wait(Writer *writer, SinkState *sink) {
    sink->waiting->rows--;
}

static void rows_of_the_open_file(Writer *writer, SinkState *sink) {
    sink->open->file.rows++;
}

static void staged_without_a_stage(Writer *writer, SinkState *sink) {
    sink->stage->staging = true;
}

static void queued_and_staged(Writer *writer, SinkState *sink) {
    sink->stage->queued = sink->stage->staging = true;
}

static void an_import_that_no_loader_has(Writer *writer, SinkState *sink) {
    sink->imports->running = true;
}

static void a_job_that_no_connection_has(Writer *writer, SinkState *sink) {
    writer->imports->in_flight++;
}

static void bytes_in_the_log(Writer *writer, SinkState *sink) {
    sink->log->runs[0].bytes++;
}

static void a_file_with_a_loader_of_a_sink_without_a_job(Writer *writer, SinkState *sink) {
    sink->waiting->items[0].importing = true;
}

static void bytes_that_wait(Writer *writer, SinkState *sink) {
    sink->waiting->bytes++;
}

static void queued_but_not_in_the_queue(Writer *writer, SinkState *sink) {
    sink->stage->queued = true;
    sink_queue_add(&writer->stages->due, writer_sink(writer, 2));
}

static void dirty_but_not_in_the_list(Writer *writer, SinkState *sink) {
    sink->dirty = !sink->dirty;
}

static void a_connection_that_is_paused(Writer *writer, SinkState *sink) {
    writer->connections->paused++;
}

static const Case cases[] = {
    {"nothing", nothing, 1, false},
    {"nothing", nothing, 2, true},
    {"imported rows", imported_rows, 1, false},
    {"dropped rows", dropped_rows, 2, false},
    {"rows in the log", rows_in_the_log, 1, false},
    {"the first row in the log", first_row_in_the_log, 1, false},
    {"rows that wait", rows_that_wait, 1, false},
    {"rows of the open file", rows_of_the_open_file, 2, false},
    {"staged without a Stage", staged_without_a_stage, 1, false},
    {"queued and staged", queued_and_staged, 1, false},
    {"an import that no loader has", an_import_that_no_loader_has, 1, false},
    {"a job that no connection has", a_job_that_no_connection_has, 1, false},
    {"bytes in the log", bytes_in_the_log, 1, true},
    {"a file with a loader", a_file_with_a_loader_of_a_sink_without_a_job, 1, true},
    {"bytes that wait", bytes_that_wait, 1, true},
    {"queued but not in the queue", queued_but_not_in_the_queue, 1, true},
    {"dirty but not in the list", dirty_but_not_in_the_list, 1, true},
    {"a connection that is paused", a_connection_that_is_paused, 1, true},
};

static bool ends_process(Writer *writer, const Case *one) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        SinkState *sink = writer_sink(writer, one->sink);
        (void)close(STDERR_FILENO);
        /* The space is asked for in the environment, which may not be used behind a fork. */
        writer->options.checks_all = one->needs_all && one->corrupt != nothing;
        one->corrupt(writer, sink);
        writer_note_changed(writer, sink);
        sums_check(writer);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_a_number_that_is_wrong_ends_the_process(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 3, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    fixture_run(fixture);
    fixture->result = SINK_UNREACHABLE;
    fixture_append(fixture, 1, "a", 3, 10);
    fixture_append(fixture, 2, "b", 3, 10);
    fixture_run(fixture);
    fixture_append(fixture, 1, "c", 1, 10);
    fixture_run(fixture);
    Writer *writer = fixture->writer;
    SinkState *first = writer_sink(writer, 1), *second = writer_sink(writer, 2);
    second->stage->forced = true; /* staged, and no reason to close its file */
    writer_schedule(writer, second);
    fixture_run(fixture);
    assert_true(first->waiting->count > 0 && first->log->count > 0 && second->open->exists);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (ends_process(writer, &cases[i]) != (cases[i].corrupt != nothing)) fail_msg("%s", cases[i].what);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_number_that_is_wrong_ends_the_process, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
