#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mailbox.h"

enum { POSTERS = 4, MESSAGES = 5000 };

typedef struct Note {
    Message message; /* first */
    int poster;
    int number;
} Note;

typedef struct Poster {
    Mailbox *mailbox;
    int number;
} Poster;

static Note *note_new(int poster, int number) {
    Note *note = malloc(sizeof *note);
    *note = (Note){.message = {.kind = 1}, .poster = poster, .number = number};
    return note;
}

static void count_wake(void *context) {
    atomic_fetch_add((atomic_int *)context, 1);
}

static void messages_come_out_oldest_first(void **state) {
    Mailbox *mailbox = mailbox_new(NULL, NULL);
    assert_null(mailbox_take(mailbox));
    Note notes[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    for (int i = 0; i < 3; i++) mailbox_post(mailbox, &notes[i].message);
    Message *message = mailbox_take(mailbox);
    for (int i = 0; i < 3; i++, message = message->next) assert_ptr_equal(message, &notes[i].message);
    assert_null(message);
    assert_null(mailbox_take(mailbox));
    mailbox_free(mailbox);
    mailbox_free(NULL);
}

static void wake_runs_only_when_the_box_was_empty(void **state) {
    atomic_int wakes = 0;
    Mailbox *mailbox = mailbox_new(count_wake, &wakes);
    Message messages[4];
    mailbox_post(mailbox, &messages[0]);
    mailbox_post(mailbox, &messages[1]);
    mailbox_post(mailbox, &messages[2]);
    assert_int_equal(wakes, 1);
    assert_non_null(mailbox_take(mailbox));
    mailbox_post(mailbox, &messages[3]);
    assert_int_equal(wakes, 2);
    assert_non_null(mailbox_take(mailbox));
    mailbox_free(mailbox);
}

/* Takes its time, so that an owner who could see the message too early would. */
static void slow_wake(void *context) {
    for (int i = 0; i < 1000; i++) (void)sched_yield();
    atomic_fetch_add((atomic_int *)context, 1);
}

static void *post_one(void *context) {
    Poster *poster = context;
    mailbox_post(poster->mailbox, &note_new(poster->number, 0)->message);
    return NULL;
}

static void wake_has_ended_when_the_message_is_taken(void **state) {
    atomic_int ended = 0;
    Mailbox *mailbox = mailbox_new(slow_wake, &ended);
    for (int round = 1; round <= 20; round++) {
        pthread_t thread;
        Poster poster = {.mailbox = mailbox};
        assert_int_equal(pthread_create(&thread, NULL, post_one, &poster), 0);
        Message *message;
        while (!(message = mailbox_take(mailbox))) (void)sched_yield();
        assert_int_equal(ended, round);
        free(message);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    mailbox_free(mailbox);
}

static void wait_ends_at_its_time(void **state) {
    Clock *clock = clock_system();
    Mailbox *mailbox = mailbox_new(NULL, NULL);
    usec_t before = clock->boot(clock);
    assert_false(mailbox_wait(mailbox, 30 * USEC_MS));
    assert_true(clock->boot(clock) - before >= 29 * USEC_MS);
    assert_false(mailbox_wait(mailbox, 0));
    assert_false(mailbox_wait(mailbox, -5));
    Message message;
    mailbox_post(mailbox, &message);
    assert_true(mailbox_wait(mailbox, 0));
    assert_true(mailbox_wait(mailbox, USEC_NEVER));
    assert_true(mailbox_wait(mailbox, USEC_NEVER - 1));
    assert_non_null(mailbox_take(mailbox));
    mailbox_free(mailbox);
}

static void *post_all(void *context) {
    Poster *poster = context;
    for (int i = 0; i < MESSAGES; i++) mailbox_post(poster->mailbox, &note_new(poster->number, i)->message);
    return NULL;
}

static void take_from_posters(Mailbox *mailbox, void (*wait)(Mailbox *mailbox, void *context), void *context) {
    pthread_t threads[POSTERS];
    Poster posters[POSTERS];
    int next[POSTERS] = {0};
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (Poster){.mailbox = mailbox, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
    for (int left = POSTERS * MESSAGES; left > 0;) {
        wait(mailbox, context);
        for (Message *message = mailbox_take(mailbox), *following; message; message = following, left--) {
            Note *note = (Note *)message;
            following = message->next;
            assert_int_equal(note->number, next[note->poster]++);
            free(note);
        }
    }
    for (int i = 0; i < POSTERS; i++) (void)pthread_join(threads[i], NULL);
    assert_null(mailbox_take(mailbox));
    mailbox_free(mailbox);
}

static void wait_for_ever(Mailbox *mailbox, void *context) {
    assert_true(mailbox_wait(mailbox, USEC_NEVER));
}

static void nothing_is_lost_among_threads(void **state) {
    take_from_posters(mailbox_new(NULL, NULL), wait_for_ever, NULL);
}

typedef struct Doorbell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    bool pending;
} Doorbell;

static void ring(void *context) {
    Doorbell *bell = context;
    (void)pthread_mutex_lock(&bell->lock);
    bell->pending = true;
    (void)pthread_cond_signal(&bell->rung);
    (void)pthread_mutex_unlock(&bell->lock);
}

static void wait_for_bell(Mailbox *mailbox, void *context) {
    Doorbell *bell = context;
    (void)pthread_mutex_lock(&bell->lock);
    while (!bell->pending) (void)pthread_cond_wait(&bell->rung, &bell->lock);
    bell->pending = false;
    (void)pthread_mutex_unlock(&bell->lock);
}

/* An owner that takes after each wake, and only then, misses nothing. */
static void the_hook_is_enough_to_see_every_message(void **state) {
    Doorbell bell = {.lock = PTHREAD_MUTEX_INITIALIZER, .rung = PTHREAD_COND_INITIALIZER};
    take_from_posters(mailbox_new(ring, &bell), wait_for_bell, &bell);
}

static void *take_here(void *context) {
    (void)mailbox_take(context);
    return NULL;
}

static void *pass_and_take_here(void *context) {
    mailbox_pass(context);
    return take_here(context);
}

static void *wait_here(void *context) {
    (void)mailbox_wait(context, 0);
    return NULL;
}

/* How a process ends whose first thread has taken from a mailbox, when `run` is another thread of
 * it. */
static int end_with(void *(*run)(void *context)) {
    int status;
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        Mailbox *mailbox = mailbox_new(NULL, NULL);
        (void)signal(SIGABRT, SIG_DFL);
        (void)close(STDERR_FILENO);
        (void)mailbox_take(mailbox);
        if (pthread_create(&thread, NULL, run, mailbox) == 0) (void)pthread_join(thread, NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void only_the_owner_takes_and_waits(void **state) {
    assert_int_equal(end_with(take_here), SIGABRT);
    assert_int_equal(end_with(wait_here), SIGABRT);
    assert_int_equal(end_with(pass_and_take_here), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_out_oldest_first),
        cmocka_unit_test(wake_runs_only_when_the_box_was_empty),
        cmocka_unit_test(wake_has_ended_when_the_message_is_taken),
        cmocka_unit_test(wait_ends_at_its_time),
        cmocka_unit_test(nothing_is_lost_among_threads),
        cmocka_unit_test(the_hook_is_enough_to_see_every_message),
        cmocka_unit_test(only_the_owner_takes_and_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
