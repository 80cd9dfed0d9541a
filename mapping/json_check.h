/* Is a text JSON? The check of scanner.h alone, for those that look for no paths. Pure; any
 * thread. */
#pragma once

#include <stddef.h>

#include "base/span.h"

typedef struct ScanFault {
    size_t offset;    /* of the byte that is wrong; the text's size when it ends too early */
    const char *what; /* a phrase, static */
} ScanFault;

enum { SCAN_NOT_JSON = 1 };
/* 0 or SCAN_NOT_JSON with the first fault. */
int scan_validate(Span text, ScanFault *ret_fault);
