#include "config/stream_uri.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/text.h"

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

size_t stream_placeholder(Span text) {
    if (text.size < 3 || text.data[0] != '{' || text_is_digit(text.data[1])) return 0;
    for (size_t at = 1; at < text.size; at++) {
        char c = text.data[at];
        if (c == '}') return at > 1 ? at + 1 : 0;
        if (!is_letter(c) && !text_is_digit(c) && c != '_') return 0;
    }
    return 0;
}

static int append_value(StreamValues *values, Span name, Buffer *out, Error *error) {
    const char *value = values->find(values, name, error);
    if (!value) return -EINVAL;
    buffer_append_text(out, value);
    return 0;
}

/* One part of the address: what is between the placeholders is decoded. */
static int decode(StreamValues *values, const char *what, Span part, bool is_encoded, char **ret_text, Error *error) {
    _cleanup_(buffer_deinit) Buffer out = {0};
    for (size_t at = 0; at < part.size;) {
        Span rest = {part.data + at, part.size - at};
        size_t size = stream_placeholder(rest);
        if (size > 0) {
            int r = append_value(values, (Span){rest.data + 1, size - 2}, &out, error);
            if (r < 0) return r;
            at += size;
            continue;
        }
        do size++;
        while (size < rest.size && rest.data[size] != '{');
        char *to = buffer_reserve(&out, size);
        ptrdiff_t decoded = (ptrdiff_t)size;
        if (is_encoded)
            decoded = text_percent_decode((Span){rest.data, size}, false, to, NULL);
        else
            memcpy(to, rest.data, size);
        if (decoded < 0) return error_set(error, -EINVAL, "has a '%%' without two hexadecimal digits in its %s", what);
        out.size += (size_t)decoded;
        at += size;
    }
    if (out.size > 0 && !text_is_plain(buffer_span(&out)))
        return error_set(error, -EINVAL, "has control characters or text that is not UTF-8 in its %s", what);
    (void)buffer_text(&out);
    *ret_text = buffer_take(&out);
    return 0;
}

int stream_fill(StreamValues *values, const char *text, char **ret_text, Error *error) {
    return decode(values, "text", span_of(text), false, ret_text, error);
}

/* What stands before the first of `ends`, which is left in `rest`. */
static Span cut(Span *rest, const char *ends) {
    Span part = {rest->data, 0};
    while (part.size < rest->size && !strchr(ends, rest->data[part.size])) part.size++;
    *rest = (Span){rest->data + part.size, rest->size - part.size};
    return part;
}

static void skip(Span *rest, size_t bytes) {
    *rest = (Span){rest->data + bytes, rest->size - bytes};
}

static int read_scheme(Span *rest, StreamUri *uri, Error *error) {
    Span scheme = cut(rest, ":/?#");
    if (scheme.size == 0 || !is_letter(scheme.data[0]) || !text_begins(*rest, SPAN("://")))
        return error_set(error, -EINVAL, "must begin with a scheme and \"://\"");
    uri->scheme = text_copy_span(scheme);
    for (char *c = uri->scheme; *c; c++) {
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
        if (!is_letter(*c) && !text_is_digit(*c) && !strchr("+-.", *c))
            return error_set(error, -EINVAL, "must begin with a scheme and \"://\"");
    }
    skip(rest, 3);
    return 0;
}

/* `host` or `host:1234`, several with commas between them; an IPv6 address stands in brackets. */
static bool ports_are_numbers(const char *hosts) {
    for (const char *host = hosts;; host++) {
        const char *end = host + strcspn(host, ","), *bracket = *host == '[' ? memchr(host, ']', (size_t)(end - host)) : NULL;
        const char *port = bracket ? bracket + 1 : host;
        port += strcspn(port, ":,");
        if (*port == ':')
            for (port++; port < end; port++)
                if (!text_is_digit(*port)) return false;
        if (!*end) return true;
        host = end;
    }
}

/* The login ends at the last '@': one in a password should be encoded, but nothing else can be
 * meant. */
