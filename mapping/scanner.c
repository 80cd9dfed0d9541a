#include "mapping/scanner.h"

#include <stdlib.h>

#include "base/error.h"

/* Makes room for the set and begins a new generation. */
static void prepare(Scanner *scanner, const PathSet *set) {
    check(set->sealed);
    if (scanner->stamp_capacity < set->node_count) {
        free(scanner->stamps);
        scanner->stamps = calloc(set->node_count, sizeof *scanner->stamps);
        check(scanner->stamps);
        scanner->stamp_capacity = set->node_count;
    }
    if (scanner->value_capacity < set->slot_count) {
        free(scanner->values);
        scanner->values = calloc(set->slot_count, sizeof *scanner->values);
        check(scanner->values);
        scanner->value_capacity = set->slot_count;
    }
    scanner_renew(scanner);
}

void scanner_renew(Scanner *scanner) {
    scanner->note_count = 0;
    if (++scanner->generation > 0) return;
    if (scanner->stamps) memset(scanner->stamps, 0, scanner->stamp_capacity * sizeof *scanner->stamps);
    if (scanner->values) memset(scanner->values, 0, scanner->value_capacity * sizeof *scanner->values);
    scanner->generation = 1;
}

static const ScanKernel *best_kernel(void) {
    size_t count;
    return scan_kernels(&count);
}

int scanner_run(Scanner *scanner, const PathSet *set, Span text, ScanFault *ret_fault) {
    prepare(scanner, set);
    check_debug(scanner->stamp_capacity >= set->node_count && scanner->value_capacity >= set->slot_count);
    return best_kernel()->run(scanner, set, text, ret_fault);
}

int scan_validate(Span text, ScanFault *ret_fault) {
    Scanner scanner; /* without a path set only the frames are used, each is written before it is read */
    return best_kernel()->run(&scanner, NULL, text, ret_fault);
}

ScanKind scan_kind(Span value) {
    check(value.size > 0);
    switch (*value.data) {
    case '"': return SCAN_STRING;
    case '{': return SCAN_OBJECT;
    case '[': return SCAN_ARRAY;
    case 't':
    case 'f': return SCAN_BOOLEAN;
    case 'n': return SCAN_NULL;
    default: return SCAN_NUMBER;
    }
}

static const char *string_end(const char *p) {
    for (p++; *p != '"'; p++)
        if (*p == '\\') p++;
    return p + 1;
}

const char *scan_value_end(const char *value, const char *end) {
    check(value < end);
    const char *p = value;
    if (*p == '"') return string_end(p);
    if (*p != '{' && *p != '[') {
        while (p < end && !text_is_space(*p) && *p != ',' && *p != '}' && *p != ']') p++;
        return p;
    }
    size_t depth = 0;
    do {
        check_debug(p < end);
        if (*p == '"') {
            p = string_end(p);
            continue;
        }
        if (*p == '{' || *p == '[') depth++;
        if (*p == '}' || *p == ']') depth--;
        p++;
    } while (depth > 0);
    return p;
}

void scanner_deinit(Scanner *scanner) {
    free(scanner->notes);
    free(scanner->stamps);
    free(scanner->values);
    free(scanner->shapes);
    buffer_deinit(&scanner->key);
    *scanner = (Scanner){0};
}
