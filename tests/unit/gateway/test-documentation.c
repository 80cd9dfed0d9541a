/*
 * The tables in docs/ that come from tables in the code: fails when they differ.
 *
 *   test-documentation --write     writes them, in the tree that SLUICE_TREE names, else in the present folder
 *
 * A generated part stands between the lines `<!-- NAME -->` and `<!-- /NAME -->`.
 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/metrics.h"
#include "config/definition_parts.h"
#include "config/manifest_keeps.h"
#include "config/mask_table.h"
#include "config/options.h"
#include "config/settings.h"
#include "config/source_kind.h"
#include "config/stream_manifest.h"
#include "config/units.h"
#include "gateway/app/program.h"
#include "sinks/driver.h"

/* ---- the tables ------------------------------------------------------------------------------ */

static void put_value(Buffer *out, SettingType type, int64_t value) {
    switch (type) {
    case SETTING_BOOL: buffer_append_text(out, value ? "true" : "false"); return;
    case SETTING_NUMBER: buffer_printf(out, "%lld", (long long)value); return;
    case SETTING_SIZE: units_format_size(out, (uint64_t)value); return;
    case SETTING_TIME: units_format_time(out, value); return;
    }
}

static void put_settings(Buffer *out) {
    static const char *const types[] = {
        [SETTING_BOOL] = "boolean", [SETTING_NUMBER] = "number", [SETTING_SIZE] = "size", [SETTING_TIME] = "time"};
    buffer_append_text(out, "| setting | type | default | range | meaning |\n|---|---|---|---|---|\n");
    for (int i = 0; i < SETTING_COUNT_; i++) {
        const SettingInfo *info = settings_info((SettingId)i);
        buffer_printf(out, "| `%s` | %s | ", info->key, types[info->type]);
        put_value(out, info->type, info->default_value);
        buffer_append_text(out, " | ");
        put_value(out, info->type, info->least);
        buffer_append_text(out, info->type == SETTING_BOOL ? ", " : "..");
        put_value(out, info->type, info->most);
        buffer_printf(out, " | %s%s |\n", info->description,
                      info->is_import_condition ? " A change imports the waiting rows at once." : "");
    }
}

/* "# HELP name text" of the exposition format. */
static void put_metrics(Buffer *out) {
    static const char help[] = "# HELP ";
    Buffer exposition = {0};
    metrics_format(&exposition);
    _cleanup_free_ char *text = buffer_take(&exposition);
    buffer_append_text(out, "| counter | meaning |\n|---|---|\n");
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (strncmp(line, help, sizeof help - 1) != 0) continue;
        char *name = line + sizeof help - 1, *meaning = strchr(name, ' ');
        check(meaning);
        *meaning++ = 0;
        buffer_printf(out, "| `%s` | %s |\n", name, meaning);
    }
}

static void put_families(Buffer *out) {
    buffer_append_text(out, "| series | type | labels | meaning |\n|---|---|---|---|\n");
    for (MetricFamily family = 0; family < FAMILY_COUNT_; family++) {
        const MetricFamilyInfo *info = metrics_family(family);
        buffer_printf(out, "| `%s` | %s | ", info->name, info->type);
        for (size_t i = 0; info->labels[i]; i++) buffer_printf(out, "%s`%s`", i == 0 ? "" : ", ", info->labels[i]);
        buffer_printf(out, " | %s |\n", info->help);
    }
}

static void put_connections(Buffer *out) {
    for (size_t i = 0; connection_types[i]; i++) {
        buffer_printf(out, "\nConnections of type `%s`:\n\n", connection_types[i]->name);
        connection_document(connection_types[i], out);
    }
    buffer_append_byte(out, '\n');
}

static void put_source(Buffer *out) {
    field_table_document(&source_fields, out);
}

static void put_source_kinds(Buffer *out) {
    for (size_t i = 0; source_kinds[i]; i++) {
        buffer_printf(out, "\nSources of type `%s` have:\n\n", source_kinds[i]->name);
        field_table_document(source_kinds[i]->fields, out);
    }
    buffer_append_byte(out, '\n');
}

static void put_sink(Buffer *out) {
    field_table_document(&sink_fields, out);
}

static void put_column(Buffer *out) {
    field_table_document(&column_fields, out);
}

/* Sources and sinks have the same. */
static void put_state(Buffer *out) {
    field_table_document(&source_state_fields, out);
}

#define OPERATIONS "docs/operations.md"
#define MANIFEST "docs/manifest.md"
#define STREAMS "docs/streams.md"
#define MASKING "docs/masking.md"

static const struct Part {
    const char *name;
    void (*put)(Buffer *out);
    const char *document; /* NULL: OPERATIONS */
} parts[] = {
    {"commands", program_document},
    {"options", options_document},
    {"connection-fields", put_connections},
    {"settings", put_settings},
    {"source-fields", put_source, MANIFEST},
    {"source-kinds", put_source_kinds, MANIFEST},
    {"sink-fields", put_sink, MANIFEST},
    {"column-fields", put_column, MANIFEST},
    {"manifest-keeps", manifest_keeps_document, MANIFEST},
    {"state-fields", put_state},
    {"metrics", put_metrics},
    {"series", put_families},
    {"stream-fields", stream_manifest_document, STREAMS},
    {"masks", mask_document, MASKING},
};
#define PART_COUNT (sizeof parts / sizeof *parts)
static const char *const documents[] = {OPERATIONS, MANIFEST, STREAMS, MASKING, NULL};

