/*
 * The cryptography of masks: SHA-256, MD5, and HMAC-SHA-256. The key of an HMAC is prepared once,
 * as two states. No call allocates. Pure; any thread.
 */
#pragma once

#include <openssl/sha.h>
#include <stdint.h>

#include "base/span.h"

enum { MASK_SHA256_SIZE = 32, MASK_MD5_SIZE = 16 };

/* HMAC (RFC 2104): each digest begins with a copy of these states. */
typedef struct MaskKeyed {
    SHA256_CTX inner, outer;
} MaskKeyed;

void mask_keyed_init(MaskKeyed *keyed, Span key);
/* Uses another key, which is derived from the key and the purpose. So the result of one mask says
 * nothing about the result of another mask for the same value. */
void mask_keyed_init_for(MaskKeyed *keyed, Span key, const char *purpose);
void mask_hmac(const MaskKeyed *keyed, Span text, unsigned char out[static MASK_SHA256_SIZE]);
void mask_sha256(Span text, unsigned char out[static MASK_SHA256_SIZE]);
void mask_md5(Span text, unsigned char out[static MASK_MD5_SIZE]);
