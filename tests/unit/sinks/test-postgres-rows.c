/* PostgreSQL: which failures belong to a row and which to its table; rows that the table takes and
 * does not store. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/sinks/postgres-case.h"

/* The ways of loading: COPY into the table; merge and append by way of the temporary table. */
static const char *const ways[] = {"plain", "merged", "appended"};
enum { WAYS = sizeof ways / sizeof ways[0] };
#define COLUMNS(way) ((way) == 0 ? "n:integer v:text" : "n:integer:key v:text")

static void __attribute__((format(printf, 1, 2))) sql(const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    assert_true(vasprintf(&text, format, arguments) > 0);
    va_end(arguments);
    test_postgres_sql(server, text);
    free(text);
}

static void __attribute__((format(printf, 2, 3))) assert_is(const char *wanted, const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    assert_true(vasprintf(&text, format, arguments) > 0);
    va_end(arguments);
    char *rows = test_postgres_rows(server, text);
    if (strcmp(rows, wanted) != 0) fail_msg("%s: \"%s\" instead of \"%s\"", text, rows, wanted);
    free(rows);
    free(text);
}

/* A table t_WAY with a trigger before the insert of each row that runs `body` before it returns
 * NEW. */
static void make_table(const char *name, int way, const char *body) {
    sql("DROP TABLE IF EXISTS %s CASCADE; CREATE TABLE %s (n bigint %s, v text);"
        "CREATE OR REPLACE FUNCTION %s_before() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN %s RETURN NEW; END $$;"
        "CREATE TRIGGER before BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION %s_before()",
        name, name, way == 0 ? "" : "PRIMARY KEY", name, body, name, name);
}

static void add_numbers(TextRows *rows, int from, int to) {
    char number[16];
    for (int i = from; i < to; i++) {
        (void)snprintf(number, sizeof number, "%d", i);
        ADD(rows, number, "x");
    }
    rows->block_bytes = 200;
}

static void set_way(SinkCase *box, int way) {
    if (way == 2) box->target.table.strategy = STRATEGY_APPEND;
}

static void what_a_trigger_raises_belongs_to_its_row(void **state) {
    static const char *const raises[] = {
        "RAISE EXCEPTION 'not 13' USING ERRCODE = '45000';", "RAISE EXCEPTION 'not 13' USING ERRCODE = 'ZX001';",
        "RAISE EXCEPTION 'not 13' USING ERRCODE = 'P0002';", "RAISE EXCEPTION 'not 13' USING ERRCODE = '42501';",
        "RAISE EXCEPTION 'not 13' USING ERRCODE = 'XX000';", "RAISE EXCEPTION 'not 13' USING ERRCODE = '08006';",
        "RAISE EXCEPTION 'not 13' USING ERRCODE = '0A000';", "RAISE EXCEPTION 'not 13' USING ERRCODE = '21000';",
        "EXECUTE 'INSERT INTO \"not 13\" VALUES (1)';", /* as a trigger for old-style partitions, without one of them */
    };
    SESSION;
    for (size_t i = 0; i < sizeof raises / sizeof raises[0]; i++) {
        for (int way = 0; way < WAYS; way++) {
            char body[200];
            (void)snprintf(body, sizeof body, "IF NEW.n IN (13, 77) THEN %s END IF;", raises[i]);
            make_table("raising", way, body);
            CASE("raising", COLUMNS(way), 1);
            set_way(&box, way);
            prepare(session, &box);
            add_numbers(&box.rows[0], 0, 100);
            SinkResult result = driver->import(session, sink_case_job(&box), &error);
            if (result != SINK_DONE) fail_msg("%s, %s: result %d: %s", raises[i], ways[way], result, error.text);
            assert_int_equal(box.reject_count, 2);
            assert_int_equal(box.rejects[0].row, 14);
            assert_int_equal(box.rejects[1].row, 78);
            assert_non_null(strstr(box.rejects[0].reason, "not 13"));
            assert_int_equal(box.job.swallowed_rows, 0);
            assert_rows("SELECT count(*) FROM raising", "98");
        }
    }
}

