/*
 * Partitions that bridges asked for lately, and where each sink's destination stands with them, as
 * it said it last. A sink's destination is asked now and then for all of them. No disk, no clock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "sinks/positions.h"
#include "storage/partitions.h"

#define WATCH_LASTS (30 * USEC_SECOND) /* after the last question */

/* One for all sinks. */
typedef struct WatchedKey {
    Partition partition; /* its number is 0 */
    size_t references;
} WatchedKey;

typedef struct WatchedKeys {
    WatchedKey **items; /* in key order */
    size_t count, capacity;
} WatchedKeys;

typedef struct Watched {
    WatchedKey *key;
    usec_t asked;     /* boot: the last question */
    int64_t position; /* -1: not known, or there is none */
    bool missing;     /* there is none, and a run needed it */
    bool known;       /* the destination was asked */
    uint64_t read;    /* the last commit when it was */
} Watched;

typedef struct SinkWatch {
    Watched *items; /* in key order */
    size_t count, capacity;
    usec_t due;        /* boot: the destination is asked; meaningless while there are none */
    unsigned failures; /* questions alone that were not answered, since one was */
} SinkWatch;

/* The bridge asks for the partition. `hint`: index where it may be; a bridge asks for the same ones
 * again, mostly in key order. Valid until the next call that adds or drops some. */
Watched *watch_ask(WatchedKeys *keys, SinkWatch *watch, const Partition *partition, size_t hint, usec_t boot);
/* NULL: nobody asks for it. */
Watched *watch_find(const SinkWatch *watch, const PartitionKey *key);
/* Is there one whose position is missing? */
bool watch_any_missing(const SinkWatch *watch);
/* Nothing is known of the positions: they are of another table. */
void watch_reset(SinkWatch *watch);
/* Lets those go that nobody asked for lately (`boot` USEC_NEVER: all). */
void watch_drop(WatchedKeys *keys, SinkWatch *watch, usec_t boot);
void watched_keys_deinit(WatchedKeys *keys);
