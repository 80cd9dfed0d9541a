/*
 * The cleaning of staging/ at a start. Temporary packs and copies are removed, and also packs that
 * were not recorded (unrecorded.h). Other packs that the ledger does not know are moved to
 * staging/orphans/. Packs that the ledger knows but that are missing: see missing.h, which runs
 * before. It never uses a destination.
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
    size_t unrecorded; /* packs whose rows are all in the log, which are removed as well */
    size_t orphans;
} RecoveryReport;

/* Creates staging/ and its directories durably, if they are missing. */
int recovery_make_folders(Files *files, Error *error);
/* Cleans staging/, and creates its directories. Call it before this start stages anything: until
 * then, no group from which an unrecorded pack was made leaves the log. Orphans are renamed to
 * "<seconds since 1970>-<id>.pack", where the time is `now`. copies.h says when they are
 * removed. */
int recovery_sweep_staging(Files *files, Txn *read_txn, const Uuid *instance, usec_t now, RecoveryReport *ret_report, Error *error);
/* Moves a pack with unreadable rows to staging/orphans/, with a name as above. -ENOENT: there is no
 * such pack. */
int recovery_set_aside(Files *files, const Uuid *pack, usec_t now, Error *error);
