#include "gateway/commands/check_masks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/files.h"
#include "config/mask_keys.h"
#include "config/mask_table.h"
#include "gateway/commands/declared_sinks.h"
#include "mapping/plan.h"

/* The gateway makes the key of its data directory. */
#define ANY_KEY SPAN("a key that is used for no value")

static void warn_of_key(void *context, const char *what, const char *path) {
    if (files_open_to_others(path))
        (void)fprintf(stderr, "%s: warning: the key file of %s can be read by others than its owner\n", (const char *)context, what);
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
static void imagine_keys(const Sink *sink, CheckKeys *keys, bool *used) {
    if (keys->is_known) return;
    for (size_t i = 0; i < sink->target.column_count; i++) {
        const char *text = sink->target.columns[i].mask;
        Mask mask;
        if (!text || mask_parse(span_of(text), &mask, NULL) < 0) continue;
        bool is_named = mask.info->parameter == MASK_HAS_KEY;
        *used = *used || is_named || mask_needs_key(&mask);
        if (is_named && mask_keys_named(keys->keys, mask.parameter).size == 0) mask_keys_set_named(keys->keys, mask.parameter, ANY_KEY);
    }
}

/* What the gateway would refuse since the sinks of a source do not go together. */
static int check_source(CheckKeys *keys, const ManifestSource *declared, bool *used, Error *error) {
    DeclaredSinks made;
    Plan *plan = NULL;
    int r = declared_sinks_make(declared, NULL, &made, error);
    if (r < 0) return r;
    for (size_t i = 0; i < made.count; i++) imagine_keys(made.sinks[i], keys, used);
    if (made.count > 0) r = plan_compile_masked(made.source, made.sinks, made.count, &(PlanMasks){.keys = keys->keys}, &plan, error);
    if (r < 0) (void)error_prefix(error, "source \"%s\"", made.source->source_id);
    plan_unref(plan);
    declared_sinks_deinit(&made);
    return r;
}

int check_masks(CheckKeys *keys, const char *file, const Manifest *manifest, Error *error) {
    bool used = false;
    for (size_t i = 0; i < manifest->count; i++) {
        int r = check_source(keys, &manifest->sources[i], &used, error);
        if (r == 0) continue;
        (void)error_prefix(error, "%s", file);
        expansions_hide(&manifest->expansions, error);
        return r;
    }
    if (used) (void)printf("%s: not checked without --config: the keys of its masks\n", file);
    return 0;
}
