#include "gateway/templates/zygote.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"

enum {
    READ_BYTES = 64 * 1024,
    INPUT_KEPT_BYTES = 1 << 20, /* a larger input buffer is given back once it is empty */
    FLUSH_AFTER_USEC = 1000,    /* a result does not wait longer than this for others */
    CPU_SPARE_SECONDS = 3,      /* processor time beyond the limit after which the kernel ends a process that its timer did not */
};

/* Written by the evaluating process, read by the zygote after its end. */
typedef struct SharedPage {
    _Atomic int cause; /* TemplateDeath of a process that ended itself; IDLE: it did not */
    _Atomic bool active;
    uint64_t number;
    uint32_t template_index;
    usec_t started;   /* CLOCK_MONOTONIC */
    usec_t cpu_known; /* processor time of the process at some moment before the event, at most about half a second of it */
    _Atomic bool used_known;
    usec_t budget; /* processor time for the event */
    usec_t used;   /* processor time of the event, of a process that ended itself: to take it apart is not the event's time */
    _Atomic size_t result_bytes;
    size_t reason_bytes;
    char reason[TEMPLATE_REASON_BYTES_MAX];
    char results[TEMPLATE_RESULTS_LEFT_BYTES_MAX];
} SharedPage;

struct Zygote {
    SharedPage *shared;
    uint32_t serial;

    /* evaluating process */
    int data_fd;
    timer_t timer;
    bool timer_armed;
    Buffer input;
    size_t input_used;
    Arena arena;
    TemplateEventMessage event;
    Buffer frame;
    usec_t oldest_result; /* when the event of the oldest unsent result began */
    usec_t cpu_raised;
};

