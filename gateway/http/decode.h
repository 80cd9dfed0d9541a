/*
 * Content-Encoding: gzip (several members too), deflate (with or without the zlib wrapper, as both
 * are in use) and zstd (several frames too). The output never grows past its cap while inflating. A
 * Decoder is one thread's; it keeps its tables between uses.
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

/* What a 415 says in Accept-Encoding. */
#define DECODE_ACCEPTED "gzip, deflate, zstd"

/* From the header's value, any case; `x-gzip` is gzip; `identity` in a list does not count. */
ContentEncoding content_encoding(Span header);

typedef struct Decoder Decoder;
Decoder *decoder_new(void);
void decoder_free(Decoder *decoder); /* NULL-safe */

enum { DECODE_TOO_LARGE = 1 };
/* Appends what `in` holds to `out`, at most `bytes_max`. 0, DECODE_TOO_LARGE (413), or -EBADMSG:
 * broken, cut off, or followed by bytes that are none of its own (400). On anything but 0 what
 * stands in `out` is of no use. */
int decoder_decode(Decoder *decoder, ContentEncoding encoding, Span in, size_t bytes_max, Buffer *out, Error *error);
