#include "config/yaml_scalar.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

#define VALUE_BYTES_MAX (1UL << 20) /* of one variable or file */
#define SCALAR_BYTES_MAX (16UL << 20)

int yaml_scalar_read_file(const char *file, size_t bytes_max, Buffer *out) {
    _cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) < 0) return -errno;
    if (S_ISDIR(info.st_mode)) return -EISDIR;
    for (size_t total = 0;;) {
        ssize_t got = read(fd, buffer_reserve(out, 65536), 65536);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -errno;
        if (got == 0) return 0;
        out->size += (size_t)got;
        total += (size_t)got;
        if (total > bytes_max) return -EFBIG;
    }
}

static int expand_environment(const char *name, Buffer *out, Error *error) {
    const char *value = getenv(name);
    char excerpt[TEXT_EXCERPT_SIZE];
    if (value == NULL) return error_set(error, -EINVAL, "the environment variable \"%s\" is not set", text_excerpt(span_of(name), excerpt));
    if (strlen(value) > VALUE_BYTES_MAX)
        return error_set(error, -EINVAL, "the environment variable \"%s\" is larger than 1 MB", text_excerpt(span_of(name), excerpt));
    buffer_append_text(out, value);
    return 0;
}

int yaml_scalar_expand_file(const char *document_name, const char *path, Buffer *out, Error *error) {
    _cleanup_(buffer_deinit) Buffer full = {0};
    char excerpt[TEXT_EXCERPT_SIZE];
    const char *slash = strrchr(document_name, '/');
    if (path[0] != '/' && slash) buffer_append(&full, document_name, (size_t)(slash - document_name) + 1);
    buffer_append_text(&full, path);
    size_t before = out->size;
    int r = yaml_scalar_read_file(buffer_text(&full), VALUE_BYTES_MAX, out);
    if (r < 0)
        return error_set(error, -EINVAL, "the file \"%s\" cannot be read: %s", text_excerpt(span_of(path), excerpt),
                         r == -EFBIG ? "larger than 1 MB" : strerror(-r));
    if (out->size > before && out->data[out->size - 1] == '\n') out->size--;
    return 0;
}

static bool starts(Span text, size_t at, Span start) {
    return text.size - at >= start.size && memcmp(text.data + at, start.data, start.size) == 0;
}

int yaml_scalar_expand(const char *document_name, Span text, Buffer *out, Expansions *expansions, Error *error) {
    for (size_t at = 0; at < text.size;) {
        bool environment = starts(text, at, SPAN("${ENV:")), file = starts(text, at, SPAN("${FILE:"));
        if (starts(text, at, SPAN("$${ENV:")) || starts(text, at, SPAN("$${FILE:"))) {
            buffer_append_text(out, "${");
            at += 3;
            continue;
        }
        if (!environment && !file) {
            buffer_append_byte(out, text.data[at++]);
            continue;
        }
        size_t start = at, before = out->size;
        at += environment ? SPAN("${ENV:").size : SPAN("${FILE:").size;
        const char *end = memchr(text.data + at, '}', text.size - at);
        size_t size = end ? (size_t)(end - text.data) - at : 0;
        if (end == NULL || size == 0 || memchr(text.data + at, 0, size))
            return error_set(error, -EINVAL, "%s needs a name and a closing brace", environment ? "${ENV:" : "${FILE:");
        _cleanup_(buffer_deinit) Buffer name = {0};
        buffer_append(&name, text.data + at, size);
        int r = environment ? expand_environment(buffer_text(&name), out, error)
                            : yaml_scalar_expand_file(document_name, buffer_text(&name), out, error);
        if (r < 0) return r;
        if (out->size > SCALAR_BYTES_MAX) return error_set(error, -EINVAL, "too large after replacement");
        at += size + 1;
        expansions_add(expansions, (Span){text.data + start, at - start}, (Span){out->data + before, out->size - before});
    }
    return 0;
}

