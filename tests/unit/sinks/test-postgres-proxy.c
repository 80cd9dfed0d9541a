/*
 * An import into PostgreSQL whose connection is cut, or falls silent, at each message and at each
 * byte around COMMIT. Whatever the driver says of it: the next try leaves each row in the table
 * once.
 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/fault-proxy.h"
#include "tests/unit/sinks/postgres-case.h"

#define ROWS 3 /* a number that does not end in 0: PROXY_COUNT */
/* Messages of a login at least, which is the same for all kinds. */
static const unsigned LOGIN[2] = {1, 12};
#define SILENT_FOR (200 * USEC_MS)

/* What is imported: a COPY into the table, a COPY and a merge, and rows of which one is refused. */
static const struct Kind {
    const char *table, *columns, *ddl;
    int stored; /* of the rows of an import */
} kinds[] = {
    {"plain", "n:integer", NULL, ROWS},
    {"keyed", "n:integer:key", NULL, ROWS},
    {"refusing", "n:integer", "CREATE TABLE refusing (n bigint CHECK (n % 3 <> 1))", ROWS - 1},
};

typedef struct Trial {
    const struct Kind *kind;
    FaultProxy *proxy;
    SinkSession *session; /* past the proxy */
    PGconn *observer;
    SinkCase box;
    long imports; /* that are done */
    int next;     /* number in the next row */
    unsigned committed_at_fault, not_committed_at_fault;
} Trial;

static void begin(Trial *trial, const struct Kind *kind) {
    *trial = (Trial){.kind = kind, .proxy = fault_proxy_start(server->port), .session = open_session()};
    trial->observer = PQconnectdb(server->uri);
    assert_int_equal(PQstatus(trial->observer), CONNECTION_OK);
    if (kind->ddl) test_postgres_sql(server, kind->ddl);
    sink_case_init(&trial->box, kind->table, kind->columns, 1);
    prepare(trial->session, &trial->box);
}

static void end(Trial *trial) {
    driver->disconnect(trial->session);
    PQfinish(trial->observer);
    fault_proxy_stop(trial->proxy);
    sink_case_deinit(&trial->box);
    Buffer sql = {0};
    buffer_printf(&sql, "DROP TABLE %s", trial->kind->table);
    test_postgres_sql(server, buffer_text(&sql));
    buffer_deinit(&sql);
}

static void next_rows(Trial *trial) {
    sink_case_next_file(&trial->box, 0);
    char number[16];
    for (int i = 0; i < ROWS; i++) {
        (void)snprintf(number, sizeof number, "%d", trial->next++);
        ADD(&trial->box.rows[0], number);
    }
}

static void assert_once(Trial *trial, const char *when) {
    char sql[200], wanted[100];
    (void)snprintf(sql, sizeof sql, "SELECT concat_ws('|', count(*), count(DISTINCT n), max(n)) FROM %s", trial->kind->table);
    long count = trial->imports * trial->kind->stored;
    (void)snprintf(wanted, sizeof wanted, "%ld|%ld|%d", count, count, trial->next - 1);
    PGresult *rows = PQexec(trial->observer, sql);
    if (PQresultStatus(rows) != PGRES_TUPLES_OK || strcmp(PQgetvalue(rows, 0, 0), wanted) != 0)
        fail_msg("%s, %s: %s%s, not %s", trial->kind->table, when, PQresultErrorMessage(rows), PQgetvalue(rows, 0, 0), wanted);
    PQclear(rows);
}

/* Through the proxy; the session is opened and ended here. */
static SinkResult through(Trial *trial, usec_t patience, Error *error) {
    SinkSession *session = NULL;
    SinkResult result = try_open(fault_proxy_uri(trial->proxy), NULL, &session, error);
    if (result != SINK_DONE) return result;
    ImportJob *job = sink_case_job(&trial->box);
    trial->box.patience = patience;
    result = driver->import(session, job, error);
    trial->box.patience = 0;
    driver->disconnect(session);
    return result;
}

/* One import with the fault, and the next try. */
static void try_at(Trial *trial, const ProxyTarget *target) {
    char when[120];
    (void)snprintf(when, sizeof when, "fault %d at byte %zu of message %u from the %s%s", target->fault, target->byte, target->message,
                   target->from_server ? "server" : "client", target->at_commit ? ", from COMMIT on" : "");
    next_rows(trial);
    fault_proxy_arm(trial->proxy, target);
    Error error = {0};
    SinkResult result = through(trial, target->fault == PROXY_HOLE ? SILENT_FOR : 0, &error);
    if (!fault_proxy_reached(trial->proxy)) fail_msg("%s: not reached", when);
    if (result != SINK_DONE && result != SINK_RETRY && result != SINK_UNREACHABLE) fail_msg("%s: result %d: %s", when, result, error.text);
    bool was_done = result == SINK_DONE;
    result = driver->import(trial->session, sink_case_job(&trial->box), &error);
    if (result != SINK_DONE) fail_msg("%s: the next try: %d: %s", when, result, error.text);
    bool had_committed = trial->box.files[0].already_imported;
    if (was_done && !had_committed) fail_msg("%s: an import was called done and was not", when);
    trial->committed_at_fault += had_committed;
    trial->not_committed_at_fault += !had_committed;
    trial->imports++;
    assert_once(trial, when);
}

