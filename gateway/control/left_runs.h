/*
 * What runs leave at destinations when nobody goes on with them. Control thread.
 *
 * A sink that replaces a table no more, since its strategy or its table is another one: positions
 * and marks of the run, and the side table, if the run was open. It is noted in the sink
 * (Sink.left), in the transaction of the change, until it is removed. A sink that is deleted in the
 * middle of a run: the same, but only of an open run; its positions would be of no use without the
 * side table. A destination that is down holds up nothing: it is asked again, each minute.
 */
#pragma once

#include "gateway/control/change_parts.h"

/* Notes in the sinks of the outcome, which are unshared, what they leave. */
void left_runs_note(const Control *control, const RegistrySource *known, const ChangeOutcome *outcome);
/* Removes what there is to remove. After a change, and now and then. */
void left_runs_step(Control *control);
