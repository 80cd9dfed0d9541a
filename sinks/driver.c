#include "sinks/driver.h"

#include <stddef.h>

static const SinkDriver *const drivers[] = {&sink_driver_sqlite, &sink_driver_postgres, NULL};
const ConnectionType *const connection_types[] = {&connection_type_sqlite, &connection_type_postgres, NULL};

const SinkDriver *sink_driver_of(const ConnectionType *type) {
    for (const SinkDriver *const *driver = drivers; *driver; driver++)
        if ((*driver)->type == type) return *driver;
    unreachable();
}

static const char *const fault_names[SINK_FAULT_COUNT] = {
    [SINK_FAULT_UNREACHABLE] = "unreachable", [SINK_FAULT_TLS] = "tls",       [SINK_FAULT_LOGIN] = "login",
    [SINK_FAULT_DATABASE] = "database",       [SINK_FAULT_RIGHTS] = "rights", [SINK_FAULT_OTHER] = "other",
};

const char *sink_fault_name(SinkFault fault) {
    check((unsigned)fault < SINK_FAULT_COUNT);
    return fault_names[fault];
}
