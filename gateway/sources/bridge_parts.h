/*
 * The inside of a bridge, shared by the files bridge_*.c. All on its thread. Times named `now`, and
 * those marked boot, are of the clock's boot time.
 *
 * Any call that reaches the client may find that it is of no use any more. Then
 * bridge_client_failed closes it: `client` is NULL, all parts are gone (`part_count` 0) and
 * pointers to them are invalid, `world` is empty, and `epoch` is another one. Sinks stay. Such
 * calls are part_hold, part_release, part_stop, part_go_on, part_read_from, part_rejoin,
 * parts_assign, topic_raise, sinks_set_up, acks_begin, claims_back, range_step, claims_origin_back,
 * seek_step, flow_step. Who goes on with a part after one of them compares `epoch` with what it was
 * before, or looks at `client`; a loop up to `part_count` ends by itself.
 *
 * Functions named X_back with a take_ parameter own a message that the bridge has posted and that
 * is answered. What was asked in an earlier epoch is freed without effect.
 */
#pragma once

#include <stdatomic.h>

#include "base/arena.h"
#include "base/thread.h"
#include "config/source_bridge.h"
#include "gateway/sources/bridge.h"
#include "gateway/sources/bridge_positions.h"
#include "gateway/sources/micro_batch.h"
#include "gateway/sources/seen_intervals.h"

#define BRIDGE_AGAIN USEC_SECOND            /* until something that failed is tried again */
#define BRIDGE_ASK_LIMIT (10 * USEC_SECOND) /* of a question to the broker */
#define BRIDGE_PATIENCE (5 * USEC_SECOND)   /* for a destination, before it is gone on without its answer */
#define BRIDGE_IN_FLIGHT 2                  /* Appends */

/* Why a partition is not read; bits. */
enum {
    HOLD_NO_SINK = 1,  /* no sink can be given anything */
    HOLD_STOPPED = 2,  /* see BridgePart.stopped */
    HOLD_LATER = 4,    /* until BridgePart.later */
    HOLD_PRESSURE = 8, /* there is no room */
    HOLD_THROUGH = 16, /* `loop: false`: it was read up to its end */
    HOLD_RANGE = 32,   /* its offset is not there; being cleared up */
};

typedef struct BridgeTopic {
    const char *name, *topic_id; /* in the world's arena; topic_id NULL: not known */
    size_t partition_count;
    uint32_t generation;
    int64_t *start, *earliest, *end; /* by partition; end: -1 unless the source ends there */
} BridgeTopic;

/* What the broker said that there is. */
typedef struct BridgeWorld {
    Arena arena;
    const char *cluster; /* NULL: it was not asked yet */
    char *group;         /* in the arena, as all of it */
    BridgeTopic *topics; /* by name */
    size_t topic_count;
    size_t partition_count; /* of all topics */
    const char *missing;    /* a sentence on topics that the definition names and that cannot be read; NULL: there are none */
    usec_t missing_at;      /* wall */
} BridgeWorld;

/* A sink and a partition, besides MicroPartition.next and .sets_end. */
typedef struct BridgeSlot {
    int64_t position;  /* at the destination, as last heard; -1: not known */
    BridgeChain chain; /* of the writer, before its destination was asked */
    int64_t behind;    /* as PartitionProgress.left, heard with the chain */
    int64_t left; /* while `next` is not known: where the sink was left, or the others when it came, see BridgeSink.moved; -1: not known */
} BridgeSlot;
#define BRIDGE_SLOT_NEW ((BridgeSlot){.position = -1, .chain = {-1, -1}, .behind = -1, .left = -1})

/* A partition that is assigned. Its MicroPartition has the same index. */
typedef struct BridgePart {
    size_t topic;
    int32_t partition;
    int64_t read; /* offset that the client gives next; -1: nothing is assigned yet */
    int64_t made; /* records [made, read) are gathered and not made into rows */
    unsigned holds;
    usec_t later;        /* boot */
    int64_t pending;     /* offset of a record that could not be read for the moment, and is tried again and again; -1: there is none */
    uint64_t posted;     /* number of the last Append that has it */
    int64_t refused;     /* the writer has refused what was made from here on; -1: nothing */
    int64_t limit;       /* `loop: false`: end at the start */
    const char *stopped; /* static: an error id; NULL: it goes on */
    int64_t stopped_at;
    char *reason;       /* owned */
    uint64_t lost;      /* records, since it was assigned */
    usec_t range_at;    /* boot: HOLD_RANGE is looked at then */
    bool range_told;    /* that records are lost */
    unsigned range_out; /* seeks that are on their way */
    int64_t committed;  /* told to the broker, for lag tools */
    usec_t record_time; /* wall: of the record that was read last; 0: none was */
    BridgeSlot *slots;  /* by sink */
} BridgePart;

