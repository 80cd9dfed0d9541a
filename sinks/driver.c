#include "sinks/driver.h"

#include <stddef.h>

static const SinkDriver *const drivers[] = {&sink_driver_sqlite, &sink_driver_postgres, NULL};
const ConnectionType *const connection_types[] = {&connection_type_sqlite, &connection_type_postgres, NULL};

const SinkDriver *sink_driver_of(const ConnectionType *type) {
    for (const SinkDriver *const *driver = drivers; *driver; driver++)
        if ((*driver)->type == type) return *driver;
    unreachable();
}
