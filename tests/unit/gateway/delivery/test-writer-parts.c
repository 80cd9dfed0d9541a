/* The parts of the writer's state that need no disk: what they count, and that their checks end the
 * process when it does not add up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/delivery/writer/connections.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/log_state.h"
#include "gateway/delivery/writer/settled.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sink_queue.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/waiting.h"

/* Does the call end the process, as a check that fails does? */
static bool ends_process(void (*call)(void *context), void *context) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(STDERR_FILENO);
        call(context);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static Uuid uuid_of(unsigned char number) {
    return (Uuid){.bytes = {[15] = number}};
}

/* ---- rows in the log ------------------------------------------------------------------------- */

static void add_rows(SinkLog *log, uint64_t commit, uint32_t version, uint64_t first_row, uint64_t rows, uint64_t bytes) {
    GroupEntry entry = {.sink = 1, .mapping_version = version, .first_row = first_row, .rows = (uint32_t)rows, .bytes = bytes};
    sink_log_add(log, commit, 1000, &entry, NULL, 0, 5);
}

static void check_log(void *log) {
    sink_log_check(log, false);
}

static void rows_make_runs_by_version(void **state) {
    SinkLog log = {0};
    assert_int_equal(sink_log_end(&log, 7), 7);
    add_rows(&log, 1, 1, 7, 10, 100);
    add_rows(&log, 2, 1, 17, 5, 50);
    add_rows(&log, 3, 2, 22, 1, 10);
    assert_int_equal(log.count, 2);
    assert_int_equal(log.rows, 16);
    assert_int_equal(log.bytes, 160);
    assert_int_equal(sink_log_end(&log, 0), 23);
    assert_true(sink_log_has_version(&log, 2));
    assert_false(sink_log_has_version(&log, 3));
    sink_log_check(&log, false);

    sink_log_drop(&log, 4, 40);
    assert_int_equal(log.runs[0].first_row, 11);
    sink_log_drop(&log, 11, 90); /* less than it has: what is left of its bytes goes with its last row */
    assert_int_equal(log.count, 1);
    assert_int_equal(log.rows, 1);
    assert_int_equal(log.bytes, 10);
    sink_log_check(&log, false);
    sink_log_clear(&log);
    assert_int_equal(log.rows + log.bytes + log.count, 0);
    sink_log_deinit(&log);
}

static void what_a_stage_holds_grows_no_more(void **state) {
    SinkLog log = {0};
    add_rows(&log, 1, 1, 1, 10, 100);
    log.runs[0].staging = true;
    add_rows(&log, 2, 1, 11, 10, 100);
    assert_int_equal(log.count, 2);
    sink_log_check(&log, false);
    sink_log_let_go(&log);
    assert_false(log.runs[0].staging);
    sink_log_deinit(&log);
}

static void the_check_of_a_log_finds_what_does_not_add_up(void **state) {
    SinkLog log = {0};
    add_rows(&log, 1, 1, 1, 10, 100);
    add_rows(&log, 2, 2, 11, 10, 100);
    assert_false(ends_process(check_log, &log));
    log.rows++;
    assert_true(ends_process(check_log, &log));
    log.rows--;
    log.runs[1].first_row++;
    assert_true(ends_process(check_log, &log)); /* a gap */
    sink_log_check(&log, true);
    log.runs[1].first_row--;
    log.runs[1].staging = true;
    assert_true(ends_process(check_log, &log)); /* not from the front */
    sink_log_deinit(&log);
}

/* ---- files that wait ------------------------------------------------------------------------- */

static WriterConnection somewhere = {.name = NULL};

static WaitingFile file_of(unsigned char number, uint64_t first_row, uint64_t rows) {
    return (WaitingFile){.id = uuid_of(number), .first_row = first_row, .rows = rows, .bytes = 10 * rows, .connection = &somewhere};
}

static void check_waiting(void *files) {
    waiting_check(files);
}

static void leave_rest_twice(void *context) {
    WaitingFile *file = context;
    waiting_leave_rest(file, &file->importing);
    waiting_leave_rest(file, &file->expiring);
}

static void files_stand_in_row_order(void **state) {
    WaitingFiles files = {0};
    WaitingFile first = file_of(1, 1, 10), last = file_of(2, 31, 10), between = file_of(3, 11, 20);
    waiting_add(&files, &first);
    waiting_add(&files, &last);
    waiting_add(&files, &between);
    assert_int_equal(files.items[1].first_row, 11);
    assert_int_equal(files.rows, 40);
    assert_int_equal(files.bytes, 400);
    waiting_check(&files);

    WaitingFile *found = waiting_find(&files, &between.id);
    assert_ptr_equal(found, &files.items[1]);
    waiting_lose_rows(&files, found, 5);
    assert_int_equal(files.rows, 35);
    waiting_regain_rows(&files, found, 2);
    waiting_check(&files);
    waiting_remove(&files, found);
    assert_int_equal(files.rows, 20);
    assert_int_equal(files.bytes, 200);
    assert_null(waiting_find(&files, &between.id));
    waiting_check(&files);
    waiting_deinit(&files);
}