/* The only row of an import, too: the statement goes through without it. */
static void a_row_that_is_alone(void **state) {
    SESSION;
    make_table("alone", 1, "RAISE EXCEPTION 'none' USING ERRCODE = '42501';");
    CASE("alone", COLUMNS(1), 1);
    prepare(session, &box);
    add_numbers(&box.rows[0], 0, 1);
    import(session, &box);
    assert_int_equal(box.reject_count, 1);
    assert_string_equal(box.rejects[0].reason, "none");
}

static void some_failures_are_never_a_row_s(void **state) {
    static const char *const states[] = {"40001", "53200", "55000", "55P03", "57014", "57000", "58030"};
    SESSION;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        for (int way = 0; way < WAYS; way++) {
            char body[200];
            (void)snprintf(body, sizeof body, "IF NEW.n = 13 THEN RAISE EXCEPTION 'no' USING ERRCODE = '%s'; END IF;", states[i]);
            make_table("never", way, body);
            CASE("never", COLUMNS(way), 1);
            set_way(&box, way);
            prepare(session, &box);
            add_numbers(&box.rows[0], 0, 100);
            assert_int_not_equal(driver->import(session, sink_case_job(&box), &error), SINK_DONE);
            assert_non_null(strstr(error.text, states[i]));
            assert_int_equal(box.store_calls, 0);
            assert_rows("SELECT count(*) FROM never", "0");
        }
    }
}

/* A trigger for each statement refuses all rows, and none. */
static void the_statement_without_rows(void **state) {
    SESSION;
    for (int way = 0; way < WAYS; way++) {
        make_table("closed", way, "");
        sql("CREATE OR REPLACE FUNCTION closed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'closed today'; END $$;"
            "CREATE TRIGGER door BEFORE INSERT ON closed EXECUTE FUNCTION closed()");
        CASE("closed", COLUMNS(way), 1);
        set_way(&box, way);
        prepare(session, &box);
        add_numbers(&box.rows[0], 0, 3);
        assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
        assert_non_null(strstr(error.text, "closed today"));
        assert_non_null(strstr(error.text, "no rows at all"));
        assert_int_equal(box.store_calls, 0);
        sql("DROP TRIGGER door ON closed");
        import(session, &box);
        assert_rows("SELECT count(*) FROM closed", "3");
    }
}

/* All rows fail in a way that may be the table's fault: it is. No row is refused, also when there
 * are many. */
static void a_broken_trigger(void **state) {
    SESSION;
    for (int way = 0; way < WAYS; way++) {
        for (int rows = 2; rows < 3000; rows += 2000) {
            make_table("audited", way, "INSERT INTO audit_that_is_gone VALUES (NEW.n);");
            CASE("audited", COLUMNS(way), 1);
            set_way(&box, way);
            box.job.bad_rows_max = 10000;
            prepare(session, &box);
            add_numbers(&box.rows[0], 0, rows);
            assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
            assert_non_null(strstr(error.text, "audit_that_is_gone"));
            assert_int_equal(box.store_calls, 0);
            assert_true(box.rows[0].blocks_given < 3000);
            sql("CREATE TABLE audit_that_is_gone (n bigint)");
            import(session, &box);
            assert_int_equal(box.reject_count, 0);
            sql("DROP TABLE audit_that_is_gone");
        }
    }
}

static void assert_refused_whole(SinkSession *session, SinkCase *box, const char *words) {
    Error error = {0};
    SinkResult result = driver->import(session, sink_case_job(box), &error);
    if (result != SINK_REFUSED || !strstr(error.text, words)) fail_msg("result %d, \"%s\" without \"%s\"", result, error.text, words);
    assert_int_equal(box->store_calls, 0);
}

/* The table was changed after it was compared, and good rows would be refused one by one. */
static void a_changed_table(void **state) {
    SESSION;
    for (int way = 0; way < WAYS; way++) {
        make_table("changed", way, "");
        CASE("changed", COLUMNS(way), 1);
        set_way(&box, way);
        prepare(session, &box);
        add_numbers(&box.rows[0], 0, 20);
        ADD(&box.rows[0], "3000000000", "large");
        sql("ALTER TABLE changed ADD COLUMN region text NOT NULL");
        assert_refused_whole(session, &box, "\"region\" is not in the sink");
        sql("ALTER TABLE changed ALTER COLUMN region DROP NOT NULL; ALTER TABLE changed ALTER COLUMN n TYPE date USING '2020-01-01'");
        assert_refused_whole(session, &box, "column \"n\" is date and should be bigint");
        sql("ALTER TABLE changed ALTER COLUMN n TYPE bigint USING 0");
        import(session, &box);
        assert_int_equal(box.reject_count, 0);
        assert_rows("SELECT count(*) FROM changed", "21");
    }
}

