/* Positions in PostgreSQL: the cases of all drivers, and sessions that meet. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/positions-cases.h"
#include "tests/unit/sinks/postgres-case.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/thread.h"
#include "sinks/import_runs.h"

const char positions_table[] = "sluice.positions", ledger_table[] = "sluice.files";

void run_sql(const char *text) {
    test_postgres_sql(server, text);
}

static usec_t boot_now(void) {
    return clock_system()->boot(clock_system());
}

/* ---- one session within the import of another ---- */

typedef enum Moment { AT_ROWS, AT_SECOND_FILE, AT_REJECTS } Moment;

typedef struct Intruder {
    BridgeCase bridge;
    SinkSession *session;
    int times;     /* it still imports */
    int64_t next;  /* where it goes on */
    int64_t step;  /* records an import */
    unsigned done; /* imports */
    usec_t longest;
} Intruder;

/* Imports the next records of partition 0, whole, while the other session is in the middle. */
static void intrude(Intruder *intruder) {
    if (intruder->times == 0) return;
    intruder->times--;
    Error error = {0};
    bridge_next_files(&intruder->bridge);
    bridge_add(&intruder->bridge, 0, 0, intruder->next, intruder->next + intruder->step);
    usec_t began = boot_now();
    must(bridge_import(intruder->session, &intruder->bridge, &error), &error);
    usec_t took = boot_now() - began;
    if (took > intruder->longest) intruder->longest = took;
    assert_int_equal(intruder->bridge.runs[0][0].outcome, RUN_TAKEN);
    intruder->next += intruder->step;
    intruder->done++;
}

static Intruder *intruder_at_store;

static int store_and_intrude(void *context, const SinkReject *rejects, size_t count, Error *error) {
    intrude(intruder_at_store);
    return 0;
}

static void intrude_at_block(void *context, uint64_t block) {
    intrude(context);
}

static void intruder_init(Intruder *intruder, const char *table, bool keyed, int times, int64_t step) {
    *intruder = (Intruder){.session = open_session(), .times = times, .step = step};
    bridge_init(&intruder->bridge, table, keyed, 1, 2);
}

static void intruder_deinit(Intruder *intruder) {
    driver->disconnect(intruder->session);
    bridge_deinit(&intruder->bridge);
}

/* The first session has read the position; the second one sets it before the first one can. */
static void meet(bool keyed, Moment moment, int64_t step, RunOutcome wanted) {
    SESSION;
    static unsigned meetings;
    char table[40];
    (void)snprintf(table, sizeof table, "met%u", meetings++);
    BRIDGE(table, keyed, 2, 2);
    bridge_claim(session, &bridge, 0);
    Intruder intruder;
    intruder_init(&intruder, table, keyed, 1, step);
    bridge_add(&bridge, 0, 0, 0, 10);
    bridge_add(&bridge, 0, 1, 0, 5);
    bridge_add(&bridge, 1, 0, 10, 20);
    ImportJob *job = bridge_job(&bridge);
    TextRows *rows = &bridge.box.rows[moment == AT_SECOND_FILE];
    if (moment == AT_REJECTS) {
        intruder_at_store = &intruder;
        job->store_rejects = store_and_intrude;
        job->store_none = true;
    } else {
        rows->at_block = intrude_at_block;
        rows->context = &intruder;
    }
    error = (Error){0};
    must(driver->import(session, job, &error), &error);
    assert_int_equal(intruder.done, 1);
    /* It never waited for the first one, which is in the middle of its rows. */
    if (intruder.longest > 5 * USEC_SECOND) fail_msg("waited %lld ms", (long long)(intruder.longest / USEC_MS));
    assert_int_equal(bridge.runs[0][0].outcome, wanted);
    assert_int_equal(bridge.runs[0][1].outcome, RUN_TAKEN); /* of another partition */
    int64_t end = wanted == RUN_RETURNED ? step : 20;
    assert_offsets(table, 0, 0, end);
    assert_offsets(table, 1, 0, 5);
    assert_int_equal(bridge_position(session, &bridge, 0), end);
    intruder_deinit(&intruder);
}

