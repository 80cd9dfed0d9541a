/*
 * The address of an event's sender: the peer's address, or, behind trusted proxies, the right-most
 * address of X-Forwarded-For (or Forwarded, RFC 7239) that is not a trusted proxy. Addresses to the
 * left of it come from senders that are not trusted. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/span.h"

#define ADDRESS_TEXT_BYTES 46 /* INET6_ADDRSTRLEN: with NUL */

typedef struct TrustedProxies TrustedProxies; /* immutable */

/* Comma-separated CIDRs or single addresses, IPv4 and IPv6; "" or NULL: none. -EINVAL names the
 * part that is wrong. */
int trusted_proxies_parse(const char *text, TrustedProxies **ret_proxies, Error *error);
void trusted_proxies_free(TrustedProxies *proxies); /* NULL-safe */
bool trusted_proxies_hold(const TrustedProxies *proxies, Span address);

/* "127.0.0.1" or "::1" of a socket address, an IPv4-mapped IPv6 address as IPv4; returns its
 * length, 0 for other families. */
size_t address_format(const struct sockaddr *address, char out[static ADDRESS_TEXT_BYTES]);
/* Is it the machine itself: 127.0.0.0/8, ::1, or not an internet address at all? */
bool address_is_loopback(const struct sockaddr *address);

/* Returns the address. `forwarded_for` and `forwarded` are the values of the headers in the order
 * in which they came, joined by commas; empty if not sent. If both are there, the first one counts,
 * because a proxy that does not know the other header passes it on as the client wrote it. The
 * result points into `out` or is `peer`. */
Span client_address(const TrustedProxies *proxies, Span peer, Span forwarded_for, Span forwarded, char out[static ADDRESS_TEXT_BYTES]);