/* NOT NULL with a default, which a trigger takes away: in the table itself and in a partition of
 * it. */
static void null_in_a_column_that_the_sink_does_not_have(void **state) {
    SESSION;
    for (int partitioned = 0; partitioned < 2; partitioned++) {
        sql("DROP TABLE IF EXISTS half CASCADE; CREATE TABLE half (n bigint, v text, region text NOT NULL DEFAULT 'eu') %s",
            partitioned ? "PARTITION BY RANGE (n); CREATE TABLE half_1 PARTITION OF half FOR VALUES FROM (0) TO (1000)" : "");
        sql("CREATE OR REPLACE FUNCTION half() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.region = NULL; RETURN NEW; END $$;"
            "CREATE TRIGGER half BEFORE INSERT ON half FOR EACH ROW EXECUTE FUNCTION half()");
        CASE("half", COLUMNS(0), 1);
        prepare(session, &box);
        add_numbers(&box.rows[0], 0, 20);
        assert_refused_whole(session, &box, "Column \"region\" is not in the sink");
    }
    /* NULL in a column of the sink, or of a table of a trigger, is a row's. */
    sql("CREATE TABLE notes (what text NOT NULL)");
    make_table("noted", 0, "IF NEW.n = 13 THEN INSERT INTO notes VALUES (NULL); END IF;");
    sql("ALTER TABLE noted ALTER COLUMN v SET NOT NULL");
    CASE("noted", COLUMNS(0), 1);
    prepare(session, &box);
    add_numbers(&box.rows[0], 0, 20);
    ADD(&box.rows[0], "20", NULL);
    import(session, &box);
    assert_int_equal(box.reject_count, 2);
    assert_int_equal(box.rejects[0].row, 14);
    assert_int_equal(box.rejects[1].row, 21);
    assert_rows("SELECT count(*) FROM noted", "19");
}

#define SWALLOWED "not stored by a trigger of the table"

static void rows_that_a_trigger_swallows(void **state) {
    SESSION;
    for (int way = 0; way < WAYS; way++) {
        make_table("eaten", way, "IF NEW.n % 100 = 13 THEN RETURN NULL; ELSIF NEW.n = 500 THEN RAISE EXCEPTION 'not 500'; END IF;");
        CASE("eaten", COLUMNS(way), 1);
        set_way(&box, way);
        prepare(session, &box);
        add_numbers(&box.rows[0], 0, 1000);
        import(session, &box);
        assert_int_equal(box.reject_count, 11);
        for (size_t i = 0, row = 14; i < 11; i++) {
            bool raised = i == 5;
            assert_int_equal(box.rejects[i].row, raised ? 501 : row);
            assert_string_equal(box.rejects[i].reason, raised ? "not 500" : SWALLOWED);
            if (!raised) row += 100;
        }
        assert_true(span_equal(box.rejects[0].csv, SPAN("13,x\n")));
        assert_int_equal(box.job.swallowed_rows, 10);
        assert_rows("SELECT count(*) FROM eaten", "989");
        assert_true(box.rows[0].blocks_given < 2000);
        bool found = false;
        must(driver->look_up(session, &box.files[0].id, &found, &error), &error);
        assert_true(found);
    }
}

