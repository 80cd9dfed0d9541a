/*
 * A bridge between a broker, a writer and destinations that are all of the test: no threads, no
 * time but the test's own. The writer keeps the rules of docs/delivery.md for runs, and the
 * destinations decide about them as drivers do, so that tables can be compared with what the broker
 * had. For tests.
 */
#pragma once

#include "gateway/sources/bridge.h"

#define WORLD_PARTITIONS 4
#define WORLD_SINKS 3
#define WORLD_OFFSETS 3000

/* none: a gap; broken: no JSON; of_schema: begins as one of Avro whose schema is number 1 */
typedef enum WorldRecord { RECORD_NONE, RECORD_GOOD, RECORD_BROKEN, RECORD_OF_SCHEMA } WorldRecord;

typedef struct WorldPartition {
    int64_t first, end;
    uint8_t records[WORLD_OFFSETS];
} WorldPartition;

/* What the writer has of records for a sink, and was not decided about. */
typedef struct WorldRun {
    int partition;
    int64_t first, next;
    uint8_t rows[WORLD_OFFSETS / 8 + 1]; /* bits, from `first` on */
} WorldRun;

typedef struct WorldSink {
    bool enabled;
    bool hangs;                                            /* its destination does not answer */
    bool refuses;                                          /* it does, with an error */
    int64_t positions[WORLD_PARTITIONS];                   /* at the destination; -1: none */
    uint8_t table[WORLD_PARTITIONS][WORLD_OFFSETS];        /* how often each record is there */
    int64_t from[WORLD_PARTITIONS], end[WORLD_PARTITIONS]; /* the writer's chain */
    int64_t left[WORLD_PARTITIONS];                        /* by a chain of the table before */
    int64_t former[WORLD_PARTITIONS];                      /* positions of that table; -1: none */
    int64_t heard[WORLD_PARTITIONS];                       /* position as the writer read it last */
    bool missing;                                          /* an import found no position */
    uint32_t generation;                                   /* of the positions and the chains */
    const char *topic_id;                                  /* that is stored with the positions; NULL: none */
    WorldRun *runs;                                        /* in the order of the Appends */
    size_t run_count, run_room;
    unsigned moves;         /* to other tables; `table` is of all */
    uint64_t waiting_bytes; /* that the writer tells */
    usec_t failing_since;
    usec_t made_table;              /* its table was gone, until a seek */
    const char *start;              /* its startFrom; NULL: it has none */
    bool joins;                     /* it came to a source that had sinks */
    const char *key;                /* that the source had then; NULL: the same */
    uint64_t claimed_run, done_run; /* of a table that is replaced; `table` is the side table */
    uint64_t rows;                  /* of the table, as a swap left it */
    bool swap_fails;
    unsigned claims, lists, seeks, closes, swaps;
} WorldSink;

typedef struct World {
    usec_t now;
    Usage usage;
    bool has_group;              /* else `loop: false` */
    const char *source_settings; /* "value":…, of the source */
    const char *sink_settings;   /* "onInvalid":…, for all sinks */
    WorldPartition partitions[WORLD_PARTITIONS];
    int partition_count;
    const char *topic_id; /* NULL: the broker does not tell it */
    bool lacks_topic;     /* the definition names another one, which is not there */
    WorldSink sinks[WORLD_SINKS];
    /* the broker's client */
    bool is_down; /* nothing can be asked */
    bool is_open;
    unsigned opened;
    bool offers, revokes; /* the group's next word */
    int offered[WORLD_PARTITIONS], offered_count;
    int assigned[WORLD_PARTITIONS], assigned_count;
    int64_t at[WORLD_PARTITIONS]; /* by index of assigned */
    int64_t told_end[WORLD_PARTITIONS];
    bool paused[WORLD_PARTITIONS], out_of_range[WORLD_PARTITIONS];
    bool fails_to_resume, ends; /* ends: the next event */
    int turn;
    uint64_t handed_out, seeks, polls;
    int64_t committed[WORLD_PARTITIONS];
    const char *trouble; /* the next event: of the partition with index 0 */
    int64_t trouble_at;
    bool is_local; /* the destinations are of this machine alone */
    /* the writer */
    bool holds_appends; /* they are not answered, and nothing that comes behind them */
    Message *held[200];
    size_t held_count;
    AppendResult result; /* of the next Append that would be done */
    unsigned appends, misplaced;
    /* the template broker: it keeps what it is given until world_templates_back */
    bool has_templates; /* of all sinks, from the next snapshot on */
    TemplateBatch *templates;
    /* the loaders */
    LoadJob *jobs[64];
    size_t job_count;
    /* the bridge */
    Mailbox *writer, *gone;
    BridgeBoard *board;
    Bridge *bridge;
    SnapshotSource *source;
    uint64_t generation;
    bool is_paused, is_disabled;
    usec_t run;    /* Source.run */
    bool replaces; /* the sinks' strategy; needs `run` */
    Mailbox *control;
} World;

extern World world;

/* A world with so many partitions and the first `sinks` sinks enabled; nothing runs yet. */
void world_begin(int partitions, int sinks, bool has_group);
void world_end(void);
int world_tear_down(void **state); /* the same, for a test that may have failed */
/* Starts the bridge, or starts it anew as after a restart of the process; `forgets`: with an empty
 * data directory. */
void world_start(void);
void world_restart(bool forgets);
void world_show(void); /* a new snapshot: of which sinks are enabled, of a pause */
void world_put(int partition, unsigned records, WorldRecord kind);
/* One turn of everything; time goes on by `usec`. */
void world_step(usec_t usec);
void world_run(unsigned steps, usec_t usec);
void world_answer_jobs(void);
void world_release_appends(void);
size_t world_appends_held(void);
void world_templates_back(void); /* not evaluated */
/* Imports what waits of a sink, as far as it goes. */
void world_import(int sink);
/* The sink's rows go into another table, which has no positions, from now on; what the writer has
 * goes where it went. */
void world_move(int sink);
/* Somebody else imports the records up to `next` into the sink's table. */
void world_overtake(int sink, int partition, int64_t next);
/* Steps until all that the broker has is imported once into each enabled sink; fails after so many
 * seconds of the world's time. */
void world_settle(unsigned seconds);
bool world_is_settled(void);
/* The last status; the caller's reference is dropped by the next call. */
const BridgeStatus *world_status(void);
