/* PostgreSQL: the map of inferred columns. As the driver's columns. */
#pragma once

#include "sinks/driver.h"

SinkResult postgres_columns(SinkSession *session, ColumnsJob *job, Error *error);
