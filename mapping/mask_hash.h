/*
 * What masks need of cryptography: SHA-256 and MD5, HMAC-SHA-256 with a key that is worked into two
 * states once, and what is derived from it. No call allocates. Pure; any thread.
 */
#pragma once

#include <openssl/sha.h>
#include <stdint.h>

#include "base/span.h"

enum { MASK_SHA256_SIZE = 32, MASK_MD5_SIZE = 16 };

/* HMAC (RFC 2104): each digest goes on from a copy of these. */
typedef struct MaskKeyed {
    SHA256_CTX inner, outer;
} MaskKeyed;

void mask_keyed_init(MaskKeyed *keyed, Span key);
/* With a key of its own, made of the key and what it is for: what one mask shows says nothing of
 * what another one of the value does. */
void mask_keyed_init_for(MaskKeyed *keyed, Span key, const char *purpose);
void mask_hmac(const MaskKeyed *keyed, Span text, unsigned char out[static MASK_SHA256_SIZE]);
void mask_sha256(Span text, unsigned char out[static MASK_SHA256_SIZE]);
void mask_md5(Span text, unsigned char out[static MASK_MD5_SIZE]);
