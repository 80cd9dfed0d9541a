/*
 * What a start finds: temporary packs are removed, packs that the ledger does not know go to staging/orphans/ (kept 7 days). Packs that the ledger
 * knows but that are not there: missing.h, which comes first. Never touches a destination.
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
    size_t orphans;
} RecoveryReport;

/* Makes staging/ and its folders when they are missing. Orphans are renamed to "<seconds since 1970>-<id>.pack": the time is `now`, and what recovery_expire counts from. */
int recovery_sweep_staging(Files *files, Txn *read_txn, usec_t now, RecoveryReport *ret_report, Error *error);
/* Moves a pack with unreadable rows to staging/orphans/, named as above. -ENOENT: it is not there. */
int recovery_set_aside(Files *files, const Uuid *pack, usec_t now, Error *error);
/* Removes what lies in staging/orphans/ and staging/expired/ for its time or longer (by the time in its name, else by modification). */
int recovery_expire(Files *files, usec_t now, usec_t orphans_for, usec_t expired_for, Error *error);
