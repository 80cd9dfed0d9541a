/*
 * POSTs the same body at a fixed rate, whatever the answers do, and measures each from the moment
 * when it was due, not from when a connection was free for it: a server that stalls is seen by all
 * events that were due meanwhile. One thread; HTTP/1.1 on loopback.
 *
 *   open-loop PORT PATH BODY-FILE [--rate N] [--seconds N] [--warm N] [--connections N] [--type CONTENT-TYPE] [--stamp]
 *
 * With --stamp the body, a JSON object, gets a first field "due": the time when the event was due,
 * in microseconds since 1970.
 *
 * Prints JSON: events due and answered after the warm seconds, answers that were not 2xx, and
 * latencies in microseconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "tests/support/number.h"

enum { CONNECTIONS_MOST = 4096, ANSWER_BYTES_MAX = 16384, PATIENCE_SECONDS = 30, STAMP_DIGITS = 16 };
#define STAMP "\"due\":0000000000000000,"
#define NANOSECONDS 1000000000

typedef struct Connection {
    int fd;
    size_t sent; /* of the request */
    int64_t due;
    uint64_t number; /* of the event */
    size_t got;
    char *request; /* its own copy, which has its stamp */
    char answer[ANSWER_BYTES_MAX];
} Connection;

typedef struct Load {
    Buffer request;
    size_t stamp_at;     /* where the digits of the stamp are in the request; 0: there are none */
    int64_t wall_offset; /* of the clock that gives the time since 1970, from the one that counts, in nanoseconds */
    int epoll_fd, timer_fd;
    Connection *connections;
    unsigned connection_count;
    Connection **idle; /* a ring: the one that rested longest goes first, so that none rests until the server closes it */
    size_t idle_first, idle_count;
    int64_t start, interval; /* nanoseconds */
    uint64_t total, warm, sent, answered, refused;
    uint32_t *latencies; /* microseconds, of those behind the warm ones, in order of answers */
    uint64_t latency_count;
} Load;

static _Noreturn void die(const char *what) {
    (void)fprintf(stderr, "open-loop: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static int64_t now_nanoseconds(clockid_t clock) {
    struct timespec now;
    check(clock_gettime(clock, &now) == 0);
    return (int64_t)now.tv_sec * NANOSECONDS + now.tv_nsec;
}

static void put_idle(Load *load, Connection *connection) {
    load->idle[(load->idle_first + load->idle_count++) % load->connection_count] = connection;
}

static Connection *take_idle(Load *load) {
    Connection *connection = load->idle[load->idle_first];
    load->idle_first = (load->idle_first + 1) % load->connection_count;
    load->idle_count--;
    return connection;
}

static void connect_all(Load *load, unsigned long port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (unsigned i = 0; i < load->connection_count; i++) {
        Connection *connection = &load->connections[i];
        int yes = 1;
        connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&address, sizeof address) < 0) die("cannot connect");
        if (setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) < 0) die("cannot set TCP_NODELAY");
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = connection};
        if (epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) < 0) die("cannot watch a connection");
        connection->sent = load->request.size; /* nothing to send */
        connection->request = malloc(load->request.size);
        check(connection->request);
        memcpy(connection->request, load->request.data, load->request.size);
        put_idle(load, connection);
    }
}

static void go_on_sending(Load *load, Connection *connection) {
    while (connection->sent < load->request.size) {
        ssize_t sent = send(connection->fd, connection->request + connection->sent, load->request.size - connection->sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) return;
        if (sent < 0) die("cannot send");
        connection->sent += (size_t)sent;
    }
}

static void put_stamp(const Load *load, Connection *connection) {
    int64_t microseconds = (connection->due + load->wall_offset) / 1000;
    for (size_t i = STAMP_DIGITS; i-- > 0; microseconds /= 10) connection->request[load->stamp_at + i] = (char)('0' + microseconds % 10);
}

/* Sends what is due as long as a connection is free; what finds none stays due. */
static void send_due(Load *load) {
    while (load->sent < load->total && load->idle_count) {
        int64_t due = load->start + (int64_t)load->sent * load->interval;
        if (due > now_nanoseconds(CLOCK_MONOTONIC)) return;
        Connection *connection = take_idle(load);
        connection->due = due;
        connection->number = load->sent++;
        connection->sent = connection->got = 0;
        if (load->stamp_at) put_stamp(load, connection);
        go_on_sending(load, connection);
    }
}

/* Size of the whole answer; 0: not all of it is there. */
static size_t answer_size(Connection *connection) {
    connection->answer[connection->got] = 0;
    char *body = strstr(connection->answer, "\r\n\r\n");
    if (!body) return 0;
    size_t head = (size_t)(body - connection->answer) + 4;
    const char *length = strcasestr(connection->answer, "\r\ncontent-length:");
    errno = 0;
    if (!length || length > body) die("an answer without Content-Length");
    size_t size = head + strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
    if (size >= sizeof connection->answer) die("an answer is too large");
    return size <= connection->got ? size : 0;
}

static void receive(Load *load, Connection *connection) {
    for (;;) {
        ssize_t got = recv(connection->fd, connection->answer + connection->got, sizeof connection->answer - 1 - connection->got,
                           MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) die("a connection ended");
        connection->got += (size_t)got;
        if (answer_size(connection) == 0) continue;
        int64_t took = now_nanoseconds(CLOCK_MONOTONIC) - connection->due;
        load->answered++;
        if (connection->number >= load->warm) {
            if (connection->answer[9] != '2') load->refused++;
            load->latencies[load->latency_count++] = (uint32_t)(took / 1000);
        }
        put_idle(load, connection);
        connection->got = 0;
    }
}

