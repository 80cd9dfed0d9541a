/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/positions-cases.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SESSION _cleanup_(cleanup_session) SinkSession *session = open_session()

static const PositionsOwner owner = {.instance = {.bytes = {0x22}}, .sink_label = "shop/orders"};

void bridge_init(BridgeCase *bridge, const char *table, bool keyed, size_t files, size_t partitions) {
    *bridge = (BridgeCase){.position_count = partitions};
    sink_case_init(&bridge->box, table, keyed ? "p:integer:key o:integer:key v:text" : "p:integer o:integer v:text", files);
    for (size_t i = 0; i < partitions; i++)
        bridge->positions[i].key = (PartitionKey){.cluster = "c", .group = "g", .topic = "t", .partition = (int32_t)i};
}

void bridge_deinit(BridgeCase *bridge) {
    sink_case_deinit(&bridge->box);
}

static ImportRun *add_run(BridgeCase *bridge, size_t file, size_t partition, int64_t first, int64_t next) {
    ImportRun *run = &bridge->runs[file][bridge->run_count[file]++];
    assert_true(bridge->run_count[file] <= 64);
    *run = (ImportRun){.position = partition, .first = first, .next = next, .first_row = bridge->box.rows[file].next_number};
    return run;
}

static void add_row(BridgeCase *bridge, size_t file, size_t partition, int64_t offset, const char *v) {
    char p[24], o[24];
    (void)snprintf(p, sizeof p, "%zu", partition);
    (void)snprintf(o, sizeof o, "%" PRId64, offset);
    ADD(&bridge->box.rows[file], p, o, v);
}

void bridge_add(BridgeCase *bridge, size_t file, size_t partition, int64_t first, int64_t next) {
    ImportRun *run = add_run(bridge, file, partition, first, next);
    for (int64_t o = first; o < next; o++) add_row(bridge, file, partition, o, "x");
    run->rows = (uint64_t)(next - first);
}

void bridge_add_empty(BridgeCase *bridge, size_t file, size_t partition, int64_t first, int64_t next) {
    (void)add_run(bridge, file, partition, first, next);
}

void bridge_add_text(BridgeCase *bridge, size_t file, size_t partition, int64_t first, const char *v) {
    add_run(bridge, file, partition, first, first + 1)->rows = 1;
    add_row(bridge, file, partition, first, v);
}

ImportJob *bridge_job(BridgeCase *bridge) {
    ImportJob *job = sink_case_job(&bridge->box);
    job->positions = bridge->positions;
    job->position_count = bridge->position_count;
    for (size_t i = 0; i < job->file_count; i++) {
        job->files[i].runs = bridge->runs[i];
        job->files[i].run_count = bridge->run_count[i];
    }
    return job;
}

SinkResult bridge_import(SinkSession *session, BridgeCase *bridge, Error *error) {
    *error = (Error){0};
    return driver->import(session, bridge_job(bridge), error);
}

void bridge_next_files(BridgeCase *bridge) {
    for (size_t i = 0; i < bridge->box.job.file_count; i++) {
        sink_case_next_file(&bridge->box, i);
        bridge->run_count[i] = 0;
    }
}

void bridge_claim(SinkSession *session, BridgeCase *bridge, int64_t start) {
    Error error = {0};
    must(driver->prepare(session, &bridge->box.target, &error), &error);
    PositionClaim claims[8];
    for (size_t i = 0; i < bridge->position_count; i++)
        claims[i] = (PositionClaim){.key = bridge->positions[i].key, .start = start, .earliest = 0};
    ClaimJob job = {.owner = owner, .target = &bridge->box.target, .claims = claims, .count = bridge->position_count};
    must(driver->positions->claim(session, &job, &error), &error);
}