static void sessions_that_meet(void **state) {
    for (int keyed = 0; keyed < 2; keyed++) {
        /* Refused rows are stored with the keys of the others written. */
        for (Moment moment = AT_ROWS; moment <= (keyed ? AT_SECOND_FILE : AT_REJECTS); moment++) {
            meet(keyed, moment, 10, RUN_OVERTAKEN); /* the same run */
            meet(keyed, moment, 4, RUN_RETURNED);   /* a part of it */
            meet(keyed, moment, 20, RUN_OVERTAKEN); /* both */
        }
    }
}

/* It starts over a few times, and then it is tried again later. */
static void a_position_that_never_rests(void **state) {
    SESSION;
    BRIDGE("restless", false, 1, 1);
    bridge_claim(session, &bridge, 0);
    Intruder intruder;
    intruder_init(&intruder, "restless", false, 100, 1);
    bridge_add(&bridge, 0, 0, 0, 10);
    bridge.box.rows[0].at_block = intrude_at_block;
    bridge.box.rows[0].context = &intruder;
    /* The position lies in the run after the first time, so nothing is left to be set. */
    must(bridge_import(session, &bridge, &error), &error);
    assert_int_equal(intruder.done, 1);
    assert_int_equal(bridge.runs[0][0].outcome, RUN_RETURNED);
    /* Runs of one record each: there is always one that is taken, and always somebody faster. */
    bridge_next_files(&bridge);
    for (int64_t o = 1; o < 60; o++) bridge_add(&bridge, 0, 0, o, o + 1);
    bridge.box.rows[0].at_block = intrude_at_block;
    bridge.box.rows[0].context = &intruder;
    assert_int_equal(bridge_import(session, &bridge, &error), SINK_RETRY);
    assert_int_equal(error.code, -EBUSY);
    assert_int_equal(intruder.done, 1 + IMPORT_STARTS_MAX);
    assert_offsets("restless", 0, 0, 1 + IMPORT_STARTS_MAX);
    intruder.times = 0;
    must(bridge_import(session, &bridge, &error), &error);
    assert_offsets("restless", 0, 0, 60);
    assert_int_equal(bridge.box.files[0].left_out, IMPORT_STARTS_MAX);
    intruder_deinit(&intruder);
}

/* Refused rows of a start that was given up are replaced, also by none. */
static unsigned stored[8], store_calls;

static int count_stored(void *context, const SinkReject *rejects, size_t count, Error *error) {
    assert_true(store_calls < 8);
    stored[store_calls++] = (unsigned)count;
    intrude(intruder_at_store);
    return 0;
}

static void rejects_of_a_start_that_was_given_up(void **state) {
    SESSION;
    run_sql("CREATE TABLE choosy (p bigint, o bigint, v text CHECK (v <> 'bad'))");
    BRIDGE("choosy", false, 1, 2);
    bridge_claim(session, &bridge, 0);
    Intruder intruder;
    intruder_init(&intruder, "choosy", false, 1, 1);
    intruder_at_store = &intruder;
    bridge_add_text(&bridge, 0, 0, 0, "bad"); /* the intruder takes it as a good one */
    bridge_add(&bridge, 0, 0, 1, 10);
    ImportJob *job = bridge_job(&bridge);
    job->store_rejects = count_stored;
    store_calls = 0;
    must(driver->import(session, job, &error), &error);
    assert_int_equal(store_calls, 2);
    assert_int_equal(stored[0], 1);
    assert_int_equal(stored[1], 0);
    assert_int_equal(job->rejected_rows, 0);
    assert_false(job->store_none);
    assert_offsets("choosy", 0, 0, 10);
    intruder_deinit(&intruder);
}

/* ---- the end of the transaction ---- */

typedef struct Import {
    BridgeCase bridge;
    Thread thread;
    SinkResult result;
    Error error;
} Import;

static void *import_in_thread(void *context) {
    Import *import_of = context;
    SinkSession *session = open_session();
    import_of->result = bridge_import(session, &import_of->bridge, &import_of->error);
    driver->disconnect(session);
    return NULL;
}

