/* The functions of OpenSSL's EVP allocate for each digest, and take twice as long for a short text:
 * these do not. They are deprecated for that they take no other implementation than the library's
 * own, which nothing here asks for. */
#define OPENSSL_API_COMPAT 0x10100000L

#include "mapping/mask_hash.h"

#include <openssl/md5.h>
#include <string.h>

#include "base/error.h"

enum { BLOCK_SIZE = 64 };

void mask_keyed_init(MaskKeyed *keyed, Span key) {
    unsigned char block[BLOCK_SIZE] = {0};
    if (key.size > sizeof block)
        mask_sha256(key, block);
    else if (key.size > 0)
        memcpy(block, key.data, key.size);
    for (size_t i = 0; i < sizeof block; i++) block[i] ^= 0x36;
    check(SHA256_Init(&keyed->inner) == 1 && SHA256_Update(&keyed->inner, block, sizeof block) == 1);
    for (size_t i = 0; i < sizeof block; i++) block[i] ^= 0x36 ^ 0x5c;
    check(SHA256_Init(&keyed->outer) == 1 && SHA256_Update(&keyed->outer, block, sizeof block) == 1);
    explicit_bzero(block, sizeof block);
}

void mask_keyed_init_for(MaskKeyed *keyed, Span key, const char *purpose) {
    unsigned char derived[MASK_SHA256_SIZE];
    mask_keyed_init(keyed, key);
    mask_hmac(keyed, span_of(purpose), derived);
    mask_keyed_init(keyed, (Span){(const char *)derived, sizeof derived});
    explicit_bzero(derived, sizeof derived);
}

void mask_hmac(const MaskKeyed *keyed, Span text, unsigned char out[static MASK_SHA256_SIZE]) {
    SHA256_CTX state = keyed->inner;
    check(SHA256_Update(&state, text.size ? text.data : "", text.size) == 1 && SHA256_Final(out, &state) == 1);
    state = keyed->outer;
    check(SHA256_Update(&state, out, MASK_SHA256_SIZE) == 1 && SHA256_Final(out, &state) == 1);
}

void mask_sha256(Span text, unsigned char out[static MASK_SHA256_SIZE]) {
    SHA256_CTX state;
    check(SHA256_Init(&state) == 1);
    check(SHA256_Update(&state, text.size ? text.data : "", text.size) == 1 && SHA256_Final(out, &state) == 1);
}

void mask_md5(Span text, unsigned char out[static MASK_MD5_SIZE]) {
    MD5_CTX state;
    check(MD5_Init(&state) == 1);
    check(MD5_Update(&state, text.size ? text.data : "", text.size) == 1 && MD5_Final(out, &state) == 1);
}
