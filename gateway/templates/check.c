#include "gateway/templates/check.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "mapping/template_lexer.h"
#include "mapping/template_message.h"

#define TURN_USEC USEC_SECOND /* of one check while others wait */

enum {
    READ_BYTES = 4096,
    TEXTS_MAX = 100,                     /* in one process: its memory is limited */
    BYTES_MAX = TEMPLATE_TEXT_BYTES_MAX, /* of them, or one text */
    FEWER = 10,                          /* a process that does not accept its texts is followed by one with so many times less */
};

struct Checker {
    TemplateCheck *check;
    const char *worker_path;
    const TemplateLimits *limits;
    usec_t began;   /* boot time */
    size_t at_once; /* texts that the next process gets, at most */
    /* the process of the texts from texts[passed] on; pid 0: none */
    pid_t pid;
    size_t count; /* texts that it has */
    int control;  /* -1: closed, the end of the process is awaited */
    Buffer out, in;
    size_t sent;
};

Checker *checker_new(TemplateCheck *take_check, const char *worker_path, const TemplateLimits *limits, usec_t now) {
    check(take_check->passed <= take_check->count && take_check->request.result == 0);
    Checker *checker = calloc(1, sizeof *checker);
    check(checker);
    checker->check = take_check;
    checker->worker_path = worker_path;
    checker->limits = limits;
    checker->began = now;
    checker->at_once = TEXTS_MAX;
    checker->control = -1;
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
    checker->count = 0;
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

int template_check_meta(const char *text, const Source *source, Error *error) {
    Span found = template_find_meta(span_of(text), source_meta_fields(source));
    if (!found.data) return 0;
    unsigned line, column;
    char excerpt[TEXT_EXCERPT_SIZE];
    _cleanup_(buffer_deinit) Buffer words = {0};
    template_place_at(span_of(text), found.data, &line, &column);
    source_meta_words(source, &words);
    return error_set(error, -EINVAL, "line %u, column %u: \"%s\" is not there: %s", line, column, text_excerpt(found, excerpt),
                     buffer_text(&words));
}

/* Those that the next process gets: up to the first one that is wrong at a look. */
static size_t gather(const Checker *checker, Span texts[static TEXTS_MAX]) {
    const TemplateCheck *asked = checker->check;
    size_t count = 0, bytes = 0;
    for (size_t at = asked->passed; at < asked->count && count < checker->at_once; at++) {
        Span text = span_of(asked->texts[at]);
        Error ignored = {0};
        bytes += text.size;
        if (count > 0 && (bytes > BYTES_MAX || look_at(text, &ignored) < 0)) break;
        texts[count++] = text;
    }
    check(count > 0 && count <= TEXTS_MAX);
    return count;
}

static int start(Checker *checker) {
    TemplateCheck *asked = checker->check;
    Span texts[TEXTS_MAX];
    size_t count = gather(checker, texts);
    int r = look_at(texts[0], &asked->request.error);
    if (r == 0) r = template_process_start(checker->worker_path, &checker->pid, &checker->control, &asked->request.error);
    if (r < 0) {
        checker->pid = 0;
        checker->control = -1;
        return r;
    }
    TemplateLoad load = {.check_only = true,
                         .stack_frames = checker->limits->stack_frames,
                         .memory_bytes = checker->limits->memory_bytes,
                         .count = (uint32_t)count,
                         .texts = texts};
    template_put_load(&checker->out, &load);
    checker->count = count;
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

enum { CHECK_WAITS = 1, CHECK_NOT_ALL = 2 };

static int evaluate(const Checker *checker, const TemplateFrame *frame, Error *error) {
    Span reason;
    if (frame->kind == TEMPLATE_FRAME_CHILD) return 0;
    if (frame->kind != TEMPLATE_FRAME_REFUSED || template_read_refused(frame->payload, &reason) < 0)
        return error_set(error, -EIO, "the answer of the template worker is not valid");
    if (checker->count > 1) return CHECK_NOT_ALL;
    return error_set(error, -EINVAL, "%.*s", (int)reason.size, reason.data);
}

/* The one frame of the answer, or CHECK_WAITS. */
static int read_answer(Checker *checker, Error *error) {
    while (checker->control >= 0) {
        TemplateFrame frame;
        int r = template_frame_next(buffer_span(&checker->in), &frame);
        if (r == 0) return evaluate(checker, &frame, error);
        if (r < 0) return error_set(error, -EIO, "the answer of the template worker is not valid");
        ssize_t got = recv(checker->control, buffer_reserve(&checker->in, READ_BYTES), READ_BYTES, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return CHECK_WAITS;
        if (got > 0) checker->in.size += (size_t)got;
        if (got <= 0) close_control(checker);
    }
    return CHECK_WAITS;
}

/* It ended without an answer: to use up memory, stack or processor time is its templates' doing,
 * anything else is not. */
static int evaluate_end(Checker *checker, Error *error) {
    int status = 0;
    pid_t ended = waitpid(checker->pid, &status, WNOHANG);
    if (ended == 0) return CHECK_WAITS;
    checker->pid = 0;
    int signal = ended > 0 && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    bool theirs = signal == SIGABRT || signal == SIGSEGV || signal == SIGBUS || signal == SIGXCPU;
    if (theirs && checker->count > 1) return CHECK_NOT_ALL;
    if (theirs) return error_set(error, -EINVAL, "the template cannot be read: it needs more memory, stack or time than the limits allow");
    return error_set(error, -EIO, "the template worker ended without an answer: try again");
}

void checker_time_over(TemplateCheck *asked) {
    asked->request.result = error_set(&asked->request.error, -ETIME,
                                      "the time limit was reached when %zu of %zu new templates had been checked", asked->passed,
                                      asked->count);
}

/* One process, from its start to its end. 0: its texts have passed; CHECK_WAITS; CHECK_NOT_ALL; <
 * 0: the result. */
static int step_process(Checker *checker) {
    Error *error = &checker->check->request.error;
    int r = checker->pid == 0 ? start(checker) : 0;
    if (r < 0) return r;
    send_load(checker);
    r = read_answer(checker, error);
    return r == CHECK_WAITS && checker->control < 0 ? evaluate_end(checker, error) : r;
}

CheckerState checker_step(Checker *checker, Reaper *reaper, bool others, usec_t now) {
    TemplateCheck *asked = checker->check;
    while (asked->passed < asked->count) {
        if (now >= asked->until) {
            checker_time_over(asked);
            return CHECKER_ENDED;
        }
        if (checker->pid == 0 && checker->control < 0 && others && now - checker->began >= TURN_USEC) return CHECKER_YIELDS;
        int r = step_process(checker);
        check(checker->count <= checker->at_once && asked->passed + checker->count <= asked->count);
        if (r == CHECK_WAITS) return CHECKER_WORKS;
        size_t count = checker->count;
        end_process(checker, reaper, now);
        if (r < 0) {
            asked->request.result = r;
            return CHECKER_ENDED;
        }
        if (r == 0) asked->passed += count;
        checker->at_once = r == CHECK_NOT_ALL ? (count + FEWER - 1) / FEWER : checker->at_once * FEWER;
        if (checker->at_once > TEXTS_MAX) checker->at_once = TEXTS_MAX;
    }
    return CHECKER_ENDED;
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
    buffer_deinit(&checker->out);
    buffer_deinit(&checker->in);
    free(checker);
    return asked;
}