/* One session has set the position and not committed; the other one waits for it, and starts
 * over. */
static void between_the_position_and_the_commit(void **state) {
    static Import imports[2];
    for (int fate = 0; fate < 2; fate++) {
        const char *table = fate == 0 ? "committed" : "killed";
        run_sql("CREATE OR REPLACE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;"
                "DROP TRIGGER IF EXISTS hold ON sluice.positions;");
        {
            SESSION;
            BRIDGE(table, false, 1, 1);
            bridge_claim(session, &bridge, 0);
        }
        run_sql("CREATE TRIGGER hold AFTER UPDATE ON sluice.positions FOR EACH STATEMENT EXECUTE FUNCTION hold()");
        PGconn *gate = PQconnectdb(server->uri);
        PQclear(PQexec(gate, "SELECT pg_advisory_lock(4711)"));
        for (size_t i = 0; i < 2; i++) {
            bridge_init(&imports[i].bridge, table, false, 1, 1);
            bridge_add(&imports[i].bridge, 0, 0, 0, 10);
            bridge_add(&imports[i].bridge, 0, 0, 10, 20);
        }
        assert_int_equal(thread_start(&imports[0].thread, "first", import_in_thread, &imports[0], NULL), 0);
        assert_true(waits_for("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", "1"));
        assert_int_equal(thread_start(&imports[1].thread, "second", import_in_thread, &imports[1], NULL), 0);
        /* It waits for the row, or for the transaction that has set it. */
        assert_true(waits_for("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sluice shop/orders'"
                              " AND wait_event_type = 'Lock'",
                              "2"));
        if (fate == 1)
            run_sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'sluice shop/orders'"
                    " AND wait_event = 'advisory'");
        PQfinish(gate);
        for (size_t i = 0; i < 2; i++) thread_join(&imports[i].thread);
        must(imports[1].result, &imports[1].error);
        assert_int_equal(imports[0].result == SINK_DONE, fate == 0);
        assert_int_equal(imports[1].bridge.runs[0][0].outcome, fate == 0 ? RUN_OVERTAKEN : RUN_TAKEN);
        assert_offsets(table, 0, 0, 20);
        run_sql("DROP TRIGGER hold ON sluice.positions");
        for (size_t i = 0; i < 2; i++) bridge_deinit(&imports[i].bridge);
    }
}

static void a_commit_without_an_answer(void **state) {
    _cleanup_(cleanup_session) SinkSession *session = open_session();
    BRIDGE("unanswered", false, 1, 1);
    bridge_claim(session, &bridge, 10);
    driver->disconnect(session);
    session = NULL;
    CommitRelay *relay = commit_relay_start();
    SinkSession *cut = NULL;
    must(try_open(commit_relay_uri(relay), NULL, &cut, &error), &error);
    bridge_add(&bridge, 0, 0, 5, 10);
    bridge_add(&bridge, 0, 0, 10, 15);
    bridge_add(&bridge, 0, 0, 16, 20);
    bridge.box.job.progress = NULL; /* no second session: the relay takes one */
    SinkResult result = bridge_import(cut, &bridge, &error);
    driver->disconnect(cut);
    commit_relay_stop(relay);
    assert_int_equal(result, SINK_RETRY);
    assert_non_null(strstr(error.text, "unknown whether"));
    assert_int_equal(bridge.box.files[0].left_out, 0);
    session = open_session();
    must(bridge_import(session, &bridge, &error), &error);
    assert_true(bridge.box.files[0].already_imported);
    assert_int_equal(bridge.box.files[0].left_out, 9);
    assert_int_equal(bridge.runs[0][0].outcome, RUN_OVERTAKEN);
    assert_int_equal(bridge.runs[0][1].outcome, RUN_TAKEN);
    assert_int_equal(bridge.runs[0][2].outcome, RUN_RETURNED);
    assert_offsets("unanswered", 0, 10, 15);
}

/* ---- many sessions ---- */

enum { READERS = 4, PARTS = 3, RECORDS = 400 };

typedef struct Reader {
    Thread thread;
    const char *table;
    bool keyed;
    unsigned seed;
    _Atomic(unsigned) failures;
    unsigned returned, overtaken;
} Reader;

