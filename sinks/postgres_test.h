/* PostgreSQL: SinkDriver.test. Asks the catalog which rights the role has; writes nothing. */
#pragma once

#include "sinks/driver.h"

SinkFault postgres_test(const Connection *connection, const char *data_directory, SinkTest *test, Error *error);
