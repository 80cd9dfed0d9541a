#include "config/path_text.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "config/inference.h"

#define INDEX_DIGITS_MAX 10

static bool is_bare(Span key) {
    if (key.size == 0 || text_is_digit(key.data[0])) return false;
    for (size_t i = 0; i < key.size; i++) {
        char c = key.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || text_is_digit(c) || c == '_')) return false;
    }
    return true;
}

void field_path_append(Buffer *path, Span key) {
    if (is_bare(key)) {
        if (path->size > 0) buffer_append_text(path, ".");
        buffer_append(path, key.data, key.size);
        return;
    }
    buffer_append_text(path, "[\"");
    for (size_t i = 0; i < key.size; i++) {
        char c = key.data[i];
        if (c == '"' || c == '\\')
            buffer_printf(path, "\\%c", c);
        else if ((unsigned char)c < 0x20)
            buffer_printf(path, "\\u%04x", (unsigned char)c);
        else
            buffer_append(path, &c, 1);
    }
    buffer_append_text(path, "\"]");
}

size_t path_root_size(Span path) {
    if (path.size == 0 || path.data[0] != '$') return 0;
    if (path.size == 1 || path.data[1] == '[') return 1;
    return path.size > 2 && path.data[1] == '.' && path.data[2] != '.' ? 2 : 0;
}

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_number(Span step) {
    if (step.size == 0 || step.size > INDEX_DIGITS_MAX || (step.size > 1 && step.data[0] == '0')) return false;
    for (size_t i = 0; i < step.size; i++)
        if (!text_is_digit(step.data[i])) return false;
    return true;
}

/* A number stays bare, since it may be an index. */
static void put_step(Buffer *out, Span step) {
    if (!is_number(step)) {
        field_path_append(out, step);
        return;
    }
    if (out->size > 0) buffer_append_byte(out, '.');
    buffer_append_span(out, step);
}

/* Behind the bracket that begins at `at`; the end of the path where it is not closed. */
static size_t pass_bracket(Span path, size_t at) {
    bool quoted = ++at < path.size && path.data[at] == '"';
    if (quoted)
        for (at++; at < path.size && path.data[at] != '"'; at++) at += path.data[at] == '\\' && at + 1 < path.size;
    while (at < path.size && path.data[at] != ']') at++;
    return at < path.size ? at + 1 : at;
}

/* Each bare step that is no plain word is quoted. `escapes`: a backslash before a character of the
 * syntax takes its meaning away. */
static void respell(Span path, bool escapes, Buffer *out) {
    _cleanup_(buffer_deinit) Buffer step = {0};
    for (size_t at = 0; at < path.size;) {
        if (path.data[at] == '[') {
            size_t end = pass_bracket(path, at);
            buffer_append(out, path.data + at, end - at);
            at = end;
            continue;
        }
        if (path.data[at] == '.') at++;
        buffer_clear(&step);
        for (; at < path.size && path.data[at] != '.' && path.data[at] != '['; at++) {
            if (escapes && path.data[at] == '\\' && at + 1 < path.size && strchr(".[]\"'\\", path.data[at + 1])) at++;
            buffer_append_byte(&step, path.data[at]);
        }
        put_step(out, buffer_span(&step));
    }
}

/* RFC 6901: `~1` is a slash, `~0` a tilde. */
static void respell_pointer(Span pointer, Buffer *out) {
    _cleanup_(buffer_deinit) Buffer step = {0};
    for (size_t at = 0; at < pointer.size;) {
        check(pointer.data[at] == '/');
        buffer_clear(&step);
        for (at++; at < pointer.size && pointer.data[at] != '/'; at++) {
            bool escaped = pointer.data[at] == '~' && at + 1 < pointer.size && (pointer.data[at + 1] == '0' || pointer.data[at + 1] == '1');
            if (escaped) at++;
            buffer_append_byte(&step, escaped ? (pointer.data[at] == '1' ? '/' : '~') : pointer.data[at]);
        }
        put_step(out, buffer_span(&step));
    }
}

static bool has_bare_backslash(Span path) {
    for (size_t at = 0; at < path.size;) {
        if (path.data[at] == '\\') return true;
        at = path.data[at] == '[' ? pass_bracket(path, at) : at + 1;
    }
    return false;
}

/* What is inside of blanks or quotes may be misspelt, too. */
static void put_inner(Span path, Buffer *out) {
    const char *what;
    if (path.size == 0)
        buffer_append_byte(out, '.');
    else if (!path_is_misspelt(path, &what, out))
        buffer_append_span(out, path);
}

bool path_is_misspelt(Span path, const char **ret_what, Buffer *ret_right) {
    size_t root = path_root_size(path);
    Span steps = {path.data + root, path.size - root};
    if (steps.size == 0) return false;
    char first = steps.data[0], last = steps.data[steps.size - 1];
    if (is_blank(first) || is_blank(last)) {
        *ret_what = "has blanks before or after it";
        for (; steps.size > 0 && is_blank(*steps.data); steps.data++) steps.size--;
        while (steps.size > 0 && is_blank(steps.data[steps.size - 1])) steps.size--;
        put_inner(steps, ret_right);
        return true;
    }
    if (steps.size > 1 && (first == '"' || first == '\'') && first == last) {
        *ret_what = "has quotes around it";
        put_inner((Span){steps.data + 1, steps.size - 2}, ret_right);
        return true;
    }
    _cleanup_(buffer_deinit) Buffer right = {0};
    if (first == '/') {
        *ret_what = "is a JSON pointer";
        if (steps.size > 1) respell_pointer(steps, &right);
    } else if (has_bare_backslash(steps)) {
        *ret_what = "has a backslash outside of a quoted step";
        respell(steps, true, &right);
    } else if (root == 0 && first == '.' && steps.size > 1 && steps.data[1] != '.' && steps.data[1] != '[') {
        *ret_what = "begins with a dot";
        buffer_append(&right, steps.data + 1, steps.size - 1);
    } else {
        return false;
    }
    if (right.size == 0) buffer_append_byte(&right, '.');
    buffer_append_span(ret_right, buffer_span(&right));
    return true;
}

char *path_keep(const char *path, bool is_stored) {
    Span text = span_of(path);
    size_t root = path_root_size(text);
    _cleanup_(buffer_deinit) Buffer right = {0};
    const char *what;
    if (!is_stored) {
        text = (Span){text.data + root, text.size - root};
        if (text.size == 0) return text_copy(".");
        if (root == 0 || path_root_size(text) == 0) return text_copy(text.data); /* one root is the root, and the next one a key */
    } else if (root == 0 && !path_is_misspelt(text, &what, &right)) {
        return text_copy(path);
    }
    buffer_clear(&right);
    respell(text, false, &right);
    return right.size <= INFERENCE_PATH_BYTES_MAX ? buffer_take(&right) : text_copy(path);
}
