/*
 * What a manifest does not take back when it leaves it out. All other fields of a source and its
 * sinks have their default again (source_declared, sink_declared, settings_declare).
 */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"

typedef struct ManifestKeep {
    const char *what;       /* for the documents */
    const char *of, *field; /* "source" or "sink", and the field that its table has; NULL: it is no such field */
    const char *sentence;   /* how it is changed instead; ends with a period */
} ManifestKeep;

extern const ManifestKeep manifest_keeps[]; /* ends with a row whose `what` is NULL */

/* Does a manifest that lacks the field leave it as it is? `of`: "source" or "sink". */
bool manifest_keeps_field(const char *of, const char *field);
/* A Markdown table. */
void manifest_keeps_document(Buffer *out);
