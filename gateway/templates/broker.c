#include "gateway/templates/broker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/thread.h"
#include "gateway/templates/check.h"
#include "gateway/templates/evaluator.h"

enum {
    MESSAGE_BATCH = 0, /* what template_batch_new leaves; set again when it goes back */
    MESSAGE_CHECK = -1,
    MESSAGE_STOP = -2,
    TICK_MS = 10, /* while anything runs or ends: stalls are seen this late */
    SLICE_USEC = 20 * 1000,
    CHECKS_AT_ONCE = 4, /* one whose worker hangs holds the others up no longer than it must */
    SLOW_A_WORKER = 4,  /* slow sources that may evaluate for each worker of the fast ones */
};
#define REFUSAL_KEPT_USEC (10 * USEC_SECOND)

struct Templates {
    TemplateLimits limits;
    char *worker_path;
    Mailbox *inbox;
    int wake_fd;
    Thread thread;
    Message stop;
    pthread_mutex_t lock; /* nothing is posted behind the stop */
    bool runs;            /* the thread; who started it */
    bool stopped;         /* under the lock */

    /* broker thread */
    ThreadOwner owner;
    Clock *clock;
    Reaper reaper;
    Evaluator **evaluators;
    size_t count, capacity;
    struct pollfd *entries; /* room for all evaluators and checkers */
    Message *checks;        /* TemplateChecks that wait, oldest first */
    Checker *checkers[CHECKS_AT_ONCE];
    size_t checker_count;
};

static void answer_check(TemplateCheck *asked) {
    asked->request.message.kind = asked->reply_kind;
    request_answer(&asked->request);
}

static void refuse_check(TemplateCheck *asked) {
    asked->request.result = error_set(&asked->request.error, -ECANCELED, "the server is shutting down");
    answer_check(asked);
}

static void queue_check(Templates *templates, Message *take_check) {
    check_on_thread(&templates->owner);
    Message **tail = &templates->checks;
    while (*tail) tail = &(*tail)->next;
    take_check->next = NULL;
    *tail = take_check;
}

/* False: it works on, else it is gone. */
static bool step_check(Templates *templates, Checker *checker, usec_t now) {
    CheckerState state = checker_step(checker, &templates->reaper, templates->checks != NULL, now);
    if (state == CHECKER_WORKS) return false;
    TemplateCheck *asked = checker_free(checker, &templates->reaper, now);
    if (state == CHECKER_ENDED) {
        answer_check(asked);
    } else {
        queue_check(templates, &asked->request.message);
    }
    return true;
}

static void end_late_checks(Templates *templates, usec_t now) {
    for (Message **at = &templates->checks; *at;) {
        TemplateCheck *waiting = (TemplateCheck *)(void *)*at;
        if (now < waiting->until) {
            at = &(*at)->next;
            continue;
        }
        *at = (*at)->next;
        checker_time_over(waiting);
        answer_check(waiting);
    }
}

static void step_checks(Templates *templates, usec_t now) {
    end_late_checks(templates, now);
    for (size_t i = 0; i < templates->checker_count;) {
        if (step_check(templates, templates->checkers[i], now)) {
            templates->checkers[i] = templates->checkers[--templates->checker_count];
        } else {
            i++;
        }
    }
    while (templates->checks && templates->checker_count < CHECKS_AT_ONCE) {
        TemplateCheck *next = (TemplateCheck *)(void *)templates->checks;
        templates->checks = next->request.message.next;
        Checker *checker = checker_new(next, templates->worker_path, &templates->limits, now);
        if (!step_check(templates, checker, now)) templates->checkers[templates->checker_count++] = checker;
    }
    check(templates->checker_count <= CHECKS_AT_ONCE);
}

static void end_checks(Templates *templates, usec_t now) {
    while (templates->checker_count > 0) {
        Checker *checker = templates->checkers[--templates->checker_count];
        refuse_check(checker_free(checker, &templates->reaper, now));
    }
    while (templates->checks) {
        TemplateCheck *waiting = (TemplateCheck *)(void *)templates->checks;
        templates->checks = waiting->request.message.next;
        refuse_check(waiting);
    }
}

/* -- evaluators -- */

/* Grows the list of evaluators, and with it what is polled. */
static void grow(Templates *templates) {
    templates->capacity = templates->capacity ? 2 * templates->capacity : 16;
    templates->evaluators = realloc(templates->evaluators, templates->capacity * sizeof(Evaluator *));
    templates->entries = realloc(templates->entries, (1 + CHECKS_AT_ONCE + 2 * templates->capacity) * sizeof *templates->entries);
    check(templates->evaluators && templates->entries);
}