static void a_file_is_in_one_place(void **state) {
    WaitingFiles files = {0};
    WaitingFile file = file_of(1, 1, 10);
    WaitingFile *waiting = waiting_add(&files, &file);
    assert_true(waiting_is_at_rest(waiting));
    assert_true(ends_process(leave_rest_twice, waiting));
    waiting_leave_rest(waiting, &waiting->dividing);
    assert_false(waiting_is_at_rest(waiting));
    waiting->importing = true;
    assert_true(ends_process(check_waiting, &files));
    waiting->importing = false;
    waiting_come_back(&waiting->dividing);
    files.rows--;
    assert_true(ends_process(check_waiting, &files));
    waiting_deinit(&files);
}

/* ---- imported files -------------------------------------------------------------------------- */

static void the_last_of_a_connection_is_not_deleted(void **state) {
    SettledFiles files = {0};
    WriterConnection other = {.name = NULL};
    for (unsigned char i = 1; i <= 6; i++)
        settled_add(&files, &(SettledFile){.id = uuid_of(i), .done = 100 - i, .connection = i == 6 ? &other : &somewhere});
    Uuid ids[10];
    assert_int_equal(settled_choose(&files, &somewhere, UINT64_MAX, ids, 10), 4);
    assert_int_equal(ids[0].bytes[15], 1);
    assert_int_equal(ids[3].bytes[15], 4);
    assert_int_equal(settled_choose(&files, &other, UINT64_MAX, ids, 10), 0);
    assert_int_equal(settled_choose(&files, &somewhere, UINT64_MAX, ids, 3), 3);

    settled_forget(&files, ids, 3);
    assert_int_equal(files.count, 3);
    settled_sort(&files);
    assert_int_equal(files.items[0].id.bytes[15], 6);
    settled_deinit(&files);
}

/* Those that wait in backup 2 or a later one, and the last one of each connection at its point. */
static void files_of_backups_are_not_deleted(void **state) {
    SettledFiles files = {0};
    WriterConnection other = {.name = NULL};
    Uuid ids[10];
    for (unsigned char i = 1; i <= 3; i++)
        settled_add(&files, &(SettledFile){.id = uuid_of(i), .done = i, .connection = &somewhere, .backup = i == 1 ? 2 : i == 2 ? 1 : 0});
    settled_add(&files, &(SettledFile){.id = uuid_of(4), .done = 4, .connection = &other});
    settled_keep_last(&files, 3);
    for (unsigned char i = 5; i <= 6; i++) settled_add(&files, &(SettledFile){.id = uuid_of(i), .done = i, .connection = &somewhere});
    assert_int_equal(settled_choose(&files, &somewhere, 2, ids, 10), 2);
    assert_int_equal(ids[0].bytes[15], 2);
    assert_int_equal(ids[1].bytes[15], 5);
    assert_int_equal(settled_choose(&files, &somewhere, 3, ids, 10), 3);
    assert_int_equal(settled_choose(&files, &somewhere, 4, ids, 10), 4);
    settled_deinit(&files);
}

static void old_ids_are_forgotten(void **state) {
    SettledFiles files = {0};
    for (usec_t i = 1; i <= 5 * SETTLED_MAX; i++) settled_add(&files, &(SettledFile){.done = i, .connection = &somewhere});
    assert_in_range(files.count, SETTLED_MAX, 2 * SETTLED_MAX);
    assert_int_equal(files.items[files.count - 1].done, 5 * SETTLED_MAX);
    assert_int_equal(files.items[0].done, 5 * SETTLED_MAX + 1 - (usec_t)files.count);
    settled_deinit(&files);
}

/* ---- the log as a whole ---------------------------------------------------------------------- */

typedef struct Growth {
    LogState *log;
    uint64_t commit;
} Growth;

static void grow(void *context) {
    Growth *growth = context;
    log_state_grew(growth->log, growth->commit, 100);
}

static void check_state(void *log) {
    log_state_check(log);
}

static void what_is_trimmed_is_counted_off(void **state) {
    LogState log = {0};
    for (uint64_t commit = 1; commit <= 100; commit++) {
        log_state_grew(&log, commit, 300000);
        log.last_commit = commit;
    }
    log_state_check(&log);
    assert_int_equal(log.bytes, 30000000);
    assert_int_equal(log_state_oldest(&log, 1), 4); /* a chunk ends when it has a mebibyte */
    assert_int_equal(log_state_oldest(&log, 1300000), 8);
    assert_int_equal(log_state_oldest(&log, 0), 0);

    log_state_let_go(&log, 50);
    log_state_let_go(&log, 40);
    assert_int_equal(log.trim_to, 50);
    assert_true(log.trim_more);
    log_state_trimmed(&log);
    assert_false(log.trim_more);
    assert_int_equal(log.bytes, 30000000 - 12 * 4 * 300000); /* chunks that end before commit 50 */
    log_state_check(&log);
    for (uint64_t commit = 101; commit <= 400; commit++) {
        log_state_grew(&log, commit, 300000);
        log.last_commit = commit;
        log_state_let_go(&log, commit - 10);
        log_state_trimmed(&log);
        log_state_check(&log);
    }
    assert_in_range(log.bytes, 10 * 300000, 14 * 300000);
    assert_true(log.capacity <= 32);
    log_state_keep(&log, 20, 30);
    log_state_keep(&log, 25, 40);
    assert_int_equal(log.kept_from, 20);
    assert_int_equal(log.kept_to, 40);
    log_state_deinit(&log);
}

