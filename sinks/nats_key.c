#include "sinks/nats_key.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdint.h>

#define KIND_SEED 18 /* the letters S and U of base32: what a seed and a user's key begin with */
#define KIND_USER 20
#define KEY_BYTES 32
#define SEED_BYTES (2 + KEY_BYTES + 2)
#define PUBLIC_BYTES (1 + KEY_BYTES + 2)

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/* RFC 4648 without padding; the size, or -1: another letter, or not `size` bytes. */
static int decode(Span text, uint8_t *out, size_t size) {
    uint32_t bits = 0;
    unsigned count = 0;
    size_t at = 0;
    for (size_t i = 0; i < text.size; i++) {
        const char *letter = text.data[i] ? memchr(letters, text.data[i], 32) : NULL;
        if (!letter) return -1;
        bits = (bits << 5 | (uint32_t)(letter - letters)) & 0xfff;
        count += 5;
        if (count < 8) continue;
        if (at == size) return -1;
        count -= 8;
        out[at++] = (uint8_t)(bits >> count);
    }
    return at == size && count < 5 ? 0 : -1;
}

static void encode(const uint8_t *bytes, size_t size, char *out) {
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | bytes[i];
        for (count += 8; count >= 5; count -= 5) *out++ = letters[bits >> (count - 5) & 31];
    }
    if (count > 0) *out++ = letters[bits << (5 - count) & 31];
    *out = '\0';
}

/* CRC-16/XMODEM. */
static uint16_t checksum(const uint8_t *bytes, size_t size) {
    uint32_t crc = 0;
    for (size_t i = 0; i < size; i++) {
        crc ^= (uint32_t)bytes[i] << 8;
        for (int k = 0; k < 8; k++) crc = crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1;
    }
    return (uint16_t)crc;
}

static Span trimmed(Span text) {
    static const char spaces[] = " \t\r\n";
    while (text.size > 0 && strchr(spaces, text.data[0])) text = (Span){text.data + 1, text.size - 1};
    while (text.size > 0 && strchr(spaces, text.data[text.size - 1])) text.size--;
    return text;
}

static int public_of(const uint8_t *key, char *ret_public, Error *error) {
    uint8_t bytes[PUBLIC_BYTES] = {KIND_USER << 3};
    size_t size = KEY_BYTES;
    EVP_PKEY *pair = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key, KEY_BYTES);
    int done = pair ? EVP_PKEY_get_raw_public_key(pair, bytes + 1, &size) : 0;
    EVP_PKEY_free(pair);
    if (done != 1 || size != KEY_BYTES) return error_set(error, -EINVAL, "the key cannot be used.");
    uint16_t crc = checksum(bytes, 1 + KEY_BYTES);
    bytes[1 + KEY_BYTES] = (uint8_t)crc;
    bytes[2 + KEY_BYTES] = (uint8_t)(crc >> 8);
    encode(bytes, sizeof bytes, ret_public);
    return 0;
}

int nats_key_public(Span seed, char ret_public[static NATS_KEY_SIZE], Error *error) {
    uint8_t bytes[SEED_BYTES];
    Span text = trimmed(seed);
    int r = decode(text, bytes, sizeof bytes);
    if (r < 0) {
        r = error_set(error, -EINVAL, "it has no seed of an nkey.");
    } else if (checksum(bytes, SEED_BYTES - 2) != (uint16_t)(bytes[SEED_BYTES - 2] | bytes[SEED_BYTES - 1] << 8)) {
        r = error_set(error, -EINVAL, "the seed of the nkey has a wrong checksum.");
    } else if (bytes[0] >> 3 != KIND_SEED || ((bytes[0] & 7) << 5 | bytes[1] >> 3) != KIND_USER << 3) {
        r = error_set(error, -EINVAL, "the nkey is not a user's: its seed does not begin with SU.");
    } else {
        r = public_of(bytes + 2, ret_public, error);
    }
    OPENSSL_cleanse(bytes, sizeof bytes);
    return r;
}
