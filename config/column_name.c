#include "config/column_name.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "config/inference.h"

#define NAME_BYTES_MAX (COLUMN_NAME_SIZE - 1)
#define HASH_DIGITS 8

/* ---- paths ----------------------------------------------------------------------------------- */

/* The key of the step at `*at`, which is behind it then; a dot before it is a part of it. */
static bool next_key(Span path, size_t *at, Buffer *key) {
    size_t start = *at;
    buffer_clear(key);
    if (start < path.size && path.data[start] == '[') {
        size_t stop = ++start;
        if (start < path.size && path.data[start] == '"') {
            for (stop++; stop < path.size && path.data[stop] != '"';) stop += path.data[stop] == '\\' ? 2 : 1;
            if (stop + 1 >= path.size || path.data[stop + 1] != ']') return false;
            json_t *text = json_loadb(path.data + start, stop + 1 - start, JSON_DECODE_ANY, NULL);
            if (!json_is_string(text)) {
                json_decref(text);
                return false;
            }
            buffer_append(key, json_string_value(text), json_string_length(text));
            json_decref(text);
            *at = stop + 2;
            return true;
        }
        while (stop < path.size && path.data[stop] != ']') stop++;
        if (stop >= path.size || stop == start) return false;
        buffer_append(key, path.data + start, stop - start);
        *at = stop + 1;
        return true;
    }
    if (start > 0) {
        if (path.data[start] != '.') return false;
        start++;
    }
    size_t stop = start;
    while (stop < path.size && !memchr(".[]", path.data[stop], 3)) stop++;
    if (stop == start) return false;
    buffer_append(key, path.data + start, stop - start);
    *at = stop;
    return true;
}

bool field_path_canonical(Span path, Buffer *out) {
    _cleanup_(buffer_deinit) Buffer key = {0};
    size_t at = 0;
    do {
        if (!next_key(path, &at, &key)) return false;
        field_path_append(out, buffer_span(&key));
    } while (at < path.size);
    return true;
}

bool field_path_within(Span path, Span of) {
    return text_begins(path, of) && (path.size == of.size || path.data[of.size] == '.' || path.data[of.size] == '[');
}

size_t field_path_levels(Span path) {
    _cleanup_(buffer_deinit) Buffer key = {0};
    size_t levels = 0;
    for (size_t at = 0; at < path.size; levels++) check(next_key(path, &at, &key));
    return levels;
}

/* ---- names ----------------------------------------------------------------------------------- */

bool column_name_reserved(Span name) {
    /* What PostgreSQL and SQLite have in every table. */
    static const char *const system_names[] = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "oid", "rowid", "_rowid_", NULL};
    for (size_t i = 0; system_names[i]; i++)
        if (span_equal_nocase(name, span_of(system_names[i]))) return true;
    return inference_reserves(name);
}

/* At most `most` bytes, and no part of a character. */
static size_t whole_characters(const char *text, size_t size, size_t most) {
    if (size <= most) return size;
    while (most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80) most--;
    return most;
}

/*
 * Characters beyond ASCII that no name has (Unicode 15: Z, Cc, Cf, Cs, Co): separators, control and
 * format characters, half surrogate pairs, private use, and U+FDD0..FDEF, which are no characters.
 * The last two of each plane are no characters either: is_named knows them. What is not assigned
 * yet may be a letter some day, and no name may depend on when it is made: it is not in the list.
 */
static const struct {
    uint32_t first, last;
} unnamed[] = {
    {0x80, 0xa0},       {0xad, 0xad},       {0x600, 0x605},      {0x61c, 0x61c},     {0x6dd, 0x6dd},     {0x70f, 0x70f},
    {0x890, 0x891},     {0x8e2, 0x8e2},     {0x1680, 0x1680},    {0x180e, 0x180e},   {0x2000, 0x200f},   {0x2028, 0x202f},
    {0x205f, 0x2064},   {0x2066, 0x206f},   {0x3000, 0x3000},    {0xd800, 0xf8ff},   {0xfdd0, 0xfdef},   {0xfeff, 0xfeff},
    {0xfff9, 0xfffb},   {0x110bd, 0x110bd}, {0x110cd, 0x110cd},  {0x13430, 0x1343f}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a},
    {0xe0001, 0xe0001}, {0xe0020, 0xe007f}, {0xf0000, 0x10ffff},
};