static Evaluator *evaluator_for(Templates *templates, const TemplateBatch *batch) {
    for (size_t i = 0; i < templates->count; i++)
        if (evaluator_serves(templates->evaluators[i], batch->plan, batch->source_number)) return templates->evaluators[i];
    if (templates->count == templates->capacity) grow(templates);
    check(templates->count < templates->capacity);
    Evaluator *evaluator = evaluator_new(batch->plan, batch->source_number, templates->worker_path, &templates->limits);
    templates->evaluators[templates->count++] = evaluator;
    return evaluator;
}

static void take_batch(Templates *templates, TemplateBatch *batch, usec_t now) {
    check(batch->plan && batch->left == batch->count && batch->result_bytes == 0);
    batch->request.message.kind = batch->reply_kind;
    if (batch->count == 0 || plan_template_count(batch->plan) == 0) {
        request_answer(&batch->request);
        return;
    }
    evaluator_enqueue(evaluator_for(templates, batch), batch, now);
}

/* Those that neither run nor wait and hold no process are forgotten. */
static void forget_idle(Templates *templates, usec_t now) {
    for (size_t i = 0; i < templates->count;) {
        Evaluator *evaluator = templates->evaluators[i];
        bool kept = evaluator->state != EVALUATOR_STOPPED || evaluator_has_work(evaluator) ||
                    (evaluator->refusal[0] && now - evaluator->last_used < REFUSAL_KEPT_USEC);
        if (kept) {
            i++;
            continue;
        }
        evaluator_free(evaluator);
        templates->evaluators[i] = templates->evaluators[--templates->count];
    }
}

/* -- scheduling -- */

/* May this one lose its process for `other`? One that waits does so only for one that has waited
 * longer. */
static bool may_go(const Evaluator *evaluator, const Evaluator *other) {
    if (evaluator->may_run || evaluator->state == EVALUATOR_STOPPED || evaluator->state == EVALUATOR_LOADING) return false;
    return !evaluator_has_work(evaluator) || evaluator->wanted_since > other->wanted_since;
}

/* Is there room for one more process, if need be in the place of the least recently used? */
static bool has_room(const Templates *templates, const Evaluator *evaluator, Evaluator **ret_goes) {
    size_t processes = 0;
    *ret_goes = NULL;
    for (size_t i = 0; i < templates->count; i++) {
        Evaluator *other = templates->evaluators[i];
        processes += other->state != EVALUATOR_STOPPED;
        if (may_go(other, evaluator) && (!*ret_goes || other->last_used < (*ret_goes)->last_used)) *ret_goes = other;
    }
    if (processes < templates->limits.zygotes) *ret_goes = NULL;
    return processes < templates->limits.zygotes || *ret_goes;
}

typedef struct Running {
    size_t loading, fast, slow; /* now */
    size_t waiting_fast, waiting_slow;
} Running;

static bool is_waiting(const Evaluator *evaluator, usec_t now) {
    if (evaluator->may_run || !evaluator_has_work(evaluator)) return false;
    return evaluator->state == EVALUATOR_READY || (evaluator->state == EVALUATOR_STOPPED && now >= evaluator->start_after);
}

static Running count_running(const Templates *templates, usec_t now) {
    Running running = {0};
    for (size_t i = 0; i < templates->count; i++) {
        const Evaluator *evaluator = templates->evaluators[i];
        bool slow = evaluator_is_slow(evaluator, now);
        running.loading += evaluator->state == EVALUATOR_LOADING;
        running.fast += evaluator->may_run && !slow;
        running.slow += evaluator->may_run && slow;
        if (!is_waiting(evaluator, now)) continue;
        running.waiting_fast += !slow;
        running.waiting_slow += slow;
    }
    return running;
}

/* What the limits promise, when all places and processes are given. */
static void check_limits(const Templates *templates) {
    size_t processes = 0;
    for (size_t i = 0; i < templates->count; i++) {
        const Evaluator *evaluator = templates->evaluators[i];
        processes += evaluator->state != EVALUATOR_STOPPED;
        check(!evaluator->may_run || evaluator->running_since > 0);
        check(evaluator->window_sent == 0 || evaluator->may_run ||
              evaluator->state == EVALUATOR_BETWEEN); /* who may not run has nothing with a process */
    }
    check(processes <= templates->limits.zygotes);
}

static size_t slow_limit(const Templates *templates) {
    return (size_t)templates->limits.workers * SLOW_A_WORKER;
}

/* A slow source beyond its own places takes one of the fast ones. */
static bool has_place(const Templates *templates, const Running *running, bool slow) {
    size_t most = slow_limit(templates), over = running->slow > most ? running->slow - most : 0;
    return slow ? running->slow < most : running->fast + over < templates->limits.workers;
}

