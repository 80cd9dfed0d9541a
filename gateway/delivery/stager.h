/* The stager S: turns MESSAGE_STAGE into one pack, disk only: one short read transaction over the
 * log for all items, never a destination. */
#pragma once

#include "base/clock.h"
#include "base/files.h"
#include "base/mailbox.h"
#include "base/uuid.h"
#include "storage/environment.h"

typedef struct Stager Stager;

Stager *stager_new(Environment *environment, Files *files, const Uuid *instance);
Mailbox *stager_mailbox(Stager *stager);
/* Works one message off; false: nothing was there. */
bool stager_step(Stager *stager);
void stager_free(Stager *stager); /* NULL-safe; sends back what waits as failed */