/* Rows that were there, or come twice, beside swallowed ones: each has its own reason. */
static void swallowed_or_duplicate(void **state) {
    SESSION;
    make_table("mixture", 2, "IF NEW.v = 'eat' THEN RETURN NULL; END IF;");
    sql("INSERT INTO mixture VALUES (2, 'old')");
    CASE("mixture", COLUMNS(2), 1);
    set_way(&box, 2);
    prepare(session, &box);
    ADD(&box.rows[0], "1", "a");
    ADD(&box.rows[0], "2", "a");
    ADD(&box.rows[0], "3", "eat");
    ADD(&box.rows[0], "1", "b");
    ADD(&box.rows[0], "4", "a");
    import(session, &box);
    assert_int_equal(box.reject_count, 3);
    assert_non_null(strstr(box.rejects[0].reason, "the table already has"));
    assert_string_equal(box.rejects[1].reason, SWALLOWED);
    assert_non_null(strstr(box.rejects[2].reason, "earlier row of the same import"));
    assert_int_equal(box.job.swallowed_rows, 1);
    assert_rows("SELECT string_agg(n || v, ' ' ORDER BY n) FROM mixture", "1a 2old 4a");

    /* The key comes again behind a swallowed row, which then is no duplicate; and a trigger changes
     * a key. */
    sql("TRUNCATE mixture; CREATE OR REPLACE FUNCTION mixture_before() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.v = 'eat' THEN RETURN NULL; END IF; IF NEW.n = 7 THEN NEW.n = 70; END IF; RETURN NEW; END $$");
    sink_case_next_file(&box, 0);
    ADD(&box.rows[0], "5", "eat");
    ADD(&box.rows[0], "5", "kept");
    ADD(&box.rows[0], "7", "moved");
    ADD(&box.rows[0], "8", "eat");
    import(session, &box);
    assert_int_equal(box.reject_count, 2);
    assert_string_equal(box.rejects[0].reason, SWALLOWED);
    assert_true(span_equal(box.rejects[1].csv, SPAN("8,eat\n")));
    assert_rows("SELECT string_agg(n || v, ' ' ORDER BY n) FROM mixture", "5kept 70moved");
}

/* A merge fires the trigger of an update as well, and keys that are there are not counted where all
 * columns are the key. */
static void swallowed_by_a_merge(void **state) {
    SESSION;
    make_table("updated", 1, "");
    sql("INSERT INTO updated SELECT i, 'old' FROM generate_series(0, 9) i;"
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.n = 4 THEN RETURN NULL; END IF; RETURN NEW; END $$;"
        "DROP TRIGGER before ON updated; CREATE TRIGGER keep BEFORE UPDATE ON updated FOR EACH ROW EXECUTE FUNCTION keep()");
    CASE("updated", COLUMNS(1), 1);
    prepare(session, &box);
    add_numbers(&box.rows[0], 0, 20);
    ADD(&box.rows[0], "4", "again");
    ADD(&box.rows[0], "5", "again");
    import(session, &box);
    assert_int_equal(box.reject_count, 2);
    assert_int_equal(box.rejects[0].row, 5);
    assert_int_equal(box.rejects[1].row, 21);
    assert_rows("SELECT count(*), string_agg(n || v, ' ' ORDER BY n) FILTER (WHERE v <> 'x') FROM updated", "20|4old 5again");

    sql("CREATE TABLE members (n bigint PRIMARY KEY); INSERT INTO members VALUES (1), (2);"
        "CREATE FUNCTION no_four() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.n = 4 THEN RETURN NULL; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER no_four BEFORE INSERT ON members FOR EACH ROW EXECUTE FUNCTION no_four()");
    sink_case_deinit(&box);
    sink_case_init(&box, "members", "n:integer:key", 1);
    prepare(session, &box);
    static const char *const keys[] = {"1", "2", "3", "4", "3", "5"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) ADD(&box.rows[0], keys[i]);
    import(session, &box);
    assert_int_equal(box.reject_count, 1);
    assert_int_equal(box.rejects[0].row, 4);
    assert_rows("SELECT string_agg(n::text, ' ' ORDER BY n) FROM members", "1 2 3 5");
}

/* A trigger that sends all rows elsewhere: nothing is refused, and what it did stays, once. */
static void all_rows_of_a_file_are_swallowed(void **state) {
    SESSION;
    for (int way = 0; way < WAYS; way++) {
        for (int rows = 1; rows < 3000; rows += 2500) {
            sql("DROP TABLE IF EXISTS child; CREATE TABLE child (n bigint, v text)");
            make_table("parent", way, "INSERT INTO child VALUES (NEW.n, NEW.v); RETURN NULL;");
            CASE("parent", COLUMNS(way), 1);
            set_way(&box, way);
            prepare(session, &box);
            add_numbers(&box.rows[0], 0, rows);
            import(session, &box);
            assert_int_equal(box.store_calls, 0);
            assert_int_equal(box.job.swallowed_rows, rows);
            char count[16];
            (void)snprintf(count, sizeof count, "%d", rows);
            assert_is(count, "SELECT count(DISTINCT n) FROM child");
            assert_is(count, "SELECT count(*) FROM child");
            assert_rows("SELECT count(*) FROM parent", "0");
        }
    }
}

