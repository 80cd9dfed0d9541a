#include "config/nats_name.h"
#include "sinks/nats_subject.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void a_reply_subject_is_read(void **state) {
    static const char *const replies[] = {"$JS.ACK.ORDERS.sluice.3.17.42.1700000000123456789.5",
                                          "$JS.ACK.hub.hash.ORDERS.sluice.3.17.42.1700000000123456789.5",
                                          "$JS.ACK._.hash.ORDERS.sluice.3.17.42.1700000000123456789.5.random"};
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        NatsDelivery delivery = {0};
        assert_true(nats_subject_parse(span_of(replies[i]), &delivery));
        assert_true(span_equal(delivery.stream, SPAN("ORDERS")) && span_equal(delivery.consumer, SPAN("sluice")));
        assert_int_equal(delivery.delivered, 3);
        assert_int_equal(delivery.stream_sequence, 17);
        assert_int_equal(delivery.consumer_sequence, 42);
        assert_int_equal(delivery.time_nsec, 1700000000123456789);
        assert_int_equal(delivery.pending, 5);
        assert_true(nats_subject_is_ack(span_of(replies[i])));
    }
    NatsDelivery largest;
    assert_true(nats_subject_parse(SPAN("$JS.ACK.S.c.1.18446744073709551615.1.9223372036854775807.0"), &largest));
    assert_int_equal(largest.stream_sequence, UINT64_MAX);
    assert_int_equal(largest.time_nsec, INT64_MAX);
}

static void other_subjects_are_not(void **state) {
    static const char *const wrong[] = {"",
                                        "$JS.ACK.",
                                        "$JS.ACK.S.c.1.1.1.1",
                                        "$JS.ACK.S.c.1.1.1.1.1.1",
                                        "$JS.ACK.S.c.0.1.1.1.1",
                                        "$JS.ACK.S.c.1.0.1.1.1",
                                        "$JS.ACK.S.c.1.1.0.1.1",
                                        "$JS.ACK.S.c.1.1.1.-1.1",
                                        "$JS.ACK.S.c.1.1.1..1",
                                        "$JS.ACK.S.c.1.1.1.1.",
                                        "$JS.ACK..c.1.1.1.1.1",
                                        "$JS.ACK.S..1.1.1.1.1",
                                        "$JS.ACK.S.c.1.18446744073709551616.1.1.1",
                                        "$JS.ACK.S.c.1.1.1.9223372036854775808.1",
                                        "$JS.ACK.S.c.1.1x.1.1.1",
                                        "$JS.ACK.1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17",
                                        "$JS.FC.S.c.1.1.1.1.1",
                                        "orders.a"};
    NatsDelivery delivery;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(nats_subject_parse(span_of(wrong[i]), &delivery));
    const char *whole = "$JS.ACK.ORDERS.sluice.3.17.42.1700000000123456789.5";
    for (size_t size = 0; size + 2 < strlen(whole); size++) assert_false(nats_subject_parse((Span){whole, size}, &delivery));
}

static void names_and_filters(void **state) {
    static const char *const names[] = {"ORDERS", "sluice-orders_2", "$x", "caf\xc3\xa9"};
    static const char *const no_names[] = {"", "a.b", "a*", ">", "a b", "a/b", "a\\b", "a\tb", "a\x7f", "\xff"};
    static const char *const filters[] = {"orders", "orders.>", "orders.*.eu", "*", ">", "*.*", "orders.a-b"};
    static const char *const no_filters[] = {"", ".", "a.", ".a", "a..b", "a.>.b", "a.b>", "a*.b", "a b", "a.\n", "\xc3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_true(nats_name_valid(span_of(names[i])));
    for (size_t i = 0; i < sizeof no_names / sizeof *no_names; i++) assert_false(nats_name_valid(span_of(no_names[i])));
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) assert_true(nats_filter_valid(span_of(filters[i])));
    for (size_t i = 0; i < sizeof no_filters / sizeof *no_filters; i++) assert_false(nats_filter_valid(span_of(no_filters[i])));
    char longest[257];
    memset(longest, 'a', sizeof longest);
    assert_true(nats_name_valid((Span){longest, 255}) && nats_filter_valid((Span){longest, 255}));
    assert_false(nats_name_valid((Span){longest, 256}) || nats_filter_valid((Span){longest, 256}));
}

static void servers_are_walked(void **state) {
    NatsServers walk = {.rest = "nats://a:1 ,\ttls://b,"};
    assert_true(nats_servers_next(&walk) && span_equal(walk.url, SPAN("nats://a:1")));
    assert_true(nats_servers_next(&walk) && span_equal(walk.url, SPAN("tls://b")));
    assert_true(nats_servers_next(&walk) && walk.url.size == 0);
    assert_false(nats_servers_next(&walk));
}

static void what_happened_to_a_stream(void **state) {
    const NatsStream before = {.created_nsec = 7, .first_sequence = 1, .last_sequence = 10, .messages = 10};
    static const struct {
        NatsStream now;
        uint64_t next;
        NatsStreamChange change;
    } cases[] = {
        {{.created_nsec = 7, .first_sequence = 1, .last_sequence = 10}, 11, NATS_STREAM_GOES_ON},
        {{.created_nsec = 7, .first_sequence = 5, .last_sequence = 20}, 5, NATS_STREAM_GOES_ON},
        {{.created_nsec = 7, .first_sequence = 6, .last_sequence = 20}, 5, NATS_STREAM_CUT},
        {{.created_nsec = 7, .first_sequence = 11, .last_sequence = 10}, 11, NATS_STREAM_GOES_ON}, /* purged, and all had been read */
        {{.created_nsec = 7, .first_sequence = 11, .last_sequence = 10}, 10, NATS_STREAM_CUT},
        {{.created_nsec = 7, .first_sequence = 11, .last_sequence = 10}, 0, NATS_STREAM_GOES_ON}, /* nothing was read */
        {{.created_nsec = 8, .first_sequence = 1, .last_sequence = 10}, 5, NATS_STREAM_ANEW},
        {{.created_nsec = 8, .first_sequence = 1, .last_sequence = 90}, 0, NATS_STREAM_ANEW},
        {{.created_nsec = 7, .first_sequence = 1, .last_sequence = 9}, 5, NATS_STREAM_ANEW}, /* an older state of it was restored */
        {{.created_nsec = 7, .first_sequence = 1, .last_sequence = 10}, 12, NATS_STREAM_ANEW},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(nats_stream_change(&before, &cases[i].now, cases[i].next), cases[i].change);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_subject_is_read), cmocka_unit_test(other_subjects_are_not),    cmocka_unit_test(names_and_filters),
        cmocka_unit_test(servers_are_walked),      cmocka_unit_test(what_happened_to_a_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
