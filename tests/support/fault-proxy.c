#include "tests/support/fault-proxy.h"
#include "tests/support/send-all.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/thread.h"

#define AT_COMMIT_MAX 8
#define TURN_MS 20

/* Of one direction of the connection that is passed on. */
typedef struct Flow {
    Buffer waiting; /* of a message that is not complete yet */
    unsigned messages;
    unsigned at_commit; /* of these: since COMMIT */
    size_t sizes[AT_COMMIT_MAX];
} Flow;

struct FaultProxy {
    int listener, server_port;
    Thread thread;
    char uri[200];
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t idle_changed;
    ProxyTarget target;
    Flow flows[2]; /* from the client, from the server */
    bool committing, reached, ending, is_idle;
};

/* 0: more bytes are needed. The first message of a client has no type. */
static size_t message_size(const Flow *flow, bool from_server, Span data) {
    size_t type = from_server || flow->messages > 0 ? 1 : 0;
    if (data.size < type + 4) return 0;
    uint32_t length;
    memcpy(&length, data.data + type, sizeof length);
    size_t size = type + ntohl(length);
    return data.size < size ? 0 : size;
}

static void count_one_less(char *message, size_t size) {
    if (message[0] != 'C' || size < 12 || memcmp(message + 5, "COPY ", 5) != 0) return;
    char *last = message + size - 2;
    check(*last >= '1' && *last <= '9'); /* tests choose such numbers */
    --*last;
}

/* true: this message is the target. */
static bool note(FaultProxy *proxy, bool from_server, char *message, size_t size) {
    Flow *flow = &proxy->flows[from_server];
    const ProxyTarget *target = &proxy->target;
    if (!from_server && memmem(message, size, "COMMIT", sizeof "COMMIT")) proxy->committing = true;
    if (target->fault == PROXY_COUNT && from_server) count_one_less(message, size);
    unsigned number = target->at_commit ? flow->at_commit : flow->messages;
    bool is_counted = !target->at_commit || proxy->committing;
    flow->messages++;
    if (proxy->committing) {
        if (flow->at_commit < AT_COMMIT_MAX) flow->sizes[flow->at_commit] = size;
        flow->at_commit++;
    }
    if (target->fault != PROXY_CUT && target->fault != PROXY_HOLE) return false;
    return target->from_server == from_server && is_counted && number == target->message;
}

/* false: the connection ends, or nothing may pass any more (proxy->reached). */
static bool pass(FaultProxy *proxy, bool from_server, int to) {
    Flow *flow = &proxy->flows[from_server];
    size_t size, done = 0;
    bool goes_on = true;
    while (goes_on && (size = message_size(flow, from_server, (Span){flow->waiting.data + done, flow->waiting.size - done})) > 0) {
        pthread_mutex_lock(&proxy->lock);
        proxy->reached = note(proxy, from_server, flow->waiting.data + done, size);
        size_t part = proxy->reached && proxy->target.byte < size ? proxy->target.byte : size;
        pthread_mutex_unlock(&proxy->lock);
        goes_on = send_all(to, flow->waiting.data + done, part) && !proxy->reached;
        done += size;
    }
    memmove(flow->waiting.data, flow->waiting.data + done, flow->waiting.size - done);
    flow->waiting.size -= done;
    return goes_on;
}

static void wait_for_end_of(int client) {
    struct pollfd poller = {.fd = client, .events = POLLIN};
    char data[4096];
    while (poll(&poller, 1, 60000) > 0 && recv(client, data, sizeof data, 0) > 0) continue;
}

/* Messages are sent one by one: without this, each waits for the acknowledgement of the one before. */
static void send_at_once(int fd) {
    check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) == 0);
}

static void serve(FaultProxy *proxy, int client) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)proxy->server_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    _cleanup_close_ int upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(upstream, (struct sockaddr *)&address, sizeof address) != 0) return;
    send_at_once(client);
    send_at_once(upstream);
    int ends[2] = {client, upstream};
    for (;;) {
        struct pollfd pollers[2] = {{.fd = client, .events = POLLIN}, {.fd = upstream, .events = POLLIN}};
        if (poll(pollers, 2, 60000) <= 0) return;
        for (int i = 0; i < 2; i++) {
            if (pollers[i].revents == 0) continue;
            Buffer *waiting = &proxy->flows[i].waiting;
            ssize_t n = recv(ends[i], buffer_reserve(waiting, 1 << 16), 1 << 16, 0);
            if (n <= 0) return;
            waiting->size += (size_t)n;
            if (pass(proxy, i == 1, ends[1 - i])) continue;
            if (proxy->reached && proxy->target.fault == PROXY_HOLE) wait_for_end_of(client);
            return;
        }
    }
}

