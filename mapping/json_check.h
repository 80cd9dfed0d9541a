/* Is a text JSON? This is the check of scanner.h alone, for callers that look for no paths. Pure;
 * any thread. */
#pragma once

#include <stddef.h>

#include "base/span.h"

typedef struct ScanFault {
    size_t offset;    /* offset of the wrong byte; the size of the text if it ends too early */
    const char *what; /* a phrase, static */
} ScanFault;

enum { SCAN_NOT_JSON = 1 };
/* Returns 0, or SCAN_NOT_JSON with the first fault. */
int scan_validate(Span text, ScanFault *ret_fault);
