/*
 * The instance id in the environment: which data directory it belongs to. Packs and the ledgers of
 * destinations carry it, so it is never made up for an environment that holds anything: packs would
 * be taken for those of another directory, and files whose import was not recorded would be
 * ledgerConflict. One thread, before the environment is opened for work.
 */
#pragma once

#include "base/error.h"
#include "base/files.h"
#include "base/uuid.h"
#include "storage/environment.h"

/* Nil: none is written in it, nor anything else. INSTANCE_DAMAGED: it cannot be read, or is missing
 * where other records are; `error` says why. */
enum { INSTANCE_DAMAGED = 1 };
int instance_read(Environment *environment, Uuid *ret_instance, Error *error);
int instance_write(Environment *environment, const Uuid *instance, Error *error);

/* What the staging files say that the environment's ledger knows: the first one that is there and
 * can be read decides. */
typedef enum InstanceEvidence {
    INSTANCE_UNPROVEN, /* none is there */
    INSTANCE_PROVEN,   /* it was written for this instance */
    INSTANCE_FOREIGN,  /* for another one */
} InstanceEvidence;
int instance_look_for(Environment *environment, Files *files, const Uuid *instance, InstanceEvidence *ret_evidence, Error *error);
