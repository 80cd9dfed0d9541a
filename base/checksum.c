#include "base/checksum.h"

#include <string.h>
#include <xxhash.h>

#include "base/error.h"

/* Only a name for the library's state, which has to be allocated by the library (alignment). */
static XXH3_state_t *state_of(Checksum *checksum) {
    return (XXH3_state_t *)checksum;
}

uint64_t checksum_of(const void *data, size_t size) {
    return XXH3_64bits(size ? data : "", size);
}

void checksum_wide(const void *data, size_t size, uint8_t ret_bytes[static 16]) {
    XXH128_canonical_t canonical;
    _Static_assert(sizeof canonical.digest == 16, "128 bits");
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(size ? data : "", size));
    memcpy(ret_bytes, canonical.digest, sizeof canonical.digest);
}

Checksum *checksum_new(void) {
    XXH3_state_t *state = XXH3_createState();
    if (!state) bug_at(__FILE__, __LINE__, "out of memory");
    check(XXH3_64bits_reset(state) == XXH_OK);
    return (Checksum *)state;
}

void checksum_free(Checksum *checksum) {
    if (checksum) (void)XXH3_freeState(state_of(checksum));
}

void checksum_reset(Checksum *checksum) {
    check(XXH3_64bits_reset(state_of(checksum)) == XXH_OK);
}

void checksum_add(Checksum *checksum, const void *data, size_t size) {
    if (size) check(XXH3_64bits_update(state_of(checksum), data, size) == XXH_OK);
}

uint64_t checksum_end(const Checksum *checksum) {
    return XXH3_64bits_digest((const XXH3_state_t *)checksum);
}
