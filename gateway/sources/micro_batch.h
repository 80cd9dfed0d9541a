/*
 * A micro-batch: records of a broker that become one Append. It works in two steps: records are
 * collected as they arrive, and mapped to rows when the batch can be sent. Mapping may have
 * to wait for the template broker, for room in flight, or for a changed definition.
 *
 *     micro_batch_add, micro_batch_end     adds records, and how far partitions were read; copied
 *     micro_batch_templates                a TemplateBatch to post; then micro_batch_evaluated
 *     micro_batch_make                     the rows and runs of an Append
 *
 * The records of one partition are adjacent in the Append, in their order. A record that a sink
 * already has (its offset is below the sink's next offset) makes no row for this sink. The run of a
 * sink for a partition begins at the sink's next offset. It ends after the last record, or at the
 * offset given to micro_batch_end. The rows of a record are never in two runs, and no piece of an
 * Append ends inside a run.
 *
 * Used by one thread: that of its RowMaker.
 */
#pragma once

#include "gateway/flow/messages.h"
#include "gateway/rows/row_batch.h"
#include "gateway/sources/bridge_client.h"
#include "gateway/templates/batch.h"
#include "gateway/values/record_value.h"

typedef struct MicroBatch MicroBatch;

/* What a micro-batch needs to know about a partition. */
typedef struct MicroPartition {
    Partition key; /* its texts are borrowed during the call */
    Uuid space;    /* record_id_space */
    int64_t skip;  /* offset of a record that makes no rows; -1: none */
    /* By index of the plan's sinks. In: the next offset of the sink, or -1 if it takes no
     * records for now. Out: its next offset after the Append. */
    int64_t *next;
    bool *sets_end; /* by index of the plan's sinks; in: its next run is the first; out: false if it got a run. With acks neither is used */
} MicroPartition;

typedef enum MicroStop {
    MICRO_GOES_ON,
    MICRO_POISON, /* a sink with onInvalid reject cannot take the record: the Append ends before it for this partition */
    /* The Append ends before the record for this partition, and the record must be read again soon.
     * The reason is one of these: its schema is being looked up; the registry is down, or does not
     * know the schema (after 5 min the record counts as unreadable); its templates are not
     * evaluated; or the batch made too many rows. */
    MICRO_LATER,
} MicroStop;

/* The result for the records of a partition. */
typedef struct MicroResult {
    size_t partition; /* index, as given to micro_batch_add */
    MicroStop stop;
    int64_t offset;     /* of the record that stopped it; with MICRO_GOES_ON: the next offset to read */
    const char *reason; /* a sentence, for MICRO_POISON (it names the sink and the column) and MICRO_LATER; owned by the batch */
} MicroResult;

/* Counts of the records up to a stop that at least one sink did not have yet. A record that all
 * sinks already had is not counted again. */
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
/* States that all records before `offset` were added or do not exist. */
void micro_batch_end(MicroBatch *batch, size_t partition, int64_t offset);
/* Removes the records of the partition (after a seek or a revoke); CLIENT_NO_INDEX: of all
 * partitions. Does nothing after micro_batch_make. */
void micro_batch_forget(MicroBatch *batch, size_t partition);
bool micro_batch_is_empty(const MicroBatch *batch);
bool micro_batch_is_full(const MicroBatch *batch);
usec_t micro_batch_since(const MicroBatch *batch); /* boot clock: when the first record was added; USEC_NEVER: it is empty */
uint64_t micro_batch_bytes(const MicroBatch *batch);
/* Allows micro_batch_make to return MICRO_WAITS. If it may not, values without a column go to the
 * column for the rest. Initially it may not. */
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
/* Takes the evaluated templates. Returns 0, or -EAGAIN with an error if templates cannot be
 * evaluated now: call micro_batch_templates again after a second. The batch keeps `take_templates`.
 * If the batch was cleared since, or the plan is no longer in use, it is freed instead. */
int micro_batch_evaluated(MicroBatch *batch, TemplateBatch *take_templates, Error *error);

typedef enum MicroMade {
    MICRO_MADE,    /* the caller posts *ret_append (with message and reply); NULL: there is nothing to post */
    MICRO_NO_ROOM, /* too many bytes are in flight: nothing changed, try again later */
    MICRO_WAITS,   /* nothing changed: sinks that infer lack columns; control was asked to make them */
} MicroMade;

/*
 * Makes the Append. `partitions`: by the index that was given to micro_batch_add, of all that the
 * batch has. `ret_results`: one for each partition that it has, valid until it is cleared. The
 * batch is to be cleared then by the caller (acks may need its tokens before). A record that cannot
 * be read or is too large fails in each sink that it is for.
 */
MicroMade micro_batch_make(MicroBatch *batch, Snapshot *snapshot, SnapshotSource *source, MicroPartition *partitions, Append **ret_append,
                           const MicroResult **ret_results, size_t *ret_result_count, MicroCounts *ret_counts);
