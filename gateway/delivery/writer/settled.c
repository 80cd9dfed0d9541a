#include "gateway/delivery/writer/settled.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"

void settled_add(SettledFiles *files, const SettledFile *file) {
    /* Twice as many as are wanted, so that they move once in a thousand times. */
    if (files->count >= (size_t)2 * SETTLED_MAX) {
        size_t over = files->count - SETTLED_MAX;
        memmove(files->items, files->items + over, SETTLED_MAX * sizeof *files->items);
        files->count = SETTLED_MAX;
    }
    array_reserve(files->items, files->count, files->capacity);
    files->items[files->count++] = *file;
}

void settled_forget(SettledFiles *files, const Uuid *ids, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < files->count; i++) {
        bool gone = false;
        for (size_t k = 0; k < count && !gone; k++) gone = uuid_equal(&files->items[i].id, &ids[k]);
        if (!gone) files->items[kept++] = files->items[i];
    }
    files->count = kept;
}

static int compare_done(const void *a, const void *b) {
    usec_t left = ((const SettledFile *)a)->done, right = ((const SettledFile *)b)->done;
    return (left > right) - (left < right);
}

void settled_sort(SettledFiles *files) {
    if (files->count > 1) qsort(files->items, files->count, sizeof *files->items, compare_done);
}

size_t settled_choose(const SettledFiles *files, const struct WriterConnection *connection, uint64_t oldest_backup, Uuid *ret_ids,
                      size_t most) {
    size_t last = files->count, chosen = 0;
    for (size_t i = 0; i < files->count; i++)
        if (files->items[i].connection == connection) last = i;
    for (size_t i = 0; i < last && chosen < most; i++)
        if (files->items[i].connection == connection && files->items[i].backup < oldest_backup) ret_ids[chosen++] = files->items[i].id;
    return chosen;
}

#define CONNECTIONS_SEEN 8 /* a sink has changed its connection seldom */

void settled_keep_last(SettledFiles *files, uint64_t backup) {
    const struct WriterConnection *seen[CONNECTIONS_SEEN];
    size_t count = 0;
    for (size_t i = files->count; i > 0 && count < CONNECTIONS_SEEN; i--) {
        SettledFile *file = &files->items[i - 1];
        size_t at = 0;
        while (at < count && seen[at] != file->connection) at++;
        if (at < count) continue;
        seen[count++] = file->connection;
        file->backup = backup;
    }
}

void settled_deinit(SettledFiles *files) {
    free(files->items);
    *files = (SettledFiles){0};
}
