/*
 * Divides the descriptors of the process. The number of connections of senders depends on the
 * peers, so they get the descriptors that are left when all other parts have their share: files,
 * loaders and their destinations, template workers, the loops, and the admin listener. Pure; any
 * thread.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

typedef struct DescriptorNeeds {
    unsigned loops;        /* loops of the intake, without the loop of the admin listener */
    unsigned loaders;      /* imports at the same time, without the loader of tests */
    unsigned destinations; /* connections that are configured */
    unsigned brokers;      /* connections that are configured and serve sources */
    unsigned zygotes;      /* template workers that are kept */
    unsigned intake;       /* number of intake connections of the options */
} DescriptorNeeds;

typedef struct DescriptorShares {
    uint64_t wanted; /* the limit of descriptors that would allow all these connections */
    unsigned intake; /* number of intake connections, at most that of the options */
    unsigned admin;  /* number of connections of the admin listener */
} DescriptorShares;

/* `limit`: number of descriptors of the process. -EINVAL: it is too low; the sentence has the
 * minimum. */
int descriptors_share(uint64_t limit, const DescriptorNeeds *needs, DescriptorShares *ret_shares, Error *error);
