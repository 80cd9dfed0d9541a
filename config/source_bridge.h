/*
 * Sources that read a broker ("bridges"): what all of them declare, whichever broker it is, and
 * what control has to know of them beside what SourceKind says. The part of such a kind begins with
 * a BridgeSource.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "config/bridge_start.h"
#include "config/source_kind.h"

/* What the value of a record is. */
typedef enum RecordKind {
    RECORD_JSON,
    RECORD_TEXT,
    RECORD_BYTES, /* the body is base64 (RFC 4648) */
    RECORD_AVRO,
    RECORD_JSON_SCHEMA,
} RecordKind;

typedef struct BridgeSource {
    char *connection; /* name of a connection; its type is that of the kind */
    BridgeStart start;
    uint32_t batch_size;  /* records of a micro-batch at most; 1..100000 */
    usec_t batch_timeout; /* how long a micro-batch may wait on a quiet topic; 1 ms..1 min */
    RecordKind value;
    char *registry_url;           /* of RECORD_AVRO and RECORD_JSON_SCHEMA: http:// or https://, else NULL */
    char *registry_user;          /* NULL: without login */
    char *registry_password_file; /* a path, relative to the data directory unless it is absolute; NULL: an empty password */
    bool loop;                    /* false: it reads up to the end that was there at its start, and is finished */
    uint64_t max_waiting_bytes;   /* how far it reads ahead of its slowest destination */
} BridgeSource;

struct BridgeKind {
    const char *connection_type; /* that its connection must have */
    /* Does the broker divide partitions among the members of the group, unless `loop` is false?
     * Else each member reads all. */
    bool divides_partitions;
    /* Are positions kept at the destinations of its sinks? Else the broker keeps what is not
     * acknowledged. */
    bool (*keeps_positions)(const void *part);
    const char *group_field; /* of its part, that names the group */
    /* The consumer group of its positions, or what stands for one. free(). */
    char *(*group)(const Source *source, uint32_t project);
    /* The field of its part whose change gives its positions another key, so that it starts anew;
     * NULL: the key is the same. */
    const char *(*new_key)(const Source *old, const Source *now, uint32_t project);
    /* Would two sources of one connection take records away from each other, so that the tables of
     * neither are complete? */
    bool (*shares)(const Source *a, const Source *b, uint32_t project);
    /* What a test of its connection looks for (SinkTest.tables): number `index`, from 0. free().
     * NULL: there are no more. */
    char *(*reads)(const Source *source, uint32_t project, size_t index);
};

/* NULL: events are sent to it. */
static inline const BridgeSource *source_bridge(const Source *source) {
    return source->kind->bridge ? source->part : NULL;
}

/* Do the destinations of its sinks have to keep positions? */
static inline bool source_keeps_positions(const Source *source) {
    return source->kind->bridge && source->kind->bridge->keeps_positions(source->part);
}

/* Does it read up to an end only, and then again when it is resumed? */
static inline bool source_ends(const Source *source) {
    const BridgeSource *bridge = source_bridge(source);
    return bridge && !bridge->loop;
}

/* What positions of a source that keeps them belong to, beside table and topic: with another one it
 * starts anew. free(). */
char *source_positions_key(const Source *source, uint32_t project);

/* Can the sink say by itself where it begins, as it does? A clause for behind `Field "startFrom" `;
 * NULL: it can, or does not. free(). */
char *source_sink_start_wrong(const Source *source, const Sink *sink);

/* Can a sink replace its table with each run of the source? A clause for behind `Field
 * "table.strategy" `; NULL: it can, or does not. free(). */
char *source_sink_replace_wrong(const Source *source, const Sink *sink);

/* Why no column of type `path` can work there, a clause that follows `its type is "path", `; NULL:
 * they can. */
const char *source_paths_wrong(const Source *source);

/* What is wrong with the URL of a schema registry, a clause that begins with "must"; NULL:
 * nothing. */
const char *registry_url_wrong(const char *url);
