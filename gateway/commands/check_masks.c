#include "gateway/commands/check_masks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/files.h"
#include "config/mask_keys.h"
#include "config/mask_table.h"

/* The gateway makes the key of its data directory. */
#define ANY_KEY SPAN("a key that is used for no value")

static void warn_of_key(void *context, const char *what, const char *path) {
    if (files_open_to_others(path))
        (void)fprintf(stderr, "%s: warning: the key file of %s can be read by other users\n", (const char *)context, what);
}

void check_masks_begin(CheckKeys *keys) {
    *keys = (CheckKeys){.keys = mask_keys_new()};
    mask_keys_set_shared(keys->keys, ANY_KEY);
}

void check_masks_end(CheckKeys *keys) {
    mask_keys_free(keys->keys);
}

int check_mask_keys(CheckKeys *keys, const char *file, const Options *options, Error *error) {
    MaskKeys *found;
    int r = mask_keys_load(options, &found, error);
    if (r == -EACCES) { /* they are for the gateway's user */
        (void)printf("%s: not checked: %s\n", file, error->text);
        *error = (Error){0};
        return 0;
    }
    if (r < 0) return error_prefix(error, "%s", file);
    mask_key_files(options, warn_of_key, (void *)(uintptr_t)file);
    if (mask_keys_main(found, NULL).size == 0) mask_keys_set_own(found, ANY_KEY);
    mask_keys_free(keys->keys);
    *keys = (CheckKeys){.keys = found, .is_known = true};
    return 0;
}

/* Without a config file each key is there. */
static void imagine_keys(const Sink *sink, CheckKeys *keys) {
    for (size_t i = 0; i < sink->target.column_count; i++) {
        const char *text = sink->target.columns[i].mask;
        Mask mask;
        if (!text || mask_parse(span_of(text), &mask, NULL) < 0) continue;
        bool is_named = mask.info->parameter == MASK_HAS_KEY;
        keys->is_imagined = keys->is_imagined || is_named || mask_needs_key(&mask);
        if (is_named && mask_keys_named(keys->keys, mask.parameter).size == 0) mask_keys_set_named(keys->keys, mask.parameter, ANY_KEY);
    }
}

void check_masks_imagine(CheckKeys *keys, Sink *const *sinks, size_t count) {
    for (size_t i = 0; i < count && !keys->is_known; i++) imagine_keys(sinks[i], keys);
}
