#include "gateway/flow/default_counts.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "base/text.h"

typedef struct DefaultCount {
    char *column; /* NULL: of a place that was never counted */
    uint64_t uses;
} DefaultCount;

struct DefaultCounts {
    pthread_mutex_t lock; /* of what follows */
    DefaultCount *items;
    size_t count, room;
};

DefaultCounts *default_counts_new(void) {
    DefaultCounts *counts = calloc(1, sizeof *counts);
    check(counts);
    check(pthread_mutex_init(&counts->lock, NULL) == 0);
    return counts;
}

void default_counts_free(DefaultCounts *counts) {
    if (!counts) return;
    for (size_t i = 0; i < counts->count; i++) free(counts->items[i].column);
    free(counts->items);
    check(pthread_mutex_destroy(&counts->lock) == 0);
    free(counts);
}

static bool is_of(const DefaultCount *item, const char *column) {
    return item->column && strcmp(item->column, column) == 0;
}

static DefaultCount *find(DefaultCounts *counts, const char *column) {
    for (size_t i = 0; i < counts->count; i++)
        if (is_of(&counts->items[i], column)) return &counts->items[i];
    return NULL;
}

/* Its own place where that is free, else the last one. */
static DefaultCount *add(DefaultCounts *counts, const char *column, size_t place) {
    do {
        array_reserve(counts->items, counts->count, counts->room);
        counts->items[counts->count++] = (DefaultCount){0};
    } while (counts->count <= place);
    DefaultCount *item = counts->items[place].column ? &counts->items[counts->count - 1] : &counts->items[place];
    item->column = text_copy(column);
    return item;
}

void default_counts_add(DefaultCounts *counts, const char *column, size_t place, uint64_t uses) {
    check(pthread_mutex_lock(&counts->lock) == 0);
    DefaultCount *item = place < counts->count && is_of(&counts->items[place], column) ? &counts->items[place] : find(counts, column);
    if (!item) item = place < counts->count && !counts->items[place].column ? &counts->items[place] : add(counts, column, place);
    if (!item->column) item->column = text_copy(column);
    item->uses += uses;
    check(pthread_mutex_unlock(&counts->lock) == 0);
}

uint64_t default_counts_of(DefaultCounts *counts, const char *column) {
    check(pthread_mutex_lock(&counts->lock) == 0);
    const DefaultCount *item = find(counts, column);
    uint64_t uses = item ? item->uses : 0;
    check(pthread_mutex_unlock(&counts->lock) == 0);
    return uses;
}
