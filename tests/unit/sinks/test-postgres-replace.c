/* Tables that are replaced, in PostgreSQL: the cases of all drivers, and what only it has. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/postgres-case.h"
#include "tests/unit/sinks/replace-cases.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"

const char positions_table[] = "sluice.positions", ledger_table[] = "sluice.files";

void run_sql(const char *text) {
    test_postgres_sql(server, text);
}

const char true_word[] = "t";

void make_trigger(const char *table, TriggerKind kind) {
    static const char *const bodies[] = {
        [TRIGGER_REFUSES] = "IF NEW.v = ''bad'' THEN RAISE ''not this one''; END IF; RETURN NEW;",
        [TRIGGER_SWALLOWS] = "IF NEW.v = ''gone'' THEN RETURN NULL; END IF; RETURN NEW;",
        [TRIGGER_KEEPS] = "RETURN NULL;",
    };
    char text[600];
    (void)snprintf(text, sizeof text,
                   "CREATE FUNCTION of_%s() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN %s END';"
                   "CREATE TRIGGER of_%s BEFORE %s ON %s FOR EACH ROW EXECUTE FUNCTION of_%s()",
                   table, bodies[kind], table, kind == TRIGGER_KEEPS ? "DELETE" : "INSERT", table, table);
    run_sql(text);
}

void drop_trigger(const char *table) {
    char text[100];
    (void)snprintf(text, sizeof text, "DROP TRIGGER of_%s ON %s", table, table);
    run_sql(text);
}

#define SESSION _cleanup_(cleanup_session) SinkSession *session = open_session()

/* A run of the offsets [0, records) of partition 0, up to its swap. */
static void collect(SinkSession *session, BridgeCase *bridge, uint64_t run, int64_t records) {
    Error error = {0};
    replace_use_run(bridge, run);
    assert_int_equal(replace_claim(session, bridge), RUN_OPEN);
    bridge_next_files(bridge);
    if (records > 0) bridge_add(bridge, 0, 0, 0, records);
    must(bridge_import(session, bridge, &error), &error);
    assert_int_equal(bridge->box.job.rejected_rows, 0);
}

static void replace_with(SinkSession *session, BridgeCase *bridge, uint64_t run, int64_t records) {
    collect(session, bridge, run, records);
    assert_int_equal(replace_swap(session, bridge, records), SWAP_REPLACED);
}

/* ---- what stays ---- */

/* All that belongs to the table, as text. */
static const char all_of_the_table[] =
    "SELECT pg_catalog.string_agg(line, E'\\n' ORDER BY line) FROM ("
    "SELECT concat_ws(' ', 'class', oid, relfilenode, relowner::regrole, relacl, reloptions, relreplident, relrowsecurity, relpersistence,"
    " reltablespace, obj_description(oid, 'pg_class')) AS line FROM pg_class WHERE oid = 'kept'::regclass"
    " UNION ALL SELECT concat_ws(' ', 'column', attnum, attname, atttypid::regtype, atttypmod, attnotnull, attidentity, attgenerated,"
    " attacl, attcollation, attstattarget, attstorage, attisdropped, col_description(attrelid, attnum), pg_get_expr(adbin, adrelid))"
    " FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 'kept'::regclass"
    " UNION ALL SELECT concat_ws(' ', 'constraint', oid, conname, conrelid::regclass, pg_get_constraintdef(oid),"
    " obj_description(oid, 'pg_constraint')) FROM pg_constraint WHERE 'kept'::regclass IN (conrelid, confrelid)"
    " UNION ALL SELECT concat_ws(' ', 'index', indexrelid, pg_get_indexdef(indexrelid), indisclustered, indisvalid,"
    " obj_description(indexrelid, 'pg_class')) FROM pg_index WHERE indrelid = 'kept'::regclass"
    " UNION ALL SELECT concat_ws(' ', 'trigger', oid, pg_get_triggerdef(oid), tgenabled) FROM pg_trigger WHERE tgrelid = 'kept'::regclass"
    " UNION ALL SELECT concat_ws(' ', 'rule', oid, pg_get_ruledef(oid)) FROM pg_rewrite WHERE ev_class = 'kept'::regclass"
    " UNION ALL SELECT concat_ws(' ', 'policy', oid, polname, pg_get_expr(polqual, polrelid)) FROM pg_policy"
    " WHERE polrelid = 'kept'::regclass"
    " UNION ALL SELECT concat_ws(' ', 'statistics', oid, stxname, stxkeys) FROM pg_statistic_ext WHERE stxrelid = 'kept'::regclass"
    " UNION ALL SELECT concat_ws(' ', 'publication', prpubid) FROM pg_publication_rel WHERE prrelid = 'kept'::regclass"
    " UNION ALL SELECT concat_ws(' ', 'view', c.oid, c.relname, c.relkind, pg_get_viewdef(c.oid)) FROM pg_class c"
    " WHERE c.relname LIKE 'kept_view%'"
    " UNION ALL SELECT concat_ws(' ', 'depends', classid::regclass, objid, objsubid, deptype) FROM pg_depend"
    " WHERE refclassid = 'pg_class'::regclass AND refobjid = 'kept'::regclass"
    " UNION ALL SELECT concat_ws(' ', 'sequence', seqrelid, seqstart, seqincrement) FROM pg_sequence"
    " WHERE seqrelid = pg_get_serial_sequence('kept', 'id')::regclass) AS lines";

