#include "gateway/templates/evaluator.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/metrics.h"
#include "mapping/words.h"

enum {
    READ_BYTES = 64 * 1024,
    READS_A_TURN = 8,
    INPUT_KEPT_BYTES = 1 << 20,
    WINDOW_USEC = 20 * 1000, /* work that may be with the process, so that it can change hands soon */
    UNSENT_BYTES_MAX = 256 * 1024,
    TRIES_MAX = 3,
    STARTS_MAX = 3,
    PATIENCE = 10, /* an event without an answer: this many times its limit. On a busy machine a process has a small part of the time */
};
#define LOAD_USEC_MAX (10 * USEC_SECOND)
#define GRACE_USEC (2 * USEC_SECOND)
#define RESTART_USEC USEC_SECOND

Evaluator *evaluator_new(Plan *plan, uint32_t source_number, const char *worker_path, const TemplateLimits *limits) {
    Evaluator *evaluator = calloc(1, sizeof *evaluator);
    check(evaluator);
    evaluator->plan = plan_ref(plan);
    evaluator->source_number = source_number;
    evaluator->worker_path = worker_path;
    evaluator->limits = limits;
    evaluator->tail = &evaluator->first;
    evaluator->control = evaluator->data = evaluator->arrived = -1;
    evaluator->event_usec = USEC_MS;
    evaluator->next_number = 1;
    return evaluator;
}

void evaluator_free(Evaluator *evaluator) {
    if (!evaluator) return;
    check(evaluator->state == EVALUATOR_STOPPED && !evaluator_has_work(evaluator));
    plan_unref(evaluator->plan);
    buffer_deinit(&evaluator->control_in);
    buffer_deinit(&evaluator->control_out);
    buffer_deinit(&evaluator->data_in);
    buffer_deinit(&evaluator->data_out);
    free(evaluator);
}

static bool equal_texts(const Plan *a, const Plan *b) {
    size_t count = plan_template_count(a);
    if (plan_template_count(b) != count) return false;
    for (size_t i = 0; i < count; i++)
        if (strcmp(plan_template(a, i), plan_template(b, i)) != 0) return false;
    return true;
}

bool evaluator_serves(const Evaluator *evaluator, const Plan *plan, uint32_t source_number) {
    if (evaluator->source_number != source_number) return false;
    return evaluator->plan == plan || (source_number != 0 && equal_texts(evaluator->plan, plan));
}

bool evaluator_has_work(const Evaluator *evaluator) {
    return evaluator->first || evaluator->window_count > 0;
}

/* -- results -- */

static uint32_t template_count(const Evaluator *evaluator) {
    return (uint32_t)plan_template_count(evaluator->plan);
}

static void finish_event(TemplateBatch *batch, TemplateEvent *event, bool unavailable) {
    event->event.templates = event->results;
    metrics_add(METRIC_TEMPLATE_EVENTS, 1);
    check(batch->left > 0);
    event->unavailable = unavailable;
    if (--batch->left == 0) request_answer(&batch->request);
}

/* People read a reason, perhaps on a terminal: what was cut in the middle of a character, is no text at all or is a control character becomes a
 * question mark. */
static void make_text(char *reason, size_t size) {
    for (size_t at = 0; (at += text_check((Span){reason + at, size - at})) < size; at++) reason[at] = '?';
    for (size_t at = 0; at < size; at++)
        if ((unsigned char)reason[at] < ' ' || reason[at] == 0x7F) reason[at] = '?';
}

/* Whether a result is JSON is the mapper's question. */
static void set_result(TemplateBatch *batch, TemplateEvent *event, uint32_t template_index, bool failed, Span text) {
    if (!failed && text.size > BATCH_RESULT_BYTES_MAX - batch->result_bytes) {
        text = SPAN("the results for this request are too large");
        failed = true;
    }
    if (failed) metrics_add(METRIC_TEMPLATE_FAILURES, 1);
    if (!failed) batch->result_bytes += text.size;
    char *copy = arena_copy(&batch->arena, text);
    if (failed) make_text(copy, text.size);
    event->results[template_index] = (TemplateResult){.failed = failed, .text = {copy, text.size}};
}

