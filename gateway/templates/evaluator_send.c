#include <errno.h>
#include <sys/socket.h>

#include "gateway/templates/evaluator_parts.h"

enum {
    WINDOW_USEC = 20 * 1000, /* work that may be with the process, so that it can change hands soon */
    UNSENT_BYTES_MAX = 256 * 1024,
};

static void put_event(Evaluator *evaluator, const WindowEvent *item) {
    check(item->index < item->batch->count && item->next_template < evaluator_template_count(evaluator));
    const Event *event = &item->batch->events[item->index].event;
    check(!event->templates); /* it has not ended */
    usec_t left = evaluator->limits->wall_usec - item->used_usec;
    TemplateEventMessage message = {.number = item->number,
                                    .first_template = item->next_template,
                                    .budget_usec = left > 0 ? (uint64_t)left : 1,
                                    .kind = event->kind,
                                    .received = event->received,
                                    .body = event->body,
                                    .ip = event->ip,
                                    .headers = event->headers,
                                    .header_count = (uint32_t)event->header_count,
                                    .meta = event->meta};
    template_put_event(&evaluator->data_out, &message);
}

static size_t event_bytes(const Event *event) {
    TemplateEventMessage message = {.body = event->body,
                                    .ip = event->ip,
                                    .headers = event->headers,
                                    .header_count = (uint32_t)event->header_count,
                                    .meta = event->meta};
    return template_event_bytes(&message);
}

void evaluator_send_data(Evaluator *evaluator) {
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

void evaluator_send_control(Evaluator *evaluator) {
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
    check(batch && evaluator->next_event < batch->count && evaluator->window_count < WINDOW_MAX);
    size_t index = evaluator->next_event++;
    if (evaluator->next_event == batch->count) {
        evaluator->first = batch->request.message.next;
        if (!evaluator->first) evaluator->tail = &evaluator->first;
        evaluator->next_event = 0;
    }
    size_t bytes = event_bytes(&batch->events[index].event);
    if (bytes > TEMPLATE_FRAME_BYTES_MAX) {
        evaluator_end_event(batch, index, 0, evaluator_template_count(evaluator), ENDING_FAILED,
                            SPAN("the event is too large for templates"));
        return false;
    }
    WindowEvent *item = evaluator_window_at(evaluator, evaluator->window_count++);
    *item = (WindowEvent){.batch = batch, .index = index, .number = evaluator->next_number++, .bytes = bytes};
    evaluator->window_bytes += bytes;
    return true;
}

/* Puts what may go to the process into its buffer. */
void evaluator_put_window(Evaluator *evaluator, usec_t now) {
    while (evaluator->window_sent < evaluator->window_count) {
        if (evaluator->window_sent > 0 && evaluator_window_at(evaluator, 0)->alone) break;
        if (evaluator->window_sent == 0) evaluator->progress_at = now;
        put_event(evaluator, evaluator_window_at(evaluator, evaluator->window_sent++));
    }
}

void evaluator_feed(Evaluator *evaluator, usec_t now) {
    evaluator_check(evaluator);
    if (evaluator->state != EVALUATOR_READY || !evaluator->may_run) return;
    size_t limit = window_limit(evaluator);
    while (evaluator->first && !evaluator->must_yield && evaluator->window_count < limit &&
           (evaluator->window_count == 0 || evaluator->window_bytes < WINDOW_BYTES_MAX) &&
           evaluator->data_out.size - evaluator->data_sent < UNSENT_BYTES_MAX) {
        if (take_next(evaluator)) evaluator_put_window(evaluator, now);
    }
    evaluator_put_window(evaluator, now);
    evaluator_send_data(evaluator);
    evaluator_check(evaluator);
}