/* A filter: more rows than are worth a search are counted, the others are stored, and the limit on
 * bad rows holds for bad rows. */
static void many_swallowed_rows_are_counted(void **state) {
    SESSION;
    for (int way = 0; way < WAYS; way++) {
        make_table("filtered", way, "IF NEW.n % 2 = 0 THEN RETURN NULL; END IF;");
        CASE("filtered", COLUMNS(way), 2);
        set_way(&box, way);
        box.job.bad_rows_max = 100;
        prepare(session, &box);
        add_numbers(&box.rows[0], 0, 400);
        add_numbers(&box.rows[1], 400, 420);
        import(session, &box);
        assert_int_equal(box.job.swallowed_rows, 210);
        assert_int_equal(box.reject_count, 10); /* of the second file */
        assert_ptr_equal(box.rejects[0].file, &box.files[1].id);
        assert_rows("SELECT count(*), count(*) FILTER (WHERE n % 2 = 0) FROM filtered", "210|0");
    }
}

/* Rows are gone, and nothing in the catalog says why. */
static void rows_that_vanish_for_no_reason(void **state) {
    SESSION;
    for (int way = 0; way < WAYS; way++) {
        make_table("vanishing", way,
                   "IF NEW.n = 13 THEN UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'vanishing'::regclass; RETURN NULL; END IF;");
        CASE("vanishing", COLUMNS(way), 1);
        set_way(&box, way);
        prepare(session, &box);
        add_numbers(&box.rows[0], 0, 20);
        if (way == 2) continue; /* there it looks like a duplicate that another session has just inserted */
        assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_RETRY);
        assert_non_null(strstr(error.text, "counted 19 rows of 20"));
        bool found = true;
        must(driver->look_up(session, &box.files[0].id, &found, &error), &error);
        assert_false(found);
        assert_rows("SELECT count(*) FROM vanishing", "0");
    }
}

/* Partitions have triggers of their own. */
static void a_trigger_of_a_partition(void **state) {
    SESSION;
    sql("CREATE TABLE parts (n bigint, v text) PARTITION BY RANGE (n); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (50);"
        "CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (50) TO (100);"
        "CREATE FUNCTION eat() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.n = 77 THEN RETURN NULL; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER eat BEFORE INSERT ON parts_2 FOR EACH ROW EXECUTE FUNCTION eat()");
    CASE("parts", COLUMNS(0), 1);
    prepare(session, &box);
    add_numbers(&box.rows[0], 0, 101);
    import(session, &box);
    assert_int_equal(box.reject_count, 2);
    assert_string_equal(box.rejects[0].reason, SWALLOWED);
    assert_int_equal(box.rejects[0].row, 78);
    assert_non_null(strstr(box.rejects[1].reason, "no partition of relation"));
    assert_rows("SELECT count(*) FROM parts", "99");
}

static SinkSession *open_tenant(void) {
    char uri[200];
    (void)snprintf(uri, sizeof uri, "postgresql://tenant@127.0.0.1:%d/postgres", server->port);
    return open_session_at(uri);
}

static void row_level_security(void **state) {
    sql("CREATE ROLE tenant LOGIN; CREATE SCHEMA IF NOT EXISTS sluice; GRANT USAGE ON SCHEMA sluice TO tenant;"
        "GRANT SELECT, INSERT, DELETE ON sluice.files TO tenant");
    for (int way = 0; way < WAYS; way++) {
        make_table("secure", way, "");
        sql("ALTER TABLE secure ENABLE ROW LEVEL SECURITY; GRANT SELECT, INSERT, UPDATE ON secure TO tenant;"
            "CREATE POLICY mine ON secure TO tenant USING (true) WITH CHECK (n <> 13)");
        _cleanup_(cleanup_session) SinkSession *session = open_tenant();
        CASE("secure", COLUMNS(way), 1);
        set_way(&box, way);
        prepare(session, &box);
        add_numbers(&box.rows[0], 0, 100);
        import(session, &box);
        assert_int_equal(box.reject_count, 1);
        assert_int_equal(box.rejects[0].row, 14);
        assert_non_null(strstr(box.rejects[0].reason, "row-level security"));
        assert_rows("SELECT count(*) FROM secure", "99");
        /* All rows of an import: they are the rows' fault, not the table's. */
        if (way > 0) continue;
        sink_case_next_file(&box, 0);
        for (int i = 0; i < 3; i++) ADD(&box.rows[0], "13", "x");
        import(session, &box);
        assert_int_equal(box.reject_count, 3);
    }
    /* The policies hold for the owner only when they are forced. */
    SESSION;
    CASE("secure", COLUMNS(2), 1);
    prepare(session, &box);
    ADD(&box.rows[0], "13", "x");
    import(session, &box);
    assert_int_equal(box.reject_count, 0);
}