typedef enum BridgeLook {
    LOOK_NONE,
    LOOK_CHAIN,    /* where the writer's chain ends is enough, if it has one */
    LOOK_POSITION, /* the destination is to be asked */
} BridgeLook;

typedef struct BridgeOrigin BridgeOrigin; /* bridge_origins.c */

typedef struct BridgeSink {
    const Sink *sink; /* of the plan */
    char *label;      /* owned: "SOURCE/SINK" */
    bool is_local;    /* its destination is of this machine alone */
    bool is_new;      /* it came while others were read for, and has not been claimed yet */
    bool moved;       /* its rows go elsewhere from where it was left on, and it has not been claimed there yet */
    BridgeLook look;
    uint64_t look_after;  /* the answer to a later question to the writer is needed first */
    bool claiming;        /* a claim is on its way */
    bool began;           /* since the assignment its destination has answered, or was waited for */
    bool was_waited_for;  /* the claim takes long: it was gone on without its answer */
    unsigned claims_out;  /* with those of earlier assignments */
    usec_t asked;         /* boot: when the claim was posted */
    usec_t again;         /* boot: it failed, and is not posted before */
    bool origin_counts;   /* what the definition says of where it came from is of the key that the source has */
    BridgeOrigin *origin; /* owned: where it begins whose table has no position yet, as far as it was asked; NULL: it was not */
    char *error;          /* owned: of the last claim or import; NULL: none failed */
    const char *stopped;  /* static: an error id */
    const char *reason;   /* static, with `stopped` */
    uint64_t waiting_bytes;
    uint64_t posted_bytes, asked_bytes; /* posted since the last answer; of them, before the question that is on its way */
    usec_t failing_since;
    usec_t made_table;      /* wall: its table was gone and was made anew; 0: no */
    bool closing, imported; /* `loop: false`: all that was read */
    bool paused;            /* its imports, as the writer says */
} BridgeSink;

/* The present run of a sink that replaces its table. It is kept while the group is the same,
 * whatever becomes of clients and definitions. */
typedef struct BridgeRun {
    uint32_t sink; /* number */
    BridgeRunState state;
    int64_t rows; /* as BridgeSinkStatus, as the next */
    usec_t replaced;
    usec_t later;       /* BRIDGE_RUN_SUPERSEDED: by that run, wall */
    usec_t look_after;  /* boot: what was heard of positions before does not count */
    bool rewinds;       /* its next claim goes back to the positions, whatever the writer's chain says: its rows were left out */
    bool swapping;      /* a swap is on its way */
    usec_t swap_begun;  /* boot */
    usec_t swap_again;  /* boot: it is not posted before */
    uint64_t swallowed; /* BRIDGE_RUN_EMPTY: rows of the run that a trigger or rule of the table did not store */
    unsigned failures;  /* of swaps, one after the other */
    char *error;        /* owned: of the last swap; NULL: it did not fail */
} BridgeRun;

/* The highest generation of a topic that was met, also while no client is there. */
typedef struct BridgeGeneration {
    char *topic; /* owned */
    uint32_t generation;
} BridgeGeneration;

typedef enum BridgePhase {
    BRIDGE_CLOSED,  /* there is no client */
    BRIDGE_OPEN,    /* nothing is assigned */
    BRIDGE_BEGINS,  /* partitions are known; where to begin is asked */
    BRIDGE_READING, /* assigned */
} BridgePhase;

/* Why there is no client, or what the bridge is about to do. */
typedef enum BridgeWant {
    WANT_READ,
    WANT_PAUSED,
    WANT_IDLE,     /* without an enabled sink */
    WANT_DISABLED, /* the source */
    WANT_END,      /* it is gone, or drained */
} BridgeWant;

typedef struct BridgeAssigned {
    char *topic; /* owned */
    int32_t partition;
} BridgeAssigned;