int64_t bridge_position(SinkSession *session, BridgeCase *bridge, size_t partition) {
    Error error = {0};
    PositionsJob job = {
        .owner = owner, .target = &bridge->box.target, .positions = bridge->positions, .position_count = bridge->position_count};
    must(driver->positions->advance(session, &job, &error), &error);
    assert_true(bridge->positions[partition].found);
    assert_int_equal(bridge->positions[partition].read, bridge->positions[partition].next);
    return bridge->positions[partition].read;
}

void assert_offsets(const char *table, size_t partition, int64_t first, int64_t next) {
    char sql[300], wanted[100];
    (void)snprintf(sql, sizeof sql, "SELECT count(*), count(DISTINCT o), min(o), max(o) FROM %s WHERE p = %zu", table, partition);
    (void)snprintf(wanted, sizeof wanted, "%" PRId64 "|%" PRId64 "|%" PRId64 "|%" PRId64, next - first, next - first, first, next - 1);
    assert_rows(sql, first < next ? wanted : "0|0|NULL|NULL");
}

/* ---- imports ---- */

typedef struct Decision {
    const char *name;
    int64_t position;
    struct {
        int64_t first, next;
        RunOutcome outcome;
    } runs[5];
    uint64_t left_out;
    int64_t after;
} Decision;

static const Decision decisions[] = {
    {"all follow", 10, {{10, 20, RUN_TAKEN}, {20, 21, RUN_TAKEN}}, 0, 21},
    {"all overtaken", 30, {{10, 20, RUN_OVERTAKEN}, {20, 30, RUN_OVERTAKEN}}, 20, 30},
    {"overtaken, then goes on", 20, {{10, 20, RUN_OVERTAKEN}, {20, 25, RUN_TAKEN}}, 10, 25},
    {"position within a run", 15, {{10, 20, RUN_RETURNED}, {20, 25, RUN_RETURNED}}, 15, 15},
    {"hole", 10, {{10, 12, RUN_TAKEN}, {13, 20, RUN_RETURNED}, {20, 21, RUN_RETURNED}}, 8, 12},
    {"read again", 10, {{13, 20, RUN_RETURNED}, {10, 15, RUN_TAKEN}, {15, 16, RUN_TAKEN}, {14, 17, RUN_RETURNED}}, 10, 16},
    {"below", 5, {{10, 20, RUN_RETURNED}}, 10, 5},
    {"taken in the middle", 12, {{10, 12, RUN_OVERTAKEN}, {12, 14, RUN_TAKEN}, {14, 15, RUN_TAKEN}, {16, 18, RUN_RETURNED}}, 4, 15},
};

static void decide(const Decision *decision, bool keyed, size_t index) {
    SESSION;
    char table[40], sql[400], wanted[100];
    (void)snprintf(table, sizeof table, "decided%zu%s", index, keyed ? "k" : "");
    BRIDGE(table, keyed, 1, 2);
    bridge_claim(session, &bridge, decision->position);
    uint64_t rows = 0, other = 0;
    for (size_t i = 0; i < 5 && decision->runs[i].next > 0; i++) {
        bridge_add(&bridge, 0, 0, decision->runs[i].first, decision->runs[i].next);
        rows += (uint64_t)(decision->runs[i].next - decision->runs[i].first);
        /* Another partition is not affected. */
        bridge_add(&bridge, 0, 1, decision->position + (int64_t)(2 * i), decision->position + (int64_t)(2 * i + 2));
        other += 2;
    }
    bridge.box.rows[0].block_bytes = 30; /* some rows */
    must(bridge_import(session, &bridge, &error), &error);
    for (size_t i = 0; i < 5 && decision->runs[i].next > 0; i++) {
        if (bridge.runs[0][2 * i].outcome != decision->runs[i].outcome) fail_msg("%s: run %zu", decision->name, i);
        assert_int_equal(bridge.runs[0][2 * i + 1].outcome, RUN_TAKEN);
    }
    assert_int_equal(bridge.box.files[0].left_out, decision->left_out);
    assert_int_equal(bridge.positions[0].next, decision->after);
    assert_int_equal(bridge_position(session, &bridge, 0), decision->after);
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM %s WHERE p = 0", table);
    (void)snprintf(wanted, sizeof wanted, "%" PRIu64, rows - decision->left_out);
    assert_rows(sql, wanted);
    assert_offsets(table, 1, decision->position, decision->position + (int64_t)other);
    (void)snprintf(sql, sizeof sql, "SELECT rows, left_out FROM %s WHERE table_name = '%s'", ledger_table, table);
    (void)snprintf(wanted, sizeof wanted, "%" PRIu64 "|%" PRIu64, rows + other - decision->left_out, decision->left_out);
    assert_rows(sql, wanted);
    /* The same file again, as after a COMMIT of which nobody knows: it says what became of it,
     * whatever the positions are now. */
    RunOutcome outcomes[10];
    for (size_t i = 0; i < bridge.run_count[0]; i++) {
        outcomes[i] = bridge.runs[0][i].outcome;
        bridge.runs[0][i].outcome = 0;
    }
    must(bridge_import(session, &bridge, &error), &error);
    assert_true(bridge.box.files[0].already_imported);
    assert_int_equal(bridge.box.files[0].left_out, decision->left_out);
    for (size_t i = 0; i < bridge.run_count[0]; i++) assert_int_equal(bridge.runs[0][i].outcome, outcomes[i]);
    assert_int_equal(bridge.positions[0].next, decision->after);
}