/* COPY does not look at rules; the statement from the temporary table does. */
static void rules(void **state) {
    make_table("ruled", 0, "");
    sql("ALTER TABLE ruled ENABLE ROW LEVEL SECURITY; GRANT SELECT, INSERT ON ruled TO tenant;"
        "CREATE POLICY mine ON ruled TO tenant USING (true) WITH CHECK (true);"
        "DROP TRIGGER before ON ruled; CREATE RULE little AS ON INSERT TO ruled WHERE NEW.n > 10 DO INSTEAD NOTHING");
    _cleanup_(cleanup_session) SinkSession *session = open_tenant();
    CASE("ruled", COLUMNS(0), 1);
    prepare(session, &box);
    add_numbers(&box.rows[0], 0, 20);
    import(session, &box);
    assert_rows("SELECT count(*) FROM ruled", "11");
    assert_int_equal(box.job.swallowed_rows, 9);
    assert_int_equal(box.reject_count, 9);
    driver->disconnect(session);
    session = open_session();
    make_table("ruled_key", 1, "");
    sql("CREATE RULE little AS ON INSERT TO ruled_key WHERE NEW.n > 10 DO INSTEAD NOTHING");
    sink_case_deinit(&box);
    sink_case_init(&box, "ruled_key", COLUMNS(1), 1);
    prepare(session, &box);
    add_numbers(&box.rows[0], 0, 20);
    import(session, &box);
    assert_rows("SELECT count(*) FROM ruled_key", "11");
    assert_int_equal(box.job.swallowed_rows, 9);
}

/* Bad rows among many: what is read again stays small. */
static void the_search_is_short(void **state) {
    SESSION;
    for (int way = 0; way < WAYS; way++) {
        make_table("searched", way,
                   "IF NEW.n = 13 THEN RAISE EXCEPTION 'no' USING ERRCODE = '42501'; ELSIF NEW.n = 15000 THEN RETURN NULL; END IF;");
        CASE("searched", COLUMNS(way), 1);
        set_way(&box, way);
        prepare(session, &box);
        add_numbers(&box.rows[0], 0, 20000);
        uint64_t blocks = 20000 * 8 / box.rows[0].block_bytes;
        import(session, &box);
        assert_int_equal(box.reject_count, 2);
        assert_true(box.rows[0].blocks_given < 10 * blocks);
    }
}

/*
 * Many bad rows: each one is refused with its own reason, and no other. The number of messages does
 * not grow with each of them, which the blocks that are read show: without the search on the server
 * each bad row costs about seven.
 */