/* What an Append has in its `tickets`; in its arena. */
typedef struct BridgePosted {
    uint64_t number, epoch;
    struct BridgePostedPart {
        size_t part;
        int64_t from; /* its records begin there */
    } * parts;
    size_t part_count;
} BridgePosted;

typedef struct BridgeSeeking BridgeSeeking; /* bridge_seek.c */

/* What a MESSAGE_SEEK was posted for; free(). */
typedef struct SeekContext {
    uint64_t epoch;
    size_t sink;
    uint32_t number; /* of the sink */
    bool of_range;   /* the broker does not have what is before `offset` */
    size_t part;     /* of_range */
    int64_t offset;
} SeekContext;

/* Of a client that acks. */
typedef struct BridgeAcks {
    bool ready;              /* the mark was read, so it is known what is committed */
    SeenIntervals committed; /* as the writer has it */
    SeenIntervals posted;    /* and with what is on its way to it */
    SeenIntervals held;      /* what is gathered or sealed */
    Buffer tokens;           /* of what is posted */
    Span *spans;             /* owned; into them */
    size_t span_count;
    int64_t ended_at;  /* the last END of the client: all before was acked; -1: none came */
    usec_t working_at; /* boot */
} BridgeAcks;

/* What the destinations say while nothing is read. */
typedef struct BridgeKnownSink {
    const Sink *sink; /* of the plan */
    LoadJob *answer;  /* owned: the last one; NULL: none came */
    bool asked;
} BridgeKnownSink;

typedef struct BridgeKnown {
    const Plan *plan; /* of the bridge's snapshot; NULL: nothing is asked */
    BridgeKnownSink *sinks;
    size_t count;
    uint64_t number;  /* changes with `sinks`: answers to earlier questions are dropped */
    usec_t due, wait; /* boot: of the next question */
} BridgeKnown;

struct Bridge {
    BridgeOptions options;
    ThreadOwner owner;
    Mailbox *mailbox;
    atomic_bool expedited;
    SinkPatience patience;
    uint32_t number; /* of the source */
    char *id;        /* owned: sourceId */

    /* the definition */
    Snapshot *snapshot, *next_snapshot; /* references; NULL: none newer came */
    SnapshotSource *source;             /* of `snapshot`; NULL: gone */
    const BridgeSource *definition;     /* of it */
    char *group;                        /* owned */
    BridgeWant want;

    /* the client */
    const BridgeClientType *type;
    BridgeClient *client;
    BridgePhase phase;
    usec_t again;      /* boot: it is opened, or what it was asked is asked again, not before */
    unsigned failures; /* since it worked last */
    bool has_group;
    bool left_for_destination; /* closed since a destination takes nothing for long */
    char *trouble;             /* owned: of the broker; NULL: none */
    usec_t trouble_at;         /* wall */
    char *told;                /* owned: what was logged last since it worked; NULL: nothing */
    usec_t told_at;            /* boot */

    /* what is read */
    BridgeWorld world;
    BridgeGeneration *generations; /* owned; of those above 0 */
    size_t generation_count;
    BridgeAssigned *assigned; /* owned: what the group offers; without a group all partitions */
    size_t assigned_count;
    uint64_t assignment; /* the client's generation of it */
    bool offered;        /* to be set up, when the world is known */
    uint64_t epoch;      /* changes with parts and sinks: answers to earlier questions are dropped */
    BridgeSink *sinks;   /* by index of the plan's sinks */
    size_t sink_count;
    BridgePart *parts;
    MicroPartition *micro; /* by index of parts */
    int64_t *nexts;        /* owned: of all MicroPartitions */
    bool *sets;
    BridgeSlot *slots;
    size_t part_count;

    /* what is not */
    BridgeKnown known;
    char *last_cluster; /* owned: that was read last; NULL: none was */

    /* questions to the writer */
    bool progress_out;
    uint64_t progress_number; /* of the last one */
    usec_t progress_due;      /* boot */
    bool look_now, was_sought;

