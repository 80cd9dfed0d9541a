/*
 * Manifests: any text. It is read or refused with a place; what is read, written as JSON (which
 * YAML is), must be read as the same. A text that asks for files is left alone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/span.h"
#include "config/manifest.h"
#include "tests/fuzz/fuzz.h"

/* `${FILE:…}`, and parameters of addresses of stream manifests. */
static bool asks_for_files(Span text) {
    if (!text.data || text.size == 0) return false;
    return memmem(text.data, text.size, "FILE", 4) || memmem(text.data, text.size, "location", 8);
}

/* As far as libyaml takes what JSON may hold: not half pairs of escapes, and only short keys. */
static bool is_plain(const char *json) {
    for (const char *p = json; *p; p++)
        if (*p < 0x20 || *p > 0x7e) return false;
    return strlen(json) < 1000 && !strstr(json, "${") && !strstr(json, "\\u");
}

static void read_again(const json_t *value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    check(text);
    if (is_plain(text)) {
        YamlDocument **documents;
        size_t count;
        Error error = {0};
        if (yaml_parse("again", text, strlen(text), &documents, &count, &error) < 0) bug_at(__FILE__, __LINE__, error.text);
        check(count == 1 && json_equal(yaml_json(documents[0]), value));
        yaml_documents_free(documents, count);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Span text = fuzz_input(data, size);
    if (asks_for_files(text)) return 0;
    YamlDocument **documents;
    size_t count;
    Error error = {0};
    int r = yaml_parse("m", text.data, text.size, &documents, &count, &error);
    check(r <= 0 && (r == 0 || error.text[0]));
    if (r == 0) {
        for (size_t i = 0; i < count; i++) read_again(yaml_json(documents[i]));
        yaml_documents_free(documents, count);
    }
    Manifest manifest;
    int loaded = manifest_parse("m", text.data, text.size, NULL, &manifest, &error);
    check(loaded <= 0 && (loaded == 0 || error.text[0]));
    check(r == 0 || loaded < 0);
    if (loaded == 0) manifest_deinit(&manifest);
    return 0;
}
