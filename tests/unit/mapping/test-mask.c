/* The cases of tests/mapping/masks.json, and what holds for every mask: nothing of a value in the
 * reason, the same cell again, whole characters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/text.h"
#include "guard.h"
#include "mapping/mask.h"
#include "mapping/mask_hash.h"
#include "mapping/row.h"
#include "mapping/value.h"

#define MAIN_KEY "0123456789abcdef0123456789abcdef"
#define CRM_KEY "a key of the crm that is longer than one block of the digest, which is hashed first"

static const char *folder;
static json_t *cases;
static MaskKeys *keys;

static DataType type_of(const char *name) {
    for (unsigned type = 0; name && type < DATA_TYPE_COUNT; type++)
        if (strcmp(data_type_name((DataType)type), name) == 0) return (DataType)type;
    assert_null(name);
    return DATA_TEXT;
}

static bool take_text(const json_t *item, const char *name, Buffer *out) {
    char hex[32], runs[32];
    (void)snprintf(hex, sizeof hex, "%sHex", name);
    (void)snprintf(runs, sizeof runs, "%sRuns", name);
    const json_t *text = json_object_get(item, name), *digits = json_object_get(item, hex), *list = json_object_get(item, runs);
    if (text) buffer_append(out, json_string_value(text), json_string_length(text));
    for (const char *p = digits ? json_string_value(digits) : ""; *p; p += 2)
        buffer_append_byte(out, (char)(text_hex(p[0]) << 4 | text_hex(p[1])));
    for (size_t i = 0; i < json_array_size(list); i++)
        for (json_int_t n = json_integer_value(json_array_get(json_array_get(list, i), 1)); n > 0; n--)
            buffer_append_text(out, json_string_value(json_array_get(json_array_get(list, i), 0)));
    return text || digits || list;
}

static CompiledMask *compile(const char *text, DataType type) {
    Mask mask;
    CompiledMask *compiled = NULL;
    Error error = {0};
    if (mask_parse(span_of(text), &mask, &error) < 0 || mask_check_type(&mask, type, &error) < 0 ||
        mask_compile(&mask, type, keys, &compiled, &error) < 0)
        fail_msg("%s %s", text, error.text);
    return compiled;
}

static void run_case(const json_t *item, const Guard *guard) {
    const char *name = json_string_value(json_object_get(item, "name")), *reason = NULL;
    const char *error = json_string_value(json_object_get(item, "error"));
    CompiledMask *mask = compile(json_string_value(json_object_get(item, "mask")),
                                 type_of(json_string_value(json_object_get(item, "dataType"))));
    Buffer input = {0}, output = {0}, row = {0}, scratch = {0};
    assert_true(take_text(item, "input", &input));
    Span text = guard_place(guard, input.data ? input.data : "", input.size);
    int r = mask_put(mask, text, 0, &row, &scratch, &reason);
    if (error) {
        if (r != MASK_DOES_NOT_FIT || !strstr(reason, error)) fail_msg("%s: %s", name, r ? reason : buffer_text(&row));
        assert_int_equal(row.size, 0);
    } else {
        if (r) fail_msg("%s: %s", name, reason);
        assert_true(take_text(item, "output", &output));
        row_end(&row);
        RowReader reader = {.text = buffer_span(&row)};
        RowCell cell;
        assert_int_equal(row_read(&reader, &cell, 1), 0);
        if (cell.is_null || !span_equal((Span){cell.data, cell.size}, buffer_span(&output)))
            fail_msg("%s: \"%.*s\", not \"%s\"", name, (int)cell.size, cell.data, buffer_text(&output));
        row_reader_deinit(&reader);
        Buffer again = {0};
        assert_int_equal(mask_put(mask, text, 0, &again, &scratch, &reason), 0);
        row_end(&again);
        assert_true(span_equal(buffer_span(&row), buffer_span(&again)));
        buffer_deinit(&again);
    }
    buffer_deinit(&input);
    buffer_deinit(&output);
    buffer_deinit(&row);
    buffer_deinit(&scratch);
    mask_free(mask);
}

static void every_case_holds(void **state) {
    Guard guard = guard_new(4u << 20);
    bool seen[MASK_KIND_COUNT_] = {0};
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *item = json_array_get(cases, i);
        Mask mask;
        assert_int_equal(mask_parse(span_of(json_string_value(json_object_get(item, "mask"))), &mask, NULL), 0);
        seen[mask.info->kind] = true;
        run_case(item, &guard);
    }
    for (size_t i = 0; i < MASK_KIND_COUNT_; i++)
        if (!seen[i]) fail_msg("no case of %s", mask_table[i].name);
    guard_free(&guard);
}

/* Every mask on every input of the cases, in every dataType that it takes: no crash, no half of a
 * character, the row as it was when it fails. */