static void all_of_the_table_stays(void **state) {
    SESSION;
    run_sql("CREATE ROLE kept_reader; CREATE ROLE kept_owner;"
            "CREATE TABLE kept (p bigint NOT NULL, o bigint NOT NULL, v text COLLATE \"C\" NOT NULL DEFAULT 'none' CHECK (v <> 'bad'),"
            " id bigint GENERATED ALWAYS AS IDENTITY, twice bigint GENERATED ALWAYS AS (o * 2) STORED, n serial,"
            " made timestamptz DEFAULT now(), PRIMARY KEY (p, o), UNIQUE (o, p), EXCLUDE USING btree (o WITH =) WHERE (p = 77))"
            " WITH (fillfactor = 70);"
            "ALTER TABLE kept REPLICA IDENTITY FULL; ALTER TABLE kept OWNER TO kept_owner; GRANT ALL ON kept TO postgres;"
            "GRANT SELECT ON kept TO kept_reader; GRANT UPDATE (v) ON kept TO kept_reader;"
            "COMMENT ON TABLE kept IS 'of the shop'; COMMENT ON COLUMN kept.v IS 'a text';"
            "CREATE INDEX kept_index ON kept (v, o) WHERE o > 1; COMMENT ON INDEX kept_index IS 'an index';"
            "CREATE INDEX kept_expression ON kept USING hash (lower(v)); CREATE STATISTICS kept_statistics ON p, o FROM kept;"
            "ALTER TABLE kept ALTER v SET STATISTICS 7;"
            "CREATE VIEW kept_view AS SELECT o, v FROM kept; CREATE MATERIALIZED VIEW kept_view_stored AS SELECT count(*) FROM kept;"
            "GRANT SELECT ON kept_view TO kept_reader;"
            "CREATE FUNCTION kept_note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            "CREATE TRIGGER kept_trigger AFTER INSERT OR DELETE ON kept FOR EACH ROW EXECUTE FUNCTION kept_note();"
            "CREATE POLICY kept_policy ON kept USING (true); CREATE PUBLICATION kept_publication FOR TABLE kept;"
            "CREATE TABLE kept_child (p bigint, o bigint, FOREIGN KEY (p, o) REFERENCES kept);"
            "CREATE RULE kept_rule AS ON UPDATE TO kept WHERE NEW.v = 'never' DO INSTEAD NOTHING;"
            "INSERT INTO kept VALUES (0, 1, 'old'), (0, 2, 'old'), (8, 8, 'old'); INSERT INTO kept_child VALUES (0, 1)");
    char *before = test_postgres_rows(server, all_of_the_table);
    assert_non_null(strstr(before, "kept_reader"));
    assert_non_null(strstr(before, "kept_policy"));
    REPLACE("kept", true, 1, 1, 1);
    for (uint64_t run = 1; run <= 2; run++) {
        replace_with(session, &bridge, run, 50);
        assert_rows("SELECT count(*), count(DISTINCT id), count(DISTINCT n), sum(twice), min(v), max(v), count(made) FROM kept",
                    "50|50|50|2450|x|x|50");
        assert_rows("SELECT count(*) FROM kept_view", "50");
        assert_rows("SET ROLE kept_reader; SELECT count(*) FROM kept", "50");
        char *after = test_postgres_rows(server, all_of_the_table);
        assert_string_equal(after, before);
        free(after);
    }
    free(before);
    /* Nothing is left of the side table. */
    assert_rows("SELECT count(*) FROM pg_class WHERE relname LIKE 'kept%\\_\\_replace%'", "0");
}

