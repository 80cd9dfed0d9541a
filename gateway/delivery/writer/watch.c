#include "gateway/delivery/writer/watch.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "gateway/flow/partition_key.h"

/* ---- keys ------------------------------------------------------------------------------------ */

static WatchedKey *find_or_add_key(WatchedKeys *keys, const Partition *partition) {
    size_t low = 0, high = keys->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = partition_compare(&keys->items[middle]->partition, partition);
        if (order == 0) return keys->items[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    WatchedKey *key = calloc(1, sizeof *key);
    check(key);
    key->partition = partition_copy(partition);
    key->partition.number = 0;
    array_reserve(keys->items, keys->count, keys->capacity);
    memmove(&keys->items[low + 1], &keys->items[low], (keys->count - low) * sizeof(WatchedKey *));
    keys->items[low] = key;
    keys->count++;
    return key;
}

static void drop_unused(WatchedKeys *keys) {
    size_t kept = 0;
    for (size_t i = 0; i < keys->count; i++) {
        if (keys->items[i]->references > 0) {
            keys->items[kept++] = keys->items[i];
            continue;
        }
        partition_deinit(&keys->items[i]->partition);
        free(keys->items[i]);
    }
    keys->count = kept;
}

void watched_keys_deinit(WatchedKeys *keys) {
    drop_unused(keys);
    check(keys->count == 0);
    free(keys->items);
    *keys = (WatchedKeys){0};
}

/* ---- of a sink ------------------------------------------------------------------------------- */

/* Index of the partition, or where it belongs. */
static size_t place_of(const SinkWatch *watch, const PartitionKey *key, bool *ret_there) {
    size_t low = 0, high = watch->count;
    *ret_there = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        PartitionKey at = partition_key_of(&watch->items[middle].key->partition);
        int order = partition_key_compare(&at, key);
        if (order == 0) *ret_there = true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

Watched *watch_ask(WatchedKeys *keys, SinkWatch *watch, const Partition *partition, size_t hint, usec_t boot) {
    bool there = hint < watch->count && partition_compare(&watch->items[hint].key->partition, partition) == 0;
    PartitionKey key = partition_key_of(partition);
    size_t place = there ? hint : place_of(watch, &key, &there);
    if (!there) {
        array_reserve(watch->items, watch->count, watch->capacity);
        memmove(&watch->items[place + 1], &watch->items[place], (watch->count - place) * sizeof *watch->items);
        watch->items[place] = (Watched){.key = find_or_add_key(keys, partition), .position = -1};
        watch->items[place].key->references++;
        watch->count++;
    }
    watch->items[place].asked = boot;
    return &watch->items[place];
}

Watched *watch_find(const SinkWatch *watch, const PartitionKey *key) {
    bool there;
    size_t place = place_of(watch, key, &there);
    return there ? &watch->items[place] : NULL;
}

bool watch_any_missing(const SinkWatch *watch) {
    for (size_t i = 0; i < watch->count; i++)
        if (watch->items[i].missing) return true;
    return false;
}

void watch_reset(SinkWatch *watch) {
    for (size_t i = 0; i < watch->count; i++) {
        watch->items[i].position = -1;
        watch->items[i].missing = watch->items[i].known = false;
    }
    watch->due = 0;
}

void watch_drop(WatchedKeys *keys, SinkWatch *watch, usec_t boot) {
    size_t kept = 0;
    for (size_t i = 0; i < watch->count; i++) {
        if (boot != USEC_NEVER && boot - watch->items[i].asked <= WATCH_LASTS) {
            watch->items[kept++] = watch->items[i];
        } else {
            check(watch->items[i].key->references > 0);
            watch->items[i].key->references--;
        }
    }
    if (kept == watch->count) return;
    watch->count = kept;
    drop_unused(keys);
    if (kept > 0) return;
    free(watch->items);
    *watch = (SinkWatch){0};
}