static void what_goes_in(void **state) {
    for (size_t i = 0; i < sizeof decisions / sizeof decisions[0]; i++) {
        decide(&decisions[i], false, i);
        decide(&decisions[i], true, i);
    }
}

static void files_follow_each_other(void **state) {
    SESSION;
    BRIDGE("followed", false, 3, 1);
    bridge_claim(session, &bridge, 0);
    bridge_add(&bridge, 0, 0, 0, 10);
    bridge_add(&bridge, 1, 0, 10, 20);
    bridge_add_empty(&bridge, 1, 0, 20, 25);
    bridge_add(&bridge, 2, 0, 25, 30);
    must(bridge_import(session, &bridge, &error), &error);
    assert_int_equal(bridge_position(session, &bridge, 0), 30);
    assert_rows("SELECT count(*) FROM followed", "25");
    /* An id that is there, with other rows. */
    Uuid second = bridge.box.files[1].id;
    bridge_next_files(&bridge);
    bridge.box.files[1].id = second;
    bridge_add(&bridge, 0, 0, 30, 31);
    bridge_add(&bridge, 1, 0, 31, 32);
    bridge_add(&bridge, 2, 0, 32, 33);
    assert_int_equal(bridge_import(session, &bridge, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "ledgerConflict"));
    assert_rows("SELECT count(*) FROM followed", "25");
    assert_int_equal(bridge_position(session, &bridge, 0), 30);
}

static void a_retried_file_among_new_ones(void **state) {
    SESSION;
    BRIDGE("retried", false, 1, 1);
    bridge_claim(session, &bridge, 0);
    bridge_add(&bridge, 0, 0, 0, 10);
    must(bridge_import(session, &bridge, &error), &error);
    /* The next job has the same file once more, and one behind it. */
    bridge.box.job.file_count = 2;
    text_rows_init(&bridge.box.rows[1], 3, 1000001);
    bridge.box.files[1].id.bytes[0] = 0x77;
    bridge_add(&bridge, 1, 0, 10, 20);
    must(bridge_import(session, &bridge, &error), &error);
    assert_true(bridge.box.files[0].already_imported);
    assert_false(bridge.box.files[1].already_imported);
    assert_int_equal(bridge.runs[0][0].outcome, RUN_TAKEN);
    assert_int_equal(bridge.runs[1][0].outcome, RUN_TAKEN);
    assert_int_equal(bridge_position(session, &bridge, 0), 20);
    assert_offsets("retried", 0, 0, 20);
}

/* What was imported before does not count for the positions: they may have been set back since, and
 * the records are read again. */