static size_t digits(Span text, size_t at) {
    size_t start = at;
    while (at < text.size && text.data[at] >= '0' && text.data[at] <= '9') at++;
    return at - start;
}

/* [-+]?[0-9]+ */
static bool is_integer(Span text) {
    size_t sign = text.data[0] == '-' || text.data[0] == '+';
    size_t count = digits(text, sign);
    return count > 0 && sign + count == text.size;
}

/* 0o[0-7]+ or 0x[0-9a-fA-F]+ */
static bool is_based(Span text) {
    if (text.size < 3 || text.data[0] != '0' || (text.data[1] != 'x' && text.data[1] != 'o')) return false;
    const char *allowed = text.data[1] == 'x' ? "0123456789abcdefABCDEF" : "01234567";
    return strspn(text.data + 2, allowed) == text.size - 2;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool is_real(Span text) {
    size_t at = text.data[0] == '-' || text.data[0] == '+';
    size_t whole = digits(text, at), fraction = 0;
    at += whole;
    if (at < text.size && text.data[at] == '.') {
        fraction = digits(text, at + 1);
        at += 1 + fraction;
    }
    if (whole == 0 && fraction == 0) return false;
    if (at < text.size && (text.data[at] == 'e' || text.data[at] == 'E')) {
        at++;
        at += at < text.size && (text.data[at] == '-' || text.data[at] == '+');
        size_t exponent = digits(text, at);
        if (exponent == 0) return false;
        at += exponent;
    }
    return at == text.size;
}

static bool is_one_of(Span text, const char *const *words) {
    for (; *words; words++)
        if (span_equal(text, span_of(*words))) return true;
    return false;
}

static int resolve_integer(Span text, json_t **ret_json, Error *error) {
    int base = text.size > 2 && text.data[1] == 'x' ? 16 : text.size > 2 && text.data[1] == 'o' ? 8 : 10;
    errno = 0;
    long long value = strtoll(text.data + (base == 10 ? 0 : 2), NULL, base);
    if (errno == ERANGE) return error_set(error, -EINVAL, "an integer beyond 64 bits (quote it to make it a string)");
    *ret_json = json_integer(value);
    return 0;
}

static int resolve_real(Span text, json_t **ret_json, Error *error) {
    double value = strtod(text.data, NULL);
    if (!isfinite(value)) return error_set(error, -EINVAL, "a number that is too large (quote it to make it a string)");
    *ret_json = json_real(value);
    return 0;
}

int yaml_scalar_resolve(Span text, bool is_plain, json_t **ret_json, Error *error) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};
    static const char *const no_numbers[] = {".inf", ".Inf", ".INF", "+.inf", "-.inf", ".nan", ".NaN", ".NAN", NULL};
    int r = 0;
    json_t *json = NULL;
    char copy[512]; /* strtoll and strtod need a NUL behind the text */
    Span number = {.data = copy};
    if (is_plain && text.size > 0 && text.size < sizeof copy && memchr(text.data, 0, text.size) == NULL) {
        memcpy(copy, text.data, text.size);
        copy[text.size] = 0;
        number.size = text.size;
    }
    if (is_plain && is_one_of(text, no_numbers)) return error_set(error, -EINVAL, "infinity and not-a-number are not allowed");
    if (is_plain && is_one_of(text, nulls))
        json = json_null();
    else if (is_plain && is_one_of(text, trues))
        json = json_true();
    else if (is_plain && is_one_of(text, falses))
        json = json_false();
    else if (number.size > 0 && (is_integer(number) || is_based(number)))
        r = resolve_integer(number, &json, error);
    else if (number.size > 0 && is_real(number))
        r = resolve_real(number, &json, error);
    else
        json = json_stringn(text.data ? text.data : "", text.size);
    if (r < 0) return r;
    if (json == NULL) return error_set(error, -EINVAL, "the text is not UTF-8");
    *ret_json = json;
    return 0;
}
