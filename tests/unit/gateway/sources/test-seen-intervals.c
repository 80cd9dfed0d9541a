#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "gateway/sources/seen_intervals.h"

#define CREATED SPAN("2026-01-01T00:00:00.000000001Z")

static SeenMessage message_of(uint64_t sequence, uint64_t order) {
    return (SeenMessage){.sequence = sequence, .order = order, .time_nsec = (int64_t)sequence * 1000};
}

static void add(SeenIntervals *seen, uint64_t sequence, uint64_t order) {
    SeenMessage message = message_of(sequence, order);
    seen_intervals_add(seen, &message);
}

static bool has(const SeenIntervals *seen, uint64_t sequence) {
    SeenMessage message = message_of(sequence, 0);
    return seen_intervals_has(seen, &message);
}

static void expect(const SeenIntervals *seen, const uint64_t *ends, size_t count) {
    assert_int_equal(seen->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(seen->items[i].first, ends[2 * i]);
        assert_int_equal(seen->items[i].last, ends[2 * i + 1]);
    }
}
#define EXPECT(seen, ...)                                                                                                                  \
    do {                                                                                                                                   \
        const uint64_t ends[] = {__VA_ARGS__};                                                                                             \
        expect((seen), ends, sizeof ends / (2 * sizeof *ends));                                                                            \
    } while (0)

static void neighbours_are_joined(void **state) {
    SeenIntervals seen = {0};
    (void)state;
    assert_false(has(&seen, 1));
    add(&seen, 5, 1);
    add(&seen, 6, 0);
    EXPECT(&seen, 5, 6);
    add(&seen, 9, 0); /* its order is not known: 7 and 8 may be of the consumer */
    EXPECT(&seen, 5, 6, 9, 9);
    assert_false(has(&seen, 4) || has(&seen, 7) || has(&seen, 8) || has(&seen, 10));
    add(&seen, 20, 7);
    add(&seen, 30, 8); /* follows 20 */
    EXPECT(&seen, 5, 6, 9, 9, 20, 30);
    add(&seen, 15, 6); /* 20 follows it */
    EXPECT(&seen, 5, 6, 9, 9, 15, 30);
    add(&seen, 41, 10); /* one was delivered between */
    EXPECT(&seen, 5, 6, 9, 9, 15, 30, 41, 41);
    add(&seen, 35, 9);
    EXPECT(&seen, 5, 6, 9, 9, 15, 41);
    add(&seen, 8, 0);
    add(&seen, 7, 0);
    EXPECT(&seen, 5, 9, 15, 41);
    add(&seen, 20, 7); /* known */
    EXPECT(&seen, 5, 9, 15, 41);
    add(&seen, 1, 0);
    EXPECT(&seen, 1, 1, 5, 9, 15, 41);
    seen_intervals_deinit(&seen);
}

static void all_below_the_floor_is_one(void **state) {
    SeenIntervals seen = {0};
    (void)state;
    seen_intervals_join(&seen, 100); /* nothing was seen: nothing is */
    assert_false(has(&seen, 50));
    for (uint64_t i = 10; i <= 60; i += 10) add(&seen, i, 0);
    seen_intervals_join(&seen, 9);
    assert_int_equal(seen.count, 6);
    seen_intervals_join(&seen, 30);
    EXPECT(&seen, 10, 30, 40, 40, 50, 50, 60, 60);
    seen_intervals_join(&seen, 45);
    EXPECT(&seen, 10, 45, 50, 50, 60, 60);
    seen_intervals_join(&seen, 49);
    EXPECT(&seen, 10, 50, 60, 60);
    seen_intervals_join(&seen, 20); /* a floor that is known late */
    EXPECT(&seen, 10, 50, 60, 60);
    seen_intervals_join(&seen, 70);
    EXPECT(&seen, 10, 70);
    add(&seen, 71, 3);
    add(&seen, 90, 4);
    EXPECT(&seen, 10, 90);
    seen_intervals_deinit(&seen);
}

/* The order of an end that a floor has moved says nothing about what is behind it. */
static void a_floor_has_no_order(void **state) {
    SeenIntervals seen = {0};
    (void)state;
    add(&seen, 10, 5);
    seen_intervals_join(&seen, 20);
    add(&seen, 30, 6);
    EXPECT(&seen, 10, 20, 30, 30);
    seen_intervals_deinit(&seen);
}

