/* template_check of templates.h: a worker that loads one template and ends. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "gateway/templates/broker.h"
#include "gateway/templates/lexer.h"
#include "gateway/templates/process.h"
#include "mapping/template_message.h"

#define CHECK_USEC_MAX (10 * USEC_SECOND) /* usually 50 ms; a machine may be busy */

enum { READ_BYTES = 4096 };

/* False: not within the time, or the worker is gone. */
static bool wait_socket(int fd, short events, usec_t deadline) {
    Clock *clock = clock_system();
    for (;;) {
        usec_t left = deadline - clock->boot(clock);
        if (left <= 0) return false;
        struct pollfd entry = {.fd = fd, .events = events};
        int ready = poll(&entry, 1, (int)(left / USEC_MS) + 1);
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR) return false;
    }
}

static bool send_load(int control, const Buffer *load, usec_t deadline) {
    for (size_t sent = 0; sent < load->size;) {
        ssize_t n = send(control, load->data + sent, load->size - sent, MSG_NOSIGNAL);
        if (n > 0) sent += (size_t)n;
        if (n < 0 && errno != EINTR && errno != EAGAIN) return false;
        if (n < 0 && errno == EAGAIN && !wait_socket(control, POLLOUT, deadline)) return false;
    }
    return true;
}

/* The one frame of the answer; false: none came. */
static bool read_answer(int control, Buffer *in, usec_t deadline, TemplateFrame *ret_frame) {
    for (;;) {
        int r = template_frame_next(buffer_span(in), ret_frame);
        if (r != TEMPLATE_FRAME_INCOMPLETE) return r == 0;
        if (!wait_socket(control, POLLIN, deadline)) return false;
        ssize_t got = recv(control, buffer_reserve(in, READ_BYTES), READ_BYTES, 0);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got <= 0) return false;
        in->size += (size_t)got;
    }
}

static int judge(int control, const TemplateLimits *limits, const char *text, Error *error) {
    Clock *clock = clock_system();
    usec_t deadline = clock->boot(clock) + CHECK_USEC_MAX;
    Span texts = span_of(text);
    TemplateLoad load = {
        .check_only = true, .stack_frames = limits->stack_frames, .memory_bytes = limits->memory_bytes, .count = 1, .texts = &texts};
    _cleanup_(buffer_deinit) Buffer out = {0}, in = {0};
    template_put_load(&out, &load);
    TemplateFrame frame;
    Span reason;
    if (!send_load(control, &out, deadline) || !read_answer(control, &in, deadline, &frame))
        return error_set(error, -EINVAL, "the template cannot be read: it needs more memory, stack or time than a template may have");
    if (frame.kind == TEMPLATE_FRAME_CHILD) return 0;
    if (frame.kind != TEMPLATE_FRAME_REFUSED || template_read_refused(frame.payload, &reason) < 0)
        return error_set(error, -EIO, "the template worker gave no answer that can be understood");
    return error_set(error, -EINVAL, "%.*s", (int)reason.size, reason.data);
}

int template_check(const char *worker_path, const TemplateLimits *limits, const char *text, Error *error) {
    Span span = span_of(text);
    if (span.size == 0) return error_set(error, -EINVAL, "line 1, column 1: the template is empty");
    if (span.size > TEMPLATE_TEXT_BYTES_MAX)
        return error_set(error, -EINVAL, "the template is longer than %d bytes", TEMPLATE_TEXT_BYTES_MAX);
    int r = template_lex(span, NULL, NULL, error);
    if (r < 0) return r;

    _cleanup_free_ char *own_path = worker_path ? NULL : template_worker_path();
    pid_t pid;
    int control;
    r = template_process_start(worker_path ? worker_path : own_path, &pid, &control, error);
    if (r < 0) return r;
    r = judge(control, limits, text, error);
    (void)close(control);
    (void)kill(pid, SIGKILL);
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    return r;
}