/* How an event ends without the results of all its templates. */
typedef enum Ending { ENDING_FAILED, ENDING_UNAVAILABLE } Ending;

static void end_event(TemplateBatch *batch, size_t index, uint32_t first_template, size_t count, Ending ending, Span reason) {
    TemplateEvent *event = &batch->events[index];
    for (size_t i = first_template; i < count; i++) set_result(batch, event, (uint32_t)i, true, reason);
    finish_event(batch, event, ending == ENDING_UNAVAILABLE);
}

static WindowEvent *window_at(Evaluator *evaluator, size_t i) {
    return &evaluator->window[(evaluator->window_head + i) % WINDOW_MAX];
}

static void pop_window(Evaluator *evaluator) {
    evaluator->window_bytes -= window_at(evaluator, 0)->bytes;
    evaluator->window_head = (evaluator->window_head + 1) % WINDOW_MAX;
    evaluator->window_count--;
    if (evaluator->window_sent > 0) evaluator->window_sent--;
}

/* Results for the rest of the head's templates: all failed. */
static void end_head(Evaluator *evaluator, Ending ending, Span reason) {
    WindowEvent *head = window_at(evaluator, 0);
    TemplateBatch *batch = head->batch;
    size_t index = head->index;
    uint32_t next = head->next_template;
    pop_window(evaluator);
    end_event(batch, index, next, template_count(evaluator), ending, reason);
}

static void fail_head(Evaluator *evaluator, Span reason) {
    end_head(evaluator, ENDING_FAILED, reason);
}

static void give_back_head(Evaluator *evaluator, Span reason) {
    log_warning("an event is given back without having been evaluated: %.*s", (int)reason.size, reason.data);
    end_head(evaluator, ENDING_UNAVAILABLE, reason);
}

static void put_head_result(Evaluator *evaluator, bool failed, Span text) {
    WindowEvent *head = window_at(evaluator, 0);
    TemplateBatch *batch = head->batch;
    TemplateEvent *event = &batch->events[head->index];
    set_result(batch, event, head->next_template, failed, text);
    if (++head->next_template < template_count(evaluator)) return;
    pop_window(evaluator);
    finish_event(batch, event, false);
}

static void end_all(Evaluator *evaluator, Ending ending, const char *reason) {
    while (evaluator->window_count > 0) end_head(evaluator, ending, span_of(reason));
    size_t count = template_count(evaluator);
    while (evaluator->first) {
        TemplateBatch *batch = (TemplateBatch *)(void *)evaluator->first;
        size_t index = evaluator->next_event, total = batch->count;
        evaluator->first = batch->request.message.next;
        evaluator->next_event = 0;
        /* With its last event the batch is gone. */
        for (; index < total; index++) end_event(batch, index, 0, count, ending, span_of(reason));
    }
    evaluator->tail = &evaluator->first;
    evaluator->wanted_since = 0;
}

void evaluator_give_back_all(Evaluator *evaluator, const char *reason) {
    end_all(evaluator, ENDING_UNAVAILABLE, reason);
}

void evaluator_enqueue(Evaluator *evaluator, TemplateBatch *take_batch, usec_t now) {
    if (evaluator->wanted_since == 0) evaluator->wanted_since = now;
    evaluator->last_used = now;
    take_batch->request.message.next = NULL;
    *evaluator->tail = &take_batch->request.message;
    evaluator->tail = &take_batch->request.message.next;
    if (evaluator->refusal[0]) end_all(evaluator, ENDING_FAILED, evaluator->refusal);
}

bool evaluator_is_slow(const Evaluator *evaluator, usec_t now) {
    return evaluator->event_usec > SLOW_USEC || (evaluator->window_sent > 0 && now - evaluator->progress_at > 2 * SLOW_USEC);
}

/* -- process -- */

static void close_fd(int *fd) {
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
}

static void close_data(Evaluator *evaluator) {
    close_fd(&evaluator->data);
    buffer_clear(&evaluator->data_in);
    buffer_clear(&evaluator->data_out);
    evaluator->data_sent = 0;
}

