/*
 * What a masked cell costs: nanoseconds of processor time of each mask on a usual value, and of
 * SHA-256 and HMAC-SHA-256 alone.
 *
 *   masks [--rounds N]
 *
 * "over the hash" is what the mask takes besides the digest it is made of: conversion to digits and
 * the cell.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "mapping/mask.h"
#include "mapping/mask_hash.h"

static const char *const values[] = {[MASK_OF_ANY] = "someone@example.com",
                                     [MASK_OF_TEXT] = "someone@example.com",
                                     [MASK_OF_NUMBER] = "1234567",
                                     [MASK_OF_TIME] = "2024-02-29"};

static double cpu_ns(void) {
    struct timespec now;
    check(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double hash_alone(unsigned long rounds, const MaskKeyed *keyed) {
    unsigned char digest[MASK_SHA256_SIZE];
    char text[64];
    Span value = {text, strlen(values[MASK_OF_ANY])};
    memcpy(text, values[MASK_OF_ANY], value.size);
    double start = cpu_ns();
    for (unsigned long i = 0; i < rounds; i++) {
        if (keyed)
            mask_hmac(keyed, value, digest);
        else
            mask_sha256(value, digest);
        text[0] = (char)digest[0];
    }
    return (cpu_ns() - start) / (double)rounds;
}

static double masked(unsigned long rounds, const char *text, const MaskKeys *keys, double *ret_bytes) {
    Mask mask;
    CompiledMask *compiled;
    Buffer row = {0}, scratch = {0};
    const char *reason;
    DataType type = DATA_TEXT;
    check(mask_parse(span_of(text), &mask, NULL) == 0);
    while (!mask_takes(&mask, type)) type++;
    check(mask_compile(&mask, type, keys, &compiled, NULL) == 0);
    Span value = span_of(values[mask.info->input]);
    double start = cpu_ns();
    for (unsigned long i = 0; i < rounds; i++) {
        buffer_clear(&row);
        check(mask_put(compiled, value, 0, &row, &scratch, &reason) == 0);
    }
    double spent = (cpu_ns() - start) / (double)rounds;
    *ret_bytes = (double)row.size;
    mask_free(compiled);
    buffer_deinit(&row);
    buffer_deinit(&scratch);
    return spent;
}

int main(int argc, char **argv) {
    unsigned long rounds = argc == 3 && strcmp(argv[1], "--rounds") == 0 ? strtoul(argv[2], NULL, 10) : 1000000;
    MaskKeys *keys = mask_keys_new();
    MaskKeyed keyed;
    double bytes;
    mask_keys_set_shared(keys, SPAN("0123456789abcdef0123456789abcdef"));
    mask_keys_set_named(keys, SPAN("crm"), SPAN("0123456789abcdef"));
    mask_keyed_init(&keyed, SPAN("0123456789abcdef"));
    check(rounds > 0);
    double sha = hash_alone(rounds, NULL), hmac = hash_alone(rounds, &keyed);
    printf("%-16s %8.1f ns\n%-16s %8.1f ns\n", "SHA-256 alone", sha, "HMAC alone", hmac);
    double hash = masked(rounds, "hash", keys, &bytes), plain = masked(rounds, "hash:plain", keys, &bytes);
    printf("%-16s %8.1f ns, over the hash %.1f ns\n%-16s %8.1f ns, over the hash %.1f ns\n", "hash", hash, hash - hmac, "hash:plain", plain,
           plain - sha);
    for (size_t i = MASK_HMAC; i < MASK_KIND_COUNT_; i++) {
        double spent = masked(rounds, mask_table[i].example, keys, &bytes);
        printf("%-16s %8.1f ns, %g bytes\n", mask_table[i].example, spent, bytes);
    }
    mask_keys_free(keys);
    return 0;
}