static void any_mask_takes_any_input(void **state) {
    Buffer input = {0}, row = {0}, scratch = {0};
    size_t taken = 0, refused = 0;
    for (size_t kind = 0; kind < MASK_KIND_COUNT_; kind++) {
        for (unsigned type = 0; type < DATA_TYPE_COUNT; type++) {
            Mask mask;
            CompiledMask *compiled;
            const char *text = mask_table[kind].kind == MASK_FIXED && type == DATA_BOOLEAN     ? "fixed:true"
                               : mask_table[kind].kind == MASK_FIXED && type == DATA_DATE      ? "fixed:2000-01-01"
                               : mask_table[kind].kind == MASK_FIXED && type == DATA_TIMESTAMP ? "fixed:2000-01-01T00:00:00Z"
                               : mask_table[kind].kind == MASK_FIXED && type == DATA_UUID ? "fixed:00000000-0000-0000-0000-000000000000"
                                                                                          : mask_table[kind].example;
            assert_int_equal(mask_parse(span_of(text), &mask, NULL), 0);
            if (!mask_takes(&mask, (DataType)type)) continue;
            assert_int_equal(mask_compile(&mask, (DataType)type, keys, &compiled, NULL), 0);
            for (size_t i = 0; i < json_array_size(cases); i++) {
                const char *reason;
                buffer_clear(&input);
                (void)take_text(json_array_get(cases, i), "input", &input);
                buffer_clear(&row);
                buffer_append_text(&row, "before,");
                int r = mask_put(compiled, buffer_span(&input), 0, &row, &scratch, &reason);
                assert_true(value_is_text(buffer_span(&row)));
                if (r) assert_int_equal(row.size, strlen("before,"));
                if (r) assert_null(strstr(reason, "%"));
                *(r ? &refused : &taken) += 1;
            }
            mask_free(compiled);
        }
    }
    assert_true(taken > 3000 && refused > 1000);
    buffer_deinit(&input);
    buffer_deinit(&row);
    buffer_deinit(&scratch);
}

static void refuse(const char *text, int type, const char *words) {
    Mask mask;
    CompiledMask *compiled;
    Error error = {0};
    int r = mask_parse(span_of(text), &mask, &error);
    if (r == 0 && type >= 0) r = mask_check_type(&mask, (DataType)type, &error);
    if (r == 0 && type >= 0) r = mask_compile(&mask, (DataType)type, keys, &compiled, &error);
    assert_int_equal(r, -EINVAL);
    if (!strstr(error.text, words)) fail_msg("%s: \"%s\" is not in \"%s\"", text, words, error.text);
}

static void wrong_masks_are_refused(void **state) {
    refuse("", -1, "there are hash[:plain], hmac:KEYNAME, md5, redact");
    refuse("hahs", -1, "did you mean \"hash\"");
    refuse("HASH", -1, "has no mask \"HASH\"");
    refuse("hash:", -1, "\"hash:plain\"");
    refuse("hash:sha1", -1, "\"hash:plain\"");
    refuse("hmac", -1, "\"hmac:KEYNAME\"");
    refuse("hmac:", -1, "\"hmac:KEYNAME\"");
    refuse("hmac:A key", -1, "\"hmac:KEYNAME\"");
    refuse("md5:x", -1, "no parameter");
    refuse("redact:", -1, "no parameter");
    refuse("partial:0", -1, "1..1000");
    refuse("partial:1001", -1, "1..1000");
    refuse("partial:1.5", -1, "1..1000");
    refuse("partial:", -1, "1..1000");
    refuse("partial:-1", -1, "1..1000");
    refuse("partial:99999999999999999999", -1, "1..1000");
    refuse("round:0", -1, "above 0");
    refuse("round:0.0", -1, "above 0");
    refuse("round:1.", -1, "above 0");
    refuse("round:.5", -1, "above 0");
    refuse("round:1e3", -1, "above 0");
    refuse("round:1234567890123456", -1, "15 digits");
    refuse("round:1.2.3", -1, "above 0");
    refuse("range:ten", -1, "above 0");
    refuse("noise:0", -1, "at most 1");
    refuse("noise:1.01", -1, "at most 1");
    refuse("date_shift:36501", -1, "1..36500");
    refuse("fixed:\xff", -1, "not UTF-8");
    refuse("stars", DATA_INTEGER, "is \"stars\", which is for columns of dataType \"text\", not \"integer\"");
    refuse("round:10", DATA_TEXT, "\"integer\", \"number\", \"decimal\"");
    refuse("round:0.5", DATA_INTEGER, "whole number");
    refuse("year_only", DATA_NUMBER, "\"text\", \"integer\", \"timestamp\", \"date\"");
    refuse("fixed:abc", DATA_INTEGER, "its text \"abc\" is not an integer");
    refuse("fixed:abc", DATA_JSON, "is not JSON");
    refuse("fixed", DATA_BOOLEAN, "neither true nor false");
    refuse("hmac:other", DATA_TEXT, "there is no key \"other\"");
}

