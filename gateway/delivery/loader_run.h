/* One job at a destination: the session, the table, the import, the test. */
#pragma once

#include "gateway/delivery/loader_parts.h"

/* Sets the job's result. The loader's own thread, without the lock. */
void loader_run(Loader *loader, LoadJob *job);
/* Its own thread, or when that has ended. */
void loader_drop_sessions(Loader *loader);
/* Of a Loader, see SinkPatience. Its own thread. */
bool loader_patience_is_over(void *loader);
