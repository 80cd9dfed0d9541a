/* Removes from the catalog, every hour, tasks that ended and definitions that were deleted over 7 days of running time ago. A sink of a source
 * that keeps positions takes these with it: as long as they cannot be removed at its destination, it stays. Control thread. */
#pragma once

#include "gateway/control/control.h"

#define EXPIRY_INTERVAL USEC_HOUR
#define DELETED_KEPT_FOR (7 * USEC_DAY)

/* Removes what is over age, through the writer. A deleted sink of which rows still wait stays until they are imported. */
void expire(Control *control);
