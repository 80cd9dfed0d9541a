/*
 * The instance id in the environment: it says to which data directory the environment belongs.
 * Packs and the ledgers of destinations have it, too. So a new id is never made for an environment
 * that contains anything: packs would be treated as those of another directory, and files whose
 * import was not recorded would be ledgerConflict. One thread, before the environment is opened for
 * work.
 */
#pragma once

#include "base/error.h"
#include "base/files.h"
#include "base/uuid.h"
#include "storage/environment.h"

/* Reads the id. It is nil if the environment has neither an id nor anything else. INSTANCE_DAMAGED:
 * the id cannot be read, or is missing although other records exist; `error` says why. */
enum { INSTANCE_DAMAGED = 1 };
int instance_read(Environment *environment, Uuid *ret_instance, Error *error);
int instance_write(Environment *environment, const Uuid *instance, Error *error);

/* What the staging files that the ledger knows say about the instance. The first one that exists
 * and can be read decides. */
typedef enum InstanceEvidence {
    INSTANCE_UNPROVEN, /* there is no such file */
    INSTANCE_PROVEN,   /* it was written for this instance */
    INSTANCE_FOREIGN,  /* for another one */
} InstanceEvidence;
int instance_look_for(Environment *environment, Files *files, const Uuid *instance, InstanceEvidence *ret_evidence, Error *error);