static Evaluator *longest_waiting(const Templates *templates, const Running *running, usec_t now) {
    Evaluator *found = NULL;
    for (size_t i = 0; i < templates->count; i++) {
        Evaluator *evaluator = templates->evaluators[i];
        if (!is_waiting(evaluator, now)) continue;
        Evaluator *goes;
        bool place = evaluator->state == EVALUATOR_STOPPED
                         ? running->loading < 2 * templates->limits.workers && has_room(templates, evaluator, &goes)
                         : has_place(templates, running, evaluator_is_slow(evaluator, now));
        if (place && (!found || evaluator->wanted_since < found->wanted_since)) found = evaluator;
    }
    return found;
}

/* Sources take turns: one that has its slice while others of its kind wait sends no more, and gives
 * its place up when all is answered. */
static void release_places(Templates *templates, usec_t now) {
    Running running = count_running(templates, now);
    for (size_t i = 0; i < templates->count; i++) {
        Evaluator *evaluator = templates->evaluators[i];
        if (!evaluator->may_run) continue;
        size_t waiting = evaluator_is_slow(evaluator, now) ? running.waiting_slow : running.waiting_fast;
        evaluator->must_yield = waiting > 0 && now - evaluator->running_since >= SLICE_USEC;
        if (evaluator->window_count > 0 || (evaluator->first && !evaluator->must_yield)) continue;
        evaluator->may_run = evaluator->must_yield = false;
        evaluator->wanted_since = evaluator->first ? now : 0;
    }
}

/* When all zygotes are there: that of equal texts, else a new one in the place of the least
 * recently used. */
static void give_process(Templates *templates, Evaluator *evaluator, usec_t now) {
    Evaluator *goes, *same = NULL;
    (void)has_room(templates, evaluator, &goes);
    for (size_t i = 0; goes && i < templates->count; i++) {
        Evaluator *other = templates->evaluators[i];
        if (other != evaluator && evaluator_can_hand_over(other, evaluator) && (!same || other->last_used < same->last_used)) same = other;
    }
    check(!goes || (goes != evaluator && goes->state != EVALUATOR_STOPPED && !goes->may_run));
    if (same) {
        evaluator_take_over(evaluator, same, now);
        return;
    }
    if (goes) evaluator_stop(goes, &templates->reaper, now);
    evaluator_start(evaluator, now); /* or it waits until start_after */
}

static void schedule(Templates *templates, usec_t now) {
    check_on_thread(&templates->owner);
    release_places(templates, now);
    for (;;) {
        Running running = count_running(templates, now);
        Evaluator *evaluator = running.waiting_fast + running.waiting_slow ? longest_waiting(templates, &running, now) : NULL;
        if (!evaluator) break;
        if (evaluator->state == EVALUATOR_STOPPED) {
            give_process(templates, evaluator, now);
        } else {
            evaluator->may_run = true;
            evaluator->running_since = now;
        }
    }
    for (size_t i = 0; i < templates->count; i++) evaluator_feed(templates->evaluators[i], now);
    check_limits(templates);
    forget_idle(templates, now);
}

/* -- broker thread -- */

static void wait_for_work(Templates *templates) {
    bool busy = !reaper_is_empty(&templates->reaper) || templates->checker_count > 0;
    struct pollfd *entries = templates->entries;
    entries[0] = (struct pollfd){.fd = templates->wake_fd, .events = POLLIN};
    size_t used = 1;
    for (size_t i = 0; i < templates->count; i++) {
        const Evaluator *evaluator = templates->evaluators[i];
        busy = busy || evaluator_has_work(evaluator) || evaluator->state == EVALUATOR_LOADING || evaluator->state == EVALUATOR_BETWEEN;
        used += evaluator_poll(evaluator, entries + used);
    }
    for (size_t i = 0; i < templates->checker_count; i++) used += checker_poll(templates->checkers[i], entries + used);
    check(used <= 1 + CHECKS_AT_ONCE + 2 * templates->capacity);
    int ready = poll(entries, used, busy ? TICK_MS : 1000);
    check(ready >= 0 || errno == EINTR);
    if (ready <= 0) return;

    if (entries[0].revents) {
        uint64_t times;
        (void)!read(templates->wake_fd, &times, sizeof times);
    }
    usec_t now = templates->clock->boot(templates->clock);
    size_t entry = 1;
    for (size_t i = 0; i < templates->count; i++) {
        Evaluator *evaluator = templates->evaluators[i];
        int control = evaluator->control, data = evaluator->data;
        if (control >= 0) evaluator_handle(evaluator, &entries[entry++], &templates->reaper, now);
        if (data >= 0) evaluator_handle(evaluator, &entries[entry++], &templates->reaper, now);
    }
    check(entry <= used);
}