static void a_retried_file_after_a_seek(void **state) {
    SESSION;
    BRIDGE("seek_retried", false, 3, 1);
    bridge_claim(session, &bridge, 0);
    bridge.box.job.file_count = 1;
    bridge_add(&bridge, 0, 0, 0, 10);
    must(bridge_import(session, &bridge, &error), &error);
    SeekJob seek = {.owner = owner, .target = &bridge.box.target, .positions = bridge.positions, .count = 1, .backwards = true};
    bridge.positions[0].next = 0;
    must(driver->positions->seek(session, &seek, &error), &error);
    bridge.box.job.file_count = 2;
    bridge_add(&bridge, 1, 0, 10, 20);
    must(bridge_import(session, &bridge, &error), &error);
    assert_true(bridge.box.files[0].already_imported);
    assert_int_equal(bridge.runs[0][0].outcome, RUN_TAKEN);
    assert_int_equal(bridge.runs[1][0].outcome, RUN_RETURNED);
    assert_int_equal(bridge_position(session, &bridge, 0), 0);
    assert_offsets("seek_retried", 0, 0, 10);
    /* A new file, one that was imported, and a new one: the second new one follows the first. */
    Uuid imported = bridge.box.files[0].id;
    BridgeCase later;
    bridge_init(&later, "seek_retried", false, 3, 1);
    later.box.rows[1].next_number = 1; /* as it was */
    later.box.rows[0].next_number = 0;
    later.box.files[1].id = imported;
    bridge_add(&later, 0, 0, 0, 1);
    bridge_add(&later, 1, 0, 0, 10);
    bridge_add(&later, 2, 0, 1, 5);
    run_sql("DELETE FROM seek_retried");
    must(bridge_import(session, &later, &error), &error);
    assert_true(later.box.files[1].already_imported);
    assert_int_equal(later.runs[2][0].outcome, RUN_TAKEN);
    assert_int_equal(bridge_position(session, &bridge, 0), 5);
    assert_offsets("seek_retried", 0, 0, 5);
    bridge_deinit(&later);
}

static void a_position_that_is_missing(void **state) {
    SESSION;
    BRIDGE("missing", false, 1, 2);
    must(driver->prepare(session, &bridge.box.target, &error), &error);
    bridge_add(&bridge, 0, 1, 0, 10);
    for (int way = 0; way < 2; way++) {
        /* Without a table of positions, and without a row in it. */
        if (way == 1) {
            bridge.position_count = 1;
            bridge_claim(session, &bridge, 0);
            bridge.position_count = 2;
        }
        assert_int_equal(bridge_import(session, &bridge, &error), SINK_REFUSED);
        assert_int_equal(error.code, -ENODATA);
        assert_non_null(strstr(error.text, "positionsMissing"));
        assert_rows("SELECT count(*) FROM missing", "0");
    }
    char sql[200];
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM %s WHERE table_name = 'missing'", ledger_table);
    assert_rows(sql, "0");
    /* Only what a run needs must be there. */
    bridge_next_files(&bridge);
    bridge_add(&bridge, 0, 0, 0, 10);
    must(bridge_import(session, &bridge, &error), &error);
    assert_rows("SELECT count(*) FROM missing", "10");
}

