/*
 * How a bridge is, for people: what the management API, the statistics and the metrics show. The
 * bridge makes a status about once a second and puts it on its board; whoever wants to know takes
 * the last one. A status never changes and is reference counted, so nobody waits for a bridge whose
 * broker hangs. Any thread.
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
    BRIDGE_WAITING,  /* too far ahead of a destination, without room, or a partition waits for a schema; reason says it */
    BRIDGE_PAUSED,   /* by an admin: its consumer is closed */
    BRIDGE_IDLE,     /* the source has no enabled sink */
    BRIDGE_STOPPED,  /* nothing goes on until somebody does something; reason says what */
    BRIDGE_FINISHED, /* loop: false, all is imported */
} BridgeState;

/* "starting", "running", …, as in the API. */
const char *bridge_state_name(BridgeState state);

/* Of a sink that replaces its table: what became of the present run. */
typedef enum BridgeRunState {
    BRIDGE_RUN_NONE,       /* it does not replace its table, or it is not known yet */
    BRIDGE_RUN_OPEN,       /* its rows are collected */
    BRIDGE_RUN_REPLACED,   /* they have replaced those of the table */
    BRIDGE_RUN_EMPTY,      /* it has no row, and the table keeps its rows */
    BRIDGE_RUN_SUPERSEDED, /* a later run took the table */
} BridgeRunState;
const char *bridge_run_state_name(BridgeRunState state); /* "open", … */

/* Of one partition and sink. */
typedef struct BridgeSinkPosition {
    int64_t next;     /* offset that the sink is given next; -1: not known yet */
    int64_t position; /* at the destination: all before it is imported; -1: not known */
} BridgeSinkPosition;

typedef struct BridgePartitionStatus {
    const char *topic; /* or stream */
    uint32_t generation;
    int32_t partition;
    int64_t read;       /* offset that is read next; -1: not known */
    int64_t first, end; /* what the broker has: the first offset, and the one behind the last; -1: not known */
    int64_t lag;        /* records between the least position of the sinks and the end; -1: not known */
    double lag_seconds; /* age of the record that was read last, while there is more; 0: nothing more is there; < 0: not known */
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
    bool delays;                  /* the source reads no faster than this one takes */
    const char *stopped, *reason; /* "positionsMissing", "groupShared", …; NULL: it gets records */
    BridgeRunState run;
    int64_t rows;    /* BRIDGE_RUN_REPLACED: of the table; -1: not known, since it was done before this process began */
    usec_t replaced; /* BRIDGE_RUN_REPLACED: wall; 0: not known */
} BridgeSinkStatus;

typedef struct BridgeStatus BridgeStatus;
struct BridgeStatus {
    BridgeState state;
    usec_t run;          /* Source.run that it knows */
    usec_t later_run;    /* the run that took a table of it, as Source.run of another gateway; 0: none did */
    const char *stopped; /* id, BRIDGE_STOPPED; else NULL */
    const char *reason;  /* a sentence; NULL: nothing to say */
    const char *error;   /* the last trouble with the broker, or a topic that cannot be read; NULL: none */
    usec_t error_at;     /* wall */
    const char *cluster; /* id; NULL: not known yet */
    const char *group;   /* of consumers, or durable */
    uint64_t records;    /* read since the start */
    uint64_t bytes;
    uint64_t poisoned, skipped, tombstones; /* records */
    uint64_t lost; /* as BridgePartitionStatus.lost, but since the start, of all partitions that were assigned in between */
    uint64_t rebalances;
    usec_t at; /* wall: when it was made */
    BridgeSinkStatus *sinks;
    size_t sink_count;
    BridgePartitionStatus *partitions; /* that are assigned to this node */
    size_t partition_count;
    /* Of a source that is not read, since it is paused, disabled or finished: what its destinations
     * said last. Of each, `position` alone is known. */
    BridgePartitionStatus *known;
    size_t known_count;
    Arena arena; /* of all of it */
};

/* All-zero but for its one reference; fill it in, its texts and arrays in its arena, before others
 * see it. */
BridgeStatus *bridge_status_new(void);
BridgeStatus *bridge_status_ref(BridgeStatus *status);
void bridge_status_unref(BridgeStatus *status); /* NULL-safe */

/* Where a bridge shows its status. Reference counted. */
typedef struct BridgeBoard BridgeBoard;
BridgeBoard *bridge_board_new(void);
BridgeBoard *bridge_board_ref(BridgeBoard *board);
void bridge_board_unref(BridgeBoard *board); /* NULL-safe */
void bridge_board_put(BridgeBoard *board, BridgeStatus *take_status);
BridgeStatus *bridge_board_get(BridgeBoard *board); /* a reference; NULL: nothing was put there yet */