static void keys_are_needed_and_count(void **state) {
    Mask mask;
    CompiledMask *compiled;
    MaskKeys *none = mask_keys_new(), *other = mask_keys_new();
    bool shared = true;
    assert_int_equal(mask_keys_main(none, &shared).size, 0);
    assert_false(shared);
    mask_keys_set_own(other, SPAN("fedcba9876543210"));
    mask_keys_set_named(other, SPAN("crm"), SPAN("another key of the crm"));
    assert_true(mask_keys_main(keys, &shared).size == 32 && shared);
    assert_true(mask_keys_main(other, &shared).size == 16 && !shared);
    for (size_t kind = 0; kind < MASK_KIND_COUNT_; kind++) {
        static const char *const inputs[] = {
            [MASK_OF_ANY] = "ann", [MASK_OF_TEXT] = "ann", [MASK_OF_NUMBER] = "1000000", [MASK_OF_TIME] = "2024-02-29"};
        const MaskInfo *info = &mask_table[kind];
        Buffer first = {0}, second = {0}, scratch = {0};
        const char *reason;
        assert_int_equal(mask_parse(span_of(info->kind == MASK_HASH ? "hash" : info->example), &mask, NULL), 0);
        bool keyed = mask_needs_key(&mask) || info->kind == MASK_HMAC;
        DataType type = DATA_TEXT;
        while (!mask_takes(&mask, type)) type++;
        if (keyed) {
            assert_int_equal(mask_compile(&mask, type, NULL, &compiled, NULL), -EINVAL);
            assert_int_equal(mask_compile(&mask, type, none, &compiled, NULL), -EINVAL);
        } else {
            assert_int_equal(mask_compile(&mask, type, NULL, &compiled, NULL), 0);
            mask_free(compiled);
        }
        assert_int_equal(mask_compile(&mask, type, keys, &compiled, NULL), 0);
        assert_int_equal(mask_put(compiled, span_of(inputs[info->input]), 0, &first, &scratch, &reason), 0);
        mask_free(compiled);
        assert_int_equal(mask_compile(&mask, type, other, &compiled, NULL), 0);
        assert_int_equal(mask_put(compiled, span_of(inputs[info->input]), 0, &second, &scratch, &reason), 0);
        mask_free(compiled);
        if (span_equal(buffer_span(&first), buffer_span(&second)) == keyed) fail_msg("%s", info->name);
        buffer_deinit(&first);
        buffer_deinit(&second);
        buffer_deinit(&scratch);
    }
    mask_keys_free(none);
    mask_keys_free(other);
}

static void a_key_is_the_content_of_its_file(void **state) {
    Span key;
    Error error = {0};
    assert_int_equal(mask_key_of_file(SPAN("0123456789abcdef \r\n\n"), &key, &error), 0);
    assert_int_equal(key.size, 16);
    assert_int_equal(mask_key_of_file(SPAN(" 0123456789abcdef"), &key, &error), 0);
    assert_int_equal(key.size, 17);
    assert_int_equal(mask_key_of_file(SPAN("0123456789abcde\n"), &key, &error), -EINVAL);
    assert_non_null(strstr(error.text, "16 to 4096 bytes, not 15"));
    assert_int_equal(mask_key_of_file(SPAN("0123456789abcdef\0\n"), &key, &error), 0);
    assert_int_equal(key.size, 17);
}

