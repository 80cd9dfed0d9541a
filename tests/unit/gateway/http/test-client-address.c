#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/http/client_address.h"

static TrustedProxies *parsed(const char *text) {
    TrustedProxies *proxies = NULL;
    Error error = {0};
    if (trusted_proxies_parse(text, &proxies, &error) < 0) fail_msg("%s", error.text);
    return proxies;
}

static void networks(void **state) {
    (void)state;
    TrustedProxies *proxies = parsed(" 10.0.0.0/8 , 192.168.1.7,fd00::/7, 2001:db8::1/128, 172.16.0.0/12");
    assert_true(trusted_proxies_hold(proxies, SPAN("10.255.0.1")));
    assert_true(trusted_proxies_hold(proxies, SPAN("::ffff:10.1.2.3")));
    assert_false(trusted_proxies_hold(proxies, SPAN("11.0.0.1")));
    assert_true(trusted_proxies_hold(proxies, SPAN("192.168.1.7")));
    assert_false(trusted_proxies_hold(proxies, SPAN("192.168.1.8")));
    assert_true(trusted_proxies_hold(proxies, SPAN("172.31.255.255")));
    assert_false(trusted_proxies_hold(proxies, SPAN("172.32.0.0")));
    assert_true(trusted_proxies_hold(proxies, SPAN("fc12::1")));
    assert_false(trusted_proxies_hold(proxies, SPAN("fe00::1")));
    assert_true(trusted_proxies_hold(proxies, SPAN("2001:db8::1")));
    assert_false(trusted_proxies_hold(proxies, SPAN("2001:db8::2")));
    assert_false(trusted_proxies_hold(proxies, SPAN("")));
    trusted_proxies_free(proxies);
    proxies = parsed("0.0.0.0/0");
    assert_true(trusted_proxies_hold(proxies, SPAN("8.8.8.8")));
    assert_false(trusted_proxies_hold(proxies, SPAN("::1")));
    trusted_proxies_free(proxies);
    proxies = parsed(NULL);
    assert_false(trusted_proxies_hold(proxies, SPAN("127.0.0.1")));
    trusted_proxies_free(proxies);
}

static void wrong_networks(void **state) {
    (void)state;
    static const char *const wrong[] = {"x",        "10.0.0.0/33",       "10.0.0.0/",    "::/129",
                                        "10.0.0/8", "10.0.0.1 10.0.0.2", "10.0.0.0/8/8", "1.2.3.4/-1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        TrustedProxies *proxies = NULL;
        Error error = {0};
        assert_int_equal(trusted_proxies_parse(wrong[i], &proxies, &error), -EINVAL);
        assert_non_null(strstr(error.text, "not an address"));
    }
}

static void who(const char *trusted, const char *peer, const char *plain, const char *forwarded, const char *expected) {
    TrustedProxies *proxies = parsed(trusted);
    char out[ADDRESS_TEXT_BYTES];
    Span answer = client_address(proxies, span_of(peer), span_of(plain), span_of(forwarded), out);
    if (!span_equal(answer, span_of(expected)))
        fail_msg("peer %s, X-Forwarded-For %s, Forwarded %s: %.*s, not %s", peer, plain, forwarded, (int)answer.size, answer.data,
                 expected);
    trusted_proxies_free(proxies);
}

static void chains(void **state) {
    (void)state;
    who("", "9.9.9.9", "1.1.1.1", "", "9.9.9.9");
    who("10.0.0.0/8", "9.9.9.9", "1.1.1.1", "", "9.9.9.9");
    who("10.0.0.0/8", "10.0.0.1", "", "", "10.0.0.1");
    who("10.0.0.0/8", "10.0.0.1", "1.1.1.1", "", "1.1.1.1");
    who("10.0.0.0/8", "10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "", "1.1.1.1");
    who("10.0.0.0/8", "10.0.0.1", "10.0.0.3,10.0.0.2", "", "10.0.0.3");
    who("10.0.0.0/8", "10.0.0.1", "1.1.1.1, unknown, 10.0.0.2", "", "10.0.0.2");
    who("10.0.0.0/8", "10.0.0.1", "nonsense", "", "10.0.0.1");
    who("10.0.0.0/8", "10.0.0.1", "1.1.1.1:443", "", "1.1.1.1");
    who("10.0.0.0/8", "10.0.0.1", "[2001:db8::5]:443", "", "2001:db8::5");
    who("10.0.0.0/8", "10.0.0.1", "2001:DB8::5", "", "2001:db8::5");
    who("10.0.0.0/8", "10.0.0.1", "::ffff:1.2.3.4", "", "1.2.3.4");
    who("10.0.0.0/8", "10.0.0.1", "", "for=1.1.1.1;proto=https, for=\"[2001:db8::7]:4711\";by=10.0.0.1", "2001:db8::7");
    who("10.0.0.0/8", "10.0.0.1", "", "proto=https;For=1.1.1.1", "1.1.1.1");
    who("10.0.0.0/8", "10.0.0.1", "", "for=_hidden", "10.0.0.1");
    who("10.0.0.0/8", "10.0.0.1", "", "proto=http", "10.0.0.1");
    who("10.0.0.0/8", "10.0.0.1", "1.1.1.1", "for=6.6.6.6", "1.1.1.1");
    who("10.0.0.0/8", "10.0.0.1", ",", "", "10.0.0.1");
    who("10.0.0.0/8", "10.0.0.1", "[::1", "", "10.0.0.1");
}

static void socket_addresses(void **state) {
    (void)state;
    char out[ADDRESS_TEXT_BYTES];
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000003)};
    assert_int_equal(address_format((struct sockaddr *)&v4, out), 9);
    assert_string_equal(out, "127.0.0.3");
    assert_true(address_is_loopback((struct sockaddr *)&v4));
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    assert_int_equal(inet_pton(AF_INET6, "::ffff:10.0.0.9", &v6.sin6_addr), 1);
    (void)address_format((struct sockaddr *)&v6, out);
    assert_string_equal(out, "10.0.0.9");
    assert_false(address_is_loopback((struct sockaddr *)&v6));
    v6.sin6_addr = in6addr_loopback;
    assert_true(address_is_loopback((struct sockaddr *)&v6));
    struct sockaddr local = {.sa_family = AF_UNIX};
    assert_int_equal(address_format(&local, out), 0);
    assert_true(address_is_loopback(&local));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks),
        cmocka_unit_test(wrong_networks),
        cmocka_unit_test(chains),
        cmocka_unit_test(socket_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