static void many_bad_rows(void **state) {
    static const struct {
        const char *constraint;
        int every; /* a row is bad if n % every is 0 */
        const char *reason;
    } cases[] = {
        {"CHECK (n % 10 <> 0)", 10, "check constraint"}, {"CHECK (n % 2 <> 0)", 2, "check constraint"},
        {"CHECK (n < 0)", 1, "check constraint"},        {"CHECK (n % 997 <> 0)", 997, "check constraint"},
        {"REFERENCES parents", 5, "foreign key"},
    };
    enum { ROWS = 3000 };
    SESSION;
    sql("DROP TABLE IF EXISTS parents CASCADE; CREATE TABLE parents (n bigint PRIMARY KEY);"
        "INSERT INTO parents SELECT n FROM generate_series(0, %d) AS n WHERE n %% 5 <> 0",
        ROWS);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int way = 0; way < WAYS; way++) {
            sql("DROP TABLE IF EXISTS many; CREATE TABLE many (n bigint %s %s, v text)", way == 0 ? "" : "PRIMARY KEY",
                cases[i].constraint);
            CASE("many", COLUMNS(way), 1);
            set_way(&box, way);
            box.job.bad_rows_max = ROWS;
            prepare(session, &box);
            add_numbers(&box.rows[0], 0, ROWS);
            box.rows[0].block_bytes = 4000;
            uint64_t blocks = ROWS * 8 / 4000 + 1;
            import(session, &box);
            assert_int_equal(box.reject_count, (ROWS + cases[i].every - 1) / cases[i].every);
            for (size_t k = 0; k < box.reject_count; k++) {
                assert_int_equal(box.rejects[k].row, k * (size_t)cases[i].every + 1);
                if (!strstr(box.rejects[k].reason, cases[i].reason)) fail_msg("%s: %s", cases[i].constraint, box.rejects[k].reason);
            }
            char wanted[16];
            (void)snprintf(wanted, sizeof wanted, "%zu", ROWS - box.reject_count);
            assert_is(wanted, "SELECT count(*) FROM many");
            if (box.rows[0].blocks_given > 30 * blocks)
                fail_msg("%s, %s: %llu blocks were read, of %llu", cases[i].constraint, ways[way],
                         (unsigned long long)box.rows[0].blocks_given, (unsigned long long)blocks);
        }
    }
}

/* What the search on the server cannot do is done without it: a role without temporary tables, a
 * trigger that swallows rows among bad ones, a table that numbers its rows itself. */
static void many_bad_rows_that_the_server_does_not_find(void **state) {
    SESSION;
    for (int way = 0; way < WAYS; way++) {
        make_table("odd", way, "IF NEW.n % 7 = 3 THEN RETURN NULL; END IF; IF NEW.n % 7 = 5 THEN RAISE EXCEPTION 'five'; END IF;");
        CASE("odd", COLUMNS(way), 1);
        set_way(&box, way);
        box.job.bad_rows_max = 1000;
        prepare(session, &box);
        add_numbers(&box.rows[0], 0, 210);
        import(session, &box);
        unsigned five = 0;
        for (size_t k = 0; k < box.reject_count; k++) {
            unsigned rest = (unsigned)((box.rejects[k].row - 1) % 7);
            assert_true(rest == 3 || rest == 5);
            five += rest == 5;
            if (rest == 5) assert_string_equal(box.rejects[k].reason, "five");
        }
        assert_int_equal(five, 30);
        assert_rows("SELECT count(*) FROM odd", "150");
    }
    sql("DROP TABLE IF EXISTS numbered; CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY, n bigint CHECK (n %% 3 <> 0), v "
        "text)");
    CASE("numbered", COLUMNS(0), 1);
    box.job.bad_rows_max = 1000;
    prepare(session, &box);
    add_numbers(&box.rows[0], 0, 300);
    import(session, &box);
    assert_int_equal(box.reject_count, 100);
    assert_rows("SELECT count(*), min(n % 3) FROM numbered", "200|1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_trigger_raises_belongs_to_its_row),
        cmocka_unit_test(a_row_that_is_alone),
        cmocka_unit_test(some_failures_are_never_a_row_s),
        cmocka_unit_test(the_statement_without_rows),
        cmocka_unit_test(a_broken_trigger),
        cmocka_unit_test(a_changed_table),
        cmocka_unit_test(null_in_a_column_that_the_sink_does_not_have),
        cmocka_unit_test(rows_that_a_trigger_swallows),
        cmocka_unit_test(swallowed_or_duplicate),
        cmocka_unit_test(swallowed_by_a_merge),
        cmocka_unit_test(all_rows_of_a_file_are_swallowed),
        cmocka_unit_test(many_swallowed_rows_are_counted),
        cmocka_unit_test(rows_that_vanish_for_no_reason),
        cmocka_unit_test(a_trigger_of_a_partition),
        cmocka_unit_test(row_level_security),
        cmocka_unit_test(rules),
        cmocka_unit_test(the_search_is_short),
        cmocka_unit_test(many_bad_rows),
        cmocka_unit_test(many_bad_rows_that_the_server_does_not_find),
    };
    RUN_WITH_POSTGRES(tests);
}
