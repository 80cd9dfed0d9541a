#include "sinks/driver.h"

#include <stddef.h>
#include <stdlib.h>

#include "sinks/kafka_test.h"
#include "sinks/nats_test.h"

/* Of the types without a driver. */
static const struct {
    const ConnectionType *type;
    SinkFault (*test)(const Connection *connection, const char *data_directory, SinkTest *test, Error *error);
} brokers[] = {{&connection_type_kafka, kafka_test}, {&connection_type_nats, nats_test}};

void table_inspection_deinit(TableInspection *inspection) {
    free(inspection->adds);
    free(inspection->lacks);
    *inspection = (TableInspection){0};
}

const SinkDriver *sink_driver_of(const ConnectionType *type) {
    for (const SinkDriver *const *driver = sink_drivers; *driver; driver++)
        if ((*driver)->type == type) return *driver;
    return NULL;
}

SinkFault sink_connection_test(const Connection *connection, const char *data_directory, SinkTest *test, Error *error) {
    const SinkDriver *driver = sink_driver_of(connection->type);
    if (driver) return driver->test(connection, data_directory, test, error);
    for (size_t i = 0; i < sizeof brokers / sizeof *brokers; i++)
        if (brokers[i].type == connection->type) return brokers[i].test(connection, data_directory, test, error);
    unreachable();
}

static const char *const fault_names[SINK_FAULT_COUNT] = {
    [SINK_FAULT_UNREACHABLE] = "unreachable",
    [SINK_FAULT_TLS] = "tls",
    [SINK_FAULT_LOGIN] = "login",
    [SINK_FAULT_DATABASE] = "database",
    [SINK_FAULT_TOPIC] = "topic",
    [SINK_FAULT_RIGHTS] = "rights",
    [SINK_FAULT_OTHER] = "other",
};

const char *sink_fault_name(SinkFault fault) {
    check((unsigned)fault < SINK_FAULT_COUNT);
    return fault_names[fault];
}