/* The side table has what refuses rows, and no more. */
static void what_the_side_table_is(void **state) {
    SESSION;
    run_sql("CREATE TABLE mirrored (p bigint, o bigint NOT NULL, v text CHECK (v <> 'bad'), more jsonb, UNIQUE (p, o));"
            "CREATE INDEX mirrored_index ON mirrored (v); CREATE INDEX mirrored_gin ON mirrored USING gin (more)");
    REPLACE("mirrored", false, 1, 1, 1);
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    assert_rows("SELECT relpersistence FROM pg_class WHERE relname = 'mirrored__replace'", "p");
    assert_rows("SELECT indisunique FROM pg_index WHERE indrelid = 'mirrored__replace'::regclass", "t");
    assert_rows("SELECT conname FROM pg_constraint WHERE conrelid = 'mirrored__replace'::regclass AND contype = 'c'", "mirrored_v_check");
    assert_rows("SELECT obj_description('mirrored__replace'::regclass, 'pg_class') LIKE 'Sluice: rows of a run%'", "t");
}

/* ---- foreign keys and relations ---- */

typedef struct KeyCase {
    const char *name, *clause;
    bool refused;      /* by name, when the run is claimed */
    bool same_key;     /* does the run bring the row that the other table points at? */
    const char *fails; /* words of the failure of the swap; NULL: it goes well */
} KeyCase;

static const KeyCase key_cases[] = {
    {"no_action", "", false, true, NULL},
    {"no_action_gone", "", false, false, "violates foreign key"},
    {"restricted", "ON DELETE RESTRICT", false, true, "violates foreign key"},
    {"deferrable", "DEFERRABLE INITIALLY DEFERRED", false, true, NULL},
    {"deferrable_gone", "DEFERRABLE INITIALLY DEFERRED", false, false, "violates foreign key"},
    {"cascaded", "ON DELETE CASCADE", true, true, "CASCADE"},
    {"nulled", "ON DELETE SET NULL", true, true, "SET NULL"},
    {"defaulted", "ON DELETE SET DEFAULT", true, true, "SET DEFAULT"},
    {"updated", "ON UPDATE CASCADE", false, true, NULL},
};

static void a_key_that_points_at_the_table(const KeyCase *key, bool partitioned) {
    SESSION;
    char table[60], sql[800], child[80];
    (void)snprintf(table, sizeof table, "pointed_%s%s", key->name, partitioned ? "_parts" : "");
    (void)snprintf(child, sizeof child, "%s_child", table);
    char parts[200] = "";
    if (partitioned) (void)snprintf(parts, sizeof parts, "CREATE TABLE %s_zero PARTITION OF %s FOR VALUES IN (0);", table, table);
    (void)snprintf(sql, sizeof sql,
                   "CREATE TABLE %s (p bigint, o bigint, v text, PRIMARY KEY (p, o)) %s; %s"
                   "INSERT INTO %s VALUES (0, 1, 'old'), (0, 90, 'old');",
                   table, partitioned ? "PARTITION BY LIST (p)" : "", parts, table);
    run_sql(sql);
    REPLACE(table, true, 1, 1, 1);
    collect(session, &bridge, 1, 5); /* before the key is there */
    (void)snprintf(sql, sizeof sql,
                   "CREATE TABLE %s (p bigint, o bigint, FOREIGN KEY (p, o) REFERENCES %s %s); INSERT INTO %s VALUES (0, %s)", child, table,
                   key->clause, child, key->same_key ? "1" : "90");
    run_sql(sql);
    SwapJob job;
    SinkResult result = replace_try_swap(session, &bridge, 5, false, &job, &error);
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
    if (key->fails) {
        if (result != SINK_REFUSED || !strstr(error.text, key->fails)) fail_msg("%s: %d %s", key->name, result, error.text);
        assert_rows(sql, "2");
    } else {
        must(result, &error);
        assert_int_equal(job.outcome, SWAP_REPLACED);
        assert_rows(sql, "5");
    }
    (void)snprintf(sql, sizeof sql, "SELECT count(p) FROM %s", child);
    assert_rows(sql, "1");
    replace_use_run(&bridge, 2);
    result = replace_try_claim(session, &bridge, NULL, NULL, NULL, &error);
    assert_int_equal(result, key->refused ? SINK_REFUSED : SINK_DONE);
    if (!key->refused) return;
    assert_non_null(strstr(error.text, key->fails));
    assert_non_null(strstr(error.text, child));
    assert_int_equal(driver->prepare(session, &bridge.box.target, &error), SINK_REFUSED);
    TableInspection inspection;
    assert_int_equal(driver->inspect(session, &bridge.box.target, &inspection, &error), SINK_REFUSED);
    table_inspection_deinit(&inspection);
}

