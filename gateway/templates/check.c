#include "gateway/templates/check.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/templates/lexer.h"
#include "mapping/template_message.h"

#define CHECK_USEC_MAX (30 * USEC_SECOND) /* of one text; the worker has its own limit of processor time, but a machine may be busy */

enum { READ_BYTES = 4096 };

struct Checker {
    TemplateCheck *check;
    const char *worker_path;
    const TemplateLimits *limits;
    bool judged; /* the check has its result */
    /* the process of the text texts[passed]; pid 0: none */
    pid_t pid;
    int control; /* -1: closed, the end of the process is awaited */
    usec_t deadline;
    Buffer out, in;
    size_t sent;
};

Checker *checker_new(TemplateCheck *take_check, const char *worker_path, const TemplateLimits *limits) {
    Checker *checker = calloc(1, sizeof *checker);
    check(checker);
    checker->check = take_check;
    checker->worker_path = worker_path;
    checker->limits = limits;
    checker->control = -1;
    take_check->passed = 0;
    take_check->request.result = 0;
    return checker;
}

static void close_control(Checker *checker) {
    if (checker->control >= 0) (void)close(checker->control);
    checker->control = -1;
}

static void end_process(Checker *checker, Reaper *reaper, usec_t now) {
    close_control(checker);
    buffer_clear(&checker->out);
    buffer_clear(&checker->in);
    checker->sent = 0;
    if (checker->pid > 0) reaper_end(reaper, checker->pid, now);
    checker->pid = 0;
}

/* What can be said without a process. */
static int look_at(Span text, Error *error) {
    if (text.size == 0) return error_set(error, -EINVAL, "line 1, column 1: the template is empty");
    if (text.size > TEMPLATE_TEXT_BYTES_MAX)
        return error_set(error, -EINVAL, "the template is longer than %d bytes", TEMPLATE_TEXT_BYTES_MAX);
    return template_lex(text, NULL, NULL, error);
}

static int start(Checker *checker, usec_t now) {
    TemplateCheck *asked = checker->check;
    Span text = span_of(asked->texts[asked->passed]);
    int r = look_at(text, &asked->request.error);
    if (r == 0) r = template_process_start(checker->worker_path, &checker->pid, &checker->control, &asked->request.error);
    if (r < 0) {
        checker->pid = 0;
        checker->control = -1;
        return r;
    }
    TemplateLoad load = {.check_only = true,
                         .stack_frames = checker->limits->stack_frames,
                         .memory_bytes = checker->limits->memory_bytes,
                         .count = 1,
                         .texts = &text};
    template_put_load(&checker->out, &load);
    checker->deadline = now + CHECK_USEC_MAX;
    return 0;
}

static void send_load(Checker *checker) {
    while (checker->control >= 0 && checker->sent < checker->out.size) {
        ssize_t n = send(checker->control, checker->out.data + checker->sent, checker->out.size - checker->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break; /* a broken socket shows when it is read */
        checker->sent += (size_t)n;
    }
}

enum { CHECK_WAITS = 1 };

static int judge(const TemplateFrame *frame, Error *error) {
    Span reason;
    if (frame->kind == TEMPLATE_FRAME_CHILD) return 0;
    if (frame->kind != TEMPLATE_FRAME_REFUSED || template_read_refused(frame->payload, &reason) < 0)
        return error_set(error, -EIO, "the template worker gave no answer that can be understood");
    return error_set(error, -EINVAL, "%.*s", (int)reason.size, reason.data);
}

/* The one frame of the answer, or CHECK_WAITS. */
static int read_answer(Checker *checker, Error *error) {
    while (checker->control >= 0) {
        TemplateFrame frame;
        int r = template_frame_next(buffer_span(&checker->in), &frame);
        if (r == 0) return judge(&frame, error);
        if (r < 0) return error_set(error, -EIO, "the template worker gave no answer that can be understood");
        ssize_t got = recv(checker->control, buffer_reserve(&checker->in, READ_BYTES), READ_BYTES, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return CHECK_WAITS;
        if (got > 0) checker->in.size += (size_t)got;
        if (got <= 0) close_control(checker);
    }
    return CHECK_WAITS;
}

/* It ended without an answer: to use up memory, stack or processor time is its template's doing, anything else is not. */
static int judge_end(Checker *checker, Error *error) {
    int status = 0;
    pid_t ended = waitpid(checker->pid, &status, WNOHANG);
    if (ended == 0) return CHECK_WAITS;
    checker->pid = 0;
    int signal = ended > 0 && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (signal == SIGABRT || signal == SIGSEGV || signal == SIGBUS || signal == SIGXCPU)
        return error_set(error, -EINVAL, "the template cannot be read: it needs more memory, stack or time than a template may have");
    return error_set(error, -EIO, "the template worker ended without an answer: try again");
}

bool checker_step(Checker *checker, Reaper *reaper, usec_t now) {
    TemplateCheck *asked = checker->check;
    while (!checker->judged) {
        int r = 0;
        if (asked->passed == asked->count) {
            checker->judged = true;
            break;
        }
        if (checker->pid == 0) r = start(checker, now);
        if (r == 0) {
            send_load(checker);
            r = read_answer(checker, &asked->request.error);
            if (r == CHECK_WAITS && checker->control < 0) r = judge_end(checker, &asked->request.error);
            if (r == CHECK_WAITS && now < checker->deadline) return false;
            if (r == CHECK_WAITS) r = error_set(&asked->request.error, -ETIMEDOUT, "the template worker did not answer in time: try again");
        }
        end_process(checker, reaper, now);
        if (r == 0) {
            asked->passed++;
        } else {
            asked->request.result = r;
            checker->judged = true;
        }
    }
    return true;
}

bool checker_poll(const Checker *checker, struct pollfd *ret_entry) {
    if (checker->control < 0) return false;
    short events = checker->sent < checker->out.size ? POLLIN | POLLOUT : POLLIN;
    *ret_entry = (struct pollfd){.fd = checker->control, .events = events};
    return true;
}

TemplateCheck *checker_free(Checker *checker, Reaper *reaper, usec_t now) {
    TemplateCheck *asked = checker->check;
    end_process(checker, reaper, now);
    if (!checker->judged) asked->request.result = error_set(&asked->request.error, -ECANCELED, "the server is shutting down");
    buffer_deinit(&checker->out);
    buffer_deinit(&checker->in);
    free(checker);
    return asked;
}
