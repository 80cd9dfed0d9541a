#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/unit/gateway/intake/intake_case.h"

const FakeSource sources[] = {
    {SOURCE("body", ""), {BODY_SINK("k1", "")}},                                                              /* sink 1 */
    {SOURCE("path", ""), {PATH_SINK("k2", "")}},                                                              /* 2 */
    {SOURCE("lines", ",\"framing\":\"ndjson\""), {PATH_SINK("k3", QUARANTINE), BODY_SINK("k4", QUARANTINE)}}, /* 3, 4 */
    {SOURCE("array", ",\"framing\":\"array\""), {PATH_SINK("k5", REJECT)}},                                   /* 5 */
    {SOURCE("fast", ""), {BODY_SINK("k6", "")}, .no_wait = true},                                             /* 6 */
    {SOURCE("off", ""), {BODY_SINK("k7", "")}, .disabled = true},                                             /* 7 */
    {SOURCE("empty", ""), {NULL}},
    {SOURCE("rated", ",\"rate\":{\"events\":10,\"burst\":3},\"framing\":\"ndjson\""), {BODY_SINK("k8", "")}}, /* 8 */
    {SOURCE("template", ""), {COLUMN_SINK("k9", TEMPLATE_COLUMN)}},                                           /* 9 */
    {SOURCE("headers", ""), {COLUMN_SINK("k10", "{\"name\":\"h\",\"type\":\"headers\"}")}},                   /* 10 */
    {SOURCE("ip", ""), {COLUMN_SINK("k11", "{\"name\":\"i\",\"type\":\"ip\"}")}},                             /* 11 */
    {SOURCE("quiet", ",\"errorDetail\":\"minimal\""), {PATH_SINK("k12", "")}},                                /* 12 */
    {SOURCE("gone", ",\"discard\":true,\"framing\":\"ndjson\""), {NULL}},
    {SOURCE("half", ",\"framing\":\"ndjson\""), {PATH_SINK("k13", QUARANTINE)}, .skipped = 60},                                 /* 13 */
    {SOURCE("kept", ",\"framing\":\"ndjson\""), {COLUMN_SINK("k14", TEMPLATE_COLUMN)}},                                         /* 14 */
    {SOURCE("mixed", ",\"framing\":\"ndjson\""), {PATH_SINK("k15", QUARANTINE), BODY_SINK("k16", REJECT)}},                     /* 15, 16 */
    {SOURCE("listed", ",\"cors\":{\"origins\":[\"https://shop.example\",\"http://localhost:8080\"]}"), {BODY_SINK("k17", "")}}, /* 17 */
    {NULL, {NULL}},
};

FakeGateway *gateway;

void start(IntakeOptions *options, size_t loops) {
    fake_start(gateway, sources, options, loops);
}

int set_up(void **state) {
    (void)state;
    gateway = calloc(1, sizeof *gateway);
    return gateway ? 0 : -1;
}

int tear_down(void **state) {
    (void)state;
    fake_stop(gateway);
    free(gateway);
    return 0;
}

int status_of(const char *answer) {
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? atoi(answer + 9) : 0;
}

const char *body_of(const char *answer) {
    const char *end = strstr(answer, "\r\n\r\n");
    return end ? end + 4 : "";
}

void holds(const char *answer, const char *part) {
    if (!strcasestr(answer, part)) fail_msg("\"%s\" is not in:\n%s", part, answer);
}

void holds_not(const char *answer, const char *part) {
    if (strcasestr(answer, part)) fail_msg("\"%s\" is in:\n%s", part, answer);
}

/* Posts and checks status and what the answer holds (parts end with NULL). */
void post(const char *source, const char *headers, const char *body, int status, ...) {
    char path[200];
    (void)snprintf(path, sizeof path, PATH "%s/" FAKE_SECRET, source);
    _cleanup_free_ char *answer = client_post(gateway, path, headers, body);
    if (status_of(answer) != status) fail_msg("%s with %s: not %d but\n%s", source, body, status, answer);
    holds(answer, "\r\nX-Request-Id: ");
    holds(answer, "\r\nAccess-Control-Allow-Origin: *\r\n");
    va_list parts;
    va_start(parts, status);
    for (const char *part; (part = va_arg(parts, const char *));) holds(answer, part);
    va_end(parts);
}

void rows_are(uint32_t sink, const char *expected) {
    _cleanup_free_ char *rows = fake_rows(gateway, sink);
    assert_string_equal(rows, expected);
}

bool eventually(bool (*condition)(void)) {
    for (unsigned i = 0; i < 1000; i++) {
        if (condition()) return true;
        usleep(5000);
    }
    return false;
}

usec_t now(void) {
    return clock_system()->boot(clock_system());
}

void expect(const char *method, const char *path, const char *headers, int status, const char *part) {
    _cleanup_free_ char *answer = client_request(gateway, method, path, headers, "x", 1);
    if (status_of(answer) != status) fail_msg("%s %s: not %d but\n%s", method, path, status, answer);
    holds(answer, "\r\nX-Request-Id: ");
    holds(answer, "\r\nAccess-Control-Allow-Origin: *\r\n");
    if (part) holds(answer, part);
}

bool all_released(void) {
    return atomic_load(&gateway->usage.in_flight_bytes) == 0 && atomic_load(&gateway->usage.connections) == 0;
}

bool nothing_unfinished(void) {
    return atomic_load(&gateway->usage.unfinished_bytes) == 0;
}

bool something_in_flight(void) {
    return atomic_load(&gateway->usage.in_flight_bytes) > 0;
}

void drain(usec_t until) {
    Drain *message = calloc(1, sizeof *message);
    assert_non_null(message);
    message->message.kind = MESSAGE_DRAIN;
    message->until = until;
    mailbox_post(intake_mailbox(gateway->intakes[0]), &message->message);
}

bool has_drained(void) {
    Message *message = mailbox_take(gateway->control);
    bool drained = message && message->kind == MESSAGE_DRAINED && ((Drained *)message)->who == 0;
    free(message);
    return drained;
}
