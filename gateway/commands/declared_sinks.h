/* The sinks of a source that a manifest declares, as the server would make them. Any thread. */
#pragma once

#include "config/definition.h"
#include "config/manifest.h"

typedef struct DeclaredSinks {
    Source *source;
    Sink **sinks;
    size_t count;
} DeclaredSinks;

/* `only_sink`: NULL: all. Not 0: there is nothing to end. */
int declared_sinks_make(const ManifestSource *declared, const char *only_sink, DeclaredSinks *ret_sinks, Error *error);
void declared_sinks_deinit(DeclaredSinks *sinks); /* also of an all-zero one */
