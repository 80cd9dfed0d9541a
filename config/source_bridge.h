/*
 * Bridges are sources that read a broker. This header has the fields that all of them share, and
 * what control needs to know about a kind of bridge in addition to its SourceKind. The part of such
 * a kind starts with a BridgeSource.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "config/bridge_start.h"
#include "config/source_kind.h"

/* Format of the value of a record. */
typedef enum RecordKind {
    RECORD_JSON,
    RECORD_TEXT,
    RECORD_BYTES, /* the body is base64 (RFC 4648) */
    RECORD_AVRO,
    RECORD_JSON_SCHEMA,
} RecordKind;

typedef struct BridgeSource {
    char *connection; /* name of a connection of the type that the kind requires */
    BridgeStart start;
    uint32_t batch_size;  /* maximum number of records in a micro-batch; 1..100000 */
    usec_t batch_timeout; /* maximum time that a micro-batch waits for more records; 1 ms..1 min */
    RecordKind value;
    char *registry_url;           /* of RECORD_AVRO and RECORD_JSON_SCHEMA: http:// or https://, else NULL */
    char *registry_user;          /* NULL: without login */
    char *registry_password_file; /* a path, relative to the data directory unless it is absolute; NULL: an empty password */
    bool loop;                    /* false: the source reads to the end that the topics had at its start, and is finished then */
    uint64_t max_waiting_bytes;   /* maximum size of the rows that wait for the slowest destination */
} BridgeSource;

struct BridgeKind {
    const char *connection_type; /* type that its connection must have */
    /* The broker divides the partitions among the members of the group, unless `loop` is false.
     * Otherwise each member reads all partitions. */
    bool divides_partitions;
    /* Returns whether positions are kept at the destinations of its sinks. Otherwise the broker
     * keeps the records that are not acknowledged. */
    bool (*keeps_positions)(const void *part);
    const char *group_field; /* field of its part that names the group */
    /* Returns the consumer group of its positions, or the name that is used as one. free(). */
    char *(*group)(const Source *source, uint32_t project);
    /* Returns the changed field that gives the positions another key, so that the source starts
     * from the beginning. NULL: the key is the same. */
    const char *(*new_key)(const Source *old, const Source *now, uint32_t project);
    /* Returns whether two sources of one connection would take records from each other. The tables
     * of both would be incomplete. */
    bool (*shares)(const Source *a, const Source *b, uint32_t project);
    /* Returns item `index` (from 0) of what a test of its connection looks for (SinkTest.tables).
     * free(). NULL: there are no more. */
    char *(*reads)(const Source *source, uint32_t project, size_t index);
};

/* Returns the shared fields of a bridge, borrowed; NULL: the source is no bridge. */
static inline const BridgeSource *source_bridge(const Source *source) {
    return source->kind->bridge ? source->part : NULL;
}

/* Returns whether the destinations of its sinks have to keep positions. */
static inline bool source_keeps_positions(const Source *source) {
    return source->kind->bridge && source->kind->bridge->keeps_positions(source->part);
}

/* Returns whether the source reads to an end only, and starts another run when it is resumed. */
static inline bool source_ends(const Source *source) {
    const BridgeSource *bridge = source_bridge(source);
    return bridge && !bridge->loop;
}

/* Returns the key of the source's positions. A destination keeps a position by this key, the table
 * and the topic. A source whose key changes starts from the beginning. free(). */
char *source_positions_key(const Source *source, uint32_t project);

/* Checks the sink's own `startFrom`. Returns a clause that follows `Field "startFrom" `, free();
 * NULL: it is valid or not given. */
char *source_sink_start_wrong(const Source *source, const Sink *sink);

/* Checks whether the sink can replace its table with each run of the source. Returns a clause that
 * follows `Field "table.strategy" `, free(); NULL: it can, or its strategy is another one. */
char *source_sink_replace_wrong(const Source *source, const Sink *sink);

/* Returns why no column of type `path` can work with the source, as a clause that follows
 * `its type is "path", `, static; NULL: such columns work. */
const char *source_paths_wrong(const Source *source);

/* Checks the URL of a schema registry. Returns a clause that begins with "must", static; NULL: the
 * URL is valid. */
const char *registry_url_wrong(const char *url);
