/* The mask keys that `sluice check` uses: the keys of a config file, or without one, made-up keys
 * so that each mask has its key. One thread. */
#pragma once

#include <stdbool.h>

#include "config/definition.h"
#include "config/mask_keys.h"
#include "config/options.h"

/* What masks are checked with. */
typedef struct CheckKeys {
    MaskKeys *keys;
    bool is_known;    /* they are those of a config file */
    bool is_imagined; /* check_masks_imagine found a mask that needs one, and they are not known */
} CheckKeys;

void check_masks_begin(CheckKeys *keys);
void check_masks_end(CheckKeys *keys);
/* Uses the keys of the config file with these options for all manifests that follow. */
int check_mask_keys(CheckKeys *keys, const char *file, const Options *options, Error *error);
/* Makes keys for the masks of these sinks, unless they are known. */
void check_masks_imagine(CheckKeys *keys, Sink *const *sinks, size_t count);
