/*
 * Does what the writer knows add up? Asserted at the end of each step: of the sinks that changed in
 * it what takes no walk, and when the options say so (simulation, tests) all of it, walks included.
 * A sum that does not hold is a bug, and rows would be lost or come twice. What damage on the disk
 * did to the statistics is no bug: it is noted when the writer opens and when it repairs, and must
 * not change after that.
 */
#pragma once

#include "gateway/delivery/writer/state.h"

/* Received rows that are nowhere, as a difference without sign: 0 but for what damage did to the
 * statistics. */
uint64_t sums_unaccounted(const SinkState *sink);
/* The writer was opened. */
void sums_begin(Writer *writer);
/* The sink's statistics were changed by a repair. */
void sums_note_repair(SinkState *sink);
void sums_check(Writer *writer);