/* Refused rows and rows that are left out in one file: each is counted once. */
static void rejects_among_runs(void **state) {
    for (int keyed = 0; keyed < 2; keyed++) {
        SESSION;
        const char *table = keyed ? "sieved_keyed" : "sieved";
        char sql[300];
        (void)snprintf(sql, sizeof sql, "CREATE TABLE %s (p bigint, o bigint, v text CHECK (v <> 'bad')%s)", table,
                       keyed ? ", PRIMARY KEY (p, o)" : "");
        run_sql(sql);
        BRIDGE(table, keyed, 1, 2);
        bridge_claim(session, &bridge, 10);
        bridge_add(&bridge, 0, 0, 0, 5); /* overtaken */
        bridge_add_text(&bridge, 0, 0, 5, "bad");
        bridge_add(&bridge, 0, 0, 6, 10);
        bridge_add(&bridge, 0, 0, 10, 15);
        bridge_add_text(&bridge, 0, 0, 15, "bad"); /* row 16 */
        bridge_add(&bridge, 0, 0, 16, 20);
        bridge_add(&bridge, 0, 1, 12, 15); /* returned */
        bridge_add_text(&bridge, 0, 1, 15, "bad");
        bridge_add(&bridge, 0, 0, 20, 30);
        bridge_add_text(&bridge, 0, 0, 30, "bad"); /* row 35 */
        bridge.box.rows[0].block_bytes = 40;
        must(bridge_import(session, &bridge, &error), &error);
        assert_int_equal(bridge.box.job.rejected_rows, 2);
        assert_int_equal(bridge.box.reject_count, 2);
        assert_int_equal(bridge.box.rejects[0].row, 16);
        assert_int_equal(bridge.box.rejects[1].row, 35);
        assert_int_equal(bridge.box.files[0].left_out, 14);
        (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
        assert_rows(sql, "19"); /* 35 rows less 14 and 2 */
        assert_int_equal(bridge_position(session, &bridge, 0), 31);
        assert_int_equal(bridge_position(session, &bridge, 1), 10);
    }
}

/* The database was restored from an older state, and the broker still has the records. */
static void a_restored_database(void **state) {
    SESSION;
    BRIDGE("restored", false, 1, 1);
    bridge_claim(session, &bridge, 0);
    bridge_add(&bridge, 0, 0, 0, 20);
    must(bridge_import(session, &bridge, &error), &error);
    char sql[300];
    (void)snprintf(sql, sizeof sql, "UPDATE %s SET next_offset = 5", positions_table);
    run_sql(sql);
    run_sql("DELETE FROM restored WHERE o >= 5");
    bridge_next_files(&bridge);
    bridge_add(&bridge, 0, 0, 20, 30);
    must(bridge_import(session, &bridge, &error), &error);
    assert_int_equal(bridge.runs[0][0].outcome, RUN_RETURNED);
    assert_int_equal(bridge.positions[0].next, 5);
    bridge_next_files(&bridge);
    bridge_add(&bridge, 0, 0, 5, 30); /* read again */
    must(bridge_import(session, &bridge, &error), &error);
    assert_offsets("restored", 0, 0, 30);
}

/* ---- without rows ---- */

static void advance(SinkSession *session, BridgeCase *bridge, SinkResult wanted) {
    Error error = {0};
    PositionsJob job = {.owner = owner,
                        .target = &bridge->box.target,
                        .positions = bridge->positions,
                        .position_count = bridge->position_count,
                        .runs = bridge->runs[0],
                        .run_count = bridge->run_count[0]};
    assert_int_equal(driver->positions->advance(session, &job, &error), wanted);
    if (wanted == SINK_REFUSED) assert_int_equal(error.code, -ENODATA);
}

static void advancing(void **state) {
    SESSION;
    BRIDGE("advanced", false, 1, 3);
    bridge.position_count = 2;
    bridge_claim(session, &bridge, 10);
    bridge.position_count = 3;
    bridge_add_empty(&bridge, 0, 0, 10, 15);
    bridge_add_empty(&bridge, 0, 0, 15, 16);
    bridge_add_empty(&bridge, 0, 1, 11, 12);
    advance(session, &bridge, SINK_DONE);
    assert_int_equal(bridge.positions[0].next, 16);
    assert_int_equal(bridge.runs[0][2].outcome, RUN_RETURNED);
    assert_int_equal(bridge.positions[1].next, 10);
    assert_false(bridge.positions[2].found); /* only read */
    advance(session, &bridge, SINK_DONE);    /* again: nothing happens */
    assert_int_equal(bridge.runs[0][0].outcome, RUN_OVERTAKEN);
    assert_int_equal(bridge.positions[0].next, 16);
    bridge_add_empty(&bridge, 0, 2, 0, 1);
    advance(session, &bridge, SINK_REFUSED);
    /* A file that is deleted: its rows are passed over. */
    bridge_next_files(&bridge);
    bridge_add(&bridge, 0, 0, 16, 20);
    advance(session, &bridge, SINK_DONE);
    assert_int_equal(bridge_position(session, &bridge, 0), 20);
    assert_rows("SELECT count(*) FROM advanced", "0");
}

static PositionClaim claim_of(const char *topic, uint32_t generation, int32_t partition, int64_t start) {
    return (PositionClaim){.key = {.cluster = "c", .group = "g", .topic = topic, .generation = generation, .partition = partition},
                           .topic_id = topic,
                           .start = start,
                           .earliest = 3};
}

static void claim(SinkSession *session, const SinkTarget *target, PositionClaim *claims, size_t count) {
    Error error = {0};
    ClaimJob job = {.owner = owner, .target = target, .claims = claims, .count = count};
    must(driver->positions->claim(session, &job, &error), &error);
}

static void claims(void **state) {
    SESSION;
    BRIDGE("claimed", false, 1, 1);
    const SinkTarget *target = &bridge.box.target;
    /* The first time, for all topics: where startFrom says. */
    PositionClaim first[] = {claim_of("a", 0, 0, 100), claim_of("a", 0, 1, 101), claim_of("b", 0, 0, 102)};
    claim(session, target, first, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(first[i].next, 100 + i);
        assert_false(first[i].was_there);
    }
    /* Later: what is there wins; a partition, a topic and a generation that are new begin at the
     * earliest. */
    PositionClaim later[] = {claim_of("a", 0, 0, 200), claim_of("a", 0, 1, 200), claim_of("a", 0, 2, 200),
                             claim_of("a", 1, 0, 200), claim_of("b", 0, 0, 200), claim_of("d", 0, 0, 200)};
    claim(session, target, later, 6);
    static const int64_t wanted[] = {100, 101, 3, 3, 102, 3};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(later[i].next, wanted[i]);
        assert_int_equal(later[i].was_there, i == 0 || i == 1 || i == 4);
    }
    /* Another table, another group and another cluster have positions of their own. */
    BridgeCase other;
    bridge_init(&other, "claimed_too", false, 1, 1);
    PositionClaim fresh = claim_of("a", 0, 0, 300);
    claim(session, &other.box.target, &fresh, 1);
    assert_int_equal(fresh.next, 300);
    fresh.key.group = "h";
    fresh.start = 301;
    claim(session, target, &fresh, 1);
    assert_int_equal(fresh.next, 301);
    fresh.key.cluster = "e";
    fresh.start = 302;
    claim(session, target, &fresh, 1);
    assert_int_equal(fresh.next, 302);

    /* The list, in key order. */
    _cleanup_(arena_deinit) Arena arena = {0};
    ListedPosition *list;
    size_t count;
    must(driver->positions->list(session, target, "g", &arena, &list, &count, &error), &error);
    assert_int_equal(count, 6);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(partition_key_compare(&list[i].key, &later[i].key), 0);
        assert_int_equal(list[i].next, wanted[i]);
        assert_string_equal(list[i].topic_id, later[i].topic_id);
    }
    /* Kept by another table, where what is there wins. */
    uint64_t changed;
    must(driver->positions->copy(session, target, &other.box.target, "g", &changed, &error), &error);
    assert_int_equal(changed, 5);
    must(driver->positions->list(session, &other.box.target, "g", &arena, &list, &count, &error), &error);
    assert_int_equal(count, 6);
    assert_int_equal(list[0].next, 300);
    assert_int_equal(list[1].next, 101);
    /* A purge. What others have set since is theirs. */
    const Uuid others = {.bytes = {9, 9}};
    must(driver->positions->remove(session, target, "g", &others, &changed, &error), &error);
    assert_int_equal(changed, 0);
    must(driver->positions->remove(session, target, "g", NULL, &changed, &error), &error);
    assert_int_equal(changed, 6);
    must(driver->positions->list(session, target, "g", &arena, &list, &count, &error), &error);
    assert_int_equal(count, 0);
    must(driver->positions->list(session, target, "h", &arena, &list, &count, &error), &error);
    assert_int_equal(count, 2);
    bridge_deinit(&other);
}

