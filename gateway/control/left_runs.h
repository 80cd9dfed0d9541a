/*
 * Removes what abandoned runs have left at destinations. Control thread.
 *
 * A sink stops replacing a table when its strategy or its table changes. It leaves the positions
 * and marks of the run, and the side table if the run was open. The transaction of the change notes
 * them in the sink (Sink.left) until they are removed. A sink that is deleted leaves the same, but
 * only if its run is open: its positions are useless without the side table. A destination that is
 * down delays nothing else: the removal is tried again each minute.
 */
#pragma once

#include "gateway/control/change_parts.h"

/* Notes in the sinks of the outcome what they leave. These sinks must be unshared copies. */
void left_runs_note(const Control *control, const RegistrySource *known, const ChangeOutcome *outcome);
/* Removes what the sinks have left. Called after each successful change and
 * periodically. */
void left_runs_step(Control *control);
