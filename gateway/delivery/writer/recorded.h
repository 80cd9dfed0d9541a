/* Recording what came back from the stager and the loaders: all of a step in one transaction, since
 * each costs syncs. */
#pragma once

#include "gateway/delivery/writer/state.h"

void writer_record_ended(Writer *writer);
