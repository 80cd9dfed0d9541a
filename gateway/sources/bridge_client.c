#include "gateway/sources/bridge_client.h"

#include <stdlib.h>

#include "config/source_kafka.h"
#include "config/source_nats.h"

const BridgeClientType *bridge_client_of(const Source *source) {
    if (source_kafka(source)) return &bridge_client_kafka;
    if (!source_nats(source)) return NULL;
    char *durable = nats_source_durable(source, 0); /* whether there is one: its name says nothing here */
    const BridgeClientType *type = durable ? &bridge_client_nats_durable : &bridge_client_nats;
    free(durable);
    return type;
}