static void without_a_table_of_positions(void **state) {
    SESSION;
    BRIDGE("unclaimed", false, 1, 1);
    char sql[100];
    (void)snprintf(sql, sizeof sql, "DROP TABLE IF EXISTS %s", positions_table);
    run_sql(sql);
    _cleanup_(arena_deinit) Arena arena = {0};
    ListedPosition *list;
    size_t count;
    uint64_t changed;
    must(driver->positions->list(session, &bridge.box.target, "g", &arena, &list, &count, &error), &error);
    assert_int_equal(count, 0);
    must(driver->positions->remove(session, &bridge.box.target, "g", NULL, &changed, &error), &error);
    assert_int_equal(changed, 0);
    must(driver->positions->copy(session, &bridge.box.target, &bridge.box.target, "g", &changed, &error), &error);
    assert_int_equal(changed, 0);
    bridge_add_empty(&bridge, 0, 0, 0, 1);
    advance(session, &bridge, SINK_REFUSED);
}

static void seeks(void **state) {
    SESSION;
    BRIDGE("sought", false, 1, 3);
    bridge.position_count = 2;
    bridge_claim(session, &bridge, 10);
    SeekJob job = {.owner = owner, .target = &bridge.box.target, .positions = bridge.positions, .count = 2};
    const PositionsDriver *positions = driver->positions;
    bridge.positions[0].next = 20;
    bridge.positions[1].next = 9;
    assert_int_equal(positions->seek(session, &job, &error), SINK_REFUSED);
    assert_int_equal(error.code, -ERANGE);
    assert_non_null(strstr(error.text, "from 10 to 9"));
    assert_int_equal(bridge_position(session, &bridge, 0), 10); /* none was set */
    bridge.positions[0].next = 20;
    bridge.positions[1].next = 9;
    job.backwards = true;
    must(positions->seek(session, &job, &error), &error);
    assert_int_equal(bridge.positions[0].read, 10); /* as it was */
    assert_int_equal(bridge_position(session, &bridge, 0), 20);
    assert_int_equal(bridge_position(session, &bridge, 1), 9);
    /* One that is missing is made. */
    bridge.positions[0].next = 21;
    bridge.positions[1].next = 22;
    bridge.positions[2].next = 23;
    job.count = 3;
    must(positions->seek(session, &job, &error), &error);
    assert_false(bridge.positions[2].found);
    bridge.position_count = 3;
    assert_int_equal(bridge_position(session, &bridge, 2), 23);
    /* Only if nobody else was there. */
    job.compare = true;
    bridge.positions[0].next = 30;
    bridge.positions[1].read--;
    assert_int_equal(positions->seek(session, &job, &error), SINK_RETRY);
    assert_int_equal(error.code, -EBUSY);
    assert_int_equal(bridge.positions[1].read, 22); /* says what is there */
    assert_int_equal(bridge_position(session, &bridge, 0), 21);
    bridge.positions[0].next = 30;
    must(positions->seek(session, &job, &error), &error);
    assert_int_equal(bridge_position(session, &bridge, 0), 30);
    bridge.positions[2].found = false;
    assert_int_equal(positions->seek(session, &job, &error), SINK_RETRY);
}

