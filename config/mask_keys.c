#include "config/mask_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"

typedef struct NamedKey {
    char *name, *bytes;
    size_t size;
} NamedKey;

struct MaskKeys {
    char *main;
    size_t main_size;
    bool is_shared;
    NamedKey *named;
    size_t count, room;
};

MaskKeys *mask_keys_new(void) {
    MaskKeys *keys = calloc(1, sizeof *keys);
    check(keys);
    return keys;
}

static void forget(char *bytes, size_t size) {
    if (bytes) explicit_bzero(bytes, size);
    free(bytes);
}

void mask_keys_free(MaskKeys *keys) {
    if (!keys) return;
    forget(keys->main, keys->main_size);
    for (size_t i = 0; i < keys->count; i++) {
        forget(keys->named[i].bytes, keys->named[i].size);
        free(keys->named[i].name);
    }
    free(keys->named);
    free(keys);
}

int mask_key_of_file(Span content, Span *ret_key, Error *error) {
    while (content.size > 0 && strchr(" \t\r\n", content.data[content.size - 1]) && content.data[content.size - 1]) content.size--;
    if (content.size < MASK_KEY_BYTES_MIN || content.size > MASK_KEY_BYTES_MAX)
        return error_set(error, -EINVAL, "must contain a key of %d to %d bytes, not %zu", MASK_KEY_BYTES_MIN, MASK_KEY_BYTES_MAX,
                         content.size);
    *ret_key = content;
    return 0;
}

Span mask_keys_main(const MaskKeys *keys, bool *ret_shared) {
    if (ret_shared) *ret_shared = keys->is_shared;
    return (Span){keys->main, keys->main_size};
}

static void set_main(MaskKeys *keys, Span key, bool shared) {
    check(!keys->main && key.size >= MASK_KEY_BYTES_MIN);
    keys->main = text_copy_span(key);
    keys->main_size = key.size;
    keys->is_shared = shared;
}

void mask_keys_set_own(MaskKeys *keys, Span key) {
    set_main(keys, key, false);
}

void mask_keys_set_shared(MaskKeys *keys, Span key) {
    set_main(keys, key, true);
}

void mask_keys_set_named(MaskKeys *keys, Span name, Span key) {
    check(mask_keys_named(keys, name).size == 0);
    array_reserve(keys->named, keys->count, keys->room);
    keys->named[keys->count++] = (NamedKey){.name = text_copy_span(name), .bytes = text_copy_span(key), .size = key.size};
}

Span mask_keys_named(const MaskKeys *keys, Span name) {
    for (size_t i = 0; i < keys->count; i++)
        if (span_equal(span_of(keys->named[i].name), name)) return (Span){keys->named[i].bytes, keys->named[i].size};
    return (Span){0};
}

/* ---- from files ---- */

static int read_key(const char *option, const char *path, char buffer[static MASK_KEY_BYTES_MAX * 2], Span *ret_key, Error *error) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return error_set(error, -errno, "%s: file \"%s\" cannot be opened: %s", option, path, strerror(errno));
    size_t size = 0;
    ssize_t got;
    while (size < (size_t)MASK_KEY_BYTES_MAX * 2) {
        got = read(fd, buffer + size, (size_t)MASK_KEY_BYTES_MAX * 2 - size);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        size += (size_t)got;
    }
    int code = got < 0 ? errno : 0;
    (void)close(fd);
    if (code) return error_set(error, -code, "%s: file \"%s\" cannot be read: %s", option, path, strerror(code));
    int r = mask_key_of_file((Span){buffer, size}, ret_key, error);
    if (r < 0) (void)error_prefix(error, "%s: file \"%s\"", option, path);
    return r;
}

/* One of NAME=FILE, separated by commas: the option's own check has found that it is so. *at:
 * behind it. */
static char *next_named(const char **at, Span *ret_name) {
    size_t size = strcspn(*at, ",");
    Span item = text_trim((Span){*at, size});
    const char *equals = memchr(item.data, '=', item.size);
    check(equals);
    *ret_name = (Span){item.data, (size_t)(equals - item.data)};
    *at += size + ((*at)[size] == ',');
    return text_copy_span((Span){equals + 1, item.size - ret_name->size - 1});
}

void mask_key_files(const Options *options, MaskKeyFileVisit visit, void *context) {
    if (options->mask_key_file && *options->mask_key_file) visit(context, "mask-key-file", options->mask_key_file);
    for (const char *at = options->mask_keys; at && *at;) {
        Span name;
        _cleanup_free_ char *path = next_named(&at, &name), *what = NULL;
        check(asprintf(&what, "mask-keys, %.*s", (int)name.size, name.data) > 0);
        visit(context, what, path);
    }
}

static int load_named(MaskKeys *keys, const char *list, char *buffer, Error *error) {
    for (const char *at = list; *at;) {
        Span name, key;
        _cleanup_free_ char *path = next_named(&at, &name);
        int r = read_key("mask-keys", path, buffer, &key, error);
        if (r < 0) return r;
        mask_keys_set_named(keys, name, key);
    }
    return 0;
}

int mask_keys_load(const Options *options, MaskKeys **ret_keys, Error *error) {
    char buffer[MASK_KEY_BYTES_MAX * 2];
    MaskKeys *keys = mask_keys_new();
    Span key;
    int r = 0;
    if (options->mask_key_file && *options->mask_key_file) {
        r = read_key("mask-key-file", options->mask_key_file, buffer, &key, error);
        if (r == 0) mask_keys_set_shared(keys, key);
    }
    if (r == 0 && options->mask_keys) r = load_named(keys, options->mask_keys, buffer, error);
    explicit_bzero(buffer, sizeof buffer);
    if (r < 0) {
        mask_keys_free(keys);
        return r;
    }
    *ret_keys = keys;
    return 0;
}
