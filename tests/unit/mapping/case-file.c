#include "case-file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "mapping/words.h"

#define BODY_BYTES_MAX (4u << 20)

static const char *const fields[] = {"name",   "contentType", "headers",  "body",   "bodyHex", "bodyRuns", "columns", "cells",
                                     "status", "error",       "accepted", "placed", "meta",    "rows",     "explode"};

static Span text_of(const json_t *string) {
    return (Span){json_string_value(string), json_string_length(string)};
}

static bool is_name_of_field(const char *name) {
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strcmp(fields[i], name) == 0) return true;
    return false;
}

static int wrong(const MappingCase *item, Error *error, const char *what) {
    return error_set(error, -EINVAL, "%s: case \"%s\": %s", item->file, item->name, what);
}

static bool read_hex(const char *text, Buffer *out) {
    if (strlen(text) % 2) return false;
    for (; *text; text += 2) {
        int high = text_hex(text[0]), low = text_hex(text[1]);
        if (high < 0 || low < 0) return false;
        buffer_append_byte(out, (char)(high << 4 | low));
    }
    return true;
}

static bool read_runs(const json_t *runs, Buffer *out) {
    size_t i;
    const json_t *run;
    if (!json_is_array(runs)) return false;
    json_array_foreach(runs, i, run) {
        const json_t *text = json_array_get(run, 0), *count = json_array_get(run, 1);
        if (json_array_size(run) != 2 || !json_is_string(text) || !json_is_integer(count) || json_integer_value(count) < 0) return false;
        for (json_int_t n = json_integer_value(count); n > 0; n--) {
            if (out->size > BODY_BYTES_MAX) return false;
            buffer_append_span(out, text_of(text));
        }
    }
    return true;
}

static int read_body(MappingCase *item, const json_t *json, Error *error) {
    const json_t *body = json_object_get(json, "body"), *hex = json_object_get(json, "bodyHex"), *runs = json_object_get(json, "bodyRuns");
    if ((body != NULL) + (hex != NULL) + (runs != NULL) != 1) return wrong(item, error, "give one of body, bodyHex and bodyRuns");
    if (body && !json_is_string(body)) return wrong(item, error, "body is text: an object is written as a string, or its bytes as bodyHex");
    if (body) buffer_append_span(&item->body, text_of(body));
    if (hex && (!json_is_string(hex) || !read_hex(json_string_value(hex), &item->body)))
        return wrong(item, error, "bodyHex is text of two hexadecimal digits a byte");
    if (runs && !read_runs(runs, &item->body)) return wrong(item, error, "bodyRuns is a list of [text, how often], 4 MB at most");
    return 0;
}

static int read_request(MappingCase *item, const json_t *json, Error *error) {
    const json_t *type = json_object_get(json, "contentType");
    item->content_type = type ? text_of(type) : SPAN("application/json");
    if (type && !json_is_string(type) && !json_is_null(type)) return wrong(item, error, "contentType is text, or null when none is sent");
    if (json_is_null(type)) item->content_type = (Span){0};
    const char *name;
    json_t *value;
    item->headers = json_object_get(json, "headers");
    if (item->headers && !json_is_object(item->headers)) return wrong(item, error, "headers is an object of texts");
    json_object_foreach((json_t *)(uintptr_t)item->headers, name, value) {
        if (!json_is_string(value)) return wrong(item, error, "headers is an object of texts");
    }
    item->meta = json_object_get(json, "meta");
    if (item->meta && !json_is_object(item->meta)) return wrong(item, error, "meta is an object of texts");
    json_object_foreach((json_t *)(uintptr_t)item->meta, name, value) {
        Buffer bytes = {0};
        const char *hex = json_string_value(json_object_get(value, "hex"));
        bool right = json_is_string(value) || json_is_null(value) || (hex && read_hex(hex, &bytes));
        buffer_deinit(&bytes);
        if (!right) return wrong(item, error, "a value of meta is text, null, or {\"hex\": two digits a byte}");
    }
    return read_body(item, json, error);
}

static int read_expected(MappingCase *item, const json_t *json, Error *error) {
    const json_t *status = json_object_get(json, "status"), *accepted = json_object_get(json, "accepted");
    const json_t *reason = json_object_get(json, "error"), *placed = json_object_get(json, "placed");
    item->columns = json_object_get(json, "columns");
    item->cells = json_object_get(json, "cells");
    item->rows = json_object_get(json, "rows");
    item->explode = json_string_value(json_object_get(json, "explode"));
    if ((item->cells != NULL) + (item->rows != NULL) + (status != NULL) + (accepted != NULL) != 1)
        return wrong(item, error, "say what is expected by one of cells, rows, status and accepted");
    if (!item->explode != !json_object_get(json, "explode")) return wrong(item, error, "explode is a path");
    if (accepted && !json_is_boolean(accepted)) return wrong(item, error, "accepted is true or false");
    if (!accepted && json_array_size(item->columns) == 0) return wrong(item, error, "columns are missing: a list as in a sink's mapping");
    if (accepted && item->columns) return wrong(item, error, "accepted asks only whether the body is JSON: leave columns out");
    if (status) {
        item->status = (int)json_integer_value(status);
        if (item->status != 413 && item->status != 422) return wrong(item, error, "status is 422 or 413");
    } else if (json_is_false(accepted)) {
        item->status = 422;
    }
    if (item->cells && json_array_size(item->cells) != json_array_size(item->columns))
        return wrong(item, error, "cells is a list of as many as there are columns");
    size_t i;
    const json_t *cell, *row;
    json_array_foreach(item->cells, i, cell) {
        if (!json_is_string(cell) && !json_is_null(cell)) return wrong(item, error, "a cell is text, or null for NULL");
    }
    if (item->rows && !json_is_array(item->rows)) return wrong(item, error, "rows is a list of lists of cells");
    json_array_foreach(item->rows, i, row) {
        if (json_array_size(row) != json_array_size(item->columns))
            return wrong(item, error, "each of rows is a list of as many cells as there are columns");
    }
    if (reason && !json_is_string(reason)) return wrong(item, error, "error is a part of the reason");
    if (reason && item->status == 0) return wrong(item, error, "error stands where the event is refused");
    item->error = json_string_value(reason);
    if (placed && !json_is_boolean(placed)) return wrong(item, error, "placed is true or false");
    item->placed = !json_is_false(placed);
    return 0;
}

