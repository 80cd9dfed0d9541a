/*
 * When is a sink's waiting data staged, and when imported? A pure function of what waits, the
 * settings and the time. Count and size look at everything that waits, buffered and staged; time is
 * the age of the oldest waiting record.
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

/* What waits of one sink. Ages are lengths (boot time), so a jump of the wall clock changes
 * nothing. */
typedef struct Waiting {
    uint64_t log_rows, log_bytes;   /* only in the log */
    usec_t log_age;                 /* of the oldest of them */
    uint64_t file_rows, file_bytes; /* in the open file */
    usec_t file_age;                /* of its oldest row */
} Waiting;

typedef struct ConditionsVerdict {
    bool stage;        /* log -> slice now */
    CloseReason close; /* stage what is in the log, then close the file and import it; CLOSE_NONE: not yet */
    usec_t next;       /* > 0: without new rows, nothing but what is told here comes to hold for so long; USEC_NEVER: never */
} ConditionsVerdict;

void conditions_from_settings(Conditions *conditions, const Settings *source, const Settings *sink);
/* `failing`: the sink's imports fail at present: time alone does not close its file. Several
 * conditions hold: count is named before size, size before time. Nothing waits: nothing is due. */
ConditionsVerdict conditions_evaluate(const Conditions *conditions, const Waiting *waiting, bool failing);
