/*
 * The address of a stream manifest's source or sink, a URI (RFC 3986) with parameters, taken apart:
 *
 *   kafka://?bootstrap_servers=a:9092&group_id=g      nats+jetstream://user:password@host:4222?subject=orders
 *
 * It is divided before anything in it is decoded. Then each part is percent-decoded ('+' stays a
 * '+'), and a placeholder `{NAME}` in it becomes the value of that name as it is: a value needs no
 * percent-encoding, and cannot add a part or a parameter.
 *
 * Errors name no value, since it may be a secret.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/span.h"

#define STREAM_ADDRESS_BYTES_MAX 8192
#define STREAM_PARAMETERS_MAX 64

/* The values of placeholders: NULL and an error when there is none of that name. The text is
 * borrowed until the next call. */
typedef struct StreamValues StreamValues;
struct StreamValues {
    const char *(*find)(StreamValues *values, Span name, Error *error);
};

typedef struct StreamParameter {
    char *name; /* a '-' in it is a '_' */
    char *value;
} StreamParameter;

/* What is empty in the address is "", but for the login. All owned. */
typedef struct StreamUri {
    char *scheme;                /* lower case */
    char *user, *password;       /* NULL: the address has none */
    char *host;                  /* with its port, or several with commas between them */
    char *path;                  /* without the first slash */
    StreamParameter *parameters; /* their names differ */
    size_t parameter_count;
} StreamUri;

/* Is there a placeholder at the beginning of the text? Its size with the braces, else 0. A name has
 * letters, digits and '_'. */
size_t stream_placeholder(Span text);
/* A text with placeholders that is no address: they become their values. *ret_text: free(). */
int stream_fill(StreamValues *values, const char *text, char **ret_text, Error *error);

/* An address that is nothing but a placeholder is what its value says. -EINVAL: what is wrong, to
 * follow `The address `. */
int stream_uri_parse(const char *address, StreamValues *values, StreamUri *ret_uri, Error *error);
void stream_uri_deinit(StreamUri *uri);
const char *stream_uri_find(const StreamUri *uri, const char *name); /* NULL: it has no such parameter */