    /* the flow */
    RowMaker *maker;
    RecordReader reader;
    MicroBatch *gathered, *sealed; /* NULL: no client was open yet */
    bool has_sealed;
    bool templates_out; /* of what is sealed, or was */
    usec_t templates_again;
    unsigned in_flight;
    uint64_t posted;   /* number of the last Append */
    bool resync;       /* an Append was refused: when all are back, everything is read again from where the writer has it */
    usec_t resync_at;  /* boot: not before */
    bool quiet;        /* the client had nothing */
    usec_t full_since; /* boot: nothing can be taken since; 0: it can */
    usec_t no_room_until;
    usec_t columns_until;      /* boot: what is sealed waits for columns at most so long; 0: it does not */
    usec_t columns_rest_until; /* boot: nothing waits before */
    uint64_t columns_snapshot; /* generation of the snapshot whose columns did not do */
    usec_t full_until;         /* boot: the writer had no room for an Append; it is not asked before */
    bool full_of_rejects;      /* it was refused since rejects are at their cap */
    bool back_pressure;        /* partitions are paused since there is no room */
    Buffer room;               /* why there is no room; empty: there is */
    int delaying;              /* index of the sink that is why; -1: none */

    BridgeAcks acks;

    /* tables that are replaced */
    bool replaces;   /* all sinks do */
    BridgeRun *runs; /* owned */
    size_t run_count;
    char *anew;        /* owned: a topic that was made anew since the run began. Nothing is read until another run begins. NULL: none was */
    usec_t anew_again; /* boot: control is told again then */

    /* `loop: false` */
    bool finished;
    usec_t finish_again;
    Buffer rest; /* a sentence on what the broker has behind the ends; empty: nothing */

    /* admins */
    BridgeSeeking *seeking; /* on its way */

    /* counts since the start */
    MicroCounts counts;
    uint64_t rebalances, lost;

    /* the end */
    usec_t drain_until; /* boot */
    bool draining, ended;
    size_t owed;      /* messages that will come back */
    usec_t status_at; /* boot: a new one is due */
};

static inline usec_t bridge_now(const Bridge *bridge) {
    return bridge->options.clock->boot(bridge->options.clock);
}

static inline int64_t *bridge_next(const Bridge *bridge, size_t part, size_t sink) {
    return &bridge->micro[part].next[sink];
}

static inline bool bridge_acks(const Bridge *bridge) {
    return bridge->type && bridge->type->acks;
}

/* ---- bridge.c ---- */
/* What went wrong at the broker, for people. */
void bridge_trouble(Bridge *bridge, const Error *error);
/* It works: what went wrong before counts no more. */
void bridge_works(Bridge *bridge);
/* The client is of no use any more: it is closed, and another one opened in a moment. */
void bridge_client_failed(Bridge *bridge, const Error *error);
void bridge_close_client(Bridge *bridge);
void bridge_open_client(Bridge *bridge);
/* The request is on its way to the writer, who answers to the bridge's mailbox. `drop`: frees it,
 * if the bridge has ended by then; NULL: free(). */
void bridge_post_writer(Bridge *bridge, Request *take_request, MessageKind kind, void (*drop)(Request *request));
void bridge_post_job(Bridge *bridge, LoadJob *take_job);
/* Has the writer close what it has of all sinks, so that it is imported soon; nobody waits for
 * it. */
void bridge_close_files(Bridge *bridge);
static inline bool bridge_is_expedited(const Bridge *bridge) {
    return atomic_load(&bridge->expedited);
}

/* ---- bridge_topics.c ---- */
/* Asks the broker for topics and offsets; false: not now. */
bool topics_find(Bridge *bridge);
void topics_forget(Bridge *bridge);
void topics_deinit(Bridge *bridge);
/* The partitions that the group offers, or all: the slots of all sinks begin anew. */
void parts_set_up(Bridge *bridge);
void parts_drop(Bridge *bridge);
/* The plan has other sinks: what is known of those that stay is kept. */
void sinks_set_up(Bridge *bridge);
void sinks_drop(Bridge *bridge);
/* The client is given what it reads, as soon as it is known of each sink where it begins. */
void parts_assign(Bridge *bridge);
void assigned_set(Bridge *bridge, const ClientPartition *partitions, size_t count, uint64_t generation);
/* A sink on a destination of this machine cannot share its source with other nodes. */
void sinks_evaluate_shared(Bridge *bridge);
/* A topic was made anew: its partitions have another key from now on. */
void topic_raise(Bridge *bridge, size_t topic, uint32_t generation);

