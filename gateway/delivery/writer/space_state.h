/* How much space is used, as far as known. */
#pragma once

#include "gateway/delivery/writer/state.h"

typedef struct SpaceState {
    uint64_t staging_bytes;                           /* of all packs that the ledger knows */
    uint64_t expired_bytes;                           /* as last looked */
    uint64_t free_bytes;                              /* of the file system, as last looked */
    uint64_t largest_file;                            /* bytes of the largest that ever waited */
    bool is_short;                                    /* the budget is used up: intake is stopped */
    usec_t checked, retained_checked, expiry_checked; /* boot */
} SpaceState;
