#include "gateway/http/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "gateway/http/client_address.h"

/* The library reads all that the kernel holds for a connection before anybody can look at it: this
 * is how much that may be (inherited by the connections; the kernel doubles it). */
#define RECEIVE_BYTES (192 * 1024)
#define FREE_PORT_TRIES 20

static unsigned port_of(const struct sockaddr_storage *address) {
    return ntohs(address->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)(const void *)address)->sin6_port
                                                : ((const struct sockaddr_in *)(const void *)address)->sin_port);
}

/* Adds a socket; `port` in place of the address's own unless it is 0. */
static int bind_one(const struct addrinfo *info, unsigned port, bool alone, HttpListener *listener) {
    _cleanup_close_ int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, info->ai_protocol);
    if (fd < 0) return -errno;
    int one = 1, only = !alone, receive = RECEIVE_BYTES;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof receive);
    /* [::] alone is for everybody; where the name also stands for an IPv4 address, that one has a
     * socket of its own. */
    if (info->ai_family == AF_INET6) (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    struct sockaddr_storage address = {0};
    memcpy(&address, info->ai_addr, info->ai_addrlen);
    if (port && info->ai_family == AF_INET6) ((struct sockaddr_in6 *)(void *)&address)->sin6_port = htons((uint16_t)port);
    if (port && info->ai_family == AF_INET) ((struct sockaddr_in *)(void *)&address)->sin_port = htons((uint16_t)port);
    if (bind(fd, (struct sockaddr *)&address, info->ai_addrlen) < 0) return -errno;
    listener->fds[listener->count++] = fd;
    fd = -1;
    return 0;
}

static bool is_before(const struct addrinfo *list, const struct addrinfo *info) {
    for (; list != info; list = list->ai_next)
        if (list->ai_addrlen == info->ai_addrlen && memcmp(list->ai_addr, info->ai_addr, info->ai_addrlen) == 0) return true;
    return false;
}

static int bind_all(const struct addrinfo *list, HttpListener *listener) {
    int last = -EADDRNOTAVAIL;
    unsigned port = 0;
    for (const struct addrinfo *info = list; info && listener->count < HTTP_LISTENER_SOCKETS_MAX; info = info->ai_next) {
        if (is_before(list, info)) continue;
        int r = bind_one(info, port, !list->ai_next, listener);
        if (r < 0) last = r;
        if (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL) continue; /* of a family that this machine does not have */
        if (r < 0) return r;
        struct sockaddr_storage bound = {0};
        socklen_t size = sizeof bound;
        check(getsockname(listener->fds[listener->count - 1], (struct sockaddr *)&bound, &size) == 0);
        port = port_of(&bound);
    }
    return listener->count ? 0 : last;
}

static int cannot_listen(int code, const char *address, Error *error) {
    if (code == -EADDRINUSE) return error_set(error, code, "cannot listen on %s: the address is in use by another program", address);
    return error_set(error, code, "cannot listen on %s: %s", address, strerror(-code));
}

int http_bind(const char *address, HttpListener *ret_listener, Error *error) {
    const char *colon = strrchr(address, ':');
    if (!colon || !colon[1]) return error_set(error, -EINVAL, "\"%s\" is not ADDR:PORT", address);
    const char *start = address, *end = colon;
    if (*start == '[' && end > start && end[-1] == ']') start++, end--;
    _cleanup_free_ char *host = strndup(start, (size_t)(end - start));
    check(host);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list = NULL;
    int r = getaddrinfo(*host ? host : NULL, colon + 1, &hints, &list);
    if (r != 0) return error_set(error, -EINVAL, "cannot listen on %s: %s", address, gai_strerror(r));
    HttpListener listener = {0};
    /* A port that is free at one address may be taken at the next one: then another is tried. */
    int tries = strcmp(colon, ":0") == 0 ? FREE_PORT_TRIES : 1;
    do {
        http_listener_deinit(&listener);
        r = bind_all(list, &listener);
    } while (r == -EADDRINUSE && --tries > 0);
    freeaddrinfo(list);
    if (r < 0) {
        http_listener_deinit(&listener);
        return cannot_listen(r, address, error);
    }
    *ret_listener = listener;
    return 0;
}

void http_listener_deinit(HttpListener *listener) {
    while (listener->count > 0) (void)close(listener->fds[--listener->count]);
}

char *http_listener_address(const HttpListener *listener) {
    Buffer text = {0};
    for (size_t i = 0; i < listener->count; i++) {
        struct sockaddr_storage address = {0};
        socklen_t size = sizeof address;
        char host[ADDRESS_TEXT_BYTES];
        check(getsockname(listener->fds[i], (struct sockaddr *)&address, &size) == 0);
        check(getnameinfo((struct sockaddr *)&address, size, host, sizeof host, NULL, 0, NI_NUMERICHOST) == 0);
        bool six = strchr(host, ':') != NULL;
        buffer_printf(&text, "%s%s%s%s:%u", i ? "," : "", six ? "[" : "", host, six ? "]" : "", port_of(&address));
    }
    return buffer_take(&text);
}

int http_listener_listen(const HttpListener *listener, HttpListener *ret_own, Error *error) {
    HttpListener own = {0};
    int r = 0;
    for (size_t i = 0; i < listener->count && r == 0; i++) {
        int fd = fcntl(listener->fds[i], F_DUPFD_CLOEXEC, 0);
        if (fd >= 0) own.fds[own.count++] = fd;
        if (fd < 0 || listen(fd, SOMAXCONN) < 0) r = -errno;
    }
    if (r < 0) {
        _cleanup_free_ char *address = http_listener_address(listener);
        http_listener_deinit(&own);
        return cannot_listen(r, address, error);
    }
    *ret_own = own;
    return 0;
}