/* Without a fault: how many messages there are. */
static void learn(Trial *trial) {
    next_rows(trial);
    fault_proxy_arm(trial->proxy, &(ProxyTarget){0});
    Error error = {0};
    must(through(trial, 0, &error), &error);
    trial->imports++;
    assert_once(trial, "without a fault");
}

static void cut_at_each_message(void **state) {
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        Trial trial;
        begin(&trial, &kinds[i]);
        learn(&trial);
        unsigned counts[2] = {fault_proxy_messages(trial.proxy, false, false), fault_proxy_messages(trial.proxy, true, false)};
        for (int from_server = 0; from_server < 2; from_server++)
            for (unsigned message = i == 0 ? 0 : LOGIN[from_server]; message < counts[from_server]; message++)
                try_at(&trial, &(ProxyTarget){.fault = PROXY_CUT, .from_server = from_server, .message = message});
        assert_true(trial.committed_at_fault > 0 && trial.not_committed_at_fault > 0);
        end(&trial);
    }
}

static void cut_at_each_byte_around_commit(void **state) {
    Trial trial;
    begin(&trial, &kinds[0]);
    learn(&trial);
    /* COMMIT, that it is done, that the server is ready */
    const ProxyTarget messages[] = {{.message = 0}, {.message = 0, .from_server = true}, {.message = 1, .from_server = true}};
    size_t sizes[3];
    for (size_t m = 0; m < 3; m++) sizes[m] = fault_proxy_message_size(trial.proxy, messages[m].from_server, messages[m].message);
    for (size_t m = 0; m < 3; m++) {
        assert_true(sizes[m] > 0);
        for (size_t byte = 0; byte <= sizes[m]; byte++) {
            ProxyTarget target = messages[m];
            target.fault = PROXY_CUT;
            target.at_commit = true;
            target.byte = byte;
            try_at(&trial, &target);
        }
    }
    /* Without its last byte, COMMIT does nothing; from its last byte on, it is done. */
    assert_int_equal(trial.not_committed_at_fault, sizes[0]);
    assert_int_equal(trial.committed_at_fault, sizes[1] + sizes[2] + 3);
    end(&trial);
}

static void silence_around_commit(void **state) {
    Trial trial;
    begin(&trial, &kinds[0]);
    static const ProxyTarget targets[] = {
        {.fault = PROXY_HOLE, .message = 2},                                                   /* in the transaction */
        {.fault = PROXY_HOLE, .at_commit = true},                                              /* before COMMIT */
        {.fault = PROXY_HOLE, .at_commit = true, .byte = 6},                                   /* within it */
        {.fault = PROXY_HOLE, .at_commit = true, .byte = 1000},                                /* behind it */
        {.fault = PROXY_HOLE, .at_commit = true, .from_server = true, .byte = 3},              /* within the answer */
        {.fault = PROXY_HOLE, .at_commit = true, .from_server = true, .message = 1, .byte = 2} /* within its second message */
    };
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        usec_t before = clock_system()->boot(clock_system());
        try_at(&trial, &targets[i]);
        assert_true(clock_system()->boot(clock_system()) - before < 30 * USEC_SECOND);
    }
    assert_true(trial.committed_at_fault >= 3 && trial.not_committed_at_fault >= 3);
    end(&trial);
}

static void a_count_that_is_one_too_small(void **state) {
    for (size_t i = 0; i < 2; i++) {
        Trial trial;
        begin(&trial, &kinds[i]);
        learn(&trial);
        next_rows(&trial);
        fault_proxy_arm(trial.proxy, &(ProxyTarget){.fault = PROXY_COUNT});
        Error error = {0};
        assert_int_equal(through(&trial, 0, &error), SINK_RETRY);
        assert_true(error.text[0] != '\0');
        must(driver->import(trial.session, sink_case_job(&trial.box), &error), &error);
        assert_false(trial.box.files[0].already_imported);
        trial.imports++;
        assert_once(&trial, "after a wrong count");
        end(&trial);
    }
}

static void restart_at_third_block(void *context, uint64_t block) {
    if (block != 3) return;
    test_postgres_kill(server);
    test_postgres_run(server);
}

static void server_restarts_in_mid_copy(void **state) {
    for (size_t i = 0; i < 2; i++) {
        Trial trial;
        begin(&trial, &kinds[i]);
        trial.next = 6000;
        add_many(&trial.box.rows[0], 6000);
        trial.box.rows[0].at_block = restart_at_third_block;
        Error error = {0};
        SinkResult result = driver->import(trial.session, sink_case_job(&trial.box), &error);
        assert_true(result == SINK_RETRY || result == SINK_UNREACHABLE);
        driver->disconnect(trial.session);
        trial.session = open_session();
        PQreset(trial.observer);
        trial.box.rows[0].at_block = NULL;
        must(driver->import(trial.session, sink_case_job(&trial.box), &error), &error);
        assert_false(trial.box.files[0].already_imported);
        trial.imports = 6000 / ROWS;
        assert_once(&trial, "after a restart");
        end(&trial);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_at_each_message),         cmocka_unit_test(cut_at_each_byte_around_commit),
        cmocka_unit_test(silence_around_commit),       cmocka_unit_test(a_count_that_is_one_too_small),
        cmocka_unit_test(server_restarts_in_mid_copy),
    };
    RUN_WITH_POSTGRES(tests);
}
