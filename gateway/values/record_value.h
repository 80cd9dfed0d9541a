/*
 * From the value of a broker's record to the body of an event, as the mapping takes it.
 *
 * Avro and JSON Schema come in the Confluent wire format: a byte 0, the number of the schema in
 * four bytes, high byte first, and the value. An Avro record becomes its JSON form (avro_form.h). A
 * JSON Schema value is taken as it stands, when its number is known: it is not checked against its
 * schema.
 */
#pragma once

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"
#include "config/source_bridge.h"
#include "gateway/values/schema_registry.h"
#include "mapping/plan.h"

/* One thread. */
typedef struct RecordReader {
    RecordKind kind;
    size_t event_bytes_max;   /* of a JSON form that is made here */
    SchemaRegistry *registry; /* borrowed; of the kind's schemas, NULL when it has none */
    Buffer body;              /* what was made for the last record */
} RecordReader;

void record_reader_deinit(RecordReader *reader);

typedef enum RecordResult {
    RECORD_READ,
    RECORD_POISON,     /* it will never be read: `why` says it */
    RECORD_LATER,      /* the registry is asked, or down (schema_registry_state): try again */
    RECORD_UNKNOWN_ID, /* the registry does not know the number: try again, for a time */
} RecordResult;

/* Never waits. `ret_body` is in `value` or in the reader, until its next call. `why` is set unless
 * the record is read, or is for later. */
RecordResult record_value_read(RecordReader *reader, Span value, Span *ret_body, BodyKind *ret_kind, Error *why);
