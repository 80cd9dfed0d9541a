/* The connections of type postgres: what stands in the config file. */
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "sinks/driver.h"

static const ConnectionField fields[] = {
    {.name = "uri",
     .bytes_max = 4096,
     .needed = "a \"uri\": \"postgresql://user@host:port/database\"",
     .sentence = "A URI of libpq without a password."},
    {.name = "passwordFile",
     .bytes_max = 4096,
     .is_secret_file = true,
     .sentence = "File with the password. It is read at each connect. One newline at its end is ignored. A relative path is relative to "
                 "the data directory."},
    {.name = "ledgerTable", .bytes_max = 127, .default_value = "sluice.files", .sentence = "The table of imported files, as schema.table."},
    {.name = "positionsTable",
     .bytes_max = 127,
     .default_value = "sluice.positions",
     .sentence = "The table of the positions of sources that read a broker, as schema.table."},
    {.name = "columnsTable",
     .bytes_max = 127,
     .default_value = "sluice.columns",
     .sentence = "The table of the names of columns that were inferred, as schema.table."},
    {0},
};

static const Refusal refused[] = {
    {"password", "is not allowed here: put it in a file and name the file in \"passwordFile\""},
    {0},
};

/* Is the (percent-encoded) name of a URI parameter this word? */
static bool parameter_is(Span name, const char *word) {
    size_t at = 0;
    for (; at < name.size; word++) {
        char c = name.data[at++];
        if (c == '%' && at + 1 < name.size && text_hex(name.data[at]) >= 0 && text_hex(name.data[at + 1]) >= 0) {
            c = (char)(text_hex(name.data[at]) * 16 + text_hex(name.data[at + 1]));
            at += 2;
        }
        if (*word == 0 || c != *word) return false;
    }
    return *word == 0;
}

/* Userinfo with a colon, or a parameter that is a password. Rather one URI too many: what is
 * refused here is never shown or logged. */
static bool has_password(const char *uri) {
    const char *rest = strstr(uri, "://") + 3, *query = strchr(rest, '?');
    size_t size = query ? (size_t)(query - rest) : strlen(rest);
    const char *at = memrchr(rest, '@', size);
    if (at && memchr(rest, ':', (size_t)(at - rest))) return true;
    while (query) {
        const char *name = query + 1;
        Span parameter = {name, strcspn(name, "=&")};
        if (parameter_is(parameter, "password") || parameter_is(parameter, "sslpassword")) return true;
        query = strchr(name, '&');
    }
    return false;
}

/* Where a '/' or '?' stands in a login, or a second '@' anywhere, libpq may find another host than
 * a reader does, and a password may be shown. */
static bool login_is_plain(const char *uri) {
    const char *rest = strstr(uri, "://") + 3, *at = strchr(rest, '@');
    return !at || (at < rest + strcspn(rest, "/?#") && !strchr(at + 1, '@'));
}

static int validate(const Connection *connection, ConnectionPlace *ret_place, Error *error) {
    const char *uri = connection_value(connection, "uri");
    ret_place->field = "uri";
    if (strncmp(uri, "postgresql://", 13) != 0 && strncmp(uri, "postgres://", 11) != 0)
        return error_set(error, -EINVAL, "must begin with postgresql://");
    if (has_password(uri))
        return error_set(error, -EINVAL, "must not contain a password: put it in a file and name the file in \"passwordFile\"");
    if (!login_is_plain(uri))
        return error_set(error, -EINVAL,
                         "must have at most one '@', after the login: other ones, and '/', '?' and '#' in a login, are written %%40, %%2F, "
                         "%%3F and %%23");
    return 0;
}

/* libpq would take the names of files, sockets and services from a URI. */
static int validate_declared(const Connection *connection, ConnectionPlace *ret_place, Error *error) {
    static const char *const harmless[] = {"sslmode",         "connect_timeout",      "application_name",
                                           "channel_binding", "target_session_attrs", NULL};
    const char *host = strstr(connection_value(connection, "uri"), "://") + 3;
    ret_place->field = "uri";
    size_t size = strcspn(host, "/?");
    const char *at = memrchr(host, '@', size);
    if (at) {
        size -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    for (size_t begin = 0, end; begin <= size; begin = end + 1) { /* libpq takes several, with commas between them */
        end = begin;
        while (end < size && host[end] != ',') end++;
        if (end == begin || host[begin] == ':' || memchr(host + begin, '%', end - begin))
            return error_set(error, -EINVAL, "must name a host: only the config file can name a socket of the gateway's host");
    }
    for (const char *query = strchr(host, '?'); query;) {
        const char *name = query + 1;
        Span parameter = {name, strcspn(name, "=&")};
        bool known = false;
        for (size_t i = 0; harmless[i]; i++) known = known || parameter_is(parameter, harmless[i]);
        if (!known) {
            char excerpt[TEXT_EXCERPT_SIZE];
            return error_set(error, -EINVAL, "has the parameter \"%s\", which can be given in the config file only",
                             text_excerpt(parameter, excerpt));
        }
        query = strchr(name, '&');
    }
    return 0;
}

const ConnectionType connection_type_postgres = {
    .name = "postgres",
    .fields = fields,
    .refused = refused,
    .place = "uri",
    .validate = validate,
    .may_be_declared = true,
    .validate_declared = validate_declared,
};