static void begin(FaultProxy *proxy) {
    pthread_mutex_lock(&proxy->lock);
    proxy->is_idle = proxy->committing = proxy->reached = false;
    for (int i = 0; i < 2; i++) {
        buffer_deinit(&proxy->flows[i].waiting);
        proxy->flows[i] = (Flow){0};
    }
    pthread_mutex_unlock(&proxy->lock);
}

static void *run(void *context) {
    FaultProxy *proxy = context;
    struct pollfd poller = {.fd = proxy->listener, .events = POLLIN};
    for (;;) {
        pthread_mutex_lock(&proxy->lock);
        bool ending = proxy->ending;
        pthread_mutex_unlock(&proxy->lock);
        if (ending) return NULL;
        if (poll(&poller, 1, TURN_MS) <= 0) continue;
        begin(proxy);
        int client = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC);
        if (client >= 0) {
            serve(proxy, client);
            (void)close(client);
        }
        pthread_mutex_lock(&proxy->lock);
        proxy->target = (ProxyTarget){0};
        proxy->is_idle = true;
        pthread_cond_broadcast(&proxy->idle_changed);
        pthread_mutex_unlock(&proxy->lock);
    }
}

FaultProxy *fault_proxy_start(int port) {
    FaultProxy *proxy = calloc(1, sizeof *proxy);
    check(proxy);
    proxy->server_port = port;
    proxy->is_idle = true;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(bind(proxy->listener, (struct sockaddr *)&address, sizeof address) == 0);
    check(getsockname(proxy->listener, (struct sockaddr *)&address, &size) == 0);
    check(listen(proxy->listener, 8) == 0);
    check(pthread_mutex_init(&proxy->lock, NULL) == 0 && pthread_cond_init(&proxy->idle_changed, NULL) == 0);
    (void)snprintf(proxy->uri, sizeof proxy->uri, "postgresql://postgres@127.0.0.1:%d/postgres?sslmode=disable", ntohs(address.sin_port));
    check(thread_start(&proxy->thread, "fault-proxy", run, proxy, NULL) == 0);
    return proxy;
}

const char *fault_proxy_uri(const FaultProxy *proxy) {
    return proxy->uri;
}

static void lock_idle(FaultProxy *proxy) {
    pthread_mutex_lock(&proxy->lock);
    while (!proxy->is_idle) pthread_cond_wait(&proxy->idle_changed, &proxy->lock);
}

void fault_proxy_arm(FaultProxy *proxy, const ProxyTarget *target) {
    lock_idle(proxy);
    proxy->target = *target;
    pthread_mutex_unlock(&proxy->lock);
}

bool fault_proxy_reached(FaultProxy *proxy) {
    lock_idle(proxy);
    bool reached = proxy->reached;
    pthread_mutex_unlock(&proxy->lock);
    return reached;
}

unsigned fault_proxy_messages(FaultProxy *proxy, bool from_server, bool at_commit) {
    lock_idle(proxy);
    unsigned count = at_commit ? proxy->flows[from_server].at_commit : proxy->flows[from_server].messages;
    pthread_mutex_unlock(&proxy->lock);
    return count;
}

size_t fault_proxy_message_size(FaultProxy *proxy, bool from_server, unsigned number_at_commit) {
    lock_idle(proxy);
    const Flow *flow = &proxy->flows[from_server];
    size_t size = number_at_commit < flow->at_commit && number_at_commit < AT_COMMIT_MAX ? flow->sizes[number_at_commit] : 0;
    pthread_mutex_unlock(&proxy->lock);
    return size;
}

void fault_proxy_stop(FaultProxy *proxy) {
    if (!proxy) return;
    pthread_mutex_lock(&proxy->lock);
    proxy->ending = true;
    pthread_mutex_unlock(&proxy->lock);
    thread_join(&proxy->thread);
    (void)close(proxy->listener);
    for (int i = 0; i < 2; i++) buffer_deinit(&proxy->flows[i].waiting);
    pthread_mutex_destroy(&proxy->lock);
    pthread_cond_destroy(&proxy->idle_changed);
    free(proxy);
}