static void a_sequence_that_is_given_again(void **state) {
    SeenIntervals seen = {0};
    (void)state;
    for (uint64_t i = 1; i <= 100; i++) add(&seen, i, i);
    /* The server lost 91 to 100. */
    SeenMessage again = {.sequence = 91, .order = 0, .time_nsec = 200 * 1000};
    assert_false(seen_intervals_has(&seen, &again));
    seen_intervals_add(&seen, &again);
    EXPECT(&seen, 1, 91);
    assert_true(seen_intervals_has(&seen, &again));
    again.sequence = 92;
    again.time_nsec++;
    assert_false(seen_intervals_has(&seen, &again));
    seen_intervals_add(&seen, &again);
    EXPECT(&seen, 1, 92);
    seen_intervals_cut(&seen, 92);
    EXPECT(&seen, 1, 92);
    seen_intervals_cut(&seen, 40);
    EXPECT(&seen, 1, 40);
    seen_intervals_cut(&seen, 0);
    assert_int_equal(seen.count, 0);
    seen_intervals_deinit(&seen);
}

static void a_mark(void **state) {
    SeenIntervals seen = {0}, got = {0};
    Buffer mark = {0};
    Error error = {0};
    (void)state;
    seen_intervals_put(&seen, CREATED, SPAN(""), &mark);
    assert_int_equal(seen_intervals_get(&got, buffer_span(&mark), CREATED, SPAN(""), &error), 0);
    assert_int_equal(got.count, 0);
    for (uint64_t i = 1; i < 1000; i += 3) add(&seen, i, 0);
    add(&seen, INT64_MAX / 1000, 0);
    buffer_clear(&mark);
    seen_intervals_put(&seen, CREATED, SPAN("orders.>"), &mark);
    assert_int_equal(mark.size, 1 + 34 + 4 + 8 + 8 + 4 + 16 * seen.count + 8);
    assert_int_equal(seen_intervals_get(&got, buffer_span(&mark), CREATED, SPAN("orders.>"), &error), 0);
    assert_int_equal(got.count, seen.count);
    assert_true(got.last_time == seen.last_time && has(&got, 997) && has(&got, INT64_MAX / 1000) && !has(&got, 2));
    /* Of a stream that was made anew, and of another subject. */
    assert_int_equal(seen_intervals_get(&got, buffer_span(&mark), SPAN("2026-01-01T00:00:00.000000002Z"), SPAN("orders.>"), &error),
                     SEEN_INTERVALS_OF_ANOTHER_STREAM);
    assert_int_equal(got.count, 0);
    add(&got, 2, 0);
    assert_int_equal(seen_intervals_get(&got, buffer_span(&mark), CREATED, SPAN("orders.a"), &error), SEEN_INTERVALS_OF_ANOTHER_SUBJECT);
    assert_false(has(&got, 2));
    seen_intervals_deinit(&seen);
    seen_intervals_deinit(&got);
    buffer_deinit(&mark);
}

/* Each bit turned and each length but the whole one; and what the checksum allows but no writer
 * makes. */
static void marks_that_are_none(void **state) {
    SeenIntervals seen = {0}, got = {0};
    Buffer mark = {0};
    Error error = {0};
    (void)state;
    add(&got, 77, 0);
    add(&seen, 3, 0);
    add(&seen, 8, 0);
    seen_intervals_put(&seen, CREATED, SPAN("a"), &mark);
    for (size_t bit = 0; bit < mark.size * 8; bit++) {
        mark.data[bit / 8] = (char)(mark.data[bit / 8] ^ 1 << bit % 8);
        assert_int_equal(seen_intervals_get(&got, buffer_span(&mark), CREATED, SPAN("a"), &error), -EBADMSG);
        mark.data[bit / 8] = (char)(mark.data[bit / 8] ^ 1 << bit % 8);
    }
    for (size_t size = 0; size < mark.size; size++) {
        char *copy = malloc(size + 1); /* so that a read beyond it is seen */
        assert_non_null(copy);
        memcpy(copy, mark.data, size);
        assert_int_equal(seen_intervals_get(&got, (Span){copy, size}, CREATED, SPAN("a"), &error), -EBADMSG);
        free(copy);
    }
    assert_true(has(&got, 77));
    const SeenInterval wrong[][2] = {
        {{.first = 0, .last = 1}, {.first = 5, .last = 5}}, {{.first = 3, .last = 2}, {.first = 5, .last = 5}},
        {{.first = 3, .last = 5}, {.first = 5, .last = 6}}, {{.first = 3, .last = 4}, {.first = 5, .last = 6}},
        {{.first = 8, .last = 9}, {.first = 1, .last = 2}}, {{.first = 1, .last = 2}, {.first = 5, .last = UINT64_MAX}}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memcpy(seen.items, wrong[i], sizeof wrong[i]);
        buffer_clear(&mark);
        seen_intervals_put(&seen, CREATED, SPAN("a"), &mark);
        assert_int_equal(seen_intervals_get(&got, buffer_span(&mark), CREATED, SPAN("a"), &error), -EBADMSG);
    }
    seen_intervals_deinit(&seen);
    seen_intervals_deinit(&got);
    buffer_deinit(&mark);
}

/*
 * A consumer of a part of a stream, from a seed: deliveries in order, some again, commits of any of
 * what was delivered, acks that are lost, floors, restarts by way of a mark. At each step the set
 * says of each message of the consumer whether it was committed.
 */