void evaluator_stop(Evaluator *evaluator, Reaper *reaper, usec_t now) {
    if (evaluator->state == EVALUATOR_STOPPED) return;
    reaper_end(reaper, evaluator->pid, now);
    close_data(evaluator);
    close_fd(&evaluator->control);
    close_fd(&evaluator->arrived);
    buffer_deinit(&evaluator->control_in);
    buffer_deinit(&evaluator->control_out);
    buffer_deinit(&evaluator->data_in);
    buffer_deinit(&evaluator->data_out);
    evaluator->control_sent = 0;
    evaluator->window_sent = 0;
    evaluator->pid = 0;
    evaluator->state = EVALUATOR_STOPPED;
    evaluator->may_run = evaluator->must_yield = false;
    if (evaluator_has_work(evaluator)) evaluator->wanted_since = now;
}

bool evaluator_can_hand_over(const Evaluator *from, const Evaluator *evaluator) {
    return from->state == EVALUATOR_READY && !from->may_run && !evaluator_has_work(from) && from->arrived < 0 &&
           from->control_in.size == 0 && from->control_sent == from->control_out.size && equal_texts(from->plan, evaluator->plan);
}

void evaluator_take_over(Evaluator *evaluator, Evaluator *from, usec_t now) {
    check(evaluator->state == EVALUATOR_STOPPED && evaluator_can_hand_over(from, evaluator));
    close_data(from);
    evaluator->pid = from->pid;
    evaluator->control = from->control;
    evaluator->serial = from->serial;
    evaluator->state = EVALUATOR_BETWEEN;
    evaluator->progress_at = now;
    from->pid = 0;
    from->control = -1;
    from->state = EVALUATOR_STOPPED;
    buffer_deinit(&from->control_in);
    buffer_deinit(&from->control_out);
    buffer_deinit(&from->data_in);
    buffer_deinit(&from->data_out);
    from->control_sent = 0;
}

static void count_failed_start(Evaluator *evaluator, const char *reason, usec_t now) {
    evaluator->failed_starts++;
    evaluator->start_after = now + RESTART_USEC / 20;
    if (evaluator->failed_starts < STARTS_MAX) return;
    log_warning("a template worker does not start: %s", reason);
    evaluator_give_back_all(evaluator, reason);
    evaluator->failed_starts = 0;
    evaluator->start_after = now + RESTART_USEC;
}

/* False: more text than a worker takes. */
static bool put_load(Evaluator *evaluator) {
    uint32_t count = template_count(evaluator);
    size_t bytes = 64;
    for (uint32_t i = 0; i < count; i++) bytes += 4 + strlen(plan_template(evaluator->plan, i));
    if (count > TEMPLATES_MAX || bytes > TEMPLATE_FRAME_BYTES_MAX) return false;
    Span *texts = calloc(count, sizeof *texts);
    check(texts);
    for (uint32_t i = 0; i < count; i++) texts[i] = span_of(plan_template(evaluator->plan, i));
    TemplateLoad load = {
        .stack_frames = evaluator->limits->stack_frames, .memory_bytes = evaluator->limits->memory_bytes, .count = count, .texts = texts};
    template_put_load(&evaluator->control_out, &load);
    free(texts);
    return true;
}

void evaluator_start(Evaluator *evaluator, usec_t now) {
    check(evaluator->state == EVALUATOR_STOPPED);
    Error error = {0};
    if (!put_load(evaluator)) {
        (void)snprintf(evaluator->refusal, sizeof evaluator->refusal, "the source has more template text than can be evaluated");
        end_all(evaluator, ENDING_FAILED, evaluator->refusal);
        return;
    }
    if (template_process_start(evaluator->worker_path, &evaluator->pid, &evaluator->control, &error) < 0) {
        buffer_deinit(&evaluator->control_out);
        count_failed_start(evaluator, error.text, now);
        return;
    }
    evaluator->state = EVALUATOR_LOADING;
    evaluator->serial = 0;
    evaluator->progress_at = now;
}

/* Is the event at the head the reason? BLAME_UNSURE: perhaps; a process that was ended from outside looks the same. */
typedef enum Blame { BLAME_NOBODY, BLAME_UNSURE, BLAME_HEAD } Blame;

