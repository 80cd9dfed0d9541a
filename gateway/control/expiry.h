/* Removes from the catalog, every hour, tasks that ended and definitions that were deleted over 7 days of running time ago. Control thread. */
#pragma once

#include "gateway/control/control.h"

#define EXPIRY_INTERVAL USEC_HOUR
#define DELETED_KEPT_FOR (7 * USEC_DAY)

/* Removes what is over age, through the writer. A deleted sink of which rows still wait stays until they are imported. */
void expire(Control *control);