/* ---- bridge_partition.c: one partition; `part` is its index, offsets are those of its records ---- */
/* The client reads it from this offset on. What was gathered of it is forgotten. */
void part_read_from(Bridge *bridge, size_t part, int64_t offset);
/* The client reads it from the lowest offset that a sink needs next. To be called after each change
 * of `next`. */
void part_rejoin(Bridge *bridge, size_t part);
/* The client pauses it as long as at least one hold is set. */
void part_hold(Bridge *bridge, size_t part, unsigned hold);
void part_release(Bridge *bridge, size_t part, unsigned hold);
/* It is not read until an admin acts. `id`: static. `reason` is copied. */
void part_stop(Bridge *bridge, size_t part, const char *id, int64_t offset, const char *reason);
void part_go_on(Bridge *bridge, size_t part); /* ends a stop, if there is one */
/* The client cannot read it now, and begins again by itself. `id`: static, or NULL. */
void part_note(Bridge *bridge, size_t part, const char *id, const char *reason);
void part_forget_note(Bridge *bridge, size_t part);
/* true: a record of it cannot be read at present, and is tried again. */
bool part_is_pending(const BridgePart *part);
/* Returns the offset up to which the writer has all records for a sink that is given `next`, or was
 * given it last. -1: it is not known. */
int64_t part_left(const BridgePart *part, int64_t next, const BridgeSlot *slot);
/* The sink is given no record of the partition until it is known where it continues. */
void part_leave(Bridge *bridge, size_t part, size_t sink);

/* ---- bridge_flow.c ---- */
void flow_open(Bridge *bridge);
void flow_deinit(Bridge *bridge);
/* Forgets what is gathered of a partition; CLIENT_NO_INDEX: of all. */
void flow_forget(Bridge *bridge, size_t part);
void flow_append_back(Bridge *bridge, Append *take_append);
/* Returns the room and the memory of an Append. If it is done, its events are counted. */
void flow_recycle(Bridge *bridge, Append *take_append);
void flow_templates_back(Bridge *bridge, TemplateBatch *take_batch);
/* After `wait`, all partitions are read again from where the writer has their records. */
void flow_resync(Bridge *bridge, usec_t wait);
/* One turn. Returns how long nothing will change without a message. */
usec_t flow_step(Bridge *bridge, usec_t now);
bool flow_is_empty(const Bridge *bridge); /* nothing is gathered, and no Append is with the writer */

/* ---- bridge_claims.c ---- */
static inline void bridge_set_aim(const Bridge *bridge, size_t part, size_t sink, BridgeAim aim) {
    bridge->micro[part].next[sink] = aim.next;
    bridge->micro[part].sets_end[sink] = aim.sets_end;
}
/* Where the sink goes on is asked. Partitions for which that is not known get nothing until
 * then. */
void claims_look(Bridge *bridge, size_t sink, BridgeLook look);
void claims_step(Bridge *bridge, usec_t now);
void claims_progress_back(Bridge *bridge, Progress *take_progress);
void claims_back(Bridge *bridge, LoadJob *take_job);
void claims_origin_back(Bridge *bridge, LoadJob *take_job); /* another destination says where a sink begins */
bool claims_have_begun(const Bridge *bridge);               /* each sink's destination has answered, or was waited for */

/* ---- bridge_origins.c: sinks whose table has no position yet ---- */
/* Do destinations have to be asked where the sink begins, unless its own has positions? */
bool origin_is_to_be_asked(const Bridge *bridge, size_t sink);
/* It came to a source that had sinks, and begins where these are. */
bool origin_joins(const BridgeSink *sink);
/* false: it cannot be known now, see origin_error. */
bool origin_ask(Bridge *bridge, size_t sink);
/* The next question; NULL: there is none any more. */
LoadJob *origin_job(Bridge *bridge, size_t sink, void *context);
/* An answer. false: where it begins cannot be known now, see origin_error. */
bool origin_back(Bridge *bridge, size_t sink, const LoadJob *job);
const char *origin_error(const BridgeSink *sink, SinkResult *ret_result);
/* Where it begins, as far as it is known. */
int64_t origin_start(const Bridge *bridge, size_t sink, size_t topic, int32_t partition);
void origin_forget(BridgeSink *sink); /* NULL-safe as to `origin` */

