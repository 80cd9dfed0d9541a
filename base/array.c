#include "base/array.h"

#include <stdlib.h>

#include "base/error.h"

#define CAPACITY_FIRST 8

void *array_extend_to(void *array, size_t count, size_t item_bytes) {
    array = reallocarray(array, count, item_bytes);
    check(array);
    return array;
}

void *array_grow(void *array, size_t count, size_t *capacity, size_t item_bytes) {
    check(count <= *capacity);
    if (count < *capacity) return array;
    *capacity = *capacity ? 2 * *capacity : CAPACITY_FIRST;
    return array_extend_to(array, *capacity, item_bytes);
}