/* Wakes for the next event if a connection is free for it. */
static void set_timer(const Load *load) {
    struct itimerspec at = {{0}, {0}};
    if (load->sent < load->total && load->idle_count) {
        int64_t due = load->start + (int64_t)load->sent * load->interval;
        at.it_value = (struct timespec){.tv_sec = due / NANOSECONDS, .tv_nsec = due % NANOSECONDS};
    }
    if (timerfd_settime(load->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) < 0) die("cannot set the timer");
}

static void run(Load *load) {
    load->start = now_nanoseconds(CLOCK_MONOTONIC) + NANOSECONDS / 100;
    int64_t end = load->start + (int64_t)load->total * load->interval + (int64_t)PATIENCE_SECONDS * NANOSECONDS;
    while (load->answered < load->total) {
        send_due(load);
        set_timer(load);
        struct epoll_event events[256];
        int count = epoll_wait(load->epoll_fd, events, 256, 1000);
        if (count < 0 && errno != EINTR) die("cannot wait");
        for (int i = 0; i < count; i++) {
            Connection *connection = events[i].data.ptr;
            if (!connection) {
                uint64_t times;
                (void)!read(load->timer_fd, &times, sizeof times);
                continue;
            }
            if (events[i].events & EPOLLOUT) go_on_sending(load, connection);
            receive(load, connection);
        }
        errno = 0;
        if (now_nanoseconds(CLOCK_MONOTONIC) > end) die("the server does not keep up with the rate");
    }
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(const Load *load) {
    qsort(load->latencies, load->latency_count, sizeof *load->latencies, ascending);
    static const double parts[] = {0.5, 0.9, 0.99, 0.999, 1};
    static const char *const names[] = {"p50", "p90", "p99", "p99.9", "most"};
    printf("{\"events\": %lu, \"refused\": %lu, \"microseconds\": {", load->latency_count, load->refused);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        uint64_t rank = (uint64_t)(parts[i] * (double)load->latency_count);
        if (rank >= load->latency_count) rank = load->latency_count - 1;
        printf("%s\"%s\": %u", i ? ", " : "", names[i], load->latencies[rank]);
    }
    printf("}}\n");
}

int main(int argc, char **argv) {
    static const struct option known[] = {{"rate", required_argument, NULL, 'r'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"warm", required_argument, NULL, 'w'},
                                          {"connections", required_argument, NULL, 'c'},
                                          {"type", required_argument, NULL, 't'},
                                          {"stamp", no_argument, NULL, 'd'},
                                          {NULL, 0, NULL, 0}};
    unsigned long rate = 5000, seconds = 4, warm = 1;
    const char *type = "application/json";
    bool stamp = false;
    Load load = {.connection_count = 256};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) >= 0;) switch (option) {
        case 'r': rate = number_of(optarg, 1, 1000000); break;
        case 's': seconds = number_of(optarg, 1, 3600); break;
        case 'w': warm = number_of(optarg, 0, 3600); break;
        case 'c': load.connection_count = (unsigned)number_of(optarg, 1, CONNECTIONS_MOST); break;
        case 't': type = optarg; break;
        case 'd': stamp = true; break;
        default: return 2;
        }
    errno = 0;
    if (argc - optind != 3) die("open-loop PORT PATH BODY-FILE [options]");

    char body[65536];
    FILE *file = fopen(argv[optind + 2], "re");
    if (!file) die("cannot read the body");
    size_t size = fread(body, 1, sizeof body, file);
    (void)fclose(file);
    if (stamp && (size == 0 || body[0] != '{')) die("only an object can have a stamp");
    buffer_printf(&load.request, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", argv[optind + 1],
                  type, stamp ? size + strlen(STAMP) : size);
    if (stamp) {
        buffer_append_text(&load.request, "{" STAMP);
        load.stamp_at = load.request.size - 1 - STAMP_DIGITS;
        load.wall_offset = now_nanoseconds(CLOCK_REALTIME) - now_nanoseconds(CLOCK_MONOTONIC);
    }
    buffer_append(&load.request, body + stamp, size - stamp);

    load.interval = NANOSECONDS / (int64_t)rate;
    load.total = rate * (seconds + warm);
    load.warm = rate * warm;
    load.latencies = calloc(load.total, sizeof *load.latencies);
    load.connections = calloc(load.connection_count, sizeof *load.connections);
    load.idle = calloc(load.connection_count, sizeof *load.idle);
    check(load.latencies && load.connections && load.idle);
    load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    load.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (load.epoll_fd < 0 || load.timer_fd < 0 || epoll_ctl(load.epoll_fd, EPOLL_CTL_ADD, load.timer_fd, &event) < 0) die("no timer");
    connect_all(&load, number_of(argv[optind], 1, 65535));
    run(&load);
    report(&load);

    for (unsigned i = 0; i < load.connection_count; i++) {
        (void)close(load.connections[i].fd);
        free(load.connections[i].request);
    }
    (void)close(load.timer_fd);
    (void)close(load.epoll_fd);
    free(load.latencies);
    free(load.connections);
    free(load.idle);
    buffer_deinit(&load.request);
    return 0;
}
