/*
 * What the management API takes about where a source reads its broker: the bodies of POST
 * …/bridge/seek and POST …/bridge/skip. Read strictly: an unknown field and a value out of range
 * are refused by the field's name.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"

typedef enum BridgeGoal { BRIDGE_TO_EARLIEST, BRIDGE_TO_LATEST, BRIDGE_TO_OFFSET, BRIDGE_TO_TIME } BridgeGoal;

/* {"topic"?, "partition"?, "to": "earliest" | "latest" | {"offset": N} | {"time": "RFC 3339"},
 * "sink"?} */
typedef struct BridgeSeekBody {
    const char *topic; /* borrowed from the body, as all texts; NULL: all */
    int32_t partition; /* -1: all */
    BridgeGoal to;
    int64_t at;       /* BRIDGE_TO_OFFSET: the offset; BRIDGE_TO_TIME: ms since 1970, rounded up */
    const char *sink; /* id; NULL: all enabled ones */
} BridgeSeekBody;

/* {"topic", "partition", "offset"} */
typedef struct BridgeSkipBody {
    const char *topic;
    int32_t partition;
    int64_t offset;
} BridgeSkipBody;

/* 0, or -EINVAL with a sentence that names the field. */
int bridge_seek_read(const json_t *body, BridgeSeekBody *ret_seek, Error *error);
int bridge_skip_read(const json_t *body, BridgeSkipBody *ret_skip, Error *error);
