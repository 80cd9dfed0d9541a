/*
 * Listening sockets. They are bound early, so that a port in use is found before anything else
 * runs. Peers can connect when the first loop starts. Any thread.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"

#define HTTP_LISTENER_SOCKETS_MAX 4

/* The sockets of one ADDR:PORT, all with the same port: one for each address of the name. */
typedef struct HttpListener {
    int fds[HTTP_LISTENER_SOCKETS_MAX];
    size_t count;
} HttpListener;

/* Binds with SO_REUSEADDR (not REUSEPORT). "127.0.0.1:0" takes a free port. Nobody can connect
 * before a loop is started: an early peer is refused and does not hang. Addresses of a family that
 * this machine does not have are ignored. -EADDRINUSE names the address. */
int http_bind(const char *address, HttpListener *ret_listener, Error *error);
void http_listener_deinit(HttpListener *listener); /* also of one that is all zero */
/* "127.0.0.1:7000" as bound, several with commas between; free(). */
char *http_listener_address(const HttpListener *listener);

/* Sockets of a loop's own (dup'ed), on which peers are let in from now on; again for each loop of a
 * listener, which changes nothing. */
int http_listener_listen(const HttpListener *listener, HttpListener *ret_own, Error *error);