/* Reads all partitions from where they stand, in runs of any size, and goes back when it is told
 * to; now and then its session is killed. */
static void *read_all(void *context) {
    Reader *reader = context;
    SinkSession *session = open_session();
    BridgeCase bridge;
    bridge_init(&bridge, reader->table, reader->keyed, 2, PARTS);
    int64_t at[PARTS] = {0};
    for (;;) {
        bool complete = true;
        bridge.box.job.file_count = 2;
        bridge_next_files(&bridge);
        for (size_t i = 0; i < 2 * PARTS; i++) {
            size_t file = i / PARTS, partition = i % PARTS;
            complete = complete && at[partition] == RECORDS;
            int64_t next = at[partition] + (file == 0) + rand_r(&reader->seed) % 12;
            if (next > RECORDS) next = RECORDS;
            if (next == at[partition]) continue;
            bridge_add(&bridge, file, partition, at[partition], next);
            at[partition] = next;
        }
        if (complete) break;
        bridge.box.job.file_count = bridge.run_count[1] > 0 ? 2 : 1;
        SinkResult result;
        while ((result = bridge_import(session, &bridge, &(Error){0})) != SINK_DONE) {
            if (result == SINK_REFUSED) {
                reader->failures++;
                goto out;
            }
            driver->disconnect(session);
            session = open_session();
        }
        for (size_t file = 0; file < bridge.box.job.file_count; file++) {
            for (size_t k = 0; k < bridge.run_count[file]; k++) {
                const ImportRun *run = &bridge.runs[file][k];
                reader->returned += run->outcome == RUN_RETURNED;
                reader->overtaken += run->outcome == RUN_OVERTAKEN;
                if (run->outcome == RUN_RETURNED) at[run->position] = bridge.positions[run->position].next;
            }
        }
    }
out:
    driver->disconnect(session);
    bridge_deinit(&bridge);
    return NULL;
}

static void readers_of_one_group(void **state) {
    for (int keyed = 0; keyed < 2; keyed++) {
        static Reader readers[READERS];
        const char *table = keyed ? "crowd_keyed" : "crowd";
        SESSION;
        BRIDGE(table, keyed, 1, PARTS);
        bridge_claim(session, &bridge, 0);
        for (unsigned i = 0; i < READERS; i++) {
            readers[i] = (Reader){.table = table, .keyed = keyed, .seed = i + 1};
            assert_int_equal(thread_start(&readers[i].thread, "reader", read_all, &readers[i], NULL), 0);
        }
        /* Some are killed in the middle. */
        for (int i = 0; i < 5; i++) {
            (void)usleep(50000);
            run_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sluice shop/orders'"
                    " AND state = 'idle in transaction' LIMIT 1");
        }
        unsigned left_out = 0;
        for (unsigned i = 0; i < READERS; i++) {
            thread_join(&readers[i].thread);
            assert_int_equal(readers[i].failures, 0);
            left_out += readers[i].returned + readers[i].overtaken;
        }
        assert_true(left_out > 0); /* they did meet */
        for (size_t i = 0; i < PARTS; i++) {
            assert_offsets(table, i, 0, RECORDS);
            assert_int_equal(bridge_position(session, &bridge, i), RECORDS);
        }
    }
}

enum { CLAIMANTS = 6 };

typedef struct Claimant {
    Thread thread;
    int64_t latest;
    PositionClaim claims[3];
    SinkResult result;
} Claimant;

static void *claim_in_thread(void *context) {
    Claimant *claimant = context;
    SinkSession *session = open_session();
    BridgeCase bridge;
    bridge_init(&bridge, "raced", false, 1, 3);
    for (size_t i = 0; i < 3; i++)
        claimant->claims[i] = (PositionClaim){.key = bridge.positions[i].key, .start = claimant->latest, .earliest = 0};
    ClaimJob job = {.owner = {.sink_label = "shop/orders"}, .target = &bridge.box.target, .claims = claimant->claims, .count = 3};
    claimant->result = driver->positions->claim(session, &job, &(Error){0});
    driver->disconnect(session);
    bridge_deinit(&bridge);
    return NULL;
}

