/* XXH3-64 (libxxhash, xxHash specification 0.1.1): the checksum of all formats on disk. Not for
 * secrets. Any thread; a Checksum is used by one thread at a time. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t checksum_of(const void *data, size_t size);

/* XXH3-128 in its canonical form, which is big-endian. */
void checksum_wide(const void *data, size_t size, uint8_t ret_bytes[static 16]);

/* XXH3-64 of bytes that come in pieces: new, then add for each piece, then end. checksum_reset
 * begins again. */
typedef struct Checksum Checksum;
Checksum *checksum_new(void);
void checksum_free(Checksum *checksum);
void checksum_reset(Checksum *checksum);
void checksum_add(Checksum *checksum, const void *data, size_t size);
uint64_t checksum_end(const Checksum *checksum);