/* The worker ended, or does what a worker never does. */
static void lose_worker(Evaluator *evaluator, Reaper *reaper, const char *reason, Blame blame, usec_t now) {
    bool loading = evaluator->state == EVALUATOR_LOADING;
    log_warning("a template worker is replaced: %s", reason);
    metrics_add(METRIC_TEMPLATE_RESTARTS, 1);
    evaluator_stop(evaluator, reaper, now);
    if (loading) {
        count_failed_start(evaluator, reason, now);
    } else if (blame != BLAME_NOBODY && evaluator->window_count > 0 && ++window_at(evaluator, 0)->tries >= TRIES_MAX) {
        if (blame == BLAME_HEAD) fail_head(evaluator, span_of(reason));
        if (blame == BLAME_UNSURE) give_back_head(evaluator, span_of(reason));
    }
}

/* -- sending -- */

static void put_event(Evaluator *evaluator, const WindowEvent *item) {
    const Event *event = &item->batch->events[item->index].event;
    usec_t left = evaluator->limits->wall_usec - item->used_usec;
    TemplateEventMessage message = {.number = item->number,
                                    .first_template = item->next_template,
                                    .budget_usec = left > 0 ? (uint64_t)left : 1,
                                    .kind = event->kind,
                                    .received = event->received,
                                    .body = event->body,
                                    .ip = event->ip,
                                    .headers = event->headers,
                                    .header_count = (uint32_t)event->header_count};
    template_put_event(&evaluator->data_out, &message);
}

static size_t event_bytes(const Event *event) {
    TemplateEventMessage message = {
        .body = event->body, .ip = event->ip, .headers = event->headers, .header_count = (uint32_t)event->header_count};
    return template_event_bytes(&message);
}

