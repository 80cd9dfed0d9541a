/* Removes from the catalog, every hour, tasks that ended and definitions that were deleted over 7
 * days of running time ago. A sink of a source that keeps positions takes these with it: as long as
 * they cannot be removed at its destination, it stays. Control thread. */
#pragma once

#include "gateway/control/control.h"

#define EXPIRY_INTERVAL USEC_HOUR
#define DELETED_KEPT_FOR (7 * USEC_DAY)

/* Was it deleted longer ago than it is kept? In running time: neither a clock that jumps nor a
 * gateway that was off makes anything old. */
bool over_age(const Control *control, usec_t deleted, usec_t deleted_running);
/* Removes what is over age, through the writer. A deleted sink of which rows still wait stays until
 * they are imported. */
void expire(Control *control);
