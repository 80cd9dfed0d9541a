#include "gateway/app/descriptors.h"

#include <errno.h>
#include <inttypes.h>

#include "gateway/http/loop.h"

/* Standard streams, locks, the environment, staging files, signals and timers, and what comes
 * and goes. */
#define FILES 64
#define EACH_LOADER 8      /* a pack, and a session: SQLite has a database, its log and temporary files */
#define EACH_DESTINATION 4 /* table checks */
#define EACH_BROKER 48     /* clients of a few sources, with a socket for each of a few servers, and what wakes their threads */
#define EACH_ZYGOTE 4      /* control, data, what a new one brings along */
/* The admin listener gets one part in so many of what is left, within these bounds. */
#define ADMIN_PART 8
#define ADMIN_MIN 16
#define ADMIN_MAX 512
#define INTAKE_MIN 16

int descriptors_share(uint64_t limit, const DescriptorNeeds *needs, DescriptorShares *ret_shares, Error *error) {
    uint64_t fixed = FILES + (uint64_t)(needs->loops + 1) * HTTP_LOOP_DESCRIPTORS + 2 * (uint64_t)HTTP_CONNECTIONS_ABOVE +
                     (uint64_t)(needs->loaders + 1) * EACH_LOADER + (uint64_t)needs->destinations * EACH_DESTINATION +
                     (uint64_t)needs->brokers * EACH_BROKER + (uint64_t)needs->zygotes * EACH_ZYGOTE;
    uint64_t least = fixed + ADMIN_MIN + INTAKE_MIN;
    if (limit < least)
        return error_set(error, -EINVAL,
                         "the process may open %" PRIu64 " descriptors, and these options need %" PRIu64
                         " at least: raise the limit (ulimit -n, LimitNOFILE), or lower threads, loaders or templates.zygotes",
                         limit, least);
    uint64_t left = limit - fixed, admin = left / ADMIN_PART;
    if (admin < ADMIN_MIN) admin = ADMIN_MIN;
    if (admin > ADMIN_MAX) admin = ADMIN_MAX;
    uint64_t intake = left - admin;
    *ret_shares = (DescriptorShares){
        .wanted = fixed + ADMIN_MAX + needs->intake,
        .intake = intake < needs->intake ? (unsigned)intake : needs->intake,
        .admin = (unsigned)admin,
    };
    check(ret_shares->intake > 0 && fixed + ret_shares->intake + ret_shares->admin <= limit);
    return 0;
}
