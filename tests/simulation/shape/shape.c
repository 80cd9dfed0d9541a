/*
 * The proof that columns made by inference lose nothing: see shape.h.
 *
 *   test-shape [first-seed [count]]     SLUICE_SIMULATION_VERBOSE=1 tells what happens
 */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "gateway/control/change_parts.h"
#include "tests/simulation/shape/shape.h"

#define SEEDS_USUAL 1000
#define STEPS_SMALL 120
#define STEPS_USUAL 600

World *world;
Sum sum;
static Gateway *nodes[NODES_MOST];
static bool is_nested;

static Gateway *any_node(void) {
    return nodes[below(world->node_count)];
}

void shape_interrupt(void) {
    if (is_nested || world->quiet) return;
    is_nested = true;
    for (uint64_t steps = below(12); steps > 0; steps--) node_act(any_node());
    is_nested = false;
}

static void be_off(void) {
    SimClock *clock = &course.clock;
    if (chance(20)) clock->wall_now += (usec_t)below((uint64_t)(10 * USEC_DAY));
    if (chance(10) && clock->wall_now > 500 * USEC_DAY) clock->wall_now -= 2 * USEC_DAY;
}

static void disturb(void) {
    Gateway *node = any_node();
    switch (below(world->ignores ? 12 : 9)) {
    case 0:
        if (node_runs(node)) node_kill(node);
        break;
    case 1:
        if (node_runs(node)) node_stop(node);
        be_off();
        break;
    case 2:
        if (chance(80)) break;
        if (node_runs(node)) node_kill(node);
        node_lose_disk(node);
        break;
    case 3:
        if (chance(50)) world->down ^= true;
        break;
    case 4: tables_rename_column(); break;
    case 5: node_disturb(node); break;
    case 6:
    case 7: node_patch(node); break;
    case 8: world->down = false; break;
    case 9:
    case 10: tables_drop_column(); break;
    case 11: tables_add_column(); break;
    default: break;
    }
}

static void act(void) {
    uint64_t what = below(100);
    if (what < 88) {
        node_act(any_node());
    } else if (what < 96) {
        course_pass_time((usec_t)below((uint64_t)(chance(10) ? USEC_MINUTE : chance(30) ? 10 * USEC_SECOND : USEC_SECOND)));
    } else {
        disturb();
    }
    for (size_t i = 0; i < world->node_count; i++)
        if (!node_runs(nodes[i]) && chance(5)) node_start(nodes[i]);
}

/* ---- the end --------------------------------------------------------------------------------- */

static size_t what_waits(void) {
    size_t waiting = 0;
    for (size_t i = 0; i < world->node_count; i++) waiting += node_waiting(nodes[i]);
    return waiting;
}

/* Nothing disturbs any more: all that is there gets through by itself. */
static void settle(void) {
    failpoint_clear();
    world->quiet = true;
    world->down = false;
    for (unsigned round = 0;; round++) {
        for (size_t i = 0; i < world->node_count; i++) node_run(nodes[i]);
        if (round >= 3 && what_waits() == 0) return;
        if (round == 60) {
            for (size_t i = 0; i < world->node_count; i++) node_tell(nodes[i]);
            fail("it does not come to rest");
        }
        course_pass_time(round % 3 == 0 ? USEC_SECOND : 4 * USEC_MINUTE);
    }
}

/* Each value that comes again and again has a column some day, if there is room for it. */
static void check_columns_come(void) {
    for (unsigned round = 0; round < (world->is_small ? 2 : 3); round++) {
        for (size_t i = 0; i < world->node_count; i++) expect(node_probe(nodes[i]));
        settle();
    }
    for (size_t i = 0; i < world->node_count; i++) expect(node_probe(nodes[i]));
    for (size_t i = world->sent.row_count; i-- > 0;) {
        const SentRow *row = &world->sent.rows[i];
        const Version *version = &world->sent.versions[row->version];
        if (world->sent.events[row->event].request + world->node_count < world->sent.request_count) break;
        if (version->kind == SINK_ROWS || row->deletes) continue;
        tables_check_probe(row);
    }
}

static void check_end(void) {
    for (size_t i = 0; i < world->sent.event_count; i++) world->sent.events[i].rejects_seen = 0;
    for (size_t i = 0; i < world->node_count; i++) {
        node_verify(nodes[i]);
        node_count_rejects(nodes[i]);
        node_check_nameless(nodes[i]);
    }
    tables_check_versions();
    tables_check_rows();
}

/* ---- one seed -------------------------------------------------------------------------------- */

