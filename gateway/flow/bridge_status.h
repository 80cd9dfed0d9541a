/*
 * The status of a bridge, as the management API, the statistics and the metrics show it. The bridge
 * makes a status about once per second and puts it on its board. A reader takes the last one. A
 * status never changes and is reference counted, so nobody waits for a bridge whose broker hangs.
 * Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/clock.h"

typedef enum BridgeState {
    BRIDGE_STARTING, /* connects, waits for its group, or asks the destinations where to begin */
    BRIDGE_RUNNING,
    BRIDGE_WAITING,  /* too far ahead of a destination, no room, or a partition waits for a schema; `reason` says which */
    BRIDGE_PAUSED,   /* by an admin: its consumer is closed */
    BRIDGE_IDLE,     /* the source has no enabled sink */
    BRIDGE_STOPPED,  /* it does not continue until somebody acts; `reason` says what to do */
    BRIDGE_FINISHED, /* loop: false, all is imported */
} BridgeState;

/* "starting", "running", …, as in the API. */
const char *bridge_state_name(BridgeState state);

/* For a sink that replaces its table: the state of the current run. */
typedef enum BridgeRunState {
    BRIDGE_RUN_NONE,       /* the sink does not replace its table, or the state is not known yet */
    BRIDGE_RUN_OPEN,       /* its rows are collected */
    BRIDGE_RUN_REPLACED,   /* its rows have replaced those of the table */
    BRIDGE_RUN_EMPTY,      /* it has no row, and the table keeps its rows */
    BRIDGE_RUN_SUPERSEDED, /* a later run took the table */
} BridgeRunState;
const char *bridge_run_state_name(BridgeRunState state); /* "open", … */

/* The position of a sink in a partition. */
typedef struct BridgeSinkPosition {
    int64_t next;     /* offset that the sink is given next; -1: not known yet */
    int64_t position; /* position at the destination: all records before it are imported; -1: not known */
} BridgeSinkPosition;

typedef struct BridgePartitionStatus {
    const char *topic; /* or stream */
    uint32_t generation;
    int32_t partition;
    int64_t read;       /* offset that is read next; -1: not known */
    int64_t first, end; /* the first offset that the broker has, and the one behind the last; -1: not known */
    int64_t lag;        /* records between the lowest position of the sinks and the end; -1: not known */
    double lag_seconds; /* age of the record that was read last, while there are more records; 0: there are no more; < 0: not known */
    const char
        *stopped; /* id of why it is not read: "poisonRecord", "positionGap", "positionBeyondEnd", "topicMissing", …; NULL: it is read */
    int64_t stopped_at;        /* offset, with `stopped` */
    const char *reason;        /* a sentence, with `stopped` */
    uint64_t lost;             /* records that the broker removed before they were read, since it was assigned */
    BridgeSinkPosition *sinks; /* by index of BridgeStatus.sinks */
} BridgePartitionStatus;

typedef struct BridgeSinkStatus {
    uint32_t sink;
    const char *name;             /* sinkId */
    bool delays;                  /* the source waits for this sink */
    const char *stopped, *reason; /* "positionsMissing", "groupShared", …; NULL: it gets records */
    BridgeRunState run;
    int64_t rows;    /* BRIDGE_RUN_REPLACED: of the table; -1: not known, since it was done before this process began */
    usec_t replaced; /* BRIDGE_RUN_REPLACED: wall; 0: not known */
} BridgeSinkStatus;

typedef struct BridgeStatus BridgeStatus;
struct BridgeStatus {
    BridgeState state;
    usec_t run;          /* Source.run that it knows */
    usec_t later_run;    /* the later run of another gateway that has a table of this source, as its Source.run; 0: none */
    const char *stopped; /* id, BRIDGE_STOPPED; else NULL */
    const char *reason;  /* a sentence; NULL: nothing to say */
    const char *error;   /* the last failure of the broker, or a topic that cannot be read; NULL: none */
    usec_t error_at;     /* wall */
    const char *cluster; /* id; NULL: not known yet */
    const char *group;   /* of consumers, or durable */
    uint64_t records;    /* read since the start */
    uint64_t bytes;
    uint64_t poisoned, skipped, tombstones; /* records */
    uint64_t lost; /* like BridgePartitionStatus.lost, but since the start, for all partitions that were assigned in that time */
    uint64_t rebalances;
    usec_t at; /* wall: when it was made */
    BridgeSinkStatus *sinks;
    size_t sink_count;
    BridgePartitionStatus *partitions; /* partitions that are assigned to this node */
    size_t partition_count;
    /* For a source that is not read because it is paused, disabled or finished: the last answers of
     * its destinations. Only `position` of each is known. */
    BridgePartitionStatus *known;
    size_t known_count;
    Arena arena; /* has all texts and arrays */
};

/* Makes a status with one reference; everything else is zero. The caller fills it, with texts and
 * arrays in its arena, before other threads see it. */
BridgeStatus *bridge_status_new(void);
BridgeStatus *bridge_status_ref(BridgeStatus *status);
void bridge_status_unref(BridgeStatus *status); /* NULL-safe */

/* The board on which a bridge puts its status. Reference counted. */
typedef struct BridgeBoard BridgeBoard;
BridgeBoard *bridge_board_new(void);
BridgeBoard *bridge_board_ref(BridgeBoard *board);
void bridge_board_unref(BridgeBoard *board); /* NULL-safe */
void bridge_board_put(BridgeBoard *board, BridgeStatus *take_status);
BridgeStatus *bridge_board_get(BridgeBoard *board); /* returns a reference; NULL if there is no status yet */
