/* What the tests of the HTTP loop and of the intake share: one set of sources, and short ways to
 * post and to look. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tests/unit/gateway/intake/fake_gateway.h"

#define PATH "/stream/1/"
#define BODY_SINK(id, on_invalid)                                                                                                          \
    "{\"sinkId\":\"" id "\",\"name\":\"" id "\",\"type\":\"table\"," on_invalid "\"table\":{\"tableId\":\"" id                             \
    "\",\"mapping\":{\"columns\":[{\"name\":\"body\",\"type\":\"body\"}]}}}"
#define PATH_SINK(id, on_invalid)                                                                                                          \
    "{\"sinkId\":\"" id "\",\"name\":\"" id "\",\"type\":\"table\"," on_invalid "\"table\":{\"tableId\":\"" id                             \
    "\",\"mapping\":{\"columns\":[{\"name\":\"a\",\"type\":\"path\",\"path\":\"a\"}]}}}"
#define COLUMN_SINK(id, column)                                                                                                            \
    "{\"sinkId\":\"" id "\",\"name\":\"" id "\",\"type\":\"table\","                                                                       \
    "\"table\":{\"tableId\":\"" id "\",\"mapping\":{\"columns\":[" column "]}}}"
#define SOURCE(id, more) "{\"sourceId\":\"" id "\",\"name\":\"" id "\",\"type\":\"http\"" more "}"
#define QUARANTINE "\"onInvalid\":\"quarantine\","
#define REJECT "\"onInvalid\":\"reject\","
#define TEMPLATE_COLUMN "{\"name\":\"t\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"Body()\"}}"

extern FakeGateway *gateway;       /* of the test that runs */
extern const FakeSource sources[]; /* with the sinks k1, k2, … that have the numbers 1, 2, … */

void start(IntakeOptions *options, size_t loops);
int set_up(void **state); /* makes `gateway`; the test calls start */
int tear_down(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int status_of(const char *answer);
const char *body_of(const char *answer);
void holds(const char *answer, const char *part);
void holds_not(const char *answer, const char *part);
/* Posts to a source and checks the status and what the answer holds (parts end with NULL). */
void post(const char *source, const char *headers, const char *body, int status, ...);
/* Any request with a body of one byte. `part` may be NULL. */
void expect(const char *method, const char *path, const char *headers, int status, const char *part);
void rows_are(uint32_t sink, const char *expected);
bool eventually(bool (*condition)(void)); /* within 5 s */
usec_t now(void);                         /* boot time */
bool all_released(void);                  /* no byte in flight, no connection open */
bool nothing_unfinished(void);            /* no byte of a request that still arrives; the loop's next sweep counts it out */
bool something_in_flight(void);
void drain(usec_t until); /* the first loop, as for a stop; boot time */
bool has_drained(void);   /* once it told; takes the message */
