/*
 * Growable arrays: pointer, count and capacity are fields of the owner, free() ends the array. Out
 * of memory ends the process (check): what a peer can make grow is counted against a limit before.
 */
#pragma once

#include <stddef.h>

/* Returns the array with room for at least one item more than `count`; doubles `*capacity` when it
 * is full. */
void *array_grow(void *array, size_t count, size_t *capacity, size_t item_bytes);

/* Makes room for one more: array_reserve(list->items, list->count, list->capacity);
 * list->items[list->count++] = item; */
#define array_reserve(array, count, capacity) ((void)((array) = array_grow((array), (count), &(capacity), sizeof *(array))))

/* The same for a list that grows rarely and keeps no capacity: room for exactly one more. */
void *array_extend_to(void *array, size_t count, size_t item_bytes);
#define array_extend(array, count) ((void)((array) = array_extend_to((array), (count) + 1, sizeof *(array))))
