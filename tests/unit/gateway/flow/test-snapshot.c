#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/thread.h"
#include "gateway/flow/snapshot.h"
#include "tests/support/definitions.h"

#define READERS 3
#define GENERATIONS 300
#define HELD 7 /* requests of a reader that are uncommitted */

static SnapshotSource *make(const char *id, const SnapshotSource *previous) {
    Source *source = test_source(id);
    SnapshotSource *made = snapshot_source_new(source, NULL, NULL, NULL, NULL, 0, previous);
    source_unref(source);
    return made;
}

static uint64_t take_gone(Mailbox *mailbox) {
    Message *message = mailbox_take(mailbox);
    if (!message) return 0;
    assert_null(message->next);
    assert_int_equal(message->kind, MESSAGE_SNAPSHOT_GONE);
    uint64_t generation = ((SnapshotGone *)message)->generation;
    snapshot_gone_free((SnapshotGone *)message);
    return generation;
}

static void test_a_source_is_found_by_its_id(void **state) {
    Mailbox *gone = mailbox_new(NULL, NULL);
    SnapshotSource *sources[50];
    for (size_t i = 0; i < 50; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "source-%zu", i);
        sources[i] = make(id, NULL);
    }
    Snapshot *snapshot = snapshot_new(7, sources, 50, gone);
    assert_int_equal(snapshot_generation(snapshot), 7);
    for (size_t i = 0; i < 50; i++) {
        assert_ptr_equal(snapshot_find(snapshot, span_of(sources[i]->source->source_id)), sources[i]);
        snapshot_source_unref(sources[i]); /* the snapshot has its own */
    }
    assert_null(snapshot_find(snapshot, SPAN("source-50")));
    assert_null(snapshot_find(snapshot, SPAN("source-")));
    assert_null(snapshot_find(snapshot, SPAN("")));
    Snapshot *held = snapshot_ref(snapshot);
    snapshot_unref(snapshot);
    assert_int_equal(take_gone(gone), 0);
    snapshot_unref(held);
    assert_int_equal(take_gone(gone), 7);
    Snapshot *empty = snapshot_new(8, NULL, 0, gone);
    assert_null(snapshot_find(empty, SPAN("source-1")));
    snapshot_unref(empty);
    assert_int_equal(take_gone(gone), 8);
    mailbox_free(gone);
}

static void test_generations_of_a_source_share_its_rate(void **state) {
    SnapshotSource *first = make("a", NULL), *other = make("b", NULL);
    SnapshotSource *second = make("a", first);
    assert_ptr_equal(first->usage, second->usage);
    assert_ptr_not_equal(first->usage, other->usage);
    atomic_store(&first->usage->rate_full_at, 5);
    snapshot_source_unref(first);
    SnapshotSource *third = make("a", second);
    snapshot_source_unref(second);
    assert_int_equal(atomic_load(&third->usage->rate_full_at), 5);
    snapshot_source_unref(third);
    snapshot_source_unref(other);
    snapshot_source_unref(NULL);
}

/* ---- the fence: when the control thread hears that a generation is gone, all that was done with it is visible -------------------------- */

typedef struct Reader {
    Thread thread;
    Mailbox *mailbox;
    uint64_t seed;
    int *work; /* by generation; plain memory on purpose: the fence alone orders it */
} Reader;

static void *read_snapshots(void *context) {
    Reader *reader = context;
    Random random = {.state = reader->seed};
    Snapshot *now = NULL, *held[HELD] = {0};
    for (bool more = true; more;) {
        (void)mailbox_wait(reader->mailbox, USEC_SECOND);
        for (Message *message = mailbox_take(reader->mailbox), *next; message; message = next) {
            next = message->next;
            SnapshotNews *news = (SnapshotNews *)message;
            snapshot_unref(now);
            now = news->snapshot;
            more = more && now;
            free(news);
        }
        for (size_t i = 0; now && i < HELD; i++) {
            size_t place = (size_t)random_below(&random, HELD);
            if (held[place]) reader->work[snapshot_generation(held[place])]++;
            snapshot_unref(held[place]);
            held[place] = snapshot_ref(now);
        }
    }
    for (size_t i = 0; i < HELD; i++) {
        if (held[i]) reader->work[snapshot_generation(held[i])]++;
        snapshot_unref(held[i]);
    }
    return NULL;
}

