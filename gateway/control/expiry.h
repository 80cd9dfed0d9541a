/* Removes from the catalog, every hour, tasks that ended and definitions that were deleted over 7
 * days of running time ago. If its source keeps positions, a sink is removed together with
 * its positions. While these cannot be removed at its destination, the sink stays.
 * Control thread. */
#pragma once

#include "gateway/control/control.h"

#define EXPIRY_INTERVAL USEC_HOUR
#define DELETED_KEPT_FOR (7 * USEC_DAY)

/* true: the definition was deleted longer ago than it is kept. The age is running time: a clock
 * that jumps or a gateway that was off does not add to it. */
bool over_age(const Control *control, usec_t deleted, usec_t deleted_running);
/* Removes what is over age, through the writer. A deleted sink whose rows still wait stays until
 * they are imported. */
void expire(Control *control);
