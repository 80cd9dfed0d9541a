#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/metrics.h"
#include "gateway/templates/evaluator_parts.h"

enum {
    READ_BYTES = 64 * 1024,
    READS_A_TURN = 8,
};

void evaluator_measure(Evaluator *evaluator, size_t events, usec_t now) {
    if (events == 0) return;
    check(events <= WINDOW_MAX && now >= evaluator->progress_at);
    usec_t each = (now - evaluator->progress_at) / (usec_t)events;
    evaluator->event_usec += (each - evaluator->event_usec) / 4;
    evaluator->progress_at = now;
    evaluator->last_used = now;
}

/* One RESULT. -EBADMSG: it is none of the head's. `again`: it may have come before. */
static int take_result(Evaluator *evaluator, const TemplateFrame *frame, bool again) {
    TemplateResultMessage result;
    if (frame->kind != TEMPLATE_FRAME_RESULT || template_read_result(frame->payload, &result) < 0) return -EBADMSG;
    const WindowEvent *head = evaluator->window_count > 0 ? evaluator_window_at(evaluator, 0) : NULL;
    if (head && evaluator->window_sent > 0 && head->number == result.number && head->next_template == result.template_index) {
        evaluator_put_head_result(evaluator, result.failed, result.text);
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
    check(rest <= buffer->size);
    if (rest > 0) memmove(buffer->data, buffer->data + buffer->size - rest, rest);
    buffer->size = rest;
    if (rest == 0 && buffer->capacity > INPUT_KEPT_BYTES) buffer_deinit(buffer);
}

/* What the data socket has, all of it when `drain`. -EBADMSG: not to be trusted. */
int evaluator_read_data(Evaluator *evaluator, bool drain) {
    for (unsigned i = 0; evaluator->data >= 0 && (drain || i < READS_A_TURN); i++) {
        char *room = buffer_reserve(&evaluator->data_in, READ_BYTES);
        ssize_t got = recv(evaluator->data, room, READ_BYTES, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            /* The end: DIED follows on the control socket, and only then the head is evaluated. */
            if (got == 0 || errno != EAGAIN) evaluator_close_fd(&evaluator->data);
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

static void evaluate_head(Evaluator *evaluator, const TemplateDiedMessage *died) {
    if (evaluator->window_sent == 0) return;
    WindowEvent *head = evaluator_window_at(evaluator, 0);
    check(head->tries < TRIES_MAX && head->used_usec < evaluator->limits->wall_usec); /* else it would have ended */
    bool same = head->number == died->number && head->next_template == died->template_index;
    switch (died->death) {
    case TEMPLATE_DEATH_IDLE:
        if (++head->tries >= TRIES_MAX) evaluator_give_back_head(evaluator, SPAN("the template worker could not take the event"));
        return;
    case TEMPLATE_DEATH_KILLED:
        if (same && ++head->tries >= TRIES_MAX) evaluator_give_back_head(evaluator, died->reason);
        return;
    case TEMPLATE_DEATH_TIME:
        if (same) evaluator_fail_head(evaluator, died->reason);
        return;
    case TEMPLATE_DEATH_ERROR:
    case TEMPLATE_DEATH_CRASH:
        if (!same) return;
        head->used_usec += died->used_usec < (uint64_t)evaluator->limits->wall_usec ? (usec_t)died->used_usec
                                                                                    : evaluator->limits->wall_usec;
        /* What one event may cost holds for all its templates. */
        if (head->used_usec >= evaluator->limits->wall_usec) {
            evaluator_fail_head(evaluator, died->reason);
        } else {
            evaluator_put_head_result(evaluator, true, died->reason);
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
    if (evaluator_read_data(evaluator, true) < 0) return -EBADMSG;
    if (take_results(evaluator, died.results, true) != 0) return -EBADMSG;
    evaluate_head(evaluator, &died);
    evaluator_measure(evaluator, before - evaluator->window_count, now);
    metrics_add(METRIC_TEMPLATE_RESTARTS, 1);
    evaluator_close_data(evaluator);
    evaluator->state = EVALUATOR_BETWEEN;
    evaluator->progress_at = now;
    return 0;
}

static int take_child(Evaluator *evaluator, const TemplateFrame *frame, usec_t now) {
    TemplateChildMessage child;
    if (template_read_child(frame->payload, &child) < 0 || evaluator->arrived < 0 || child.serial != evaluator->serial + 1) return -EBADMSG;
    if (evaluator->state != EVALUATOR_LOADING && evaluator->state != EVALUATOR_BETWEEN) return -EBADMSG;
    check(evaluator->data < 0 && evaluator->data_in.size == 0 && evaluator->data_out.size == 0); /* of the process before */
    evaluator->serial = child.serial;
    evaluator->data = evaluator->arrived;
    evaluator->arrived = -1;
    evaluator->state = EVALUATOR_READY;
    evaluator->failed_starts = 0;
    evaluator->progress_at = now;
    evaluator->window_sent = 0;
    evaluator_put_window(evaluator, now);
    evaluator_send_data(evaluator);
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
int evaluator_read_control(Evaluator *evaluator, usec_t now) {
    /* A worker that writes without end takes no more than its turn: all sources share this
     * thread. */
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
