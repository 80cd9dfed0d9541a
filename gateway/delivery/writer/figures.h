/* What the writer knows of sinks, connections and the disk, for who asks. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* The writer's thread, or any while it lends its memory (lending.h). */
void writer_fill_statistics(const Writer *writer, TotalsQuery *query);
