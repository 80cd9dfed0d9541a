/* Jobs of a loader that are only about positions (sinks/driver.h, PositionsDriver). Its own thread,
 * without the lock. */
#pragma once

#include "gateway/delivery/loader_parts.h"

/* SINK_REFUSED: the connection keeps no positions, so neither these nor rows of a broker may go
 * there. */
SinkResult loader_takes_positions(const Kept *kept, LoadJob *job);
SinkResult loader_advance(const Loader *loader, Kept *kept, LoadJob *job); /* MESSAGE_POSITIONS */
/* MESSAGE_CLAIM: lists the group's positions first, and claims of each topic the highest generation
 * that is there. */
SinkResult loader_claim(const Loader *loader, Kept *kept, LoadJob *job);
SinkResult loader_list(const Kept *kept, LoadJob *job);                  /* MESSAGE_LIST, _ORIGIN */
SinkResult loader_group(const Loader *loader, Kept *kept, LoadJob *job); /* MESSAGE_GROUP_POSITIONS */
/* MESSAGE_SWAP. `swap`: with what looks after it, all-zero else. */
SinkResult loader_swap(const Loader *loader, Kept *kept, LoadJob *job, SwapJob *swap);
/* MESSAGE_SEEK. Not SINK_DONE: the positions are as they were given, but for -EBUSY and -ERANGE,
 * when they say what is there. */
SinkResult loader_seek(const Loader *loader, Kept *kept, LoadJob *job);
