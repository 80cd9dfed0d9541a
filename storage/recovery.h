/*
 * What a start finds: temporary packs and copies are removed, and packs that were not recorded
 * (unrecorded.h); other packs that the ledger does not know go to staging/orphans/. Packs that the
 * ledger knows but that are not there: missing.h, which comes first. Never touches a destination.
 */
#pragma once

#include <stddef.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/uuid.h"
#include "storage/environment.h"

typedef struct RecoveryReport {
    size_t temporary_removed;
    size_t unrecorded; /* packs whose rows are all in the log: removed, too */
    size_t orphans;
} RecoveryReport;

/* Makes staging/ and its folders when they are missing, durably. */
int recovery_make_folders(Files *files, Error *error);
/* Does that as well. Before anything is staged by this start: until then no group that an
 * unrecorded pack was made from leaves the log. Orphans are renamed to "<seconds since
 * 1970>-<id>.pack": the time is `now`, for people. When they go: copies.h. */
int recovery_sweep_staging(Files *files, Txn *read_txn, const Uuid *instance, usec_t now, RecoveryReport *ret_report, Error *error);
/* Moves a pack with unreadable rows to staging/orphans/, named as above. -ENOENT: it is not
 * there. */
int recovery_set_aside(Files *files, const Uuid *pack, usec_t now, Error *error);