/* A ledger that was made before there were positions. */
static void an_old_ledger(void **state) {
    char sql[500];
    {
        SESSION;
        BRIDGE("aged", false, 1, 1);
        must(driver->prepare(session, &bridge.box.target, &error), &error);
    }
    (void)snprintf(sql, sizeof sql, "ALTER TABLE %s DROP COLUMN left_out", ledger_table);
    run_sql(sql);
    (void)snprintf(sql, sizeof sql, "ALTER TABLE %s DROP COLUMN outcomes", ledger_table);
    run_sql(sql);
    SESSION;
    BRIDGE("aged", false, 1, 1);
    /* Files without runs do not need them. */
    ADD(&bridge.box.rows[0], "9", "9", "x");
    must(driver->import(session, sink_case_job(&bridge.box), &error), &error);
    bridge_next_files(&bridge);
    bridge_claim(session, &bridge, 0);
    bridge_add(&bridge, 0, 0, 0, 5);
    must(bridge_import(session, &bridge, &error), &error);
    assert_offsets("aged", 0, 0, 5);
    (void)snprintf(sql, sizeof sql, "SELECT count(*), sum(left_out) FROM %s WHERE table_name = 'aged'", ledger_table);
    assert_rows(sql, "2|0");
}

static void own_tables_take_no_rows(void **state) {
    SESSION;
    BRIDGE(positions_table, false, 1, 1);
    assert_int_equal(driver->prepare(session, &bridge.box.target, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "table of positions"));
}