#define STREAM 400
typedef struct Model {
    bool of_consumer[STREAM + 1], delivered[STREAM + 1], committed[STREAM + 1], acked[STREAM + 1];
    uint64_t order[STREAM + 1], next, deliveries;
} Model;

static uint64_t floor_of(const Model *model) {
    uint64_t floor = 0;
    for (uint64_t i = 1; i < model->next && (!model->of_consumer[i] || model->acked[i]); i++) floor = i;
    return floor;
}

static void deliver(Model *model, Random *random) {
    if (random_below(random, 8) == 0) { /* one that is not acked comes again */
        uint64_t again = 1 + random_below(random, STREAM);
        if (model->delivered[again] && !model->acked[again]) model->deliveries++;
        return;
    }
    while (model->next <= STREAM && !model->of_consumer[model->next]) model->next++;
    if (model->next > STREAM) return;
    model->delivered[model->next] = true;
    model->order[model->next++] = ++model->deliveries;
}

static void compare(const Model *model, const SeenIntervals *seen) {
    for (uint64_t i = 1; i <= STREAM; i++) {
        if (!model->of_consumer[i]) continue;
        if (has(seen, i) != model->committed[i]) fail_msg("%u: %d", (unsigned)i, model->committed[i]);
    }
    for (size_t i = 0; i + 1 < seen->count; i++) assert_true(seen->items[i].last + 1 < seen->items[i + 1].first);
}

static void any_consumer(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        Random random = {.state = seed};
        Model model = {.next = 1};
        SeenIntervals seen = {0}, copy = {0};
        uint64_t share = 1 + random_below(&random, 4);
        for (uint64_t i = 1; i <= STREAM; i++) model.of_consumer[i] = random_below(&random, share) == 0;
        while (model.next <= STREAM) {
            for (uint64_t i = random_below(&random, 30); i > 0; i--) deliver(&model, &random);
            uint64_t chance = 1 + random_below(&random, 3);
            for (uint64_t i = 1; i < model.next; i++) {
                if (!model.delivered[i] || random_below(&random, chance) != 0) continue;
                if (!model.committed[i]) add(&seen, i, random_below(&random, 5) == 0 ? 0 : model.order[i]);
                model.committed[i] = true;
            }
            for (uint64_t i = 1; i < model.next; i++)
                if (model.committed[i] && random_below(&random, 3) > 0) model.acked[i] = true;
            if (random_below(&random, 2) == 0) seen_intervals_join(&seen, floor_of(&model));
            if (random_below(&random, 5) == 0) { /* a restart: orders begin anew */
                Buffer mark = {0};
                seen_intervals_put(&seen, CREATED, SPAN("x"), &mark);
                assert_int_equal(seen_intervals_get(&seen, buffer_span(&mark), CREATED, SPAN("x"), NULL), 0);
                buffer_deinit(&mark);
                memset(model.order, 0, sizeof model.order);
                model.deliveries += 2;
            }
            compare(&model, &seen);
            seen_intervals_copy(&copy, &seen);
            compare(&model, &copy);
        }
        /* All acked: one interval. */
        for (uint64_t i = 1; i <= STREAM; i++) {
            if (!model.of_consumer[i] || !model.delivered[i]) continue;
            add(&seen, i, 0);
            model.committed[i] = model.acked[i] = true;
        }
        seen_intervals_join(&seen, floor_of(&model));
        compare(&model, &seen);
        assert_in_range(seen.count, 0, 1);
        seen_intervals_deinit(&seen);
        seen_intervals_deinit(&copy);
    }
}

/* The same as numbers: without redeliveries a commit of all is one interval, whatever lies between
 * in the stream. */
static void a_quick_consumer_needs_one_interval(void **state) {
    SeenIntervals seen = {0};
    (void)state;
    for (uint64_t i = 1; i <= 100000; i++) add(&seen, i * 7, i);
    EXPECT(&seen, 7, 700000);
    for (uint64_t i = 0; i < SEEN_INTERVALS_MAX - 1; i++) add(&seen, 800000 + 2 * i, 0);
    assert_false(seen_intervals_is_full(&seen));
    add(&seen, 1000000, 0);
    assert_true(seen_intervals_is_full(&seen));
    seen_intervals_join(&seen, 1000000);
    EXPECT(&seen, 7, 1000000);
    seen_intervals_deinit(&seen);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_are_joined),
        cmocka_unit_test(all_below_the_floor_is_one),
        cmocka_unit_test(a_floor_has_no_order),
        cmocka_unit_test(a_sequence_that_is_given_again),
        cmocka_unit_test(a_mark),
        cmocka_unit_test(marks_that_are_none),
        cmocka_unit_test(any_consumer),
        cmocka_unit_test(a_quick_consumer_needs_one_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