static void publish(Reader *readers, Snapshot *snapshot) {
    for (size_t i = 0; i < READERS; i++) {
        SnapshotNews *news = calloc(1, sizeof *news);
        news->message.kind = MESSAGE_SNAPSHOT;
        news->snapshot = snapshot ? snapshot_ref(snapshot) : NULL;
        mailbox_post(readers[i].mailbox, &news->message);
    }
    snapshot_unref(snapshot);
}

static size_t take_all_gone(Mailbox *gone, const Reader *readers, bool *seen, long *work) {
    size_t count = 0;
    for (Message *message = mailbox_take(gone), *next; message; message = next) {
        next = message->next;
        uint64_t generation = ((SnapshotGone *)message)->generation;
        snapshot_gone_free((SnapshotGone *)message);
        assert_false(seen[generation]);
        seen[generation] = true;
        for (size_t i = 0; i < READERS; i++) *work += readers[i].work[generation];
        count++;
    }
    return count;
}

static void test_gone_is_told_once_and_after_everything(void **state) {
    Mailbox *gone = mailbox_new(NULL, NULL);
    Reader readers[READERS];
    bool seen[GENERATIONS + 1] = {0};
    long work = 0;
    Error error;
    for (size_t i = 0; i < READERS; i++) {
        readers[i] = (Reader){.mailbox = mailbox_new(NULL, NULL), .seed = i, .work = calloc(GENERATIONS + 1, sizeof(int))};
        assert_int_equal(thread_start(&readers[i].thread, "reader", read_snapshots, &readers[i], &error), 0);
    }
    SnapshotSource *source = make("a", NULL);
    size_t ended = 0;
    for (uint64_t generation = 1; generation <= GENERATIONS; generation++) {
        publish(readers, snapshot_new(generation, &source, 1, gone));
        ended += take_all_gone(gone, readers, seen, &work);
        if (generation % 10 == 0) (void)mailbox_wait(gone, USEC_MS);
    }
    publish(readers, NULL);
    while (ended < GENERATIONS) {
        assert_true(mailbox_wait(gone, 30 * USEC_SECOND));
        ended += take_all_gone(gone, readers, seen, &work);
    }
    long done = 0;
    for (size_t i = 0; i < READERS; i++) {
        thread_join(&readers[i].thread);
        for (size_t k = 0; k <= GENERATIONS; k++) done += readers[i].work[k];
        mailbox_free(readers[i].mailbox);
        free(readers[i].work);
    }
    assert_int_equal(ended, GENERATIONS);
    assert_true(done > 0);
    assert_int_equal(work, done);
    snapshot_source_unref(source);
    mailbox_free(gone);
}

/* A small request of its own. */
static bool admit_one(Usage *usage, SourceUsage *source, UsageClaim *all, uint64_t bytes) {
    UsageClaim claim = {0};
    if (!usage_resize(usage, source, &claim, bytes)) return false;
    assert_false(claim.large);
    all->bytes += claim.bytes;
    return true;
}

static void test_usage_is_shared_by_source(void **state) {
    Usage usage = {.in_flight_limit = 1000};
    SourceUsage *hog = source_usage_new(), *other = source_usage_new();
    UsageClaim hogs = {0}, others = {0};
    while (admit_one(&usage, hog, &hogs, 10)) continue;
    assert_true(hogs.bytes >= 780 && hogs.bytes <= 830 && !hogs.large); /* four times what is left, as far as it is shared */
    /* What is left is for others, and never all of it for one of them. */
    assert_true(admit_one(&usage, other, &others, 100));
    assert_false(admit_one(&usage, hog, &hogs, 1));
    while (admit_one(&usage, other, &others, 1)) continue;
    UsageClaim third = {0};
    SourceUsage *late = source_usage_new();
    assert_true(admit_one(&usage, late, &third, 10));
    usage_release(&usage, late, &third);
    usage_release(&usage, other, &others);
    usage_release(&usage, hog, &hogs);
    assert_int_equal(usage.in_flight_bytes, 0);
    assert_int_equal(hog->in_flight_bytes + other->in_flight_bytes + late->in_flight_bytes, 0);
    source_usage_unref(source_usage_ref(hog));
    source_usage_unref(hog);
    source_usage_unref(other);
    source_usage_unref(late);
    source_usage_unref(NULL);
}