static usec_t monotonic(void) {
    struct timespec now;
    check(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (usec_t)now.tv_sec * USEC_SECOND + now.tv_nsec / 1000;
}

Zygote *zygote_new(void) {
    Zygote *zygote = calloc(1, sizeof *zygote);
    check(zygote);
    zygote->data_fd = -1;
    zygote->shared = mmap(NULL, sizeof(SharedPage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(zygote->shared != MAP_FAILED);
    return zygote;
}

static bool send_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

/* -- control socket -- */

void zygote_send(const Buffer *frame) {
    if (!send_all(ZYGOTE_CONTROL_FD, frame->data, frame->size)) _exit(0);
}

/* The descriptor travels with the first byte. */
static void send_with_fd(const Buffer *frame, int fd) {
    char room[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {.iov_base = frame->data, .iov_len = frame->size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    ssize_t sent;
    do {
        sent = sendmsg(ZYGOTE_CONTROL_FD, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent <= 0) _exit(0);
    if (!send_all(ZYGOTE_CONTROL_FD, frame->data + sent, frame->size - (size_t)sent)) _exit(0);
}

bool zygote_receive_load(Buffer *input, Arena *arena, TemplateLoad *ret_load) {
    for (;;) {
        TemplateFrame frame;
        int r = template_frame_next(buffer_span(input), &frame);
        if (r < 0) return false;
        if (r == 0) return frame.kind == TEMPLATE_FRAME_LOAD && template_read_load(frame.payload, arena, ret_load) == 0;
        char *room = buffer_reserve(input, READ_BYTES);
        ssize_t got = read(ZYGOTE_CONTROL_FD, room, READ_BYTES);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        input->size += (size_t)got;
    }
}

/* -- zygote -- */

static TemplateDeath why(const SharedPage *shared, int status, char *text, size_t capacity) {
    TemplateDeath cause = (TemplateDeath)atomic_load(&shared->cause);
    if (cause == TEMPLATE_DEATH_ERROR || cause == TEMPLATE_DEATH_TIME) {
        size_t size = shared->reason_bytes < capacity ? shared->reason_bytes : capacity - 1;
        memcpy(text, shared->reason, size);
        text[size] = '\0';
        return cause;
    }
    if (!WIFSIGNALED(status)) {
        (void)snprintf(text, capacity, "the evaluation ended with status %d", WEXITSTATUS(status));
        return TEMPLATE_DEATH_CRASH;
    }
    switch (WTERMSIG(status)) {
    case SIGABRT: (void)snprintf(text, capacity, "the evaluation exceeded the memory limit"); return TEMPLATE_DEATH_CRASH;
    case SIGSEGV:
    case SIGBUS:
        (void)snprintf(text, capacity, "the evaluation was nested too deeply: the processor's stack is used up");
        return TEMPLATE_DEATH_CRASH;
    case SIGXCPU: (void)snprintf(text, capacity, "the evaluation exceeded the limit of processor time"); return TEMPLATE_DEATH_TIME;
    default: (void)snprintf(text, capacity, "the evaluation was ended by signal %d", WTERMSIG(status)); return TEMPLATE_DEATH_KILLED;
    }
}

static usec_t usec_of(const struct timeval *time) {
    return (usec_t)time->tv_sec * USEC_SECOND + time->tv_usec;
}

/* Of an event whose process could not say it: no more than the process had since, and no more than
 * has passed. */
static usec_t used_at_most(const SharedPage *shared, const struct rusage *usage) {
    usec_t cpu = usec_of(&usage->ru_utime) + usec_of(&usage->ru_stime) - shared->cpu_known, passed = monotonic() - shared->started;
    usec_t least = cpu < passed ? cpu : passed;
    return least > 0 ? least : 0;
}

static void report_death(const Zygote *zygote, int status, const struct rusage *usage) {
    check(zygote->data_fd < 0); /* in the zygote, which evaluates nothing */
    const SharedPage *shared = zygote->shared;
    char text[TEMPLATE_REASON_BYTES_MAX + 1];
    TemplateDiedMessage died = {.serial = zygote->serial, .death = why(shared, status, text, sizeof text)};
    size_t results = atomic_load(&shared->result_bytes);
    if (results <= sizeof shared->results) died.results = (Span){shared->results, results};
    died.reason = span_of(text);
    if (atomic_load(&shared->active)) {
        died.number = shared->number;
        died.template_index = shared->template_index;
        died.used_usec = (uint64_t)(atomic_load(&shared->used_known) ? shared->used : used_at_most(shared, usage));
    } else {
        died.death = TEMPLATE_DEATH_IDLE;
    }
    Buffer frame = {0};
    template_put_died(&frame, &died);
    zygote_send(&frame);
    buffer_deinit(&frame);
}

static void become_child(Zygote *zygote, int data_fd, pid_t parent) {
    check(zygote->data_fd < 0 && data_fd >= 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0);
    (void)close(ZYGOTE_CONTROL_FD);
    zygote->data_fd = data_fd;
    sigset_t none;
    check(sigemptyset(&none) == 0);
    check(sigprocmask(SIG_SETMASK, &none, NULL) == 0);
}

/* The child's end, or the broker's wish to end all: then the child is ended and reaped first. */
static int wait_for(pid_t child, const sigset_t *signals, struct rusage *ret_usage) {
    for (;;) {
        int status;
        pid_t ended = wait4(child, &status, WNOHANG, ret_usage);
        if (ended == child) return status;
        check(ended == 0);
        if (sigwaitinfo(signals, NULL) != SIGUSR1) continue;
        (void)kill(child, SIGKILL);
        (void)waitpid(child, &status, 0);
        _exit(0);
    }
}

static pid_t fork_child(Zygote *zygote) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) _exit(1);
    SharedPage *shared = zygote->shared;
    atomic_store(&shared->cause, TEMPLATE_DEATH_IDLE);
    atomic_store(&shared->active, false);
    atomic_store(&shared->result_bytes, 0);
    shared->reason_bytes = 0;
    shared->cpu_known = 0;
    atomic_store(&shared->used_known, false);

    zygote->serial++;
    pid_t parent = getpid(), child = fork();
    if (child < 0) _exit(1);
    (void)close(ends[child == 0 ? 1 : 0]);
    if (child == 0) {
        become_child(zygote, ends[0], parent);
        return 0;
    }
    Buffer frame = {0};
    template_put_child(&frame, &(TemplateChildMessage){.serial = zygote->serial});
    send_with_fd(&frame, ends[1]);
    buffer_deinit(&frame);
    (void)close(ends[1]);
    return child;
}

static void on_time_up(int signal, siginfo_t *info, void *context) {
    SharedPage *shared = info->si_value.sival_ptr;
    static const char reason[] = "the evaluation exceeded the time limit";
    memcpy(shared->reason, reason, sizeof reason - 1);
    shared->reason_bytes = sizeof reason - 1;
    shared->used = shared->budget;
    atomic_store(&shared->used_known, true);
    atomic_store(&shared->cause, TEMPLATE_DEATH_TIME);
    _exit(1);
}

/* Counts processor time: a machine that pauses is not the event's fault. A POSIX timer can tell its
 * handler where the shared memory is. */
static void prepare_timer(Zygote *zygote) {
    struct sigaction action = {.sa_sigaction = on_time_up, .sa_flags = SA_SIGINFO};
    check(sigaction(SIGALRM, &action, NULL) == 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM, .sigev_value.sival_ptr = zygote->shared};
    check(timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &zygote->timer) == 0);
}

void zygote_run(Zygote *zygote) {
    /* Free chunks are put together now: each process would do it again and copy their pages for
     * it. */
    (void)malloc_trim(0);
    sigset_t signals;
    check(sigemptyset(&signals) == 0);
    check(sigaddset(&signals, SIGCHLD) == 0);
    check(sigaddset(&signals, SIGUSR1) == 0);
    check(sigprocmask(SIG_BLOCK, &signals, NULL) == 0);
    for (;;) {
        pid_t child = fork_child(zygote);
        if (child == 0) {
            prepare_timer(zygote);
            return;
        }
        struct rusage usage = {0};
        int status = wait_for(child, &signals, &usage);
        /* An end without a cause: the broker closed the data socket, it wants a process that has
         * seen no event. */
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
        report_death(zygote, status, &usage);
    }
}

/* -- evaluating process -- */

static void flush_results(Zygote *zygote) {
    SharedPage *shared = zygote->shared;
    size_t size = atomic_load_explicit(&shared->result_bytes, memory_order_relaxed);
    if (size == 0) return;
    if (!send_all(zygote->data_fd, shared->results, size)) _exit(0);
    /* Killed before this line: the zygote sends them a second time, the broker knows them by their
     * numbers. */
    atomic_store(&shared->result_bytes, 0);
}

static void set_timer(Zygote *zygote, uint64_t usec) {
    struct itimerspec value = {.it_value = {.tv_sec = (time_t)(usec / USEC_SECOND), .tv_nsec = (long)(usec % USEC_SECOND) * 1000}};
    check(timer_settime(zygote->timer, 0, &value, NULL) == 0);
    zygote->timer_armed = usec > 0;
}

/* Processor time is a total since the fork: the limit moves along with the events that were
 * done. */
static void raise_cpu_limit(Zygote *zygote, usec_t now, uint64_t budget_usec) {
    if (zygote->cpu_raised != 0 && now - zygote->cpu_raised < USEC_SECOND / 2) return;
    zygote->cpu_raised = now;
    struct timespec used;
    check(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0);
    zygote->shared->cpu_known = (usec_t)used.tv_sec * USEC_SECOND + used.tv_nsec / 1000;
    struct rlimit limit;
    check(getrlimit(RLIMIT_CPU, &limit) == 0);
    limit.rlim_cur = (rlim_t)used.tv_sec + CPU_SPARE_SECONDS + (rlim_t)(budget_usec / USEC_SECOND);
    if (limit.rlim_cur > limit.rlim_max) limit.rlim_cur = limit.rlim_max;
    check(setrlimit(RLIMIT_CPU, &limit) == 0);
}

static void read_more(Zygote *zygote, size_t wanted) {
    Buffer *input = &zygote->input;
    check(zygote->data_fd >= 0 && zygote->input_used <= input->size);
    flush_results(zygote);
    check(atomic_load(&zygote->shared->result_bytes) == 0); /* the broker may wait for them before it sends more */
    if (zygote->timer_armed) set_timer(zygote, 0);
    if (zygote->input_used > 0) {
        input->size -= zygote->input_used;
        if (input->size > 0) memmove(input->data, input->data + zygote->input_used, input->size);
        zygote->input_used = 0;
    }
    if (input->size == 0 && input->capacity > INPUT_KEPT_BYTES) buffer_deinit(input);
    size_t room = wanted > input->size && wanted - input->size > READ_BYTES ? wanted - input->size : READ_BYTES;
    char *at = buffer_reserve(input, room);
    ssize_t got;
    do {
        got = read(zygote->data_fd, at, room);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) _exit(0);
    input->size += (size_t)got;
}

const TemplateEventMessage *zygote_next_event(Zygote *zygote) {
    atomic_store(&zygote->shared->active, false);
    arena_reset(&zygote->arena);
    TemplateFrame frame;
    for (;;) {
        Span rest = {zygote->input.data, zygote->input.size};
        if (rest.size > 0) rest = (Span){rest.data + zygote->input_used, rest.size - zygote->input_used};
        int r = template_frame_next(rest, &frame);
        if (r < 0) _exit(2);
        if (r == 0) break;
        read_more(zygote, frame.bytes);
    }
    if (frame.kind != TEMPLATE_FRAME_EVENT || template_read_event(frame.payload, &zygote->arena, &zygote->event) < 0) _exit(2);
    zygote->input_used += frame.bytes;
    check(zygote->input_used <= zygote->input.size && zygote->event.budget_usec > 0);

    SharedPage *shared = zygote->shared;
    usec_t now = monotonic();
    shared->number = zygote->event.number;
    shared->template_index = zygote->event.first_template;
    shared->started = now;
    shared->budget = (usec_t)zygote->event.budget_usec;
    raise_cpu_limit(zygote, now, zygote->event.budget_usec);
    set_timer(zygote, zygote->event.budget_usec);
    /* Not before: the timer of the event before this one may have run until now, and this one is
     * not to blame for it. */
    atomic_store(&shared->active, true);
    return &zygote->event;
}

void zygote_begin_template(Zygote *zygote, uint32_t template_index) {
    check(atomic_load_explicit(&zygote->shared->active, memory_order_relaxed));
    check(template_index >= zygote->event.first_template);
    zygote->shared->template_index = template_index;
}

static void send_large(Zygote *zygote) {
    if (!send_all(zygote->data_fd, zygote->frame.data, zygote->frame.size)) _exit(0);
    buffer_deinit(&zygote->frame);
}

/* The timer says how much of the budget is left. */
static usec_t used_of_event(const Zygote *zygote) {
    struct itimerspec left;
    check(timer_gettime(zygote->timer, &left) == 0);
    return zygote->shared->budget - ((usec_t)left.it_value.tv_sec * USEC_SECOND + left.it_value.tv_nsec / 1000);
}

void zygote_put_result(Zygote *zygote, bool failed, Span text) {
    SharedPage *shared = zygote->shared;
    check(atomic_load_explicit(&shared->active, memory_order_relaxed) && shared->number == zygote->event.number);
    TemplateResultMessage result = {.number = shared->number, .template_index = shared->template_index, .failed = failed, .text = text};
    buffer_clear(&zygote->frame);
    template_put_result(&zygote->frame, &result);
    if (zygote->frame.size > sizeof shared->results - atomic_load_explicit(&shared->result_bytes, memory_order_relaxed))
        flush_results(zygote);
    if (zygote->frame.size > sizeof shared->results) {
        send_large(zygote);
        return;
    }
    size_t size = atomic_load_explicit(&shared->result_bytes, memory_order_relaxed);
    if (size == 0) zygote->oldest_result = shared->started;
    check(size <= sizeof shared->results - zygote->frame.size);
    memcpy(shared->results + size, zygote->frame.data, zygote->frame.size);
    atomic_store(&shared->result_bytes, size + zygote->frame.size);
    if (monotonic() - zygote->oldest_result >= FLUSH_AFTER_USEC) flush_results(zygote);
}

_Noreturn void zygote_give_up(Zygote *zygote, Span reason) {
    SharedPage *shared = zygote->shared;
    size_t size = reason.size < sizeof shared->reason ? reason.size : sizeof shared->reason;
    for (size_t i = 0; i < size; i++) shared->reason[i] = reason.data[i] ? reason.data[i] : '?'; /* it goes on as a C string */
    shared->reason_bytes = size;
    shared->used = used_of_event(zygote);
    atomic_store(&shared->used_known, true);
    atomic_store(&shared->cause, TEMPLATE_DEATH_ERROR);
    _exit(1);
}
