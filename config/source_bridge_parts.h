/* What the tables of all kinds of bridges are made of; internal to config/. The rows are of parts
 * that begin with a BridgeSource. */
#pragma once

#include "config/field_table.h"
#include "config/source_bridge.h"

extern const char *const record_kind_names[]; /* in the order of the enum; ends with NULL */
extern const FieldTable bridge_registry_fields;

#define BRIDGE_CONNECTION_ROW(words, need)                                                                                                 \
    {                                                                                                                                      \
        .name = "connection", .type = FIELD_TEXT, .offset = offsetof(BridgeSource, connection), .least = 1, .most = 48,                    \
        .range_words = (words), .needed = (need), .validate = bridge_check_connection, .sentence = "Connection of the broker."             \
    }
#define BRIDGE_START_ROW(reader, words, text)                                                                                              \
    {                                                                                                                                      \
        .name = "startFrom", .type = FIELD_OWN, .type_words = "text", .offset = offsetof(BridgeSource, start),                             \
        .default_words = "earliest", .range_words = (words), .read = (reader), .write = bridge_write_start, .sentence = (text)             \
    }
/* Of a table whose `kind` is "value". */
#define BRIDGE_READING_ROWS(records)                                                                                                       \
    {.name = "batchSize",                                                                                                                  \
     .type = FIELD_COUNT,                                                                                                                  \
     .offset = offsetof(BridgeSource, batch_size),                                                                                         \
     .default_value = (records),                                                                                                           \
     .least = 1,                                                                                                                           \
     .most = 100000,                                                                                                                       \
     .unit = "records",                                                                                                                    \
     .sentence = "Maximum number of records in a micro-batch."},                                                                           \
        {.name = "batchTimeout",                                                                                                           \
         .type = FIELD_DURATION,                                                                                                           \
         .offset = offsetof(BridgeSource, batch_timeout),                                                                                  \
         .default_value = "100ms",                                                                                                         \
         .least = USEC_MS,                                                                                                                 \
         .most = USEC_MINUTE,                                                                                                              \
         .sentence = "Maximum time that a micro-batch waits for more records."},                                                           \
        {.name = "value",                                                                                                                  \
         .type = FIELD_CHOICE,                                                                                                             \
         .offset = offsetof(BridgeSource, value),                                                                                          \
         .default_value = "json",                                                                                                          \
         .choices = record_kind_names,                                                                                                     \
         .sentence = "Format of the value of a record. Avro and JSON Schema use the wire format of Confluent."},                           \
        {.name = "registry",                                                                                                               \
         .type = FIELD_OBJECT,                                                                                                             \
         .fields = &bridge_registry_fields,                                                                                                \
         .kinds = 1U << RECORD_AVRO | 1U << RECORD_JSON_SCHEMA,                                                                            \
         .needed = "a \"registry\" with the \"url\" of a schema registry, since its \"value\" has schemas",                                \
         .sentence = "The schema registry (Confluent API)."},                                                                              \
        {.name = "loop",                                                                                                                   \
         .type = FIELD_BOOL,                                                                                                               \
         .offset = offsetof(BridgeSource, loop),                                                                                           \
         .default_value = "true",                                                                                                          \
         .sentence = "With `false` the source reads only the records that exist when it starts. It is finished when all of them are "      \
                     "imported."},                                                                                                         \
    {                                                                                                                                      \
        .name = "maxWaiting", .type = FIELD_SIZE, .offset = offsetof(BridgeSource, max_waiting_bytes), .default_value = "256MB",           \
        .least = 1 << 20, .most = (int64_t)1 << 40, .sentence = "Maximum size of the rows that wait for its slowest destination."          \
    }

int bridge_check_connection(Fault *fault, const Node *field);
int bridge_read_start(Fault *fault, const Node *field, void *place);
int bridge_read_start_with_sequence(Fault *fault, const Node *field, void *place);
json_t *bridge_write_start(const void *place);

/* "sluice-PROJECT-SOURCE"; free(). */
char *bridge_default_group(const Source *source, uint32_t project);
bool bridge_first_sink_rejects(const void *part);
Framing bridge_framing(const void *part);
const char *bridge_without_sink(const void *part);
