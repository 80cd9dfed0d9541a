#include "base/log.h"
#include "base/metrics.h"
#include "base/text.h"
#include "gateway/templates/evaluator_parts.h"

static void finish_event(TemplateBatch *batch, TemplateEvent *event, bool unavailable) {
    check(!event->event.templates); /* an event ends once */
    event->event.templates = event->results;
    metrics_add(METRIC_TEMPLATE_EVENTS, 1);
    check(batch->left > 0 && batch->left <= batch->count);
    event->unavailable = unavailable;
    if (--batch->left == 0) request_answer(&batch->request);
}

/* People read a reason, perhaps on a terminal: what was cut in the middle of a character, is no
 * text at all or is a control character becomes a question mark. */
static void make_text(char *reason, size_t size) {
    for (size_t at = 0; (at += text_check((Span){reason + at, size - at})) < size; at++) reason[at] = '?';
    for (size_t at = 0; at < size; at++)
        if ((unsigned char)reason[at] < ' ' || reason[at] == 0x7F) reason[at] = '?';
}

/* Whether a result is JSON is the mapper's question. */
static void set_result(TemplateBatch *batch, TemplateEvent *event, uint32_t template_index, bool failed, Span text) {
    check(template_index < plan_template_count(batch->plan) && !event->event.templates);
    check(batch->result_bytes <= BATCH_RESULT_BYTES_MAX);
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

void evaluator_end_event(TemplateBatch *batch, size_t index, uint32_t first_template, size_t count, Ending ending, Span reason) {
    check(index < batch->count && first_template < count);
    TemplateEvent *event = &batch->events[index];
    for (size_t i = first_template; i < count; i++) set_result(batch, event, (uint32_t)i, true, reason);
    finish_event(batch, event, ending == ENDING_UNAVAILABLE);
}

static void pop_window(Evaluator *evaluator) {
    check(evaluator->window_count > 0 && evaluator->window_bytes >= evaluator_window_at(evaluator, 0)->bytes);
    evaluator->window_bytes -= evaluator_window_at(evaluator, 0)->bytes;
    evaluator->window_head = (evaluator->window_head + 1) % WINDOW_MAX;
    evaluator->window_count--;
    if (evaluator->window_sent > 0) evaluator->window_sent--;
}

/* Results for the rest of the head's templates: all failed. */
static void end_head(Evaluator *evaluator, Ending ending, Span reason) {
    check(evaluator->window_count > 0);
    WindowEvent *head = evaluator_window_at(evaluator, 0);
    TemplateBatch *batch = head->batch;
    size_t index = head->index;
    uint32_t next = head->next_template;
    pop_window(evaluator);
    evaluator_end_event(batch, index, next, evaluator_template_count(evaluator), ending, reason);
}

void evaluator_fail_head(Evaluator *evaluator, Span reason) {
    end_head(evaluator, ENDING_FAILED, reason);
}

void evaluator_give_back_head(Evaluator *evaluator, Span reason) {
    log_warning("an event was returned without an evaluation: %.*s", (int)reason.size, reason.data);
    end_head(evaluator, ENDING_UNAVAILABLE, reason);
}

void evaluator_put_head_result(Evaluator *evaluator, bool failed, Span text) {
    check(evaluator->window_count > 0);
    WindowEvent *head = evaluator_window_at(evaluator, 0);
    check(head->next_template < evaluator_template_count(evaluator));
    TemplateBatch *batch = head->batch;
    TemplateEvent *event = &batch->events[head->index];
    set_result(batch, event, head->next_template, failed, text);
    if (++head->next_template < evaluator_template_count(evaluator)) return;
    pop_window(evaluator);
    finish_event(batch, event, false);
}

void evaluator_end_all(Evaluator *evaluator, Ending ending, const char *reason) {
    check_on_thread(&evaluator->owner);
    while (evaluator->window_count > 0) end_head(evaluator, ending, span_of(reason));
    size_t count = evaluator_template_count(evaluator);
    while (evaluator->first) {
        TemplateBatch *batch = (TemplateBatch *)(void *)evaluator->first;
        size_t index = evaluator->next_event, total = batch->count;
        evaluator->first = batch->request.message.next;
        evaluator->next_event = 0;
        /* With its last event the batch is gone. */
        for (; index < total; index++) evaluator_end_event(batch, index, 0, count, ending, span_of(reason));
    }
    evaluator->tail = &evaluator->first;
    evaluator->wanted_since = 0;
    check(!evaluator_has_work(evaluator));
}

void evaluator_give_back_all(Evaluator *evaluator, const char *reason) {
    evaluator_end_all(evaluator, ENDING_UNAVAILABLE, reason);
}
