/*
 * What an event has besides body and headers when it was read from a broker: where its record
 * stands there, and its key. Which of these fields the events of a source have is said by its kind
 * (source_kind.h).
 */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "base/span.h"

typedef enum MetaField {
    META_TOPIC,
    META_PARTITION,
    META_OFFSET,
    META_KEY,
    META_SUBJECT,
    META_STREAM,
    META_SEQUENCE,
    META_TIMESTAMP, /* of the record */
    META_BRIDGE,    /* all that tells the record from others: the same whenever it is read */
    META_FIELD_COUNT_,
} MetaField;

#define META_BIT(field) (1U << (field))

/* All fields that there are, by what they are of. */
#define META_KAFKA                                                                                                                         \
    (META_BIT(META_TOPIC) | META_BIT(META_PARTITION) | META_BIT(META_OFFSET) | META_BIT(META_KEY) | META_BIT(META_TIMESTAMP) |             \
     META_BIT(META_BRIDGE))
#define META_NATS                                                                                                                          \
    (META_BIT(META_SUBJECT) | META_BIT(META_STREAM) | META_BIT(META_SEQUENCE) | META_BIT(META_TIMESTAMP) | META_BIT(META_BRIDGE))

extern const char *const meta_field_names[]; /* in the order of the enum; ends with NULL */

const char *meta_field_name(MetaField field);
bool meta_field_find(Span name, MetaField *ret_field);
/* "topic, partition, offset"; `fields`: META_BIT, at least one. */
void meta_fields_list(unsigned fields, Buffer *out);