static bool is_named(uint32_t character) {
    for (size_t i = 0; i < sizeof unnamed / sizeof *unnamed && unnamed[i].first <= character; i++)
        if (character <= unnamed[i].last) return false;
    return (character & 0xfffe) != 0xfffe;
}

static void put_key(Buffer *name, Span key) {
    const char *end = key.data + key.size;
    for (const char *at = key.data; at < end;) {
        uint32_t character = 0;
        size_t length = text_decode(at, end, &character);
        bool kept = length > 1 && is_named(character);
        if (length == 1) {
            char c = *at >= 'A' && *at <= 'Z' ? (char)(*at - 'A' + 'a') : *at;
            kept = (c >= 'a' && c <= 'z') || text_is_digit(c);
            buffer_append(name, kept ? &c : "_", 1);
        } else {
            buffer_append(name, kept ? at : "_", kept ? length : 1);
        }
        at += length > 0 ? length : 1;
    }
    if (key.size == 0) buffer_append_text(name, "_");
}

static void normalise(Span path, Buffer *name) {
    _cleanup_(buffer_deinit) Buffer key = {0};
    for (size_t at = 0; at < path.size;) {
        check(next_key(path, &at, &key));
        if (name->size > 0) buffer_append_text(name, "__");
        put_key(name, buffer_span(&key));
    }
    check(name->size > 0);
    if (!text_is_digit(name->data[0])) return;
    _cleanup_free_ char *digits = buffer_take(name);
    buffer_printf(name, "_%s", digits);
}

/* `count` 0: as it is; else with the digits of the path and, from 2, of the count. */
static void finish(Span name, const char *end, Span path, unsigned count, char ret_name[static COLUMN_NAME_SIZE]) {
    char tail[COLUMN_NAME_SIZE] = "";
    unsigned char hash[EVP_MAX_MD_SIZE];
    if (count > 0) {
        _cleanup_(buffer_deinit) Buffer hashed = {0};
        buffer_append(&hashed, path.data, path.size);
        if (*end) buffer_printf(&hashed, " %s", end);
        if (count > 1) buffer_printf(&hashed, " %u", count);
        check(EVP_Digest(hashed.data, hashed.size, hash, NULL, EVP_sha256(), NULL) == 1);
        (void)snprintf(tail, sizeof tail, "_%02x%02x%02x%02x", hash[0], hash[1], hash[2], hash[3]);
    }
    size_t tail_size = strlen(tail), end_size = strlen(end);
    size_t size = whole_characters(name.data, name.size, NAME_BYTES_MAX - tail_size - end_size);
    memcpy(ret_name, name.data, size);
    memcpy(ret_name + size, end, end_size);
    memcpy(ret_name + size + end_size, tail, tail_size + 1);
}

static void choose(Span name, const char *end, Span path, ColumnNameTaken taken, void *context, char ret_name[static COLUMN_NAME_SIZE]) {
    unsigned count = 0;
    do {
        check(count < UINT32_MAX);
        finish(name, end, path, count++, ret_name);
    } while (column_name_reserved(span_of(ret_name)) || taken(context, ret_name));
}

void column_name_of_field(Span path, ColumnNameTaken taken, void *context, char ret_name[static COLUMN_NAME_SIZE]) {
    _cleanup_(buffer_deinit) Buffer name = {0};
    normalise(path, &name);
    choose(buffer_span(&name), "", path, taken, context, ret_name);
}

void column_name_of_variant(const char *name, Span path, DataType type, ColumnNameTaken taken, void *context,
                            char ret_name[static COLUMN_NAME_SIZE]) {
    char end[32];
    (void)snprintf(end, sizeof end, "__v_%s", data_type_name(type));
    choose(span_of(name), end, path, taken, context, ret_name);
}
