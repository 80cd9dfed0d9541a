#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/app/descriptors.h"

static const DescriptorNeeds usual = {.loops = 2, .loaders = 4, .destinations = 2, .zygotes = 32, .intake = 10000};

static void there_is_enough(void **state) {
    (void)state;
    DescriptorShares shares;
    Error error = {0};
    assert_int_equal(descriptors_share(65536, &usual, &shares, &error), 0);
    assert_int_equal(shares.intake, 10000);
    assert_int_equal(shares.admin, 512);
    uint64_t wanted = shares.wanted;
    assert_in_range(wanted, 10512, 65536);
    assert_int_equal(descriptors_share(wanted, &usual, &shares, &error), 0);
    assert_int_equal(shares.intake, 10000); /* `wanted` is what it takes */
}

static void the_intake_gets_what_is_left(void **state) {
    (void)state;
    DescriptorShares shares;
    Error error = {0};
    assert_int_equal(descriptors_share(1024, &usual, &shares, &error), 0);
    assert_in_range(shares.intake, 300, 800);
    assert_in_range(shares.admin, 16, 128);
    assert_true(shares.intake + shares.admin < 1024 - 200); /* the rest is there for files, loaders and workers */
    DescriptorNeeds more = usual;
    more.loaders = 12;
    unsigned before = shares.intake;
    assert_int_equal(descriptors_share(1024, &more, &shares, &error), 0);
    assert_true(shares.intake < before);
    more.brokers = 2;
    before = shares.intake;
    assert_int_equal(descriptors_share(1024, &more, &shares, &error), 0);
    assert_true(shares.intake < before);
    assert_int_equal(descriptors_share(UINT64_MAX, &more, &shares, &error), 0); /* RLIM_INFINITY */
    assert_int_equal(shares.intake, 10000);
}

static void too_few_are_refused(void **state) {
    (void)state;
    DescriptorShares shares;
    Error error = {0};
    assert_int_equal(descriptors_share(256, &usual, &shares, &error), -EINVAL);
    assert_non_null(strstr(error.text, "256"));
    assert_non_null(strstr(error.text, "LimitNOFILE"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_is_enough),
        cmocka_unit_test(the_intake_gets_what_is_left),
        cmocka_unit_test(too_few_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