static void keys_that_point_at_the_table(void **state) {
    for (size_t i = 0; i < sizeof key_cases / sizeof key_cases[0]; i++) {
        a_key_that_points_at_the_table(&key_cases[i], false);
        a_key_that_points_at_the_table(&key_cases[i], true);
    }
}

/* Keys of the table itself: at another table, and at its own rows. */
static void keys_of_the_table(void **state) {
    SESSION;
    run_sql("CREATE TABLE lands (o bigint PRIMARY KEY); INSERT INTO lands SELECT generate_series(0, 9);"
            "CREATE TABLE towns (p bigint, o bigint PRIMARY KEY REFERENCES lands, v text, above bigint REFERENCES towns);"
            "INSERT INTO towns VALUES (0, 1, 'old', NULL), (0, 2, 'old', 1)");
    REPLACE("towns", true, 1, 1, 1);
    bridge.box.columns[0].primary_key = false;
    collect(session, &bridge, 1, 11); /* the last one has no land */
    assert_int_equal(replace_try_swap(session, &bridge, 11, false, NULL, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "towns_o_fkey"));
    assert_rows("SELECT count(*), max(v) FROM towns", "2|old");
    run_sql("INSERT INTO lands VALUES (10)");
    assert_int_equal(replace_swap(session, &bridge, 11), SWAP_REPLACED);
    assert_rows("SELECT count(*), max(v) FROM towns", "11|x");
}

static void a_table_that_others_inherit_from(void **state) {
    SESSION;
    run_sql("CREATE TABLE parents (p bigint, o bigint, v text); CREATE TABLE heirs () INHERITS (parents); INSERT INTO heirs VALUES (0, 0, "
            "'h')");
    REPLACE("parents", false, 1, 1, 1);
    assert_int_equal(replace_try_claim(session, &bridge, NULL, NULL, NULL, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "heirs"));
    run_sql("ALTER TABLE heirs NO INHERIT parents");
    replace_with(session, &bridge, 1, 3);
    assert_rows("SELECT count(*) FROM heirs", "1");
}

static void tables_with_partitions(void **state) {
    SESSION;
    run_sql("CREATE TABLE split (p bigint, o bigint, v text) PARTITION BY RANGE (o); CREATE INDEX ON split (o);"
            "CREATE TABLE split_low PARTITION OF split FOR VALUES FROM (0) TO (10) PARTITION BY LIST (p);"
            "CREATE TABLE split_low_zero PARTITION OF split_low FOR VALUES IN (0);"
            "CREATE TABLE split_high PARTITION OF split FOR VALUES FROM (10) TO (20); INSERT INTO split VALUES (0, 19, 'old')");
    REPLACE("split", false, 1, 1, 1);
    replace_with(session, &bridge, 1, 15);
    assert_rows("SELECT count(*) FROM split_low_zero UNION ALL SELECT count(*) FROM split_high", "10\n5");
    /* A row for which there is no partition. */
    collect(session, &bridge, 2, 21);
    assert_int_equal(replace_try_swap(session, &bridge, 21, false, NULL, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "no partition"));
    assert_rows("SELECT count(*) FROM split", "15");
    run_sql("CREATE TABLE split_rest PARTITION OF split DEFAULT");
    assert_int_equal(replace_swap(session, &bridge, 21), SWAP_REPLACED);
    assert_rows("SELECT count(*) FROM split", "21");
}

