/* Inside of avro_form.h: the tree of a schema's types, and libavro. Only avro_form*.c include
 * it. */
#pragma once

#include <avro.h>
#include <avro/allocation.h>
#include <avro/consumer.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/span.h"

typedef enum AvroLogical {
    AVRO_PLAIN,
    AVRO_DECIMAL,
    AVRO_UUID,
    AVRO_DATE,
    AVRO_TIME, /* digits of the second's fraction: `digits` */
    AVRO_TIMESTAMP,
} AvroLogical;

/* A type at its place in the schema; the root's, and a named type's wherever it is named. */
typedef struct AvroNode AvroNode;
struct AvroNode {
    avro_consumer_t consumer; /* first, so that libavro's callbacks find the node; its schema is the type that libavro reads */
    AvroLogical logical;
    unsigned digits;
    size_t scale;        /* of a decimal */
    size_t count;        /* fields, symbols, branches; 1 for an array and a map */
    AvroNode **children; /* `count` of them, but of an enum */
    Span *words;         /* fields: `"name":`; symbols: `"SYMBOL"` */
};

typedef struct AvroForm {
    Arena arena; /* the nodes, and all that libavro holds of the schema */
    AvroNode *root;
    avro_reader_t reader;
    Buffer memory; /* what libavro gets while it reads a record */
} AvroForm;

/* Between these, libavro is the calling thread's, and takes its memory from `allocate`. */
void avro_lock(avro_allocator_t allocate, void *context);
void avro_unlock(void);

/* The callbacks of libavro for values of all types. */
void avro_consumer_init(avro_consumer_t *consumer, avro_schema_t schema);