/* Against the library's own HMAC, for keys and texts around the sizes of a block. */
static void digests_are_those_of_the_library(void **state) {
    char bytes[200];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)(i * 37 + 1);
    for (size_t key = 1; key < 140; key += key < 60 || key > 70 ? 7 : 1) {
        MaskKeyed keyed;
        mask_keyed_init(&keyed, (Span){bytes, key});
        for (size_t size = 0; size < 140; size++) {
            unsigned char ours[MASK_SHA256_SIZE], theirs[EVP_MAX_MD_SIZE];
            unsigned count;
            mask_hmac(&keyed, (Span){bytes + 7, size}, ours);
            assert_non_null(HMAC(EVP_sha256(), bytes, (int)key, (unsigned char *)bytes + 7, size, theirs, &count));
            assert_memory_equal(ours, theirs, sizeof ours);
            mask_sha256((Span){bytes + 7, size}, ours);
            assert_int_equal(EVP_Digest(bytes + 7, size, theirs, &count, EVP_sha256(), NULL), 1);
            assert_memory_equal(ours, theirs, sizeof ours);
            mask_md5((Span){bytes + 7, size}, ours);
            assert_int_equal(EVP_Digest(bytes + 7, size, theirs, &count, EVP_md5(), NULL), 1);
            assert_memory_equal(ours, theirs, MASK_MD5_SIZE);
        }
    }
}

/* Noise stays in its share and takes both signs; shifted dates stay in their days and never stay
 * where they were. */
static void what_is_random_keeps_its_bounds(void **state) {
    CompiledMask *noise = compile("noise:0.1", DATA_INTEGER), *dates = compile("date_shift:3", DATA_DATE);
    Buffer row = {0}, scratch = {0};
    const char *reason;
    bool seen[7] = {0}, less = false, more = false;
    for (int i = 0; i < 2000; i++) {
        char text[24];
        buffer_clear(&row);
        (void)snprintf(text, sizeof text, "%d", 1000000 + i);
        assert_int_equal(mask_put(noise, span_of(text), 0, &row, &scratch, &reason), 0);
        long value = strtol(buffer_text(&row), NULL, 10), off = value - 1000000 - i;
        assert_true(labs(off) <= 100200);
        less = less || off < -90000;
        more = more || off > 90000;
        buffer_clear(&row);
        (void)snprintf(text, sizeof text, "%04d-06-15", 1 + i);
        assert_int_equal(mask_put(dates, span_of(text), 0, &row, &scratch, &reason), 0);
        assert_int_equal(row.size, 10);
        assert_memory_equal(row.data, text, 8);
        int day = (int)strtol(buffer_text(&row) + 8, NULL, 10);
        assert_true(day >= 12 && day <= 18 && day != 15);
        seen[day - 12] = true;
    }
    assert_true(less && more);
    for (int i = 0; i < 7; i++) assert_true(seen[i] == (i != 3));
    buffer_deinit(&row);
    buffer_deinit(&scratch);
    mask_free(noise);
    mask_free(dates);
}

/* What one mask of a value shows says nothing of what another one took from the key. */
static void masks_do_not_share_what_they_take_from_the_key(void **state) {
    CompiledMask *hash = compile("hash", DATA_TEXT), *uuid = compile("uuid", DATA_TEXT);
    Buffer first = {0}, second = {0}, scratch = {0};
    const char *reason;
    assert_int_equal(mask_put(hash, SPAN("ann"), 0, &first, &scratch, &reason), 0);
    assert_int_equal(mask_put(uuid, SPAN("ann"), 0, &second, &scratch, &reason), 0);
    assert_memory_not_equal(first.data, second.data, 8);
    buffer_deinit(&first);
    buffer_deinit(&second);
    buffer_deinit(&scratch);
    mask_free(hash);
    mask_free(uuid);
}

int main(int argc, char **argv) {
    char path[4096];
    folder = argc > 1 ? argv[1] : "tests/mapping";
    (void)snprintf(path, sizeof path, "%s/masks.json", folder);
    json_error_t error;
    cases = json_load_file(path, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!json_is_array(cases)) {
        (void)fprintf(stderr, "%s:%d: %s\n", path, error.line, error.text);
        return 1;
    }
    mask_table_check();
    keys = mask_keys_new();
    mask_keys_set_shared(keys, SPAN(MAIN_KEY));
    mask_keys_set_named(keys, SPAN("crm"), SPAN(CRM_KEY));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_holds),
        cmocka_unit_test(any_mask_takes_any_input),
        cmocka_unit_test(wrong_masks_are_refused),
        cmocka_unit_test(keys_are_needed_and_count),
        cmocka_unit_test(a_key_is_the_content_of_its_file),
        cmocka_unit_test(digests_are_those_of_the_library),
        cmocka_unit_test(what_is_random_keeps_its_bounds),
        cmocka_unit_test(masks_do_not_share_what_they_take_from_the_key),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mask_keys_free(keys);
    json_decref(cases);
    return failed;
}