/* In a schema of its own, with names that need quotes; a name that is too long. */
static void names(void **state) {
    SESSION;
    run_sql("CREATE SCHEMA \"Shop \"\"1\"\"\"");
    REPLACE("Shop \"1\".Or ders", true, 1, 1, 1);
    replace_with(session, &bridge, 1, 3);
    replace_with(session, &bridge, 2, 4);
    assert_rows("SELECT count(*) FROM \"Shop \"\"1\"\"\".\"Or ders\"", "4");
    bridge.box.target.table.table_id = (char *)(uintptr_t) "a123456789012345678901234567890123456789012345678901234";
    assert_int_equal(driver->prepare(session, &bridge.box.target, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "side table"));
    assert_rows("SELECT count(*) FROM pg_class WHERE relname LIKE 'a1234567890%'", "0");
}

/* ---- sessions that meet ---- */

typedef struct Actor {
    Thread thread;
    BridgeCase bridge;
    enum { ACTOR_CLAIMS, ACTOR_SWAPS, ACTOR_IMPORTS } deed;
    int64_t limit;
    SinkResult result;
    SwapJob job;
    RunState run;
    Error error;
} Actor;

static void *act(void *context) {
    Actor *actor = context;
    SinkSession *session = open_session();
    switch (actor->deed) {
    case ACTOR_CLAIMS: actor->result = replace_try_claim(session, &actor->bridge, NULL, &actor->run, NULL, &actor->error); break;
    case ACTOR_SWAPS: actor->result = replace_try_swap(session, &actor->bridge, actor->limit, false, &actor->job, &actor->error); break;
    case ACTOR_IMPORTS: actor->result = bridge_import(session, &actor->bridge, &actor->error); break;
    }
    driver->disconnect(session);
    return NULL;
}

static void actor_start(Actor *actor) {
    assert_int_equal(thread_start(&actor->thread, "actor", act, actor, NULL), 0);
}

static Actor rival;

/* In the middle of an import: the rival begins, and waits for the side table. */
static void let_the_rival_begin(void *context, uint64_t block) {
    if (block != 2) return;
    actor_start(&rival);
    assert_true(waits_for("SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE NOT l.granted"
                          " AND c.relname LIKE 'met\\_%\\_\\_replace' AND l.mode = 'AccessExclusiveLock'",
                          "1"));
}

