/*
 * What the gateway would refuse of the sinks of a source: columns that would hold in the clear what another one masks, masks that lack a key, paths
 * and defaults that are none. Prints what it cannot know. One thread.
 */
#pragma once

#include <stdbool.h>

#include "config/manifest.h"
#include "config/mask_keys.h"
#include "config/options.h"

/* What masks are checked with. */
typedef struct CheckKeys {
    MaskKeys *keys;
    bool is_known; /* they are those of a config file */
} CheckKeys;

void check_masks_begin(CheckKeys *keys);
void check_masks_end(CheckKeys *keys);
/* The keys of a config file, whose options these are, are those of all manifests from then on. */
int check_mask_keys(CheckKeys *keys, const char *file, const Options *options, Error *error);
int check_masks(CheckKeys *keys, const char *file, const Manifest *manifest, Error *error);
