/*
 * Who may open how many descriptors. Connections of senders are what grows with the peers, so they
 * get what is left when everybody else has a share: files, loaders and their destinations, template
 * workers, the loops, and the admin listener. Pure; any thread.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

typedef struct DescriptorNeeds {
    unsigned loops;        /* of the intake; the admin listener's comes on top */
    unsigned loaders;      /* imports at the same time; the loader of tests comes on top */
    unsigned destinations; /* connections that are configured */
    unsigned brokers;      /* connections that are configured and serve sources */
    unsigned zygotes;      /* template workers that are kept */
    unsigned intake;       /* connections of the intake that are wanted */
} DescriptorNeeds;

typedef struct DescriptorShares {
    uint64_t wanted; /* the limit with which `intake` would be what is wanted */
    unsigned intake; /* connections of the intake, at most what is wanted */
    unsigned admin;  /* connections of the admin listener */
} DescriptorShares;

/* `limit`: descriptors that the process may have. -EINVAL: too few to work with; the sentence
 * says how many it takes. */
int descriptors_share(uint64_t limit, const DescriptorNeeds *needs, DescriptorShares *ret_shares, Error *error);
