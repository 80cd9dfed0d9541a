/*
 * Decodes Content-Encoding: gzip (also several members), deflate (with or without the zlib wrapper,
 * as both are in use) and zstd (also several frames). The output never grows past its limit during
 * decoding. A Decoder is used by one thread and keeps its tables between uses.
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"

typedef enum ContentEncoding {
    ENCODING_IDENTITY, /* also: no header */
    ENCODING_GZIP,
    ENCODING_DEFLATE,
    ENCODING_ZSTD,
    ENCODING_UNSUPPORTED, /* another one, or several on top of each other: 415 */
} ContentEncoding;

/* The Accept-Encoding of a 415. */
#define DECODE_ACCEPTED "gzip, deflate, zstd"

/* The encoding by the header's value, in any case. `x-gzip` is gzip; `identity` in a list is
 * ignored. */
ContentEncoding content_encoding(Span header);

typedef struct Decoder Decoder;
Decoder *decoder_new(void);
void decoder_free(Decoder *decoder); /* NULL-safe */

enum { DECODE_TOO_LARGE = 1 };
/* Appends the decoded `in` to `out`, at most `bytes_max`. Returns 0, DECODE_TOO_LARGE (413), or
 * -EBADMSG: it is broken, cut off, or followed by other bytes (400). If the result is not 0, the
 * content of `out` is not usable. */
int decoder_decode(Decoder *decoder, ContentEncoding encoding, Span in, size_t bytes_max, Buffer *out, Error *error);