static void many_partitions(void **state) {
    enum { PARTITIONS = 10000 };
    SESSION;
    BRIDGE("wide", false, 1, 1);
    PositionClaim *many = calloc(PARTITIONS, sizeof *many);
    ImportPosition *positions = calloc(PARTITIONS, sizeof *positions);
    ImportRun *runs = calloc(PARTITIONS, sizeof *runs);
    assert_true(many && positions && runs);
    usec_t began = clock_system()->boot(clock_system());
    for (int i = 0; i < PARTITIONS; i++) {
        many[i] = claim_of("wide", 0, i, i);
        positions[i].key = many[i].key;
        runs[i] = (ImportRun){.position = (size_t)i, .first = i, .next = 2 * i + 1};
    }
    claim(session, &bridge.box.target, many, PARTITIONS);
    for (int i = 0; i < PARTITIONS; i++) assert_int_equal(many[i].next, i);
    PositionsJob job = {.owner = owner,
                        .target = &bridge.box.target,
                        .positions = positions,
                        .position_count = PARTITIONS,
                        .runs = runs,
                        .run_count = PARTITIONS};
    must(driver->positions->advance(session, &job, &error), &error);
    for (int i = 0; i < PARTITIONS; i++) assert_int_equal(positions[i].next, 2 * i + 1);
    usec_t took = clock_system()->boot(clock_system()) - began;
    if (took > 30 * USEC_SECOND) fail_msg("10,000 partitions took %lld ms", (long long)(took / USEC_MS));
    free(many);
    free(positions);
    free(runs);
}

static const struct CMUnitTest cases[] = {
    cmocka_unit_test(what_goes_in),
    cmocka_unit_test(files_follow_each_other),
    cmocka_unit_test(a_retried_file_among_new_ones),
    cmocka_unit_test(a_retried_file_after_a_seek),
    cmocka_unit_test(a_position_that_is_missing),
    cmocka_unit_test(rejects_among_runs),
    cmocka_unit_test(a_restored_database),
    cmocka_unit_test(advancing),
    cmocka_unit_test(claims),
    cmocka_unit_test(without_a_table_of_positions),
    cmocka_unit_test(seeks),
    cmocka_unit_test(an_old_ledger),
    cmocka_unit_test(own_tables_take_no_rows),
    cmocka_unit_test(many_partitions),
};

int run_positions_cases(int (*setup)(void **state), int (*teardown)(void **state)) {
    struct CMUnitTest tests[sizeof cases / sizeof cases[0]];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tests[i] = cases[i];
        tests[i].setup_func = setup;
        tests[i].teardown_func = teardown;
    }
    return cmocka_run_group_tests_name("positions", tests, NULL, NULL);
}
