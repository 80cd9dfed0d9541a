/*
 * Makes the body of an event from the value of a broker's record.
 *
 * Avro and JSON Schema use the Confluent wire format: a byte 0, the number of the schema in four
 * bytes, high byte first, and the value. An Avro record becomes its JSON form (avro_form.h). A JSON
 * Schema value is used as it is, if the registry knows the number. It is not checked against its
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
    size_t event_bytes_max;   /* maximum size of a JSON form that is made here */
    SchemaRegistry *registry; /* borrowed; for schemas of this kind, or NULL if it has none */
    Buffer body;              /* the body that was made for the last record */
} RecordReader;

void record_reader_deinit(RecordReader *reader);

typedef enum RecordResult {
    RECORD_READ,
    RECORD_POISON,     /* it can never be read: `why` has the reason */
    RECORD_LATER,      /* the registry is being asked, or is down (schema_registry_state): try again */
    RECORD_UNKNOWN_ID, /* the registry does not know the number: try again for a limited time */
} RecordResult;

/* Reads a value. Never waits. `ret_body` points into `value`, or into the reader until its next
 * call. `why` is set, unless the record is read or has to be tried again. */
RecordResult record_value_read(RecordReader *reader, Span value, Span *ret_body, BodyKind *ret_kind, Error *why);