/* Two nodes that start for the first time with `latest` see different ends; both begin where the
 * first one says. */
static void nodes_that_claim_at_once(void **state) {
    for (int turn = 0; turn < 4; turn++) {
        static Claimant claimants[CLAIMANTS];
        /* The first turn makes the table, too. */
        run_sql(turn == 0 ? "DROP SCHEMA IF EXISTS sluice CASCADE" : "DELETE FROM sluice.positions");
        for (int i = 0; i < CLAIMANTS; i++) {
            claimants[i] = (Claimant){.latest = 100 + i};
            assert_int_equal(thread_start(&claimants[i].thread, "claimant", claim_in_thread, &claimants[i], NULL), 0);
        }
        unsigned first = 0;
        for (int i = 0; i < CLAIMANTS; i++) {
            thread_join(&claimants[i].thread);
            assert_int_equal(claimants[i].result, SINK_DONE);
            first += !claimants[i].claims[0].was_there;
            for (size_t k = 0; k < 3; k++) assert_int_equal(claimants[i].claims[k].next, claimants[0].claims[0].next);
        }
        assert_int_equal(first, 1);
    }
}

/* Two sessions with the same keys, each in another order of rows, within their transactions at the
 * same time. */
static void equal_keys_do_not_deadlock(void **state) {
    for (int strategy = 0; strategy < 2; strategy++) {
        for (int turn = 0; turn < 5; turn++) {
            static Import imports[2];
            char table[30];
            (void)snprintf(table, sizeof table, "ordered%d_%d", strategy, turn);
            {
                SESSION;
                BRIDGE(table, true, 1, 2);
                bridge_claim(session, &bridge, 0);
            }
            for (size_t i = 0; i < 2; i++) {
                /* Each has a partition of its own, so that only the keys of rows are in the way of
                 * the other. */
                bridge_init(&imports[i].bridge, table, true, 1, 2);
                if (strategy == 1) imports[i].bridge.box.target.table.strategy = STRATEGY_APPEND;
                imports[i].bridge.box.job.bad_rows_max = 100000;
                ImportRun *run = &imports[i].bridge.runs[0][imports[i].bridge.run_count[0]++];
                *run = (ImportRun){.position = i, .first = 0, .next = 3000, .first_row = 1, .rows = 3000};
                for (int k = 0; k < 3000; k++) {
                    char o[16];
                    (void)snprintf(o, sizeof o, "%d", i == 0 ? k : 2999 - k);
                    ADD(&imports[i].bridge.box.rows[0], "7", o, "x");
                }
            }
            for (size_t i = 0; i < 2; i++)
                assert_int_equal(thread_start(&imports[i].thread, "keys", import_in_thread, &imports[i], NULL), 0);
            for (size_t i = 0; i < 2; i++) thread_join(&imports[i].thread);
            for (size_t i = 0; i < 2; i++) {
                must(imports[i].result, &imports[i].error);
                bridge_deinit(&imports[i].bridge);
            }
            assert_offsets(table, 7, 0, 3000);
        }
    }
}

/* ---- rights and settings ---- */

static SinkSession *open_as(const char *role) {
    char uri[200];
    (void)snprintf(uri, sizeof uri, "postgresql://%s@127.0.0.1:%d/postgres", role, server->port);
    return open_session_at(uri);
}

static SinkFault test_as(const char *role, bool with_positions, bool with_columns, Error *error) {
    char uri[200], name[] = "warehouse";
    (void)snprintf(uri, sizeof uri, "postgresql://%s@127.0.0.1:%d/postgres", role, server->port);
    char *fields[] = {uri, NULL, NULL, NULL, NULL};
    Connection connection = {.name = name, .type = &connection_type_postgres, .values = fields};
    static const char *const tables[] = {"rightly"};
    SinkTest test = {.tables = tables, .table_count = 1, .with_positions = with_positions, .with_columns = with_columns};
    *error = (Error){0};
    return driver->test(&connection, "/tmp", &test, error);
}