/* ---- bridge_range.c ---- */
/* The broker does not have the offset that is read next: it is held until range_step has looked at
 * it. */
void range_out(Bridge *bridge, size_t part);
void range_step(Bridge *bridge, usec_t now);
/* Asks the broker whether its topics are still those that were found, and have what was read of
 * them. 0, or RANGE_ANEW: one of them was made anew; or < 0: it does not say, or one is missing. */
enum { RANGE_ANEW = 1 };
int range_check(Bridge *bridge, const char **ret_topic, Error *error);
void range_seek_back(Bridge *bridge, const SeekContext *context, const LoadJob *job);

/* ---- bridge_finish.c ---- */
void finish_step(Bridge *bridge, usec_t now);
void finish_close_back(Bridge *bridge, Close *take_close);
void finish_forget(Bridge *bridge); /* it runs again */

/* ---- bridge_replace.c: sinks that replace their tables ---- */
/* Another group: what was known of runs is forgotten. */
void replace_forget(Bridge *bridge);
/* Where each sink is with its run is asked anew: one that had no row may have some now. */
void replace_begin(Bridge *bridge);
/* NULL: it does not replace its table, or nothing is known. */
const BridgeRun *replace_run(const Bridge *bridge, uint32_t sink);
/* Its run has come to its end: it takes nothing any more. */
bool replace_is_over(const Bridge *bridge, size_t sink);
bool replace_are_over(const Bridge *bridge); /* of all sinks */
/* A claim is back. false: the run is over. */
bool replace_claimed(Bridge *bridge, size_t sink, const LoadJob *job);
/* What the writer says of it; true: its destination is to be asked. */
bool replace_heard(Bridge *bridge, size_t sink, const SinkProgress *progress);
/* All is imported here, and the positions do not say so: what is collected may be gone, so the
 * destinations are asked, now and then. */
void replace_look(Bridge *bridge, usec_t now);
/* After a claim of an open run. */
void replace_rewind(Bridge *bridge, size_t sink);
/* All is imported: posts what is to be done. true: no sink has anything left to do. */
bool replace_step(Bridge *bridge, usec_t now);
void replace_swap_back(Bridge *bridge, LoadJob *take_job);
/* A topic is another one than that which the run began with: control is asked for another run. */
void replace_anew(Bridge *bridge, const char *topic);
/* Until it begins. */
void replace_wait_anew(Bridge *bridge, usec_t now);

/* ---- bridge_seek.c ---- */
void seek_asked(Bridge *bridge, BridgeSeek *seek);
void seek_back(Bridge *bridge, LoadJob *take_job);
void seek_step(Bridge *bridge, usec_t now);
void seek_end(Bridge *bridge, const char *text); /* what is on its way is refused */
void seek_forget_world(Bridge *bridge);          /* for topics_forget: it goes on, with another client or with the destinations alone */
void skip_asked(Bridge *bridge, BridgeSkip *skip);

/* ---- bridge_acks.c: of a client that acks ---- */
void acks_begin(Bridge *bridge, Span mark); /* as the writer has it, when nothing is in flight */
void acks_end(Bridge *bridge);              /* the client is closed */
void acks_deinit(Bridge *bridge);
bool acks_wants(Bridge *bridge, const ClientRecord *record); /* false: it is known, or left to the broker */
void acks_give_back(Bridge *bridge);                         /* what is gathered or sealed is about to be forgotten */
void acks_forgot(Bridge *bridge);                            /* something that was gathered or sealed is not any more */
/* `sealed` was made. Gives the Append its mark; NULL: nothing came of it. false: it must not be
 * posted. */
bool acks_made(Bridge *bridge, Append *append);
void acks_append_back(Bridge *bridge, bool done);
void acks_step(Bridge *bridge, usec_t now);
bool acks_are_through(const Bridge *bridge); /* `loop: false`: all before the limit is acked */

/* ---- bridge_known.c ---- */
void known_step(Bridge *bridge, usec_t now); /* of a source that is not read */
void known_forget(Bridge *bridge);           /* it is, or its plan goes */
void known_back(Bridge *bridge, LoadJob *take_job);
void known_put(const Bridge *bridge, BridgeStatus *status);

/* ---- bridge_status_make.c ---- */
void status_step(Bridge *bridge, usec_t now);
