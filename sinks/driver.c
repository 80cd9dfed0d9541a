#include "sinks/driver.h"

const SinkDriver *sink_driver_of(ConnectionType type) {
    switch (type) {
    case CONNECTION_SQLITE: return &sink_driver_sqlite;
    case CONNECTION_POSTGRES: return &sink_driver_postgres;
    }
    unreachable();
}