static void rights(void **state) {
    run_sql("DROP SCHEMA IF EXISTS sluice CASCADE; DROP ROLE IF EXISTS bridge; CREATE ROLE bridge LOGIN; CREATE SCHEMA sluice;"
            "GRANT USAGE ON SCHEMA sluice TO bridge; CREATE TABLE rightly (p bigint, o bigint, v text); GRANT INSERT ON rightly TO bridge;"
            "CREATE TABLE sluice.files (file_id uuid PRIMARY KEY, instance uuid NOT NULL, sink text NOT NULL, table_name text NOT NULL,"
            " first_row bigint NOT NULL, rows bigint NOT NULL, bytes bigint NOT NULL, checksum text NOT NULL,"
            " imported_at timestamptz NOT NULL DEFAULT now()); GRANT SELECT, INSERT, DELETE ON sluice.files TO bridge");
    Error fault = {0};
    assert_int_equal(test_as("bridge", false, false, &fault), SINK_SOUND);
    assert_int_equal(test_as("bridge", true, false, &fault), SINK_FAULT_RIGHTS);
    assert_non_null(strstr(fault.text, "positions\" is missing, and the role may not create it"));
    _cleanup_(cleanup_session) SinkSession *session = open_as("bridge");
    BRIDGE("rightly", false, 1, 1);
    PositionClaim one = {.key = bridge.positions[0].key, .start = 0};
    ClaimJob job = {.owner = {.sink_label = "shop/orders"}, .target = &bridge.box.target, .claims = &one, .count = 1};
    assert_int_equal(driver->positions->claim(session, &job, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "left_out bigint and outcomes text cannot be added"));
    run_sql(
        "CREATE TABLE sluice.positions (cluster text, group_id text, table_name text, topic text, generation int, partition int,"
        " next_offset bigint NOT NULL, topic_id text, sink text NOT NULL, instance uuid NOT NULL, at timestamptz NOT NULL DEFAULT now(),"
        " PRIMARY KEY (cluster, group_id, table_name, topic, generation, partition))");
    assert_int_equal(test_as("bridge", true, false, &fault), SINK_FAULT_RIGHTS);
    assert_non_null(strstr(fault.text, "SELECT, INSERT or UPDATE on the positions \"sluice.positions\""));
    run_sql("GRANT SELECT, INSERT, UPDATE ON sluice.positions TO bridge");
    assert_int_equal(test_as("bridge", true, false, &fault), SINK_FAULT_RIGHTS);
    assert_non_null(strstr(fault.text, "lacks the columns left_out bigint and outcomes text"));
    run_sql("ALTER TABLE sluice.files ADD COLUMN left_out bigint NOT NULL DEFAULT 0, ADD COLUMN outcomes text");
    assert_int_equal(test_as("bridge", true, false, &fault), SINK_SOUND);
    /* Sinks that infer need the map of columns as well. */
    assert_int_equal(test_as("bridge", false, true, &fault), SINK_FAULT_RIGHTS);
    assert_non_null(strstr(fault.text, "\"sluice.columns\" is missing, and the role may not create it"));
    run_sql("CREATE TABLE sluice.columns (table_name text); GRANT SELECT ON sluice.columns TO bridge");
    assert_int_equal(test_as("bridge", false, true, &fault), SINK_FAULT_RIGHTS);
    assert_non_null(strstr(fault.text, "SELECT or INSERT on the map of columns \"sluice.columns\""));
    run_sql("GRANT INSERT ON sluice.columns TO bridge");
    assert_int_equal(test_as("bridge", true, true, &fault), SINK_SOUND);
    run_sql("DROP TABLE sluice.columns");
    /* With exactly these rights everything goes. */
    must(driver->positions->claim(session, &job, &error), &error);
    bridge_add(&bridge, 0, 0, 0, 5);
    must(bridge_import(session, &bridge, &error), &error);
    SeekJob seek = {.owner = job.owner, .target = job.target, .positions = bridge.positions, .count = 1};
    bridge.positions[0].next = 7;
    must(driver->positions->seek(session, &seek, &error), &error);
    assert_int_equal(bridge_position(session, &bridge, 0), 7);
    uint64_t removed;
    assert_int_equal(driver->positions->remove(session, &bridge.box.target, "g", NULL, &removed, &error), SINK_REFUSED);
    run_sql("GRANT DELETE ON sluice.positions TO bridge");
    must(driver->positions->remove(session, &bridge.box.target, "g", NULL, &removed, &error), &error);
    assert_int_equal(removed, 1);
    driver->disconnect(session);
    session = NULL;
    run_sql("DROP SCHEMA sluice CASCADE; DROP OWNED BY bridge; DROP ROLE bridge");
}

