/*
 * The proof that a broker's records become rows once: several gateways in one consumer group, in an
 * order that one seed chooses. They are killed, stopped, put to sleep for longer than the session
 * timeout and lose their disks; the destination is down, lies about its commits and is restored
 * from a backup; partitions are added, transactions aborted, and records are removed by retention.
 * In the end each committed record that the broker still has is in the table of each sink once,
 * byte for byte, and no record is there twice at any moment.
 *
 *   test-fleet [first-seed [count]]     SLUICE_SIMULATION_VERBOSE=1 tells what happens
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "tests/simulation/fleet/fleet.h"

#define SEEDS_USUAL 1000
#define STEPS_USUAL 1500

FleetWorld *fleet;
static Gateway *nodes[NODES_MOST];

/* What all seeds together did: a course in which nothing happens proves nothing. */
static struct Sum {
    uint64_t produced, aborted, trimmed, rows, tombstones, invalid, gone, imports, found_imported, overtaken, returned, collisions,
        restores, seeks, kills, stops, sleeps, lost_disks, damaged, refused, evictions, rebalances, out_of_range;
} sum;

static void pass_time(usec_t time) {
    course_pass_time(time);
    broker_evict();
}

/* ---- the course of things -------------------------------------------------------------------- */

static Gateway *any_node(void) {
    return nodes[below(fleet->node_count)];
}

/* In a long one the node is stopped in the middle of its import until the group goes on without
 * it. */
void fleet_interrupt(void) {
    if (fleet->nested || fleet->quiet) return;
    bool long_one = fleet->node_count > 1 && chance(15);
    fleet->nested = true;
    for (uint64_t steps = (long_one ? 400 + below(800) : below(12)); steps > 0; steps--) {
        Gateway *node = any_node();
        if (node != node_running()) (void)node_act(node);
        if (chance(5)) broker_produce();
        if (long_one && chance(20)) pass_time((usec_t)below((uint64_t)(10 * USEC_SECOND)));
    }
    fleet->nested = false;
}

/* An import never makes a position: one that a restored destination does not have is set by an
 * admin, to where the sink began. */
static void set_missing(void) {
    for (size_t i = 0; i < fleet->broker.topic_count; i++) {
        FleetTopic *topic = &fleet->broker.topics[i];
        for (size_t k = 0; k < topic->partition_count; k++) {
            for (unsigned s = 0; s < fleet->sink_count; s++) {
                int64_t from = topic->partitions[k].must_from[s];
                if (from == INT64_MAX || destination_position(s, topic->name, (int32_t)k)) continue;
                node_seek(any_node(), s, topic->name, (int32_t)k, from);
            }
        }
    }
}

static void disturb(void) {
    Gateway *node = any_node();
    switch (below(15)) {
    case 0:
        if (node_runs(node)) {
            node_kill(node);
            sum.kills++;
        }
        break;
    case 1:
        if (node_runs(node) && !node_is_asleep(node)) {
            node_stop(node);
            sum.stops++;
        }
        break;
    case 2:
        if (chance(70)) break;
        if (node_runs(node)) node_kill(node);
        node_lose_disk(node);
        sum.lost_disks++;
        break;
    case 3:
    case 4:
        if (node_runs(node)) {
            node_sleep(node, (usec_t)below((uint64_t)(3 * USEC_MINUTE)));
            sum.sleeps++;
        }
        break;
    case 5: fleet->destination.down ^= true; break;
    case 6: fleet->broker.down ^= true; break;
    case 7: broker_trim(); break;
    case 8: broker_add_partition(); break;
    case 9: broker_end_transactions(); break;
    case 10: destination_back_up(); break;
    case 11:
        if (chance(30)) destination_restore();
        break;
    case 12: node_disturb(node); break;
    case 13: node_define(node); break;
    case 14: sum.damaged += node_damage(node); break;
    default: break;
    }
}

