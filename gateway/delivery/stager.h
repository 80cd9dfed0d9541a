/* The stager S: makes one pack of each MESSAGE_STAGE. It uses only the disk, with one short read
 * transaction over the log for all items, and never a destination. */
#pragma once

#include "base/clock.h"
#include "base/files.h"
#include "base/mailbox.h"
#include "base/uuid.h"
#include "storage/environment.h"

typedef struct Stager Stager;

Stager *stager_new(Environment *environment, Files *files, const Uuid *instance);
Mailbox *stager_mailbox(Stager *stager);
/* Handles one message; false if there is none. */
bool stager_step(Stager *stager);
void stager_free(Stager *stager); /* NULL-safe; sends waiting messages back as failed */
