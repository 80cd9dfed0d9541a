/* SQLite: the map of inferred columns. As the driver's columns. */
#pragma once

#include "sinks/driver.h"

SinkResult sqlite_columns(SinkSession *session, ColumnsJob *job, Error *error);
