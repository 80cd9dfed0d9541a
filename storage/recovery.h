/*
 * What a start finds: temporary packs are removed, packs that the ledger does not know go to staging/orphans/ (kept 7 days), packs that the ledger
 * knows but that are not there are named. Never touches a destination.
 */
#pragma once

#include <stddef.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "storage/environment.h"

typedef struct RecoveryReport {
    size_t temporary_removed;
    size_t orphans;
    size_t missing_packs;
} RecoveryReport;

/* Orphans are renamed to "<seconds since 1970>-<id>.pack": the time is `now`, and what recovery_expire counts from. */
int recovery_sweep_staging(Files *files, Txn *read_txn, usec_t now, RecoveryReport *ret_report, Error *error);
/* Removes what lies in staging/orphans/ and staging/expired/ for its time or longer (by the time in its name, else by modification). */
int recovery_expire(Files *files, usec_t now, usec_t orphans_for, usec_t expired_for, Error *error);
