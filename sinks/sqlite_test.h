/* SQLite: SinkDriver.test. Reads the file and looks whether it could be written; makes and writes
 * nothing. */
#pragma once

#include "sinks/driver.h"

SinkFault sqlite_test(const Connection *connection, const char *data_directory, SinkTest *test, Error *error);
