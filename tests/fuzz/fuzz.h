/*
 * What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput, which ends the
 * process by check() when something does not hold. It is linked twice: with libFuzzer (option
 * `fuzz`), and with replay.c, which runs its corpus as a test.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/span.h"
#include "tests/unit/mapping/guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline Span fuzz_input(const uint8_t *data, size_t size) {
    return (Span){(const char *)data, size};
}

/* Takes so many bytes, or what is left. */
static inline Span fuzz_take(Span *left, size_t size) {
    if (size > left->size) size = left->size;
    Span taken = {left->data, size};
    if (size) *left = (Span){left->data + size, left->size - size};
    return taken;
}

/* 0 at the end. */
static inline unsigned fuzz_byte(Span *left) {
    Span byte = fuzz_take(left, 1);
    return byte.size ? (unsigned char)*byte.data : 0;
}

/* Little-endian, zeros at the end. */
static inline uint64_t fuzz_number(Span *left, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) value |= (uint64_t)fuzz_byte(left) << (8 * i);
    return value;
}

/* What is before the next `separator`, which is passed over. */
static inline Span fuzz_part(Span *left, char separator) {
    const char *at = left->size ? memchr(left->data, separator, left->size) : NULL;
    Span part = fuzz_take(left, at ? (size_t)(at - left->data) : left->size);
    (void)fuzz_byte(left);
    return part;
}

/* A copy that ends where readable memory ends; valid until the next call. */
static inline Span fuzz_guarded(Guard *guard, Span bytes) {
    if (bytes.size > guard->bytes || !guard->map) {
        if (guard->map) guard_free(guard);
        *guard = guard_new(bytes.size + 4096);
    }
    return guard_place(guard, bytes.data, bytes.size);
}
