#include "gateway/intake/credential.h"

#include <stdint.h>
#include <string.h>

bool credential_matches(const char *expected, Span given) {
    /* Both sides are laid into buffers of one size, so that the loop sees neither length nor content. */
    uint64_t a[CREDENTIAL_BYTES_MOST / sizeof(uint64_t)] = {0}, b[CREDENTIAL_BYTES_MOST / sizeof(uint64_t)] = {0};
    size_t expected_size = expected ? strnlen(expected, sizeof a) : 0;
    size_t given_size = given.size < sizeof b ? given.size : sizeof b;
    if (expected_size) memcpy(a, expected, expected_size);
    if (given_size) memcpy(b, given.data, given_size);
    uint64_t different = (uint64_t)(expected_size != given.size) | (uint64_t)(expected_size == 0);
    for (size_t i = 0; i < sizeof a / sizeof *a; i++) different |= a[i] ^ b[i];
    return different == 0;
}

static int base64_value(char byte) {
    if (byte >= 'A' && byte <= 'Z') return byte - 'A';
    if (byte >= 'a' && byte <= 'z') return byte - 'a' + 26;
    if (byte >= '0' && byte <= '9') return byte - '0' + 52;
    if (byte == '+' || byte == '-') return 62;
    if (byte == '/' || byte == '_') return 63;
    return -1;
}

/* Decodes into `out`; what does not fit or is not base64 gives an empty span, which matches nothing. */
static Span base64_decode(Span text, char *out, size_t capacity) {
    size_t size = 0;
    unsigned bits = 0, have = 0;
    while (text.size && text.data[text.size - 1] == '=') text.size--;
    for (size_t i = 0; i < text.size; i++) {
        int value = base64_value(text.data[i]);
        if (value < 0) return (Span){0};
        bits = bits << 6 | (unsigned)value;
        have += 6;
        if (have < 8) continue;
        have -= 8;
        if (size == capacity) return (Span){0};
        out[size++] = (char)(bits >> have & 0xff);
    }
    return (Span){out, size};
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
    char decoded[CREDENTIAL_BYTES_MOST * 2 + 64];
    Span given = after_scheme(authorization, SPAN("Bearer"));
    if (!given.data) {
        Span pair = base64_decode(after_scheme(authorization, SPAN("Basic")), decoded, sizeof decoded);
        const char *colon = pair.size ? memchr(pair.data, ':', pair.size) : NULL;
        if (colon) given = (Span){colon + 1, pair.size - (size_t)(colon - pair.data) - 1};
    }
    bool by_authorization = credential_matches(expected, given);
    bool by_api_key = credential_matches(expected, api_key);
    return by_authorization || by_api_key;
}