static void act(void) {
    uint64_t what = below(100);
    if (what < 8) {
        broker_produce();
    } else if (what < 84) {
        (void)node_act(any_node());
    } else if (what < 95) {
        pass_time((usec_t)below((uint64_t)(chance(10) ? USEC_MINUTE : chance(30) ? 10 * USEC_SECOND : USEC_SECOND)));
    } else {
        disturb();
    }
    if (chance(1)) set_missing();
    for (size_t i = 0; i < fleet->node_count; i++)
        if (!node_runs(nodes[i]) && chance(5)) node_start(nodes[i]);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Is the position of each partition at its end, for each sink? */
static bool all_read(void) {
    for (size_t i = 0; i < fleet->broker.topic_count; i++) {
        FleetTopic *topic = &fleet->broker.topics[i];
        for (size_t k = 0; k < topic->partition_count; k++) {
            for (unsigned s = 0; s < fleet->sink_count; s++) {
                const FleetPosition *position = destination_position(s, topic->name, (int32_t)k);
                if (!position || position->next != topic->partitions[k].end) return false;
            }
        }
    }
    return true;
}

static size_t what_waits(void) {
    size_t waiting = 0;
    for (size_t i = 0; i < fleet->node_count; i++) waiting += node_waiting(nodes[i]);
    return waiting;
}

static void tell_what_waits(void) {
    for (size_t i = 0; i < fleet->broker.topic_count; i++) {
        FleetTopic *topic = &fleet->broker.topics[i];
        for (size_t k = 0; k < topic->partition_count; k++) {
            for (unsigned s = 0; s < fleet->sink_count; s++) {
                const FleetPosition *position = destination_position(s, topic->name, (int32_t)k);
                (void)fprintf(stderr, "sink %u %s/%zu: position %lld, broker %lld to %lld\n", s, topic->name, k,
                              position ? (long long)position->next : -1, (long long)topic->partitions[k].first,
                              (long long)topic->partitions[k].end);
            }
        }
    }
    for (size_t i = 0; i < fleet->node_count; i++) {
        BridgeStatus *status = node_status(nodes[i]);
        (void)fprintf(stderr, "node %zu: %zu wait; %s, %s %s\n", i, node_waiting(nodes[i]), status ? bridge_state_name(status->state) : "?",
                      status && status->stopped ? status->stopped : "", status && status->reason ? status->reason : "");
        for (size_t k = 0; status && k < status->partition_count; k++)
            (void)fprintf(stderr, "  %s/%d: read %lld, %s\n", status->partitions[k].topic, status->partitions[k].partition,
                          (long long)status->partitions[k].read, status->partitions[k].stopped ? status->partitions[k].stopped : "read");
        bridge_status_unref(status);
    }
}

/* Nothing disturbs any more: all that is there gets through by itself. */
static void settle(void) {
    failpoint_clear();
    fleet->quiet = true;
    fleet->broker.down = fleet->destination.down = false;
    broker_end_transactions();
    fleet->broker.group_generation++; /* members notice each partition some day */
    for (size_t i = 0; i < fleet->node_count; i++) {
        if (!node_runs(nodes[i])) node_start(nodes[i]);
        node_sleep(nodes[i], 0);
    }
    for (unsigned round = 0; !all_read() || what_waits() > 0; round++) {
        if (round == 3000) {
            tell_what_waits();
            fail("it does not come to rest");
        }
        for (unsigned i = 0; i < 20; i++)
            for (size_t k = 0; k < fleet->node_count; k++) (void)node_run(nodes[k]);
        if (round % 5 == 4) set_missing();
        pass_time(round % 10 == 9 ? 30 * USEC_SECOND : USEC_SECOND);
    }
}

bool fleet_wants(unsigned sink, const FleetEntry *entry) {
    if (entry->kind != ENTRY_RECORD) return false;
    return entry->tombstone ? fleet->deletes && sink + 1 == fleet->sink_count : !entry->invalid;
}

static void check_partition(FleetTopic *topic, size_t index) {
    FleetPartition *partition = &topic->partitions[index];
    for (int64_t at = 0; at < partition->end; at++) {
        const FleetEntry *entry = &partition->entries[at];
        for (unsigned s = 0; s < fleet->sink_count; s++) {
            bool wanted = fleet_wants(s, entry);
            expect(entry->copies[s] <= 1);
            expect(entry->copies[s] == 0 || wanted);
            sum.rows += entry->copies[s];
            if (!wanted || entry->copies[s] == 1 || at < partition->must_from[s]) continue;
            if (at < partition->first) {
                sum.gone++; /* by retention: it may have been read or not */
                continue;
            }
            fail("sink %u does not have %s/%zu/%lld", s, topic->name, index, (long long)at);
        }
        sum.tombstones += entry->kind == ENTRY_RECORD && entry->tombstone;
        sum.invalid += entry->kind == ENTRY_RECORD && entry->invalid;
    }
}

static void check_end(void) {
    for (size_t i = 0; i < fleet->broker.topic_count; i++)
        for (size_t k = 0; k < fleet->broker.topics[i].partition_count; k++) check_partition(&fleet->broker.topics[i], k);
    for (size_t i = 0; i < fleet->node_count; i++) node_verify(nodes[i]);
}

static void add_up(void) {
    sum.produced += fleet->broker.produced;
    sum.aborted += fleet->broker.aborted;
    sum.trimmed += fleet->broker.trimmed;
    sum.rebalances += fleet->broker.rebalances;
    sum.evictions += fleet->broker.evictions;
    sum.out_of_range += fleet->broker.out_of_range;
    sum.imports += fleet->destination.imports;
    sum.found_imported += fleet->destination.found_imported;
    sum.overtaken += fleet->destination.overtaken;
    sum.returned += fleet->destination.returned;
    sum.collisions += fleet->destination.collisions;
    sum.restores += fleet->destination.restores;
    sum.seeks += fleet->destination.seeks;
    sum.refused += fleet->refused;
}

static void run_seed(uint64_t seed, const char *directory) {
    FleetWorld this_world = {0};
    fleet = &this_world;
    course_begin("test-fleet", seed);
    fleet->fault_percent = (unsigned)below(40);
    fleet->sink_count = 1 + (size_t)below(FLEET_SINKS_MAX);
    fleet->node_count = 1 + (size_t)below(NODES_MOST);
    fleet->deletes = seed % 4 == 3;
    broker_begin();
    for (unsigned i = 0; i < fleet->node_count; i++) nodes[i] = node_new(i, directory);
    uint64_t steps = STEPS_USUAL / 2 + below(STEPS_USUAL);
    for (uint64_t i = 0; i < steps; i++) {
        act();
        if (i % 64 == 0)
            for (size_t k = 0; k < fleet->node_count; k++) node_verify(nodes[k]);
    }
    settle();
    check_end();
    add_up();
    for (size_t i = 0; i < fleet->node_count; i++) node_free(nodes[i]);
    broker_deinit();
    destination_deinit();
}

int main(int count, char **arguments) {
    uint64_t first = count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
    uint64_t seeds = count > 2 ? strtoull(arguments[2], NULL, 10) : SEEDS_USUAL;
    log_setup(getenv("SLUICE_SIMULATION_VERBOSE") ? LOG_DEBUG : (LogLevel)(LOG_ERROR + 1), 2);
    const char *temporary = getenv("TMPDIR");
    char directory[200];
    (void)snprintf(directory, sizeof directory, "%s/fleet-XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    for (uint64_t seed = first; seed < first + seeds; seed++) run_seed(seed, directory);
    (void)rmdir(directory);
#define N(field) (unsigned long long)sum.field
    (void)printf("records: %llu committed, %llu aborted, %llu removed by retention (%llu of them without a row); rows: %llu\n", N(produced),
                 N(aborted), N(trimmed), N(gone), N(rows));
    (void)printf("nodes: %llu killed, %llu stopped, %llu asleep, %llu without their disk; packs damaged: %llu; Appends refused: %llu\n",
                 N(kills), N(stops), N(sleeps), N(lost_disks), N(damaged), N(refused));
    (void)printf("members evicted: %llu; assignments: %llu\n", N(evictions), N(rebalances));
    (void)printf("imports: %llu, found imported: %llu, positions that changed: %llu; runs overtaken: %llu, returned: %llu; restored: %llu; "
                 "out of range: %llu; seeks: %llu\n",
                 N(imports), N(found_imported), N(collisions), N(overtaken), N(returned), N(restores), N(out_of_range), N(seeks));
    (void)printf("%llu seeds from %llu: each record is there once\n", (unsigned long long)seeds, (unsigned long long)first);
    return 0;
}
