#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/metrics.h"
#include "gateway/templates/evaluator_parts.h"

enum {
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

static bool is_sound_window(const Evaluator *evaluator) {
    if (evaluator->window_head >= WINDOW_MAX || evaluator->window_count > WINDOW_MAX) return false;
    if (evaluator->window_sent > evaluator->window_count) return false;
    return evaluator->window_count > 0 || evaluator->window_bytes == 0;
}

static bool is_sound_process(const Evaluator *evaluator) {
    if (evaluator->state == EVALUATOR_STOPPED)
        return evaluator->pid == 0 && evaluator->control < 0 && evaluator->data < 0 && evaluator->arrived < 0 &&
               evaluator->window_sent == 0;
    /* The data socket of an evaluating process is closed at its end, a moment before the zygote
     * says so. */
    return evaluator->pid > 1 && evaluator->control >= 0 && (evaluator->data < 0 || evaluator->state == EVALUATOR_READY);
}

void evaluator_check(const Evaluator *evaluator) {
    check_on_thread(&evaluator->owner);
    check(is_sound_window(evaluator));
    check(is_sound_process(evaluator));
    check(evaluator->first ? evaluator->tail != &evaluator->first : evaluator->tail == &evaluator->first && evaluator->next_event == 0);
    check(!evaluator->may_run || evaluator->state != EVALUATOR_STOPPED);
    check(evaluator->may_run || !evaluator->must_yield);
    check(evaluator->data_sent <= evaluator->data_out.size && evaluator->control_sent <= evaluator->control_out.size);
}

void evaluator_free(Evaluator *evaluator) {
    if (!evaluator) return;
    evaluator_check(evaluator);
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

void evaluator_enqueue(Evaluator *evaluator, TemplateBatch *take_batch, usec_t now) {
    evaluator_check(evaluator);
    check(evaluator_serves(evaluator, take_batch->plan, take_batch->source_number));
    check(take_batch->count > 0 && take_batch->left == take_batch->count); /* it comes to one evaluator, once */
    if (evaluator->wanted_since == 0) evaluator->wanted_since = now;
    evaluator->last_used = now;
    take_batch->request.message.next = NULL;
    *evaluator->tail = &take_batch->request.message;
    evaluator->tail = &take_batch->request.message.next;
    if (evaluator->refusal[0]) evaluator_end_all(evaluator, ENDING_FAILED, evaluator->refusal);
}

bool evaluator_is_slow(const Evaluator *evaluator, usec_t now) {
    return evaluator->event_usec > SLOW_USEC || (evaluator->window_sent > 0 && now - evaluator->progress_at > 2 * SLOW_USEC);
}

/* -- process -- */

void evaluator_close_fd(int *fd) {
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
}

void evaluator_close_data(Evaluator *evaluator) {
    evaluator_close_fd(&evaluator->data);
    buffer_clear(&evaluator->data_in);
    buffer_clear(&evaluator->data_out);
    evaluator->data_sent = 0;
}

void evaluator_stop(Evaluator *evaluator, Reaper *reaper, usec_t now) {
    evaluator_check(evaluator);
    if (evaluator->state == EVALUATOR_STOPPED) return;
    reaper_end(reaper, evaluator->pid, now);
    evaluator_close_data(evaluator);
    evaluator_close_fd(&evaluator->control);
    evaluator_close_fd(&evaluator->arrived);
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
    evaluator_check(evaluator);
}

bool evaluator_can_hand_over(const Evaluator *from, const Evaluator *evaluator) {
    return from->state == EVALUATOR_READY && !from->may_run && !evaluator_has_work(from) && from->arrived < 0 &&
           from->control_in.size == 0 && from->control_sent == from->control_out.size && equal_texts(from->plan, evaluator->plan);
}

void evaluator_take_over(Evaluator *evaluator, Evaluator *from, usec_t now) {
    evaluator_check(evaluator);
    evaluator_check(from);
    check(evaluator != from && evaluator->state == EVALUATOR_STOPPED && evaluator_can_hand_over(from, evaluator));
    check(from->window_count == 0); /* the process holds no event: of two sources none are in one */
    evaluator_close_data(from);
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
    uint32_t count = evaluator_template_count(evaluator);
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
    evaluator_check(evaluator);
    check(evaluator->state == EVALUATOR_STOPPED && now >= evaluator->start_after);
    check(evaluator->control_out.size == 0 && evaluator->control_in.size == 0 && evaluator->data_in.size == 0); /* of an earlier process */
    Error error = {0};
    if (!put_load(evaluator)) {
        (void)snprintf(evaluator->refusal, sizeof evaluator->refusal, "the source has more template text than can be evaluated");
        evaluator_end_all(evaluator, ENDING_FAILED, evaluator->refusal);
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
    evaluator_check(evaluator);
}

/* Is the event at the head the reason? BLAME_UNSURE: perhaps; a process that was ended from outside
 * looks the same. */
typedef enum Blame { BLAME_NOBODY, BLAME_UNSURE, BLAME_HEAD } Blame;

/* The worker ended, or does what a worker never does. */
static void lose_worker(Evaluator *evaluator, Reaper *reaper, const char *reason, Blame blame, usec_t now) {
    bool loading = evaluator->state == EVALUATOR_LOADING;
    log_warning("a template worker is replaced: %s", reason);
    metrics_add(METRIC_TEMPLATE_RESTARTS, 1);
    evaluator_stop(evaluator, reaper, now);
    if (loading) {
        count_failed_start(evaluator, reason, now);
    } else if (blame != BLAME_NOBODY && evaluator->window_count > 0 && ++evaluator_window_at(evaluator, 0)->tries >= TRIES_MAX) {
        if (blame == BLAME_HEAD) evaluator_fail_head(evaluator, span_of(reason));
        if (blame == BLAME_UNSURE) evaluator_give_back_head(evaluator, span_of(reason));
    }
}

/* -- sockets -- */

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
    evaluator_send_control(evaluator);
    int r = evaluator_read_control(evaluator, now);
    if (r == -ECANCELED) {
        log_warning("templates cannot be loaded: %s", evaluator->refusal);
        evaluator_stop(evaluator, reaper, now);
        evaluator_end_all(evaluator, ENDING_FAILED, evaluator->refusal);
    } else if (r == -EBADMSG) {
        lose_worker(evaluator, reaper, "it violates the protocol", BLAME_HEAD, now);
    } else if (r < 0) {
        lose_worker(evaluator, reaper, "the worker process ended", BLAME_UNSURE, now);
    }
}

void evaluator_handle(Evaluator *evaluator, const struct pollfd *entry, Reaper *reaper, usec_t now) {
    evaluator_check(evaluator);
    if (entry->revents == 0) return;
    if (entry->fd == evaluator->control) {
        handle_control(evaluator, reaper, now);
    } else if (entry->fd == evaluator->data) {
        size_t before = evaluator->window_count;
        if (entry->revents & POLLOUT) evaluator_send_data(evaluator);
        if (evaluator_read_data(evaluator, false) < 0) {
            lose_worker(evaluator, reaper, "it violates the protocol", BLAME_HEAD, now);
            return;
        }
        evaluator_measure(evaluator, before - evaluator->window_count, now);
    }
}

void evaluator_check_time(Evaluator *evaluator, Reaper *reaper, usec_t now) {
    evaluator_check(evaluator);
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
    check(evaluator->window_count > 0);
    /* The process's own clock ends what takes too much processor time: this one was stopped, or the
     * machine was. Or it was held up by one of those before it, whose results had not come yet. */
    WindowEvent *head = evaluator_window_at(evaluator, 0);
    if (head->alone) {
        evaluator_give_back_head(evaluator, SPAN("the evaluation was interrupted twice"));
        return;
    }
    head->alone = true;
    head->used_usec = 0;
}
