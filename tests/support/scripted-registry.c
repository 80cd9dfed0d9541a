#include "tests/support/scripted-registry.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"
#include "base/thread.h"

struct ScriptedRegistry {
    int listener;
    char url[64];
    Thread thread;
    atomic_bool stopping;
    _Atomic size_t requests;
    pthread_mutex_t lock; /* below */
    char *says;
    bool trickles;
    Buffer heard;
};

/* Until the client is gone, or `max_ms` are over (-1: no end), or the test ends. */
static void wait_gone(ScriptedRegistry *registry, int fd, int max_ms) {
    for (int waited = 0; !registry->stopping && (max_ms < 0 || waited < max_ms); waited += 20) {
        struct pollfd gone = {.fd = fd, .events = POLLIN};
        if (poll(&gone, 1, 20) > 0) return;
    }
}

static bool hear(ScriptedRegistry *registry, int fd) {
    Buffer heard = {0};
    bool whole = false;
    while (!whole) {
        ssize_t n = recv(fd, buffer_reserve(&heard, 4096), 4096, 0);
        if (n <= 0) break;
        heard.size += (size_t)n;
        whole = strstr(buffer_text(&heard), "\r\n\r\n") != NULL;
    }
    check(pthread_mutex_lock(&registry->lock) == 0);
    buffer_deinit(&registry->heard);
    registry->heard = heard;
    check(pthread_mutex_unlock(&registry->lock) == 0);
    return whole;
}

static void serve(ScriptedRegistry *registry, int fd) {
    if (!hear(registry, fd)) return;
    check(pthread_mutex_lock(&registry->lock) == 0);
    char *says = text_copy(registry->says);
    bool trickles = registry->trickles;
    check(pthread_mutex_unlock(&registry->lock) == 0);
    registry->requests++;
    if (!says) wait_gone(registry, fd, -1);
    size_t size = says ? strlen(says) : 0;
    for (size_t sent = 0; sent < size && !registry->stopping;) {
        ssize_t n = send(fd, says + sent, trickles ? 1 : size - sent, MSG_NOSIGNAL);
        if (n <= 0) break;
        sent += (size_t)n;
        if (trickles) wait_gone(registry, fd, 50);
    }
    free(says);
}

static void *run(void *context) {
    ScriptedRegistry *registry = context;
    for (;;) {
        int fd = accept(registry->listener, NULL, NULL);
        if (registry->stopping || fd < 0) {
            if (fd >= 0) (void)close(fd);
            return NULL;
        }
        serve(registry, fd);
        (void)close(fd);
    }
}

ScriptedRegistry *scripted_registry_start(void) {
    ScriptedRegistry *registry = calloc(1, sizeof *registry);
    check(registry && pthread_mutex_init(&registry->lock, NULL) == 0);
    registry->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    check(bind(registry->listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(registry->listener, 16) == 0);
    check(getsockname(registry->listener, (struct sockaddr *)&address, &length) == 0);
    (void)snprintf(registry->url, sizeof registry->url, "http://127.0.0.1:%u", ntohs(address.sin_port));
    check(thread_start(&registry->thread, "registry", run, registry, NULL) == 0);
    return registry;
}

void scripted_registry_stop(ScriptedRegistry *registry) {
    registry->stopping = true;
    (void)shutdown(registry->listener, SHUT_RDWR);
    thread_join(&registry->thread);
    (void)close(registry->listener);
    check(pthread_mutex_destroy(&registry->lock) == 0);
    free(registry->says);
    buffer_deinit(&registry->heard);
    free(registry);
}

const char *scripted_registry_url(const ScriptedRegistry *registry) {
    return registry->url;
}

static void set(ScriptedRegistry *registry, const char *says, bool trickles) {
    check(pthread_mutex_lock(&registry->lock) == 0);
    free(registry->says);
    registry->says = text_copy(says);
    registry->trickles = trickles;
    check(pthread_mutex_unlock(&registry->lock) == 0);
}

void scripted_registry_say(ScriptedRegistry *registry, const char *bytes) {
    set(registry, bytes, false);
}

void scripted_registry_trickle(ScriptedRegistry *registry, const char *bytes) {
    set(registry, bytes, true);
}

void scripted_registry_answer(ScriptedRegistry *registry, int status, const char *body) {
    Buffer answer = {0};
    buffer_printf(&answer, "HTTP/1.1 %d Text\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body),
                  body);
    set(registry, buffer_text(&answer), false);
    buffer_deinit(&answer);
}

size_t scripted_registry_requests(const ScriptedRegistry *registry) {
    return registry->requests;
}

void scripted_registry_last(const ScriptedRegistry *registry, Buffer *out) {
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&registry->lock;
    check(pthread_mutex_lock(lock) == 0);
    buffer_append_span(out, buffer_span(&registry->heard));
    check(pthread_mutex_unlock(lock) == 0);
}