/* A swap and a claim of a later run wait for an import that has begun. */
static void an_import_that_has_begun(void **state) {
    for (int claims = 0; claims < 2; claims++) {
        SESSION;
        const char *table = claims ? "met_claim" : "met_swap";
        REPLACE(table, false, 1, 1, 1);
        collect(session, &bridge, 1, 10);
        rival = (Actor){.deed = claims ? ACTOR_CLAIMS : ACTOR_SWAPS, .limit = 10};
        replace_init(&rival.bridge, table, false, 1, 1, claims ? 2 : 1);
        bridge_next_files(&bridge);
        for (int64_t o = 10; o < 20; o++) bridge_add(&bridge, 0, 0, o, o + 1);
        bridge.box.rows[0].block_bytes = 1;
        bridge.box.rows[0].at_block = let_the_rival_begin;
        must(bridge_import(session, &bridge, &error), &error);
        thread_join(&rival.thread);
        must(rival.result, &rival.error);
        assert_int_equal(bridge.runs[0][0].outcome, RUN_TAKEN);
        char sql[100];
        (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM %s%s", table, claims ? "__replace" : "");
        assert_rows(sql, claims ? "0" : "20");
        replace_deinit(&rival.bridge);
    }
}

/* A swap in the middle of its rows: an import of its run, a claim of the run and one of a later run
 * wait for it; people read the old rows. */
static void a_swap_that_has_begun(void **state) {
    SESSION;
    static Actor actors[3];
    run_sql("CREATE TABLE slow_swap (p bigint, o bigint, v text); INSERT INTO slow_swap VALUES (0, 0, 'old');"
            "CREATE FUNCTION slow_swap_hold() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_advisory_xact_lock(4712); RETURN NULL; END';"
            "CREATE TRIGGER hold AFTER INSERT ON slow_swap FOR EACH STATEMENT EXECUTE FUNCTION slow_swap_hold()");
    for (int fate = 0; fate < 2; fate++) {
        uint64_t run = 10 + 2 * (uint64_t)fate;
        REPLACE("slow_swap", false, 1, 1, run);
        collect(session, &bridge, run, 10);
        PGconn *gate = PQconnectdb(server->uri);
        PQclear(PQexec(gate, "SELECT pg_advisory_lock(4712)"));
        rival = (Actor){.deed = ACTOR_SWAPS, .limit = 10};
        replace_init(&rival.bridge, "slow_swap", false, 1, 1, run);
        actor_start(&rival);
        assert_true(waits_for("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", "1"));
        assert_rows("SELECT count(*), max(v) FROM slow_swap", fate == 0 ? "1|old" : "10|x");
        for (int i = 0; i < 3; i++) {
            actors[i] = (Actor){.deed = i == 0 ? ACTOR_IMPORTS : i == 1 ? ACTOR_CLAIMS : ACTOR_SWAPS, .limit = 10};
            replace_init(&actors[i].bridge, "slow_swap", false, 1, 1, run);
            if (i == 0) bridge_add(&actors[i].bridge, 0, 0, 10, 12);
            actor_start(&actors[i]);
        }
        assert_true(waits_for("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sluice shop/orders'"
                              " AND wait_event_type = 'Lock'",
                              "4"));
        if (fate == 1)
            run_sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query LIKE '%INSERT INTO \"public\".\"slow_swap\"%'"
                    " AND wait_event = 'advisory'");
        PQfinish(gate);
        thread_join(&rival.thread);
        for (int i = 0; i < 3; i++) thread_join(&actors[i].thread);
        if (fate == 0) {
            must(rival.result, &rival.error);
            assert_int_equal(rival.job.outcome, SWAP_REPLACED);
            must(actors[0].result, &actors[0].error);
            assert_int_equal(actors[0].bridge.runs[0][0].outcome, RUN_OVERTAKEN);
            must(actors[1].result, &actors[1].error);
            assert_int_equal(actors[1].run, RUN_DONE);
            must(actors[2].result, &actors[2].error);
            assert_int_equal(actors[2].job.outcome, SWAP_DONE_BEFORE);
        } else {
            /* The swap that waited does it. */
            assert_true(rival.result == SINK_RETRY || rival.result == SINK_UNREACHABLE);
            must(actors[1].result, &actors[1].error);
            must(actors[2].result, &actors[2].error);
            assert_int_equal(actors[2].job.outcome, SWAP_REPLACED);
        }
        assert_rows("SELECT count(*) - count(*) FILTER (WHERE o >= 10), max(v) FROM slow_swap", "10|x");
        replace_deinit(&rival.bridge);
        for (int i = 0; i < 3; i++) replace_deinit(&actors[i].bridge);
    }
}

/* The server commits the swap, and its answer is lost. */
static void a_swap_whose_answer_is_lost(void **state) {
    SESSION;
    REPLACE("unheard", false, 1, 1, 1);
    collect(session, &bridge, 1, 10);
    CommitRelay *relay = commit_relay_start();
    SinkSession *cut = NULL;
    must(try_open(commit_relay_uri(relay), NULL, &cut, &error), &error);
    SwapJob job;
    SinkResult result = replace_try_swap(cut, &bridge, 10, false, &job, &error);
    driver->disconnect(cut);
    commit_relay_stop(relay);
    assert_int_equal(result, SINK_RETRY);
    assert_non_null(strstr(error.text, "unknown whether"));
    assert_int_equal(job.outcome, 0);
    assert_int_equal(job.rows, 0);
    assert_rows("SELECT count(*) FROM unheard", "10");
    assert_int_equal(replace_swap(session, &bridge, 10), SWAP_DONE_BEFORE);
}