static int read_case(const char *file, size_t index, json_t *json, MappingCases *cases, Error *error) {
    MappingCase *item = &cases->items[cases->count];
    *item = (MappingCase){.file = file, .name = json_string_value(json_object_get(json, "name"))};
    if (!json_is_object(json)) return error_set(error, -EINVAL, "%s: item %zu of the list is not an object", file, index + 1);
    if (!item->name || !*item->name) return error_set(error, -EINVAL, "%s: item %zu of the list has no name", file, index + 1);
    for (size_t i = cases->count; i > 0 && cases->items[i - 1].file == file; i--)
        if (strcmp(cases->items[i - 1].name, item->name) == 0) return wrong(item, error, "there is another case of this name in the file");
    const char *field;
    json_t *value;
    json_object_foreach(json, field, value) {
        if (is_name_of_field(field)) continue;
        char text[128];
        (void)snprintf(text, sizeof text, "there is no field \"%.64s\"", field);
        return wrong(item, error, text);
    }
    int r = read_request(item, json, error);
    if (r == 0) r = read_expected(item, json, error);
    if (r < 0)
        buffer_deinit(&item->body);
    else
        cases->count++;
    return r;
}

static int load_file(const char *folder, const char *name, MappingCases *cases, Error *error) {
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    json_error_t place;
    json_t *list = json_load_file(path, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &place);
    if (!list) return error_set(error, -EINVAL, "%s:%d:%d: %s", path, place.line, place.column, place.text);
    if (!json_is_array(list)) {
        json_decref(list);
        return error_set(error, -EINVAL, "%s: not a list of cases", path);
    }
    json_object_set_new(cases->files[cases->file_count++] = json_object(), "cases", list);
    json_t *kept_name = json_string(name);
    json_object_set_new(cases->files[cases->file_count - 1], "name", kept_name);
    cases->items = reallocarray(cases->items, cases->count + json_array_size(list) + 1, sizeof *cases->items);
    check(cases->items);
    size_t i;
    json_t *json;
    json_array_foreach(list, i, json) {
        int r = read_case(json_string_value(kept_name), i, json, cases, error);
        if (r < 0) return r;
    }
    return 0;
}

int mapping_cases_load(const char *folder, MappingCases *ret_cases, Error *error) {
    *ret_cases = (MappingCases){0};
    struct dirent **entries;
    int found = scandir(folder, &entries, NULL, alphasort), r = 0;
    if (found < 0) return error_set(error, -errno, "%s: %s", folder, strerrordesc_np(errno));
    ret_cases->files = calloc((size_t)found + 1, sizeof *ret_cases->files);
    check(ret_cases->files);
    for (int i = 0; i < found; i++) {
        const char *name = entries[i]->d_name, *dot = strrchr(name, '.');
        bool is_list = dot && strcmp(dot, ".json") == 0 && strcmp(name, "event.json") != 0 && strcmp(name, "masks.json") != 0;
        if (is_list && r == 0) r = load_file(folder, name, ret_cases, error);
        free(entries[i]);
    }
    free(entries);
    if (r < 0) mapping_cases_deinit(ret_cases);
    return r;
}

void mapping_cases_deinit(MappingCases *cases) {
    for (size_t i = 0; i < cases->count; i++) buffer_deinit(&cases->items[i].body);
    for (size_t i = 0; i < cases->file_count; i++) json_decref(cases->files[i]);
    free(cases->items);
    free(cases->files);
    *cases = (MappingCases){0};
}

json_t *mapping_case_columns(const MappingCase *item) {
    json_t *columns = item->columns ? json_deep_copy(item->columns)
                                    : json_pack("[{s:s, s:s, s:s, s:s}]", "type", "path", "name", "c", "path", "no.such[0].path",
                                                "defaultValue", "none");
    check(columns);
    return columns;
}

json_t *mapping_case_mapping(const MappingCase *item) {
    json_t *mapping = json_pack("{s:o}", "columns", mapping_case_columns(item));
    check(mapping);
    if (item->explode) check(json_object_set_new(mapping, "explode", json_string(item->explode)) == 0);
    return mapping;
}

bool mapping_case_meta(const json_t *value, Buffer *out) {
    if (json_is_null(value)) return false;
    if (json_is_string(value))
        buffer_append_span(out, text_of(value));
    else
        check(read_hex(json_string_value(json_object_get(value, "hex")), out));
    return true;
}

bool mapping_case_has_template(const MappingCase *item) {
    size_t i;
    const json_t *column;
    json_array_foreach(item->columns, i, column) {
        const char *type = json_string_value(json_object_get(column, "type"));
        if (type && strcmp(type, "template") == 0) return true;
    }
    return false;
}
