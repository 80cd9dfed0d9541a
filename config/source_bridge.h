/* What sources that read a broker ("bridges") declare, whichever broker it is. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

/* What the value of a record is. */
typedef enum RecordKind {
    RECORD_JSON,
    RECORD_TEXT,
    RECORD_BYTES, /* the body is base64 (RFC 4648) */
    RECORD_AVRO,
    RECORD_JSON_SCHEMA,
} RecordKind;

/* Where a sink begins that claims its topic or stream for the first time. */
typedef enum BridgeStartKind { BRIDGE_START_EARLIEST, BRIDGE_START_LATEST, BRIDGE_START_TIME, BRIDGE_START_SEQUENCE } BridgeStartKind;

typedef struct BridgeStart {
    BridgeStartKind kind;
    usec_t time;       /* BRIDGE_START_TIME: since 1970 */
    uint64_t sequence; /* BRIDGE_START_SEQUENCE, of NATS only: from 1 */
} BridgeStart;

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