static void draw_plans(void) {
    static const unsigned columns[] = {8, 12, 30, 200};
    bool alike = chance(60);
    for (size_t i = 0; i < world->node_count; i++) {
        ShapePlan *plan = &world->plans[i];
        if (i > 0) {
            *plan = world->plans[0];
            if (alike) continue;
        }
        plan->depth = 1 + (unsigned)below(3);
        for (SinkKind kind = 0; kind < SINK_KINDS; kind++) {
            plan->max_columns[kind] = columns[below(4)];
            plan->own_table[kind] = chance(20);
            plan->lacks[kind] = world->is_small && chance(60);
        }
        if (plan->lacks[SINK_WIDE] && plan->lacks[SINK_KEYED]) plan->lacks[below(2)] = false;
        if (i > 0) continue;
        plan->newer_by = chance(50);
        plan->delete_on = chance(60);
    }
    sum.nodes_together += world->node_count > 1 && !world->plans[0].own_table[SINK_WIDE];
}

static void begin_world(uint64_t seed, const char *directory) {
    course_begin("test-shape", seed);
    world->fault_percent = (unsigned)below(40);
    world->is_small = chance(75);
    world->node_count = 1 + (size_t)below(world->is_small ? 2 : NODES_MOST);
    (void)snprintf(world->connection_path, sizeof world->connection_path, "%s/tables.db", directory);
    events_begin();
    world->ignores = chance(40);
    draw_plans();
    tables_begin(world->connection_path);
    for (unsigned i = 0; i < world->node_count; i++) nodes[i] = node_new(i, directory);
}

static void end_world(void) {
    for (size_t i = 0; i < world->node_count; i++) node_free(nodes[i]);
    tables_end();
    events_end();
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < 3; i++) {
        char path[220];
        (void)snprintf(path, sizeof path, "%s%s", world->connection_path, ends[i]);
        (void)unlink(path);
    }
}

static void run_seed(uint64_t seed, const char *directory) {
    World this_world = {0};
    world = &this_world;
    begin_world(seed, directory);
    if (chance(80)) { /* else the sinks are made while things fail */
        settle();
        world->quiet = false;
    }
    uint64_t steps = world->is_small ? STEPS_SMALL / 2 + below(STEPS_SMALL) : STEPS_USUAL / 2 + below(STEPS_USUAL);
    for (uint64_t i = 0; i < steps; i++) {
        act();
        if (i % 64 == 0)
            for (size_t k = 0; k < world->node_count; k++) node_verify(nodes[k]);
    }
    settle();
    check_end();
    check_columns_come();
    settle();
    for (size_t i = 0; i < world->node_count; i++) node_stop(nodes[i]); /* and the same after a start */
    settle();
    check_end();
    for (size_t i = 0; i < world->sent.row_count; i++) sum.rows += world->sent.rows[i].arrived;
    end_world();
}

int main(int count, char **arguments) {
    uint64_t first = count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
    uint64_t seeds = count > 2 ? strtoull(arguments[2], NULL, 10) : SEEDS_USUAL;
    log_setup(getenv("SLUICE_SIMULATION_VERBOSE") ? LOG_DEBUG : (LogLevel)(LOG_ERROR + 1), 2);
    const char *temporary = getenv("TMPDIR");
    char directory[150];
    (void)snprintf(directory, sizeof directory, "%.100s/shape-XXXXXX",
                   temporary                       ? temporary
                   : access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                                                   : "/tmp");
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    for (uint64_t seed = first; seed < first + seeds; seed++) run_seed(seed, directory);
    (void)rmdir(directory);
#define N(field) (unsigned long long)sum.field
    (void)printf(
        "requests: %llu, %llu of them refused; events: %llu, rejects: %llu; rows: %llu, %llu delete, %llu lost with a disk; looked at with "
        "a rest: %llu\n",
        N(requests), N(refused), N(events), N(rejects), N(rows), N(deletions), N(lost_rows), N(with_rest));
    (void)printf("versions: %llu; names asked for: %llu times, for %llu variants; columns renamed: %llu; changes by admins: %llu\n",
                 N(versions), N(columns_jobs), N(variants), N(renamed), N(patches));
    (void)printf("columns dropped: %llu, made again: %llu; values that imports left out: %llu, that were dropped: %llu; "
                 "fields without a column: %llu\n",
                 N(dropped), N(added), N(left_out), N(lost_values), N(nameless));
    (void)printf("imports: %llu, files found imported: %llu; answers lost: %llu, DDL refused: %llu; nodes killed: %llu, stopped: %llu, "
                 "without their "
                 "disk: %llu; worlds whose nodes share a table: %llu\n",
                 N(imports), N(found_imported), N(in_doubt), N(ddl_failed), N(kills), N(stops), N(lost_disks), N(nodes_together));
    (void)printf(
        "nodes ended after columns were named: %llu, while a change by inference prepared: %llu, was stored: %llu, was shown: %llu, "
        "closed: %llu\n",
        N(died_naming), N(died_at[CHANGE_PREPARING]), N(died_at[CHANGE_DEFINING]), N(died_at[CHANGE_FENCING]), N(died_at[CHANGE_CLOSING]));
    (void)printf("%llu seeds from %llu: each event is there once, each value in its place\n", (unsigned long long)seeds,
                 (unsigned long long)first);
    return 0;
}
