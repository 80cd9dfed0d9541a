#include <stddef.h>

#include "sinks/driver.h"

const SinkDriver *const sink_drivers[] = {&sink_driver_sqlite, &sink_driver_postgres, NULL};
const ConnectionType *const connection_types[] = {&connection_type_sqlite, &connection_type_postgres, &connection_type_kafka,
                                                  &connection_type_nats, NULL};
