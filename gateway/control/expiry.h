/* What the catalog keeps for a time only: ended tasks and deleted definitions, both 7 days of running time. Control thread. */
#pragma once

#include "gateway/control/control.h"

#define EXPIRY_INTERVAL USEC_HOUR
#define DELETED_KEPT_FOR (7 * USEC_DAY)

/* Removes what is over age, through the writer. A deleted sink of which rows still wait stays until they are imported. */
void expire(Control *control);