static void send_data(Evaluator *evaluator) {
    Buffer *out = &evaluator->data_out;
    while (evaluator->data >= 0 && evaluator->data_sent < out->size) {
        ssize_t sent = send(evaluator->data, out->data + evaluator->data_sent, out->size - evaluator->data_sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        /* A broken socket: the worker tells over the other one why its process died. */
        if (sent < 0) break;
        evaluator->data_sent += (size_t)sent;
    }
    if (evaluator->data_sent < out->size) return;
    if (out->capacity > INPUT_KEPT_BYTES) buffer_deinit(out);
    buffer_clear(out);
    evaluator->data_sent = 0;
}

static void send_control(Evaluator *evaluator) {
    Buffer *out = &evaluator->control_out;
    while (evaluator->control_sent < out->size) {
        ssize_t sent = send(evaluator->control, out->data + evaluator->control_sent, out->size - evaluator->control_sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return;
        evaluator->control_sent += (size_t)sent;
    }
    buffer_deinit(out);
    evaluator->control_sent = 0;
}

static size_t window_limit(const Evaluator *evaluator) {
    usec_t each = evaluator->event_usec > 0 ? evaluator->event_usec : 1;
    usec_t fits = WINDOW_USEC / each;
    return fits < 1 ? 1 : fits > WINDOW_MAX ? WINDOW_MAX : (size_t)fits;
}

/* Moves the next waiting event into the window; false: it cannot be sent at all and has failed. */
static bool take_next(Evaluator *evaluator) {
    TemplateBatch *batch = (TemplateBatch *)(void *)evaluator->first;
    size_t index = evaluator->next_event++;
    if (evaluator->next_event == batch->count) {
        evaluator->first = batch->request.message.next;
        if (!evaluator->first) evaluator->tail = &evaluator->first;
        evaluator->next_event = 0;
    }
    size_t bytes = event_bytes(&batch->events[index].event);
    if (bytes > TEMPLATE_FRAME_BYTES_MAX) {
        end_event(batch, index, 0, template_count(evaluator), ENDING_FAILED, SPAN("the event is too large for templates"));
        return false;
    }
    WindowEvent *item = window_at(evaluator, evaluator->window_count++);
    *item = (WindowEvent){.batch = batch, .index = index, .number = evaluator->next_number++, .bytes = bytes};
    evaluator->window_bytes += bytes;
    return true;
}

/* Puts what may go to the process into its buffer. */
static void put_window(Evaluator *evaluator, usec_t now) {
    while (evaluator->window_sent < evaluator->window_count) {
        if (evaluator->window_sent > 0 && window_at(evaluator, 0)->alone) break;
        if (evaluator->window_sent == 0) evaluator->progress_at = now;
        put_event(evaluator, window_at(evaluator, evaluator->window_sent++));
    }
}

void evaluator_feed(Evaluator *evaluator, usec_t now) {
    if (evaluator->state != EVALUATOR_READY || !evaluator->may_run) return;
    size_t limit = window_limit(evaluator);
    while (evaluator->first && !evaluator->must_yield && evaluator->window_count < limit &&
           (evaluator->window_count == 0 || evaluator->window_bytes < WINDOW_BYTES_MAX) &&
           evaluator->data_out.size - evaluator->data_sent < UNSENT_BYTES_MAX) {
        if (take_next(evaluator)) put_window(evaluator, now);
    }
    put_window(evaluator, now);
    send_data(evaluator);
}

/* -- receiving -- */

static void measure(Evaluator *evaluator, size_t events, usec_t now) {
    if (events == 0) return;
    usec_t each = (now - evaluator->progress_at) / (usec_t)events;
    evaluator->event_usec += (each - evaluator->event_usec) / 4;
    evaluator->progress_at = now;
    evaluator->last_used = now;
}

/* One RESULT. -EBADMSG: it is none of the head's. `again`: it may have come before. */
static int take_result(Evaluator *evaluator, const TemplateFrame *frame, bool again) {
    TemplateResultMessage result;
    if (frame->kind != TEMPLATE_FRAME_RESULT || template_read_result(frame->payload, &result) < 0) return -EBADMSG;
    const WindowEvent *head = evaluator->window_count > 0 ? window_at(evaluator, 0) : NULL;
    if (head && evaluator->window_sent > 0 && head->number == result.number && head->next_template == result.template_index) {
        put_head_result(evaluator, result.failed, result.text);
        return 0;
    }
    uint64_t oldest = head ? head->number : evaluator->next_number;
    bool known = result.number < oldest || (head && result.number == oldest && result.template_index < head->next_template);
    return again && known ? 0 : -EBADMSG;
}

/* All whole frames of `bytes`; the rest's size, or -EBADMSG. */
static ssize_t take_results(Evaluator *evaluator, Span bytes, bool again) {
    for (;;) {
        TemplateFrame frame;
        int r = template_frame_next(bytes, &frame);
        if (r < 0) return r;
        if (r == TEMPLATE_FRAME_INCOMPLETE) return (ssize_t)bytes.size;
        r = take_result(evaluator, &frame, again);
        if (r < 0) return r;
        bytes = (Span){bytes.data + frame.bytes, bytes.size - frame.bytes};
    }
}

static void keep_rest(Buffer *buffer, size_t rest) {
    if (rest > 0) memmove(buffer->data, buffer->data + buffer->size - rest, rest);
    buffer->size = rest;
    if (rest == 0 && buffer->capacity > INPUT_KEPT_BYTES) buffer_deinit(buffer);
}

/* What the data socket has, all of it when `drain`. -EBADMSG: not to be trusted. */
static int read_data(Evaluator *evaluator, bool drain) {
    for (unsigned i = 0; evaluator->data >= 0 && (drain || i < READS_A_TURN); i++) {
        char *room = buffer_reserve(&evaluator->data_in, READ_BYTES);
        ssize_t got = recv(evaluator->data, room, READ_BYTES, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            /* The end: DIED follows on the control socket, and only then the head is judged. */
            if (got == 0 || errno != EAGAIN) close_fd(&evaluator->data);
            return 0;
        }
        evaluator->data_in.size += (size_t)got;
        ssize_t rest = take_results(evaluator, buffer_span(&evaluator->data_in), false);
        if (rest < 0) return (int)rest;
        keep_rest(&evaluator->data_in, (size_t)rest);
        if (got < READ_BYTES && !drain) return 0;
    }
    return 0;
}

static void judge_head(Evaluator *evaluator, const TemplateDiedMessage *died) {
    if (evaluator->window_sent == 0) return;
    WindowEvent *head = window_at(evaluator, 0);
    bool same = head->number == died->number && head->next_template == died->template_index;
    switch (died->death) {
    case TEMPLATE_DEATH_IDLE:
        if (++head->tries >= TRIES_MAX) give_back_head(evaluator, SPAN("the template worker could not take the event"));
        return;
    case TEMPLATE_DEATH_KILLED:
        if (same && ++head->tries >= TRIES_MAX) give_back_head(evaluator, died->reason);
        return;
    case TEMPLATE_DEATH_TIME:
        if (same) fail_head(evaluator, died->reason);
        return;
    case TEMPLATE_DEATH_ERROR:
    case TEMPLATE_DEATH_CRASH:
        if (!same) return;
        head->used_usec += died->used_usec < (uint64_t)evaluator->limits->wall_usec ? (usec_t)died->used_usec
                                                                                    : evaluator->limits->wall_usec;
        /* What one event may cost holds for all its templates. */
        if (head->used_usec >= evaluator->limits->wall_usec) {
            fail_head(evaluator, died->reason);
        } else {
            put_head_result(evaluator, true, died->reason);
        }
        return;
    }
    unreachable();
}

static int take_died(Evaluator *evaluator, const TemplateFrame *frame, usec_t now) {
    TemplateDiedMessage died;
    if (template_read_died(frame->payload, &died) < 0 || evaluator->state != EVALUATOR_READY || died.serial != evaluator->serial)
        return -EBADMSG;
    size_t before = evaluator->window_count;
    if (read_data(evaluator, true) < 0) return -EBADMSG;
    if (take_results(evaluator, died.results, true) != 0) return -EBADMSG;
    judge_head(evaluator, &died);
    measure(evaluator, before - evaluator->window_count, now);
    metrics_add(METRIC_TEMPLATE_RESTARTS, 1);
    close_data(evaluator);
    evaluator->state = EVALUATOR_BETWEEN;
    evaluator->progress_at = now;
    return 0;
}

static int take_child(Evaluator *evaluator, const TemplateFrame *frame, usec_t now) {
    TemplateChildMessage child;
    if (template_read_child(frame->payload, &child) < 0 || evaluator->arrived < 0 || child.serial != evaluator->serial + 1) return -EBADMSG;
    if (evaluator->state != EVALUATOR_LOADING && evaluator->state != EVALUATOR_BETWEEN) return -EBADMSG;
    evaluator->serial = child.serial;
    evaluator->data = evaluator->arrived;
    evaluator->arrived = -1;
    evaluator->state = EVALUATOR_READY;
    evaluator->failed_starts = 0;
    evaluator->progress_at = now;
    evaluator->window_sent = 0;
    put_window(evaluator, now);
    send_data(evaluator);
    return 0;
}

/* -EBADMSG, or -ECANCELED when the worker has refused the templates. */
static int take_control(Evaluator *evaluator, const TemplateFrame *frame, usec_t now) {
    Span reason;
    switch (frame->kind) {
    case TEMPLATE_FRAME_CHILD: return take_child(evaluator, frame, now);
    case TEMPLATE_FRAME_DIED: return take_died(evaluator, frame, now);
    case TEMPLATE_FRAME_REFUSED:
        if (template_read_refused(frame->payload, &reason) < 0 || evaluator->state != EVALUATOR_LOADING) return -EBADMSG;
        (void)snprintf(evaluator->refusal, sizeof evaluator->refusal, "%.*s", (int)reason.size, reason.data);
        if (!evaluator->refusal[0]) (void)snprintf(evaluator->refusal, sizeof evaluator->refusal, "the templates cannot be loaded");
        return -ECANCELED;
    default: return -EBADMSG;
    }
}

/* A descriptor that nobody asked for is closed by the next check. */
static int keep_descriptor(Evaluator *evaluator, struct msghdr *message) {
    int r = 0;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
            if (evaluator->arrived < 0) {
                evaluator->arrived = fd;
            } else {
                (void)close(fd);
                r = -EBADMSG;
            }
        }
    }
    return r;
}

