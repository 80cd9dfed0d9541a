#include "gateway/intake/credential.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <string.h>

#define BASIC_BYTES_MAX 576 /* user, colon and password; a multiple of 3 */

bool credential_matches(const char *expected, Span given) {
    /* Both sides are laid into buffers of one size, so that the comparison sees neither length nor
     * content. OpenSSL takes 7 instructions for a byte: it gets the differences of all words in
     * one. */
    uint64_t a[CREDENTIAL_BYTES_MAX / sizeof(uint64_t)] = {0}, b[CREDENTIAL_BYTES_MAX / sizeof(uint64_t)] = {0}, differences = 0;
    static const uint64_t none = 0;
    size_t expected_size = expected ? strnlen(expected, sizeof a) : 0;
    size_t given_size = given.size < sizeof b ? given.size : sizeof b;
    if (expected_size) memcpy(a, expected, expected_size);
    if (given_size) memcpy(b, given.data, given_size);
    for (size_t i = 0; i < sizeof a / sizeof *a; i++) differences |= a[i] ^ b[i];
    bool different = CRYPTO_memcmp(&differences, &none, sizeof none) != 0;
    return !(different | (expected_size != given.size) | (expected_size == 0));
}

/* Decodes into `out`, also without padding and with the alphabet for URLs (RFC 4648); what does not
 * fit or is not base64 gives an empty span, which matches nothing. */
static Span base64_decode(Span text, char out[static BASIC_BYTES_MAX]) {
    char padded[BASIC_BYTES_MAX / 3 * 4];
    while (text.size && text.data[text.size - 1] == '=') text.size--;
    size_t blocks = (text.size + 3) / 4 * 4;
    if (text.size == 0 || text.size % 4 == 1 || blocks > sizeof padded) return (Span){0};
    for (size_t i = 0; i < blocks; i++) {
        char c = i < text.size ? text.data[i] : '=';
        padded[i] = (char)(c == '-' ? '+' : c == '_' ? '/' : c);
        if (i < text.size && (c == '=' || c <= ' ')) return (Span){0}; /* OpenSSL would pass over them */
    }
    int size = EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)padded, (int)blocks);
    if (size < 0) return (Span){0};
    return (Span){out, (size_t)size - (blocks - text.size)};
}

/* What follows "scheme " in any case; data NULL: another scheme. */
static Span after_scheme(Span header, Span scheme) {
    if (header.size <= scheme.size || header.data[scheme.size] != ' ') return (Span){0};
    if (!span_equal_nocase((Span){header.data, scheme.size}, scheme)) return (Span){0};
    Span rest = {header.data + scheme.size + 1, header.size - scheme.size - 1};
    while (rest.size && rest.data[0] == ' ') rest = (Span){rest.data + 1, rest.size - 1};
    return rest;
}

bool credential_in_headers(const char *expected, Span authorization, Span api_key) {
    char decoded[BASIC_BYTES_MAX];
    Span given = after_scheme(authorization, SPAN("Bearer"));
    if (!given.data) {
        Span pair = base64_decode(after_scheme(authorization, SPAN("Basic")), decoded);
        const char *colon = pair.size ? memchr(pair.data, ':', pair.size) : NULL;
        if (colon) given = (Span){colon + 1, pair.size - (size_t)(colon - pair.data) - 1};
    }
    bool by_authorization = credential_matches(expected, given);
    bool by_api_key = credential_matches(expected, api_key);
    return by_authorization || by_api_key;
}
