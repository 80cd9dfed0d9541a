/*
 * The framing of a chunked body (RFC 9112, section 7.1), looked at as it comes: the decoder
 * (picohttpparser in libh2o) takes `0x7` for an empty last chunk, `7zz` for 7, and a bare LF for
 * the end of a line. Two servers that read such a body differently can be made to disagree where it
 * ends (request smuggling), and what the sender meant is lost, so it is refused. What is taken
 * here, the decoder reads the same way.
 *
 * A size is 1 to 16 hexadecimal digits of either case, at most CHUNK_BYTES_MAX. Extensions behind
 * it (`;name=value`, also with white space before the semicolon, as the RFC wants) and trailers
 * behind the last chunk are read over: nobody looks at what they say. Every line ends with CR LF
 * and holds no control characters but tabs.
 *
 * Pure functions over bytes; any thread; no allocation; bytes may come in any pieces.
 */
#pragma once

#include <stdint.h>

#include "base/span.h"

/* No body is so long; the sum of all that came cannot overflow. */
#define CHUNK_BYTES_MAX ((uint64_t)INT64_MAX)

typedef enum ChunkedResult {
    CHUNKED_MORE, /* the end has not come yet */
    CHUNKED_DONE, /* the end has come */
    CHUNKED_BAD,  /* 400 and close */
} ChunkedResult;

/* All-zero: nothing has come. */
typedef struct ChunkedBody {
    unsigned char state;
    unsigned char digits; /* of the size that is being read */
    uint64_t size;        /* as far as it is read; in its data: how much of it is to come */
    uint64_t data;        /* bytes of data that came */
    uint64_t framing;     /* bytes of everything else that came */
    const char *reason;   /* CHUNKED_BAD: one sentence, constant */
} ChunkedBody;

/* Takes the next bytes; those behind the end are not looked at. After the end, or a fault, it says
 * the same again. */
ChunkedResult http_chunked_take(ChunkedBody *body, Span bytes);
