/* SQLite: the rows of a run replace those of the table. One transaction, which has the file's write
 * lock from its beginning. */
#pragma once

#include "sinks/driver.h"

/* As the driver's swap. */
SinkResult sqlite_swap(SinkSession *session, SwapJob *job, Error *error);