/* A session that pauses within such a transaction is ended by the server; one that imports files
 * without runs has more time. */
static void the_pause_that_the_server_allows(void **state) {
    SESSION;
    run_sql(
        "CREATE TABLE paused (p bigint, o bigint, v text); CREATE TABLE paused_seen (t text); CREATE FUNCTION paused_look() RETURNS trigger"
        " LANGUAGE plpgsql AS $$ BEGIN INSERT INTO paused_seen SELECT current_setting('idle_in_transaction_session_timeout'); RETURN NEW;"
        " END $$; CREATE TRIGGER look BEFORE INSERT ON paused FOR EACH ROW EXECUTE FUNCTION paused_look()");
    BRIDGE("paused", false, 1, 1);
    bridge_claim(session, &bridge, 0);
    bridge_add(&bridge, 0, 0, 0, 1);
    must(bridge_import(session, &bridge, &error), &error);
    assert_rows("SELECT t FROM paused_seen", "10s");
    assert_rows("SELECT sink, instance, topic_id FROM sluice.positions WHERE table_name = 'public.paused'",
                "shop/orders|11111111-1111-1111-1111-111111111111|NULL");
}

/* Somebody has the ledger open for long: the column waits in short turns, so that others are not
 * held up behind it. */
static void a_ledger_that_is_in_use(void **state) {
    {
        SESSION;
        BRIDGE("used", false, 1, 1);
        bridge_claim(session, &bridge, 0);
    }
    run_sql("ALTER TABLE sluice.files DROP COLUMN outcomes");
    PGconn *reader = PQconnectdb(server->uri);
    PQclear(PQexec(reader, "BEGIN; SELECT count(*) FROM sluice.files"));
    static Claimant claimant;
    claimant = (Claimant){.latest = 5};
    assert_int_equal(thread_start(&claimant.thread, "claimant", claim_in_thread, &claimant, NULL), 0);
    /* It gives up, and comes again. */
    assert_true(waits_for("SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'", "1"));
    char *pid = test_postgres_rows(server, "SELECT query_start FROM pg_stat_activity WHERE application_name = 'sluice shop/orders'");
    char again[300];
    (void)snprintf(again, sizeof again,
                   "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sluice shop/orders' AND query_start > '%s'"
                   " AND wait_event_type = 'Lock'",
                   pid);
    free(pid);
    assert_true(waits_for(again, "1"));
    PQclear(PQexec(reader, "COMMIT"));
    PQfinish(reader);
    thread_join(&claimant.thread);
    assert_int_equal(claimant.result, SINK_DONE);
}

static int run_all(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_that_meet),
        cmocka_unit_test(a_position_that_never_rests),
        cmocka_unit_test(rejects_of_a_start_that_was_given_up),
        cmocka_unit_test(between_the_position_and_the_commit),
        cmocka_unit_test(a_commit_without_an_answer),
        cmocka_unit_test(readers_of_one_group),
        cmocka_unit_test(nodes_that_claim_at_once),
        cmocka_unit_test(equal_keys_do_not_deadlock),
        cmocka_unit_test(rights),
        cmocka_unit_test(the_pause_that_the_server_allows),
        cmocka_unit_test(a_ledger_that_is_in_use),
    };
    return run_positions_cases(NULL, NULL) + cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) {
    server = test_postgres_start();
    if (!server) {
        (void)printf("no PostgreSQL binaries on this machine\n");
        return 77; /* meson: skipped */
    }
    int failed = run_all();
    test_postgres_stop(server);
    return failed;
}