static void a_group_is_committed_once(void **state) {
    LogState log = {0};
    log_state_grew(&log, 7, 100);
    assert_true(ends_process(grow, &(Growth){.log = &log, .commit = 7}));
    assert_false(ends_process(grow, &(Growth){.log = &log, .commit = 8}));
    assert_true(ends_process(check_state, &log)); /* a group that no commit made */
    log.last_commit = 7;
    assert_false(ends_process(check_state, &log));
    log.bytes++;
    assert_true(ends_process(check_state, &log));
    log_state_deinit(&log);
}

/* ---- queues ---------------------------------------------------------------------------------- */

static void check_table(void *connections) {
    connection_table_check(connections);
}

static void leave_queue(void *sink) {
    connection_leave_queue(sink);
}

static void a_sink_is_in_one_queue(void **state) {
    ConnectionTable connections = {0};
    SinkImports imports[3] = {0};
    SinkState sinks[3] = {0};
    for (size_t i = 0; i < 3; i++) sinks[i].imports = &imports[i];
    WriterConnection *here = connection_added(&connections, "here");
    assert_ptr_equal(connection_added(&connections, "here"), here);
    assert_null(connection_find(&connections, "there"));
    for (size_t i = 0; i < 3; i++) connection_join_queue(here, &sinks[i]);
    connection_table_check(&connections);
    connection_leave_queue(&sinks[1]);
    assert_ptr_equal(imports[0].next_queued, &sinks[2]);
    assert_null(imports[1].queued_on);
    assert_true(ends_process(leave_queue, &sinks[1])); /* it is in none */
    connection_leave_queue(&sinks[2]);
    assert_ptr_equal(here->last, &sinks[0]);
    connection_table_check(&connections);
    imports[0].queued_on = NULL;
    assert_true(ends_process(check_table, &connections));
    imports[0].queued_on = here;
    connection_leave_queue(&sinks[0]);
    assert_null(here->first);
    connection_table_deinit(&connections);
}

static void a_queue_keeps_its_order(void **state) {
    SinkQueue queue = {0};
    SinkState sinks[4] = {0};
    for (size_t i = 0; i < 4; i++) sink_queue_add(&queue, &sinks[i]);
    sink_queue_remove(&queue, &sinks[1]);
    sink_queue_drop_front(&queue, 1);
    assert_int_equal(queue.count, 2);
    assert_ptr_equal(queue.items[0], &sinks[2]);
    assert_ptr_equal(queue.items[1], &sinks[3]);
    sink_queue_deinit(&queue);
}

/* ---- time ------------------------------------------------------------------------------------ */

typedef struct TestClock {
    Clock clock;
    usec_t boot;
} TestClock;

static usec_t boot_of(Clock *clock) {
    return ((TestClock *)clock)->boot;
}

static usec_t wall_of(Clock *clock) {
    return 12345;
}

static void a_machine_that_sleeps_does_not_age(void **state) {
    TestClock clock = {.clock = {.boot = boot_of, .wall = wall_of}, .boot = USEC_DAY};
    StepClock now = {0};
    step_clock_look(&now, &clock.clock);
    assert_int_equal(now.running, 0);
    assert_int_equal(now.wall, 12345);
    clock.boot += USEC_MINUTE;
    step_clock_look(&now, &clock.clock);
    assert_int_equal(now.running, USEC_MINUTE);
    clock.boot += USEC_DAY;
    step_clock_look(&now, &clock.clock);
    assert_int_equal(now.running, USEC_MINUTE + USEC_HOUR);
    assert_int_equal(now.boot, 2 * USEC_DAY + USEC_MINUTE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_make_runs_by_version),
        cmocka_unit_test(what_a_stage_holds_grows_no_more),
        cmocka_unit_test(the_check_of_a_log_finds_what_does_not_add_up),
        cmocka_unit_test(files_stand_in_row_order),
        cmocka_unit_test(a_file_is_in_one_place),
        cmocka_unit_test(the_last_of_a_connection_is_not_deleted),
        cmocka_unit_test(files_of_backups_are_not_deleted),
        cmocka_unit_test(old_ids_are_forgotten),
        cmocka_unit_test(what_is_trimmed_is_counted_off),
        cmocka_unit_test(a_group_is_committed_once),
        cmocka_unit_test(a_sink_is_in_one_queue),
        cmocka_unit_test(a_queue_keeps_its_order),
        cmocka_unit_test(a_machine_that_sleeps_does_not_age),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
