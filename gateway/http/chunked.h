/*
 * Checks the framing of a chunked body (RFC 9112, section 7.1) while it arrives. The decoder
 * (picohttpparser in libh2o) accepts `0x7` as an empty last chunk, `7zz` as 7, and a bare LF as the
 * end of a line. If two servers read such a body differently, they can disagree about its end
 * (request smuggling). So it is refused here. What is accepted here, the decoder reads in the same
 * way.
 *
 * A size is 1 to 16 hexadecimal digits of either case, at most CHUNK_BYTES_MAX. Extensions after it
 * (`;name=value`, also with white space before the semicolon, as the RFC demands) and trailers
 * after the last chunk are ignored. Every line ends with CR LF and has no control characters except
 * tabs.
 *
 * Pure functions over bytes; any thread; no allocation; bytes may come in pieces of any size.
 */
#pragma once

#include <stdint.h>

#include "base/span.h"

/* Longer than any body, so that sums cannot overflow. */
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

/* Checks the next bytes. Bytes behind the end are ignored. After the end, or after a fault, the
 * result stays the same. */
ChunkedResult http_chunked_take(ChunkedBody *body, Span bytes);