/* The server dies in the middle of a swap, as after a power cut: the table has its old rows, and
 * what was collected is still there. */
static void a_server_that_dies(void **state) {
    run_sql("CREATE TABLE mortal (p bigint, o bigint, v text); INSERT INTO mortal VALUES (0, 0, 'old');"
            "CREATE FUNCTION mortal_hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';"
            "CREATE TRIGGER hold AFTER INSERT ON mortal FOR EACH STATEMENT EXECUTE FUNCTION mortal_hold()");
    REPLACE("mortal", false, 1, 1, 1);
    {
        SESSION;
        collect(session, &bridge, 1, 10);
    }
    rival = (Actor){.deed = ACTOR_SWAPS, .limit = 10};
    replace_init(&rival.bridge, "mortal", false, 1, 1, 1);
    actor_start(&rival);
    assert_true(waits_for("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "1"));
    test_postgres_kill(server);
    thread_join(&rival.thread);
    test_postgres_run(server);
    assert_true(rival.result == SINK_UNREACHABLE || rival.result == SINK_RETRY);
    replace_deinit(&rival.bridge);
    assert_rows("SELECT count(*), max(v) FROM mortal", "1|old");
    assert_rows("SELECT count(*) FROM mortal__replace", "10");
    run_sql("DROP TRIGGER hold ON mortal");
    SESSION;
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    assert_int_equal(replace_swap(session, &bridge, 10), SWAP_REPLACED);
    assert_rows("SELECT count(*), max(v) FROM mortal", "10|x");
}

/* ---- rights ---- */

/* What the test of the connection says of the table; "" when it finds nothing. */
static const char *test_as(const char *uri, Error *error) {
    char name[] = "warehouse", *copy = strdup(uri);
    char *fields[] = {copy, NULL, NULL, NULL, NULL};
    Connection connection = {.name = name, .type = &connection_type_postgres, .values = fields};
    static const char *const tables[] = {"yard.righted"};
    static const unsigned needs[] = {TABLE_IS_REPLACED};
    SinkTest test = {.tables = tables, .table_count = 1, .needs = needs, .with_positions = true};
    *error = (Error){0};
    SinkFault fault = driver->test(&connection, "/tmp", &test, error);
    free(copy);
    if (fault != SINK_SOUND) assert_int_equal(fault, SINK_FAULT_RIGHTS);
    return fault == SINK_SOUND ? "" : error->text;
}

static void the_rights_that_it_needs(void **state) {
    static const char *const rights[] = {"SELECT", "INSERT", "DELETE"};
    static const struct {
        const char *right, *says;
    } others[] = {{"CREATE ON SCHEMA yard", "lacks CREATE on the schema \"yard\""},
                  {"DELETE ON sluice.positions", "lacks DELETE on the positions"}};
    char uri[200], sql[200];
    {
        SESSION; /* the ledger and the positions are there */
        REPLACE("righted_other", false, 1, 1, 1);
        assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    }
    run_sql(
        "CREATE ROLE loader_role LOGIN; CREATE SCHEMA yard; CREATE TABLE yard.righted (p bigint, o bigint, v text);"
        "INSERT INTO yard.righted VALUES (0, 0, 'old'); GRANT USAGE, CREATE ON SCHEMA yard TO loader_role; GRANT USAGE ON SCHEMA sluice TO"
        " loader_role; GRANT SELECT, INSERT, DELETE ON sluice.files TO loader_role; GRANT SELECT, INSERT, UPDATE, DELETE ON"
        " sluice.positions TO loader_role; GRANT SELECT, INSERT, DELETE ON yard.righted TO loader_role");
    (void)snprintf(uri, sizeof uri, "postgresql://loader_role@127.0.0.1:%d/postgres", server->port);
    _cleanup_(cleanup_session) SinkSession *session = open_session_at(uri);
    REPLACE("yard.righted", false, 1, 1, 1);
    for (uint64_t i = 0; i < 3; i++) {
        (void)snprintf(sql, sizeof sql, "REVOKE %s ON yard.righted FROM loader_role", rights[i]);
        run_sql(sql);
        replace_use_run(&bridge, i + 1);
        SinkResult result = replace_try_claim(session, &bridge, NULL, NULL, NULL, &error);
        if (result == SINK_DONE) {
            bridge_next_files(&bridge);
            bridge_add(&bridge, 0, 0, 0, 3);
            must(bridge_import(session, &bridge, &error), &error);
            result = replace_try_swap(session, &bridge, 3, false, NULL, &error);
        }
        assert_int_equal(result, SINK_REFUSED);
        assert_non_null(strstr(error.text, "permission denied"));
        assert_non_null(strstr(test_as(uri, &error), "SELECT, INSERT or DELETE on the table \"yard.righted\""));
        assert_rows("SELECT max(v) FROM yard.righted", "old");
        (void)snprintf(sql, sizeof sql, "GRANT %s ON yard.righted TO loader_role", rights[i]);
        run_sql(sql);
    }
    for (uint64_t i = 0; i < 2; i++) {
        (void)snprintf(sql, sizeof sql, "REVOKE %s FROM loader_role", others[i].right);
        run_sql(sql);
        replace_use_run(&bridge, i + 5);
        assert_int_equal(replace_try_claim(session, &bridge, NULL, NULL, NULL, &error), SINK_REFUSED);
        assert_non_null(strstr(error.text, "permission denied"));
        assert_non_null(strstr(test_as(uri, &error), others[i].says));
        (void)snprintf(sql, sizeof sql, "GRANT %s TO loader_role", others[i].right);
        run_sql(sql);
    }
    assert_string_equal(test_as(uri, &error), "");
    replace_with(session, &bridge, 9, 4);
    assert_rows("SELECT count(*) FROM yard.righted", "4");
}

/* The side table refuses what the table would refuse. A type that is changed in the middle of a run
 * would round on the way from the one to the other: the run begins anew. */
static void types_of_the_table(void **state) {
    SESSION;
    run_sql("CREATE TABLE narrow (p smallint, o numeric(3,1), v varchar(3))");
    REPLACE("narrow", false, 1, 1, 5);
    bridge.box.columns[1].data_type = DATA_DECIMAL;
    assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
    for (int turn = 0; turn < 2; turn++) {
        bridge_next_files(&bridge);
        bridge_add_empty(&bridge, 0, 0, 0, 4);
        bridge.runs[0][0].rows = 4;
        ADD(&bridge.box.rows[0], "0", "1.5", "abc");
        ADD(&bridge.box.rows[0], "0", "1.55", "abc");
        ADD(&bridge.box.rows[0], "70000", "1.5", "abc");
        ADD(&bridge.box.rows[0], "0", "2", "abc ");
        must(bridge_import(session, &bridge, &error), &error);
        assert_int_equal(bridge.box.job.rejected_rows, turn == 0 ? 3 : 4);
        if (turn == 1) break;
        run_sql("ALTER TABLE narrow ALTER COLUMN o TYPE numeric(3,0)");
        assert_int_equal(replace_swap(session, &bridge, 4), SWAP_NOT_COMPLETE);
        assert_int_equal(replace_claim(session, &bridge), RUN_OPEN);
        assert_rows("SELECT count(*) FROM narrow__replace", "0");
    }
}

static int run_all(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_the_table_stays),
        cmocka_unit_test(what_the_side_table_is),
        cmocka_unit_test(keys_that_point_at_the_table),
        cmocka_unit_test(keys_of_the_table),
        cmocka_unit_test(a_table_that_others_inherit_from),
        cmocka_unit_test(tables_with_partitions),
        cmocka_unit_test(names),
        cmocka_unit_test(an_import_that_has_begun),
        cmocka_unit_test(a_swap_that_has_begun),
        cmocka_unit_test(a_swap_whose_answer_is_lost),
        cmocka_unit_test(a_server_that_dies),
        cmocka_unit_test(the_rights_that_it_needs),
        cmocka_unit_test(types_of_the_table),
    };
    return run_replace_cases(NULL, NULL) + cmocka_run_group_tests(tests, NULL, NULL);
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
