/* XXH3-64 (libxxhash, xxHash specification 0.1.1) of bytes: the checksum of every format on disk.
 * Not for secrets. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t checksum_of(const void *data, size_t size);

/* XXH3-128, in its canonical form: big-endian. */
void checksum_wide(const void *data, size_t size, uint8_t ret_bytes[static 16]);

/* The first one over pieces. */
typedef struct Checksum Checksum;
Checksum *checksum_new(void);
void checksum_free(Checksum *checksum);
void checksum_reset(Checksum *checksum);
void checksum_add(Checksum *checksum, const void *data, size_t size);
uint64_t checksum_end(const Checksum *checksum);
