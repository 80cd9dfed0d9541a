/*
 * Growable arrays. The owner has the pointer, the count and the capacity in its own fields, and
 * releases the array with free(). If memory is exhausted, the process ends (check). So the caller
 * limits everything that a peer can make grow before it is added here.
 */
#pragma once

#include <stddef.h>

/* Returns the array with room for at least one more item. Doubles `*capacity` if the array is
 * full. */
void *array_grow(void *array, size_t count, size_t *capacity, size_t item_bytes);

/* Makes room for one more item: array_reserve(list->items, list->count, list->capacity);
 * list->items[list->count++] = item; */
#define array_reserve(array, count, capacity) ((void)((array) = array_grow((array), (count), &(capacity), sizeof *(array))))

/* The same for a list that grows rarely and has no capacity field: room for exactly one more
 * item. */
void *array_extend_to(void *array, size_t count, size_t item_bytes);
#define array_extend(array, count) ((void)((array) = array_extend_to((array), (count) + 1, sizeof *(array))))