static int read_authority(StreamValues *values, Span *rest, StreamUri *uri, Error *error) {
    Span host = cut(rest, "/?#");
    const char *at = host.size > 0 ? memrchr(host.data, '@', host.size) : NULL;
    int r = 0;
    if (at) {
        Span login = {host.data, (size_t)(at - host.data)}, user = cut(&login, ":");
        r = decode(values, "user", user, true, &uri->user, error);
        if (r == 0 && login.size > 0) r = decode(values, "password", (Span){login.data + 1, login.size - 1}, true, &uri->password, error);
        skip(&host, (size_t)(at + 1 - host.data));
    }
    if (r == 0) r = decode(values, "host", host, true, &uri->host, error);
    if (r < 0 || strcmp(uri->scheme, "dataos") == 0 || ports_are_numbers(uri->host)) return r; /* the name of a depot is no host */
    /* A password that is not encoded would be taken for one, and shown. */
    return error_set(error, -EINVAL,
                     "has a port that is not a number: '/', '?', '#' and '@' of a login are written %%2F, %%3F, %%23 and %%40");
}

static int add_parameter(StreamValues *values, Span text, StreamUri *uri, Error *error) {
    Span value = text, name = cut(&value, "=");
    if (value.size > 0) skip(&value, 1);
    if (uri->parameter_count == STREAM_PARAMETERS_MAX)
        return error_set(error, -EINVAL, "has more than %d parameters", STREAM_PARAMETERS_MAX);
    array_extend(uri->parameters, uri->parameter_count);
    StreamParameter *added = &uri->parameters[uri->parameter_count];
    *added = (StreamParameter){0};
    uri->parameter_count++;
    int r = decode(values, "parameters", name, true, &added->name, error);
    if (r < 0) return r;
    for (char *c = added->name; *c; c++)
        if (*c == '-') *c = '_';
    char excerpt[TEXT_EXCERPT_SIZE];
    const char *shown = text_excerpt(span_of(added->name), excerpt);
    if (!*shown) return error_set(error, -EINVAL, "has a parameter without a name");
    for (size_t i = 0; i + 1 < uri->parameter_count; i++)
        if (strcmp(uri->parameters[i].name, added->name) == 0) return error_set(error, -EINVAL, "has the parameter \"%s\" twice", shown);
    Error why = {0};
    r = decode(values, "value", value, true, &added->value, &why);
    return r < 0 ? error_set(error, r, "%s (parameter \"%s\")", why.text, shown) : 0;
}

static int read_parts(StreamValues *values, Span rest, StreamUri *uri, Error *error) {
    int r = read_scheme(&rest, uri, error);
    if (r == 0) r = read_authority(values, &rest, uri, error);
    if (r < 0) return r;
    if (rest.size > 0 && *rest.data == '/') skip(&rest, 1);
    r = decode(values, "path", cut(&rest, "?#"), true, &uri->path, error);
    if (r == 0 && rest.size > 0 && *rest.data == '?') {
        skip(&rest, 1);
        while (r == 0 && rest.size > 0 && *rest.data != '#') {
            Span parameter = cut(&rest, "&#");
            if (parameter.size > 0) r = add_parameter(values, parameter, uri, error);
            if (rest.size > 0 && *rest.data == '&') skip(&rest, 1);
        }
    }
    if (r == 0 && rest.size > 0) return error_set(error, -EINVAL, "must not contain a '#': write %%23");
    return r;
}

int stream_uri_parse(const char *address, StreamValues *values, StreamUri *ret_uri, Error *error) {
    Span text = span_of(address);
    size_t whole = stream_placeholder(text);
    if (whole > 0 && whole == text.size) {
        const char *value = values->find(values, (Span){text.data + 1, whole - 2}, error);
        if (!value) return -EINVAL;
        text = span_of(value);
    }
    if (text.size > STREAM_ADDRESS_BYTES_MAX) return error_set(error, -EINVAL, "has more than %d bytes", STREAM_ADDRESS_BYTES_MAX);
    _cleanup_free_ char *copy = text_copy_span(text); /* the next value may take its place */
    StreamUri uri = {0};
    int r = read_parts(values, span_of(copy), &uri, error);
    if (r < 0) {
        stream_uri_deinit(&uri);
        return r;
    }
    *ret_uri = uri;
    return 0;
}

static void wipe(char *text) {
    if (text) explicit_bzero(text, strlen(text));
    free(text);
}

void stream_uri_deinit(StreamUri *uri) {
    free(uri->scheme);
    wipe(uri->user);
    wipe(uri->password);
    free(uri->host);
    free(uri->path);
    for (size_t i = 0; i < uri->parameter_count; i++) {
        free(uri->parameters[i].name);
        wipe(uri->parameters[i].value);
    }
    free(uri->parameters);
    *uri = (StreamUri){0};
}

const char *stream_uri_find(const StreamUri *uri, const char *name) {
    for (size_t i = 0; i < uri->parameter_count; i++)
        if (strcmp(uri->parameters[i].name, name) == 0) return uri->parameters[i].value;
    return NULL;
}
