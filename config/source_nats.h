/* Sources of type nats: messages of a JetStream stream are read by one consumer. */
#pragma once

#include "config/source_bridge.h"
#include "config/source_kind.h"

typedef struct NatsSource {
    BridgeSource bridge;
    char *stream;
    char *subject; /* to filter with; NULL: all of the stream */
    char *durable; /* NULL: see nats_source_durable */
} NatsSource;

/* The name of its durable consumer: as declared, else sluice-PROJECT-SOURCE. NULL: it is declared
 * as "none", and has no durable. free(). */
char *nats_source_durable(const Source *source, uint32_t project);
/* What stands for a consumer group in the key of its positions: the name of the durable, or what it
 * would be by default. free(). */
char *nats_source_group(const Source *source, uint32_t project);

/* NULL: it is of another kind. */
static inline const NatsSource *source_nats(const Source *source) {
    return source->kind == &source_kind_nats ? source->part : NULL;
}
