/*
 * A micro-batch: records of a broker on their way to become one Append. Two steps, since records
 * are mapped later than they are read (the template broker, room in flight, a changed definition):
 * they are gathered as they come, and made into rows when the batch may go.
 *
 *     micro_batch_add, micro_batch_end     records, and how far partitions were read; copied
 *     micro_batch_templates                a TemplateBatch to be posted, if the plan has templates; then micro_batch_evaluated
 *     micro_batch_make                     rows and runs in an Append; partitions that cannot go on are cut there
 *
 * Records of one partition lie together in the Append, in their order. A record that a sink has
 * already (its offset is below what the sink wants next) gives it no row. A sink's run of a
 * partition begins where the sink's part begins, and ends behind the last record, or where
 * micro_batch_end said; a record's rows are never in two runs, and no piece ends inside a run.
 *
 * One thread: that of its RowMaker.
 */
#pragma once

#include "gateway/flow/messages.h"
#include "gateway/rows/row_batch.h"
#include "gateway/sources/bridge_client.h"
#include "gateway/templates/batch.h"
#include "gateway/values/record_value.h"

typedef struct MicroBatch MicroBatch;

/* A partition, as a micro-batch has to know it. */
typedef struct MicroPartition {
    Partition key; /* borrowed texts, from micro_batch_make to the return */
    Uuid space;    /* record_id_space */
    int64_t skip;  /* offset of a record that becomes nothing at all; -1: none */
    /* by index of the plan's sinks; in: the offset that the sink wants next, -1: it takes nothing
     * for now. Out: as the Append leaves it */
    int64_t *next;
    bool *sets_end; /* by index of the plan's sinks; in: its next run is the first one; out: false when it got one. Both unused with acks */
} MicroPartition;

typedef enum MicroStop {
    MICRO_GOES_ON,
    MICRO_POISON, /* a sink with onInvalid reject cannot take the record: nothing of the partition from it on is in the Append */
    /* The same, but read on from it in a moment: its schema is looked up, the registry is down, it
     * does not know the schema (for 5 min, then the record is one that cannot be read), its
     * templates are not evaluated, or the batch made too many rows. */
    MICRO_LATER,
} MicroStop;

/* What became of a partition's records. */
typedef struct MicroResult {
    size_t partition; /* index, as given to micro_batch_add */
    MicroStop stop;
    int64_t offset;     /* of the record, unless it goes on; else: what is read next */
    const char *reason; /* of MICRO_POISON and MICRO_LATER, a sentence; of the first it names sink and column. In the batch */
} MicroResult;

/* Of the records that some sink was to be given, up to a stop: a record that all of them had is not
 * counted again. */
typedef struct MicroCounts {
    uint64_t records, bytes; /* all of them */
    uint64_t tombstones;     /* of them, those that became nothing since they have no value */
    uint64_t poisoned;       /* of them, those that at least one sink quarantined */
    uint64_t skipped;        /* of them, those that MicroPartition.skip names */
} MicroCounts;

typedef struct MicroOptions {
    RowMaker *maker;      /* borrowed */
    RecordReader *reader; /* borrowed */
    size_t event_bytes;   /* limits.event: a record with more (key, headers and value) is a reject with the first 64 KB of its value */
    size_t records_max, bytes_max; /* of a micro-batch: it is full then. One record more fits in any case */
    bool tombstones_are_events;    /* a null value is an event with an empty body; else it becomes nothing */
    bool is_nats;                  /* meta fields of JetStream, else of Kafka */
    /* Of a client that acks: no runs are made, every record is for every sink, and offsets may go
     * back. The Append names the partition of the first record that was added, and the caller gives
     * it its mark. */
    bool acks;
    Clock *clock;
} MicroOptions;

MicroBatch *micro_batch_new(const MicroOptions *options); /* options are copied */
void micro_batch_free(MicroBatch *batch);                 /* NULL-safe */
void micro_batch_clear(MicroBatch *batch);                /* keeps the memory */

/* `partition`: any index of the caller's. Copied. */
void micro_batch_add(MicroBatch *batch, size_t partition, const ClientRecord *record);
/* All before `offset` was handed out or is not there. */
void micro_batch_end(MicroBatch *batch, size_t partition, int64_t offset);
/* What is there of the partition is forgotten (a seek, a revoke); CLIENT_NO_INDEX: of all. Nothing
 * happens once the batch was made. */
void micro_batch_forget(MicroBatch *batch, size_t partition);
bool micro_batch_is_empty(const MicroBatch *batch);
bool micro_batch_is_full(const MicroBatch *batch);
usec_t micro_batch_since(const MicroBatch *batch); /* boot: when the first one came; USEC_NEVER: it is empty */
uint64_t micro_batch_bytes(const MicroBatch *batch);
/* May micro_batch_make give MICRO_WAITS? Else what has no column goes to the rest. At first it may
 * not. */
void micro_batch_set_patience(MicroBatch *batch, bool is_patient);
/* Of all records, in the order in which they were added, for acks; once it was made, of those that
 * were not left out by a stop. Valid until the next call. */
size_t micro_batch_tokens(MicroBatch *batch, const Span **ret_tokens);
/* Once it was made, of those that were left out by a stop. Valid until the next call. */
size_t micro_batch_left_tokens(MicroBatch *batch, const Span **ret_tokens);

/* The events whose templates are not evaluated yet; NULL: the plan has none, or all are that can be
 * read now. It is posted by the caller and comes back to `reply` as MESSAGE_TEMPLATES; until then
 * the next one is not asked for. `partitions`: as for micro_batch_make. */
TemplateBatch *micro_batch_templates(MicroBatch *batch, const SnapshotSource *source, const MicroPartition *partitions, Mailbox *reply);
/* 0; -EAGAIN: templates cannot be evaluated now (ask for micro_batch_templates again in a second),
 * error says why. The batch keeps it. Also right for what comes back after the batch was cleared,
 * or of a plan that is not run any more: it is freed. */
int micro_batch_evaluated(MicroBatch *batch, TemplateBatch *take_templates, Error *error);

typedef enum MicroMade {
    MICRO_MADE,    /* *ret_append is to be posted (message, reply), or NULL: there is nothing that the writer has to know */
    MICRO_NO_ROOM, /* bytes in flight: as before, try again later */
    MICRO_WAITS,   /* as before: sinks that infer lack columns for it, and control, which was told, is about to make them */
} MicroMade;

/*
 * Makes the Append. `partitions`: by the index that was given to micro_batch_add, of all that the
 * batch has. `ret_results`: one for each partition that it has, valid until it is cleared. The
 * batch is to be cleared then by the caller (acks may need its tokens before). A record that cannot
 * be read or is too large fails in each sink that it is for.
 */
MicroMade micro_batch_make(MicroBatch *batch, Snapshot *snapshot, SnapshotSource *source, MicroPartition *partitions, Append **ret_append,
                           const MicroResult **ret_results, size_t *ret_result_count, MicroCounts *ret_counts);