static void test_one_claim_may_be_large(void **state) {
    Usage usage = {.in_flight_limit = 100};
    SourceUsage *source = source_usage_new();
    UsageClaim large = {0}, small = {0}, second = {0};
    assert_true(usage_resize(&usage, source, &large, 1000)); /* it would never fit */
    assert_true(large.large);
    assert_true(usage_resize(&usage, source, &large, 1500));
    assert_true(usage_resize(&usage, source, &small, 60)); /* and it takes nothing away */
    assert_false(small.large);
    assert_false(usage_resize(&usage, source, &second, 1000));
    assert_false(usage_resize(&usage, source, &small, UINT64_MAX / 2));
    assert_int_equal(usage.large_bytes, 1500);
    usage_release(&usage, source, &large);
    assert_int_equal(usage.large_bytes, 0);
    assert_false(usage_resize(&usage, source, &second, 50)); /* small enough to wait for room */
    assert_true(usage_resize(&usage, source, &small, 110));  /* it has grown, and there is no more room */
    assert_true(small.large && small.bytes == 110);
    assert_int_equal(usage.in_flight_bytes, 0);
    usage_release(&usage, source, &small);
    assert_int_equal(usage.in_flight_bytes + usage.large_bytes + source->in_flight_bytes, 0);
    source_usage_unref(source);
}

static void test_claims_become_smaller(void **state) {
    Usage usage = {.in_flight_limit = 100};
    SourceUsage *source = source_usage_new();
    UsageClaim claim = {0}, other = {0};
    assert_true(usage_resize(&usage, source, &claim, 90));
    assert_true(usage_resize(&usage, source, &claim, 30));
    assert_int_equal(usage.in_flight_bytes, 30);
    assert_int_equal(source->in_flight_bytes, 30);
    assert_true(usage_resize(&usage, source, &claim, 30));
    assert_true(usage_resize(&usage, source, &claim, 105)); /* it becomes the large one */
    assert_true(claim.large);
    assert_true(usage_resize(&usage, source, &claim, 1));
    assert_true(claim.large);
    assert_int_equal(usage.large_bytes, 1);
    assert_false(usage_resize(&usage, source, &other, 101));
    assert_true(usage_resize(&usage, source, &claim, 0)); /* now there is none */
    assert_false(claim.large);
    assert_true(usage_resize(&usage, source, &other, 101));
    assert_true(other.large);
    assert_true(usage_resize(&usage, source, &claim, 10));
    assert_false(claim.large);
    usage_release(&usage, source, &claim);
    usage_release(&usage, source, &other);
    assert_int_equal(usage.in_flight_bytes + usage.large_bytes + source->in_flight_bytes, 0);
    /* What is as before needs no room. */
    SourceUsage *late = source_usage_new();
    assert_true(usage_resize(&usage, source, &claim, 100));
    assert_true(usage_resize(&usage, source, &claim, 100));
    assert_true(usage_resize(&usage, late, &other, 0));
    usage_release(&usage, source, &claim);
    source_usage_unref(late);
    source_usage_unref(source);
}

static void test_gates(void **state) {
    SinkGate *gate = sink_gate_new();
    sink_gate_unref(sink_gate_ref(gate));
    assert_false(atomic_load(&gate->closed));
    sink_gate_unref(gate);
    sink_gate_unref(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_source_is_found_by_its_id),
        cmocka_unit_test(test_generations_of_a_source_share_its_rate),
        cmocka_unit_test(test_gone_is_told_once_and_after_everything),
        cmocka_unit_test(test_usage_is_shared_by_source),
        cmocka_unit_test(test_one_claim_may_be_large),
        cmocka_unit_test(test_claims_become_smaller),
        cmocka_unit_test(test_gates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
