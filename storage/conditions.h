/*
 * Decides when the waiting rows of a sink are staged, and when they are imported. A pure function
 * of the waiting rows, the settings and the time. Count and size include all waiting rows, buffered
 * and staged. Time is the age of the oldest waiting row.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "config/settings.h"
#include "storage/ledger.h"

typedef struct Conditions {
    uint64_t upload_rows, upload_bytes;
    usec_t upload_age;
    uint64_t import_rows, import_bytes;
    usec_t import_age;
} Conditions;

/* The waiting rows of one sink. Ages are durations (boot time), so a jump of the wall clock changes
 * nothing. */
typedef struct Waiting {
    uint64_t log_rows, log_bytes;   /* only in the log */
    usec_t log_age;                 /* age of the oldest one */
    uint64_t file_rows, file_bytes; /* in the open file */
    usec_t file_age;                /* age of its oldest row */
} Waiting;

typedef struct ConditionsVerdict {
    bool stage;        /* stage now: write the rows of the log into a slice */
    CloseReason close; /* the reason to stage the rows of the log, close the file and import it; CLOSE_NONE: do not close it yet */
    usec_t next;       /* > 0: time until which the result stays the same if no row is added; USEC_NEVER: no limit */
} ConditionsVerdict;

void conditions_from_settings(Conditions *conditions, const Settings *source, const Settings *sink);
/* `failing`: imports of the sink fail at present, so time alone does not close its file. If several
 * conditions hold, the reason is the count before the size, and the size before the time. If no row
 * waits, nothing is due. */
ConditionsVerdict conditions_evaluate(const Conditions *conditions, const Waiting *waiting, bool failing);