/* ---- documents ------------------------------------------------------------------------------- */

/* `document` with the part's text between its marks; false: it lacks the marks. */
static bool renew(Span document, const struct Part *part, Buffer *out) {
    char begin[64], end[64];
    (void)snprintf(begin, sizeof begin, "<!-- %s -->\n", part->name);
    (void)snprintf(end, sizeof end, "<!-- /%s -->\n", part->name);
    const char *start = memmem(document.data, document.size, begin, strlen(begin));
    if (!start) return false;
    start += strlen(begin);
    size_t left = (size_t)(document.data + document.size - start);
    const char *stop = memmem(start, left, end, strlen(end));
    if (!stop) return false;
    buffer_append(out, document.data, (size_t)(start - document.data));
    part->put(out);
    buffer_append(out, stop, (size_t)(document.data + document.size - stop));
    return true;
}

static char *document_path(const char *document) {
    const char *tree = getenv("SLUICE_TREE");
    char *path;
    check(asprintf(&path, "%s/%s", tree ? tree : ".", document) > 0);
    return path;
}

static void read_document(const char *name, Buffer *out) {
    _cleanup_free_ char *path = document_path(name);
    FILE *file = fopen(path, "re");
    if (!file) fail_msg("cannot open %s", path);
    size_t size;
    do {
        size = fread(buffer_reserve(out, 65536), 1, 65536, file);
        out->size += size;
    } while (size > 0);
    (void)fclose(file);
}

/* The text as it should be; NULL, or the name of a part whose marks are missing. */
static const char *renew_all(const char *name, Span document, Buffer *out) {
    buffer_append_span(out, document);
    for (size_t i = 0; i < PART_COUNT; i++) {
        Buffer next = {0};
        if (strcmp(parts[i].document ? parts[i].document : OPERATIONS, name) != 0) continue;
        bool found = renew(buffer_span(out), &parts[i], &next);
        if (!found) return parts[i].name;
        buffer_deinit(out);
        *out = next;
    }
    return NULL;
}

static int write_document(const char *name) {
    _cleanup_(buffer_deinit) Buffer document = {0}, wanted = {0};
    _cleanup_free_ char *path = document_path(name);
    FILE *file = fopen(path, "re");
    if (!file) {
        (void)fprintf(stderr, "cannot open %s: run this in the root of the tree\n", path);
        return 1;
    }
    (void)fclose(file);
    read_document(name, &document);
    const char *missing = renew_all(name, buffer_span(&document), &wanted);
    if (missing) {
        (void)fprintf(stderr, "%s has no part `<!-- %s -->`\n", path, missing);
        return 1;
    }
    file = fopen(path, "we");
    bool written = file && fwrite(wanted.data, 1, wanted.size, file) == wanted.size;
    if (file && fclose(file) != 0) written = false;
    if (!written) (void)fprintf(stderr, "cannot write %s\n", path);
    return written ? 0 : 1;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void put_two_lines(Buffer *out) {
    buffer_append_text(out, "one\ntwo\n");
}

static void what_stands_between_the_marks_is_renewed(void **state) {
    (void)state;
    static const struct Part part = {"part", put_two_lines, NULL};
    _cleanup_(buffer_deinit) Buffer out = {0};
    assert_true(renew(SPAN("before\n<!-- part -->\nold\n<!-- /part -->\nbehind\n"), &part, &out));
    assert_string_equal(buffer_text(&out), "before\n<!-- part -->\none\ntwo\n<!-- /part -->\nbehind\n");
    buffer_clear(&out);
    assert_false(renew(SPAN("before\n<!-- part -->\nold\nbehind\n"), &part, &out));
    assert_false(renew(SPAN("old\n<!-- /part -->\n"), &part, &out));
    assert_int_equal(out.size, 0);
}

static void check_document(const char *name) {
    _cleanup_(buffer_deinit) Buffer document = {0}, wanted = {0};
    read_document(name, &document);
    const char *missing = renew_all(name, buffer_span(&document), &wanted);
    if (missing) fail_msg("%s has no part `<!-- %s -->`", name, missing);
    size_t at = 0;
    while (at < document.size && at < wanted.size && document.data[at] == wanted.data[at]) at++;
    if (at == document.size && at == wanted.size) return;
    unsigned line = 1;
    for (size_t i = 0; i < at; i++) line += wanted.data[i] == '\n';
    fail_msg("%s differs from the code from line %u on: run test-documentation --write", name, line);
}

static void the_documents_say_what_the_tables_say(void **state) {
    (void)state;
    for (size_t i = 0; documents[i]; i++) check_document(documents[i]);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--write") == 0) {
        int code = 0;
        for (size_t i = 0; documents[i] && code == 0; i++) code = write_document(documents[i]);
        return code;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_stands_between_the_marks_is_renewed),
        cmocka_unit_test(the_documents_say_what_the_tables_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
