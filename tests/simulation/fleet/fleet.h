/*
 * A world of gateways that read one broker into the tables of one destination: several nodes in one
 * consumer group, each with a real writer, stager, loaders and bridge. Everything follows from one
 * seed. Parts: broker.c (partitions, transactions, retention, the group), table.c (rows and
 * positions, in transactions), node.c (a gateway, its crashes and its disk), fleet.c (the actors
 * and their order).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/definition.h"
#include "gateway/flow/bridge_status.h"
#include "gateway/sources/bridge_client.h"
#include "sinks/driver.h"
#include "tests/simulation/course.h"

#define NODES_MOST 3
#define TOPICS_MOST 2
#define PARTITIONS_MAX 4
#define FLEET_SINKS_MAX 2
#define CLUSTER "simulated"
#define GROUP "fleet"

/* ---- the broker ------------------------------------------------------------------------------ */

typedef enum EntryKind {
    ENTRY_OPEN,   /* of a transaction that has not ended: nothing from here on is handed out */
    ENTRY_RECORD, /* committed */
    ENTRY_GAP,    /* aborted, or a control record */
} EntryKind;

typedef struct FleetEntry {
    EntryKind kind;
    bool tombstone, invalid;          /* invalid: no sink can map it */
    usec_t at;                        /* wall */
    unsigned copies[FLEET_SINKS_MAX]; /* in the table of each sink */
    bool rejected[FLEET_SINKS_MAX];   /* is, or was, a reject on some node */
} FleetEntry;

typedef struct FleetPartition {
    FleetEntry *entries; /* by offset: all that ever were */
    int64_t first, end;  /* of those that are there; end: behind the last, also of open transactions */
    size_t capacity;
    int64_t must_from[FLEET_SINKS_MAX]; /* a sink must have everything from this offset on; INT64_MAX: nobody claimed it yet */
} FleetPartition;

typedef struct FleetTopic {
    char name[16];
    FleetPartition partitions[PARTITIONS_MAX];
    size_t partition_count;
} FleetTopic;

typedef struct FleetBroker {
    FleetTopic topics[TOPICS_MOST];
    size_t topic_count;
    bool down;
    uint64_t group_generation;
    BridgeClient *members[16];
    bool kills; /* clients that are closed now do not leave the group */
    size_t member_count;
    uint64_t produced, aborted, trimmed, rebalances, evictions, out_of_range;
} FleetBroker;

void broker_begin(void);
/* Some records, perhaps in a transaction that is committed, aborted or left open. */
void broker_produce(void);
void broker_end_transactions(void);
void broker_add_partition(void);
/* Retention: the oldest records of some partition go, whether they were read or not. */
void broker_trim(void);
/* Members that were silent for the session timeout are out. */
void broker_evict(void);
/* The end of what is handed out: the last stable offset. */
int64_t broker_stable_end(const FleetPartition *partition);
FleetPartition *broker_find(const char *topic, int32_t partition); /* NULL: there is none */
void broker_deinit(void);
/* The body of a record. */
size_t broker_body(const char *topic, int32_t partition, int64_t offset, const FleetEntry *entry, char *out, size_t size);

extern const BridgeClientType fleet_client;

/* ---- the destination ------------------------------------------------------------------------- */

typedef struct FleetPosition {
    char table[16], topic[16];
    uint32_t generation;
    int32_t partition;
    int64_t next;
} FleetPosition;

typedef struct FleetLedger {
    Uuid file;
    uint64_t first_row, rows, bytes, checksum, left_out;
    char *outcomes; /* owned; NULL: all were taken */
} FleetLedger;

typedef struct FleetRow {
    char topic[16];
    int32_t partition;
    int64_t offset;
    unsigned sink; /* index */
} FleetRow;

typedef struct FleetTable {
    FleetPosition *positions;
    size_t position_count, position_capacity;
    FleetLedger *ledger;
    size_t ledger_count, ledger_capacity;
    FleetRow *rows;
    size_t row_count, row_capacity;
} FleetTable;

typedef struct FleetDestination {
    FleetTable now, saved; /* saved: a backup */
    bool has_backup;
    bool down;
    uint64_t imports, found_imported, overtaken, returned, collisions, restores, seeks;
} FleetDestination;

extern const SinkDriver fleet_driver;
void destination_back_up(void);
void destination_restore(void);
/* NULL: there is none. */
FleetPosition *destination_position(unsigned sink, const char *topic, int32_t partition);
void destination_deinit(void);

/* ---- nodes ----------------------------------------------------------------------------------- */

typedef struct Gateway Gateway;

Gateway *node_new(unsigned index, const char *directory);
void node_free(Gateway *node); /* the power goes; its disk too */
bool node_runs(const Gateway *node);
/* Kills it, or stops it in order; what is on its disk stays. */
void node_kill(Gateway *node);
void node_stop(Gateway *node);
void node_start(Gateway *node);
void node_lose_disk(Gateway *node); /* of one that does not run */
/* SIGSTOP: it does nothing until then. */
void node_sleep(Gateway *node, usec_t time);
bool node_is_asleep(const Gateway *node);
/* One thing that seed chooses; false: it is not awake, or it is in the middle of an import. */
bool node_act(Gateway *node);
void node_disturb(Gateway *node); /* its file system fails, or a failpoint is set */
/* An admin sets a position that is missing since an older destination was restored. One at a
 * time. */
void node_seek(Gateway *node, unsigned sink, const char *topic, int32_t partition, int64_t offset);
/* A bit of a pack flips; false: it has none. */
bool node_damage(Gateway *node);
void node_define(Gateway *node); /* conditions of imports change */
/* All that can be done now is done. Returns whether anything was. */
bool node_run(Gateway *node);
/* Commit groups and files that wait. */
size_t node_waiting(Gateway *node);
void node_verify(Gateway *node);
/* The running node; NULL: none is in the middle of anything. */
Gateway *node_running(void);
/* What its bridge last said of a partition: lost records, all partitions. */
BridgeStatus *node_status(Gateway *node);

/* ---- the world ------------------------------------------------------------------------------- */

typedef struct FleetWorld {
    FleetBroker broker;
    FleetDestination destination;
    size_t sink_count, node_count;
    bool
        deletes; /* a record without a value deletes the row of its key in the last sink, and is a reject of the other; else it is skipped */
    unsigned fault_percent; /* of imports */
    bool quiet;             /* no faults any more */
    uint64_t refused;       /* Appends, without that the writer saw them */
    bool nested;            /* an import is interrupted by the other nodes */
} FleetWorld;

extern FleetWorld *fleet;

/* Does a record give the sink a row, or the deletion of one? */
bool fleet_wants(unsigned sink, const FleetEntry *entry);
/* In the middle of an import: the other nodes do a few things. `session`: of the node that
 * imports. */
void fleet_interrupt(void);