/* 0, -EBADMSG, -ECANCELED, or -ECONNRESET at the end. */
static int read_control(Evaluator *evaluator, usec_t now) {
    /* A worker that writes without end takes no more than its turn: all sources share this thread. */
    for (unsigned i = 0; i < READS_A_TURN; i++) {
        char room[CMSG_SPACE(4 * sizeof(int))];
        struct iovec part = {.iov_base = buffer_reserve(&evaluator->control_in, READ_BYTES), .iov_len = READ_BYTES};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
        ssize_t got = recvmsg(evaluator->control, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return 0;
        if (got <= 0) return -ECONNRESET;
        int r = keep_descriptor(evaluator, &message);
        if (r < 0) return r;
        evaluator->control_in.size += (size_t)got;

        size_t used = 0;
        for (;;) {
            TemplateFrame frame;
            r = template_frame_next((Span){evaluator->control_in.data + used, evaluator->control_in.size - used}, &frame);
            if (r == TEMPLATE_FRAME_INCOMPLETE) break;
            if (r == 0) r = take_control(evaluator, &frame, now);
            if (r < 0) return r;
            used += frame.bytes;
        }
        keep_rest(&evaluator->control_in, evaluator->control_in.size - used);
    }
    return 0;
}

size_t evaluator_poll(const Evaluator *evaluator, struct pollfd entries[2]) {
    size_t count = 0;
    if (evaluator->control >= 0) {
        short events = evaluator->control_out.size > evaluator->control_sent ? POLLIN | POLLOUT : POLLIN;
        entries[count++] = (struct pollfd){.fd = evaluator->control, .events = events};
    }
    if (evaluator->data >= 0) {
        short events = evaluator->data_out.size > evaluator->data_sent ? POLLIN | POLLOUT : POLLIN;
        entries[count++] = (struct pollfd){.fd = evaluator->data, .events = events};
    }
    return count;
}

static void handle_control(Evaluator *evaluator, Reaper *reaper, usec_t now) {
    send_control(evaluator);
    int r = read_control(evaluator, now);
    if (r == -ECANCELED) {
        log_warning("templates cannot be loaded: %s", evaluator->refusal);
        evaluator_stop(evaluator, reaper, now);
        end_all(evaluator, ENDING_FAILED, evaluator->refusal);
    } else if (r == -EBADMSG) {
        lose_worker(evaluator, reaper, "it does not keep to the protocol", BLAME_HEAD, now);
    } else if (r < 0) {
        lose_worker(evaluator, reaper, "the worker process ended", BLAME_UNSURE, now);
    }
}

void evaluator_handle(Evaluator *evaluator, const struct pollfd *entry, Reaper *reaper, usec_t now) {
    if (entry->revents == 0) return;
    if (entry->fd == evaluator->control) {
        handle_control(evaluator, reaper, now);
    } else if (entry->fd == evaluator->data) {
        size_t before = evaluator->window_count;
        if (entry->revents & POLLOUT) send_data(evaluator);
        if (read_data(evaluator, false) < 0) {
            lose_worker(evaluator, reaper, "it does not keep to the protocol", BLAME_HEAD, now);
            return;
        }
        measure(evaluator, before - evaluator->window_count, now);
    }
}

void evaluator_check_time(Evaluator *evaluator, Reaper *reaper, usec_t now) {
    usec_t waited = now - evaluator->progress_at;
    bool overdue = evaluator->state == EVALUATOR_LOADING   ? waited > LOAD_USEC_MAX
                   : evaluator->state == EVALUATOR_BETWEEN ? waited > GRACE_USEC
                   : evaluator->state == EVALUATOR_READY
                       ? evaluator->window_sent > 0 && waited > PATIENCE * evaluator->limits->wall_usec + GRACE_USEC
                       : false;
    if (!overdue) return;
    bool was_ready = evaluator->state == EVALUATOR_READY;
    lose_worker(evaluator, reaper, "it does not answer in time", BLAME_NOBODY, now);
    if (!was_ready) return;
    /* The process's own clock ends what takes too much processor time: this one was stopped, or the machine was. Or it was held up by one of those
     * before it, whose results had not come yet. */
    WindowEvent *head = window_at(evaluator, 0);
    if (head->alone) {
        give_back_head(evaluator, SPAN("the evaluation was interrupted twice"));
        return;
    }
    head->alone = true;
    head->used_usec = 0;
}
