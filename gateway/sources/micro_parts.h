/* What the files of a micro-batch share: micro_batch.c gathers records, micro_templates.c has their
 * templates evaluated, micro_make.c makes rows of them. */
#pragma once

#include "gateway/sources/micro_batch.h"
#include "mapping/meta.h"

/* A record that was gathered. What it has lies in MicroBatch.bytes from `at` on, in this order:
 * key, value, subject, token, then of each header two u32 (bytes of its name and value), then the
 * names and values. */
typedef struct MicroRecord {
    int64_t offset;
    usec_t timestamp, received; /* wall */
    size_t partition, next;     /* `next`: of its partition: 1 + index; 0: none */
    size_t at;
    uint32_t key_bytes, value_bytes, subject_bytes, token_bytes, header_count;
    bool has_key, has_value, is_gone /* forgotten */, is_made;
    uint64_t large_bytes; /* not 0: it has so many, which is too much; only the beginning of its value is here, no key and no header */
    const TemplateEvent *evaluated; /* in one of MicroBatch.evaluated */
} MicroRecord;

/* What there is of a partition, by the caller's index. */
typedef struct MicroList {
    size_t first, last; /* 1 + index of records */
    int64_t end;        /* as micro_batch_end said; -1: it did not */
    bool is_listed;
} MicroList;

/* A record whose schema the registry does not know. */
typedef struct MicroUnknown {
    Uuid space; /* one a partition */
    int64_t offset;
    usec_t since; /* boot */
} MicroUnknown;

struct MicroBatch {
    MicroOptions options;
    Buffer bytes;
    MicroRecord *records;
    size_t record_count, record_room;
    size_t live;         /* records that are not gone */
    uint64_t live_bytes; /* of them */
    MicroList *lists;
    size_t list_count;
    size_t *listed; /* indexes of lists that are not empty, in the order of their first records */
    size_t listed_count, listed_room;
    usec_t since;  /* boot */
    bool was_made; /* micro_batch_make has looked at all */
    bool is_patient;
    uint64_t refused;   /* bytes in flight that it needed and did not get; 0: none */
    TemplateBatch *out; /* the broker has it; not owned until it is back */
    TemplateBatch **evaluated;
    size_t evaluated_count, evaluated_room;
    MicroUnknown *unknown;
    size_t unknown_count, unknown_room;
    MicroResult *results;
    size_t result_room;
    Span *tokens;
    size_t token_room;
    Arena reasons;
    /* of the record at hand */
    RecordMeta meta;
    EventHeader *headers;
    size_t header_room;
};

static inline Span micro_bytes(const MicroBatch *batch, size_t at, size_t size) {
    return (Span){batch->bytes.data + at, size};
}
static inline Span micro_key(const MicroBatch *batch, const MicroRecord *record) {
    return record->has_key ? micro_bytes(batch, record->at, record->key_bytes) : (Span){0};
}
static inline Span micro_value(const MicroBatch *batch, const MicroRecord *record) {
    return micro_bytes(batch, record->at + record->key_bytes, record->value_bytes);
}
static inline Span micro_subject(const MicroBatch *batch, const MicroRecord *record) {
    return micro_bytes(batch, record->at + record->key_bytes + record->value_bytes, record->subject_bytes);
}
static inline Span micro_token(const MicroBatch *batch, const MicroRecord *record) {
    return micro_bytes(batch, record->at + record->key_bytes + record->value_bytes + record->subject_bytes, record->token_bytes);
}
/* What it counts for. */
uint64_t micro_record_bytes(const MicroBatch *batch, const MicroRecord *record);

/* All of the event but its body, kind and templates, as far as `needs` (PLAN_NEEDS_…) says; valid
 * until the next one. */
void micro_event(MicroBatch *batch, const MicroRecord *record, const MicroPartition *partition, unsigned needs, Event *ret_event);
/* Its meta values, which live until those of another event are made. */
void micro_meta(MicroBatch *batch, const MicroRecord *record, const MicroPartition *partition, Event *event);

/* RECORD_READ, RECORD_POISON or RECORD_LATER, with the reason unless it is read: a schema that the
 * registry does not know is for later, for a time. */
RecordResult micro_read(MicroBatch *batch, const MicroRecord *record, const MicroPartition *partition, Span *ret_body, BodyKind *ret_kind,
                        Error *why);

/* Results of templates that are not of this plan are forgotten. */
void micro_drop_stale(MicroBatch *batch, const Plan *plan);
