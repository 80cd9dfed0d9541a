#include "gateway/http/linger.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINGER_TIME (2 * USEC_SECOND)

/* What has come, inside the kernel. Not by recv: the thread sanitizer would take the NULL of two
 * loops for one buffer. */
static ssize_t throw_away(int fd) {
    return (ssize_t)syscall(SYS_recvfrom, fd, NULL, (size_t)1024 * 1024, MSG_DONTWAIT | MSG_TRUNC, NULL, NULL);
}

void http_loop_sweep_lingers(HttpLoop *loop, usec_t now) {
    for (size_t i = 0; i < loop->linger_count;) {
        Linger *linger = &loop->lingers[i];
        check(linger->fd >= 0);
        ssize_t got = 0;
        for (unsigned rounds = 0; rounds < 16; rounds++) {
            got = throw_away(linger->fd);
            if (got <= 0) break;
        }
        bool waits = got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
        if (waits && now < linger->until) {
            i++;
            continue;
        }
        (void)close(linger->fd);
        *linger = loop->lingers[--loop->linger_count];
    }
}

/* At once: what is there already must not reset the answer. */
static void end_linger(int take_fd) {
    (void)throw_away(take_fd);
    (void)close(take_fd);
}

void http_loop_linger(HttpLoop *loop, int take_fd) {
    check_on_thread(&loop->owner);
    check(take_fd >= 0 && loop->linger_count <= LINGERS_MAX);
    (void)shutdown(take_fd, SHUT_WR);
    if (loop->linger_count == LINGERS_MAX) {
        end_linger(take_fd);
        return;
    }
    loop->lingers[loop->linger_count++] = (Linger){take_fd, clock_system()->boot(clock_system()) + LINGER_TIME};
}

void http_loop_lingers_end(HttpLoop *loop) {
    while (loop->linger_count) end_linger(loop->lingers[--loop->linger_count].fd);
}
