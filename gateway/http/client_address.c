#include "gateway/http/client_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"

/* Every address is kept as IPv6; IPv4 lies in ::ffff:0:0/96. */
typedef struct Network {
    struct in6_addr address;
    unsigned bits;
} Network;

struct TrustedProxies {
    size_t count;
    Network networks[];
};

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool is_mapped(const struct in6_addr *address) {
    return memcmp(address->s6_addr, mapped_prefix, sizeof mapped_prefix) == 0;
}

/* `ret_v4`: it was written as IPv4, so that prefixes count from bit 96. */
static bool parse_address(Span text, struct in6_addr *ret_address, bool *ret_v4) {
    char copy[ADDRESS_TEXT_BYTES];
    if (text.size == 0 || text.size >= sizeof copy) return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    struct in_addr v4;
    *ret_v4 = inet_pton(AF_INET, copy, &v4) == 1;
    if (*ret_v4) {
        memcpy(ret_address->s6_addr, mapped_prefix, sizeof mapped_prefix);
        memcpy(ret_address->s6_addr + 12, &v4, 4);
        return true;
    }
    return inet_pton(AF_INET6, copy, ret_address) == 1;
}

static size_t format_address(const struct in6_addr *address, char out[static ADDRESS_TEXT_BYTES]) {
    bool v4 = is_mapped(address);
    const void *bytes = v4 ? (const void *)(address->s6_addr + 12) : (const void *)address;
    if (!inet_ntop(v4 ? AF_INET : AF_INET6, bytes, out, ADDRESS_TEXT_BYTES)) return 0;
    return strlen(out);
}

static bool parse_network(Span text, Network *ret_network) {
    const char *slash = memchr(text.data, '/', text.size);
    Span address = slash ? (Span){text.data, (size_t)(slash - text.data)} : text;
    bool v4;
    if (!parse_address(address, &ret_network->address, &v4)) return false;
    unsigned most = v4 ? 32 : 128, bits = most;
    if (slash) {
        Span digits = {slash + 1, text.size - address.size - 1};
        if (digits.size == 0 || digits.size > 3) return false;
        bits = 0;
        for (size_t i = 0; i < digits.size; i++) {
            if (digits.data[i] < '0' || digits.data[i] > '9') return false;
            bits = bits * 10 + (unsigned)(digits.data[i] - '0');
        }
        if (bits > most) return false;
    }
    ret_network->bits = bits + (v4 ? 96 : 0);
    return true;
}

int trusted_proxies_parse(const char *text, TrustedProxies **ret_proxies, Error *error) {
    Span left = span_of(text);
    size_t most = 1;
    for (size_t i = 0; i < left.size; i++) most += left.data[i] == ',';
    TrustedProxies *proxies = calloc(1, sizeof *proxies + most * sizeof(Network));
    check(proxies);
    while (left.size) {
        const char *comma = memchr(left.data, ',', left.size);
        Span part = {left.data, comma ? (size_t)(comma - left.data) : left.size};
        left = comma ? (Span){comma + 1, left.size - part.size - 1} : (Span){0};
        part = text_trim(part);
        if (part.size == 0) continue;
        if (!parse_network(part, &proxies->networks[proxies->count])) {
            free(proxies);
            return error_set(error, -EINVAL, "\"%.*s\" is not an address or network such as 10.0.0.0/8 or fd00::/8", (int)part.size,
                             part.data);
        }
        proxies->count++;
    }
    *ret_proxies = proxies;
    return 0;
}

void trusted_proxies_free(TrustedProxies *proxies) {
    free(proxies);
}

static bool network_holds(const Network *network, const struct in6_addr *address) {
    size_t bytes = network->bits / 8;
    unsigned rest = network->bits % 8;
    if (memcmp(network->address.s6_addr, address->s6_addr, bytes) != 0) return false;
    return rest == 0 || (network->address.s6_addr[bytes] ^ address->s6_addr[bytes]) >> (8 - rest) == 0;
}

static bool holds(const TrustedProxies *proxies, const struct in6_addr *address) {
    for (size_t i = 0; i < proxies->count; i++)
        if (network_holds(&proxies->networks[i], address)) return true;
    return false;
}

bool trusted_proxies_hold(const TrustedProxies *proxies, Span address) {
    struct in6_addr parsed;
    bool v4;
    return proxies->count > 0 && parse_address(address, &parsed, &v4) && holds(proxies, &parsed);
}

size_t address_format(const struct sockaddr *address, char out[static ADDRESS_TEXT_BYTES]) {
    struct in6_addr wide;
    if (address->sa_family == AF_INET) {
        memcpy(wide.s6_addr, mapped_prefix, sizeof mapped_prefix);
        memcpy(wide.s6_addr + 12, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        wide = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    } else {
        out[0] = 0;
        return 0;
    }
    return format_address(&wide, out);
}

bool address_is_loopback(const struct sockaddr *address) {
    char text[ADDRESS_TEXT_BYTES];
    size_t size = address_format(address, text);
    return size == 0 || strncmp(text, "127.", 4) == 0 || strcmp(text, "::1") == 0;
}

/* One hop as proxies write it: 1.2.3.4, 1.2.3.4:80, ::1, [::1], [::1]:80, any of them in quotes. */
static bool parse_hop(Span text, struct in6_addr *ret_address) {
    text = text_trim(text);
    if (text.size >= 2 && text.data[0] == '"' && text.data[text.size - 1] == '"') text = (Span){text.data + 1, text.size - 2};
    if (text.size && text.data[0] == '[') {
        const char *end = memchr(text.data, ']', text.size);
        if (!end) return false;
        text = (Span){text.data + 1, (size_t)(end - text.data) - 1};
    } else if (text.size) {
        const char *colon = memchr(text.data, ':', text.size);
        size_t after = colon ? text.size - (size_t)(colon - text.data) - 1 : 0;
        if (colon && !memchr(colon + 1, ':', after)) text.size = (size_t)(colon - text.data); /* one colon: a port */
    }
    bool v4;
    return parse_address(text, ret_address, &v4);
}

/* The value of `for=` in one element of Forwarded; empty when it has none. */
static Span forwarded_for_of(Span element) {
    while (element.size) {
        const char *semicolon = memchr(element.data, ';', element.size);
        Span pair = {element.data, semicolon ? (size_t)(semicolon - element.data) : element.size};
        element = semicolon ? (Span){semicolon + 1, element.size - pair.size - 1} : (Span){0};
        pair = text_trim(pair);
        if (pair.size > 4 && span_equal_nocase((Span){pair.data, 4}, SPAN("for="))) return (Span){pair.data + 4, pair.size - 4};
    }
    return (Span){0};
}

Span client_address(const TrustedProxies *proxies, Span peer, Span forwarded_for, Span forwarded, char out[static ADDRESS_TEXT_BYTES]) {
    if (!trusted_proxies_hold(proxies, peer)) return peer;
    bool plain = forwarded_for.size > 0;
    Span left = plain ? forwarded_for : forwarded;
    Span answer = peer;
    while (left.size) {
        size_t start = left.size;
        while (start > 0 && left.data[start - 1] != ',') start--;
        Span hop = {left.data + start, left.size - start};
        left.size = start > 0 ? start - 1 : 0;
        struct in6_addr address;
        if (!parse_hop(plain ? hop : forwarded_for_of(hop), &address))
            break; /* hidden or unknown: the hop before it is all that is known */
        answer = (Span){out, format_address(&address, out)};
        if (!holds(proxies, &address)) break;
    }
    return answer;
}
