/*
 * What `sluice check` finds in manifests that are valid by themselves, without a gateway: paths,
 * templates, columns that contradict each other, and tables that two sinks use. One thread.
 */
#pragma once

#include "config/manifest.h"
#include "config/options.h"
#include "gateway/commands/check_masks.h"

/* A sink that was seen. */
typedef struct ExaminedSink {
    Sink *sink;   /* a reference */
    char *source; /* its id */
} ExaminedSink;

typedef struct Examination {
    const Options *options; /* the defaults, or of the first config file */
    CheckKeys *keys;
    Options *const *configs; /* of all config files that are valid */
    size_t config_count;
    ExaminedSink *sinks; /* of all manifests so far */
    size_t sink_count;
} Examination;

/* For ManifestReader; the examination is the context. */
void examine_source(Examination *examination, const Source *source, Sink *const *sinks, size_t count, ManifestPlace *place);
void examination_deinit(Examination *examination); /* frees what it keeps of sinks */
