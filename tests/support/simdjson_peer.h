/*
 * simdjson's DOM parser, callable from C: what the scanner is compared with, in tests (accept or
 * refuse, and values) and in bench/mapping. It does not belong to the program.
 *
 * Where simdjson 3.0.1 itself differs from RFC 8259 or from the scanner, so that a test has to keep away from it:
 *   - a number beyond a double (1e999), and an integer beyond 64 bits, is refused; -0 is the integer 0;
 *   - half a surrogate pair in escapes (\ud800) is refused;
 *   - at its limit of depth only an empty container is accepted.
 *
 * One thread a peer. Out of memory ends the process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct SimdjsonPeer SimdjsonPeer;

/* `depth_max`: containers within each other, the last of them empty; 0: simdjson's own limit,
 * 1024. */
SimdjsonPeer *simdjson_peer_new(size_t depth_max);
void simdjson_peer_free(SimdjsonPeer *peer); /* NULL-safe */
/* The kernel that simdjson chose for this processor: "icelake", "haswell", "westmere", "arm64",
 * "fallback". Static. */
const char *simdjson_peer_kernel(void);

/* Copies the text to where it has padding, and parses it: does simdjson accept it? If not and
 * `ret_what` is not NULL: why, static. */
bool simdjson_peer_accepts(SimdjsonPeer *peer, const char *text, size_t size, const char **ret_what);

typedef enum SimdjsonKind {
    SIMDJSON_NOTHING, /* there is no value at the pointer */
    SIMDJSON_NULL,
    SIMDJSON_BOOLEAN,
    SIMDJSON_INTEGER,  /* fits int64_t */
    SIMDJSON_UNSIGNED, /* fits uint64_t only */
    SIMDJSON_DOUBLE,
    SIMDJSON_STRING,
    SIMDJSON_OBJECT,
    SIMDJSON_ARRAY,
} SimdjsonKind;

typedef struct SimdjsonValue {
    SimdjsonKind kind;
    bool boolean;
    long long integer;
    unsigned long long natural; /* SIMDJSON_UNSIGNED */
    double number;              /* of all three number kinds */
    /* STRING: its bytes without quotes and escapes, NULs and all. OBJECT, ARRAY: compact JSON, as
     * simdjson writes it. Valid until the peer's next call. */
    const char *text;
    size_t text_size;
    size_t count; /* OBJECT, ARRAY: keys (equal ones counted each) or elements */
} SimdjsonValue;

/* Of the text that was accepted last; `pointer` is RFC 6901: "" is all of it, "/a/0". Of equal keys
 * the first counts. */
SimdjsonValue simdjson_peer_at(SimdjsonPeer *peer, const char *pointer);

/* For benchmarks: no copy. The text has SIMDJSON_PEER_PADDING readable bytes behind it. */
#define SIMDJSON_PEER_PADDING 64
bool simdjson_peer_parse(SimdjsonPeer *peer, const char *text, size_t size);
/* All documents of an ndjson in one call, on this thread alone, `batch` bytes of it at a time (at
 * least the longest document). Returns how many there were; -1: one of them is refused. */
long simdjson_peer_parse_many(SimdjsonPeer *peer, const char *text, size_t size, size_t batch);

#ifdef __cplusplus
}
#endif