/* True: the broker is to stop. */
static bool take_messages(Templates *templates, usec_t now) {
    bool stop = false;
    for (Message *message = mailbox_take(templates->inbox), *next; message; message = next) {
        next = message->next;
        if (message->kind == MESSAGE_STOP) {
            check(!next);
            stop = true;
        } else if (message->kind == MESSAGE_CHECK) {
            ((TemplateCheck *)(void *)message)->until = now + templates->limits.check_usec;
            queue_check(templates, message);
        } else {
            check(message->kind == MESSAGE_BATCH);
            take_batch(templates, (TemplateBatch *)(void *)message, now);
        }
    }
    return stop;
}

static void end_all(Templates *templates) {
    check_on_thread(&templates->owner);
    usec_t now = templates->clock->boot(templates->clock);
    for (size_t i = 0; i < templates->count; i++) {
        Evaluator *evaluator = templates->evaluators[i];
        evaluator_stop(evaluator, &templates->reaper, now);
        evaluator_give_back_all(evaluator, "the server is shutting down");
        evaluator_free(evaluator);
    }
    templates->count = 0;
    end_checks(templates, now);
    reaper_finish(&templates->reaper, templates->clock);
}

static void *run(void *context) {
    Templates *templates = context;
    thread_owner_bind(&templates->owner);
    for (;;) {
        usec_t now = templates->clock->boot(templates->clock);
        if (take_messages(templates, now)) break;
        for (size_t i = 0; i < templates->count; i++) evaluator_check_time(templates->evaluators[i], &templates->reaper, now);
        if (!reaper_is_empty(&templates->reaper)) reaper_step(&templates->reaper, now);
        schedule(templates, now);
        step_checks(templates, now);
        wait_for_work(templates);
    }
    end_all(templates);
    return NULL;
}

static void wake(void *context) {
    const Templates *templates = context;
    uint64_t one = 1;
    (void)!write(templates->wake_fd, &one, sizeof one);
}

int templates_start(const TemplateLimits *limits, const char *worker_path, Templates **ret_templates, Error *error) {
    Templates *templates = calloc(1, sizeof *templates);
    check(templates);
    check(limits->stack_frames > 0 && limits->memory_bytes > 0 && limits->wall_usec > 0);
    templates->limits = *limits;
    if (templates->limits.workers == 0) templates->limits.workers = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    if (templates->limits.zygotes == 0) templates->limits.zygotes = 1;
    if (templates->limits.check_usec == 0) templates->limits.check_usec = TEMPLATE_CHECK_USEC;
    templates->worker_path = worker_path ? strdup(worker_path) : template_worker_path();
    check(templates->worker_path);
    templates->clock = clock_system();
    templates->stop.kind = MESSAGE_STOP;
    grow(templates);
    templates->inbox = mailbox_new(wake, templates);
    check(pthread_mutex_init(&templates->lock, NULL) == 0);
    templates->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = templates->wake_fd < 0 ? error_set(error, -errno, "cannot make an eventfd: %s", strerrordesc_np(errno)) : 0;
    if (r == 0) r = thread_start(&templates->thread, "templates", run, templates, error);
    if (r < 0) {
        templates_free(templates);
        return r;
    }
    templates->runs = true;
    *ret_templates = templates;
    return 0;
}

/* False: the broker has been told to stop. */
static bool post(Templates *templates, Message *message, bool last) {
    check(pthread_mutex_lock(&templates->lock) == 0);
    bool posted = !templates->stopped;
    templates->stopped = templates->stopped || last;
    if (posted) mailbox_post(templates->inbox, message);
    check(pthread_mutex_unlock(&templates->lock) == 0);
    return posted;
}

void templates_post(Templates *templates, TemplateBatch *take_batch) {
    take_batch->request.message.kind = MESSAGE_BATCH;
    if (post(templates, &take_batch->request.message, false)) return;
    take_batch->request.message.kind = take_batch->reply_kind;
    for (size_t i = 0; i < take_batch->count; i++) take_batch->events[i].event.templates = take_batch->events[i].results;
    request_answer(&take_batch->request);
}

void templates_post_check(Templates *templates, TemplateCheck *take_check) {
    take_check->request.message.kind = MESSAGE_CHECK;
    if (!post(templates, &take_check->request.message, false)) refuse_check(take_check);
}

void templates_stop(Templates *templates) {
    if (!templates || !templates->runs) return;
    templates->runs = false;
    (void)post(templates, &templates->stop, true);
    thread_join(&templates->thread);
}

void templates_free(Templates *templates) {
    if (!templates) return;
    templates_stop(templates);
    check(templates->count == 0 && !templates->checks && templates->checker_count == 0); /* all came back */
    mailbox_free(templates->inbox);
    check(pthread_mutex_destroy(&templates->lock) == 0);
    if (templates->wake_fd >= 0) (void)close(templates->wake_fd);
    free(templates->evaluators);
    free(templates->entries);
    free(templates->worker_path);
    free(templates);
}
