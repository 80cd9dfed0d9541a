#include "gateway/delivery/writer/waiting.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"

WaitingFile *waiting_add(WaitingFiles *files, const WaitingFile *file) {
    check(file->rows >= file->damaged && file->connection && waiting_is_at_rest(file));
    array_reserve(files->items, files->count, files->capacity);
    size_t place = files->count;
    while (place > 0 && files->items[place - 1].first_row > file->first_row) place--; /* nearly always the last */
    memmove(&files->items[place + 1], &files->items[place], (files->count - place) * sizeof *files->items);
    files->items[place] = *file;
    files->count++;
    files->rows += file->rows - file->damaged;
    files->bytes += file->bytes;
    return &files->items[place];
}

void waiting_remove(WaitingFiles *files, WaitingFile *file) {
    size_t place = (size_t)(file - files->items);
    check(place < files->count && files->rows >= file->rows - file->damaged && files->bytes >= file->bytes);
    files->rows -= file->rows - file->damaged;
    files->bytes -= file->bytes;
    files->count--;
    memmove(&files->items[place], &files->items[place + 1], (files->count - place) * sizeof *files->items);
}

WaitingFile *waiting_find(const WaitingFiles *files, const Uuid *id) {
    for (size_t i = 0; i < files->count; i++)
        if (uuid_equal(&files->items[i].id, id)) return &files->items[i];
    return NULL;
}

void waiting_lose_rows(WaitingFiles *files, WaitingFile *file, uint64_t rows) {
    check(rows <= file->rows - file->damaged && rows <= files->rows);
    file->damaged += rows;
    files->rows -= rows;
}

void waiting_regain_rows(WaitingFiles *files, WaitingFile *file, uint64_t rows) {
    check(rows <= file->damaged);
    file->damaged -= rows;
    files->rows += rows;
}

void waiting_leave_rest(WaitingFile *file, bool *flag) {
    check(waiting_is_at_rest(file));
    *flag = true;
}

void waiting_come_back(bool *flag) {
    check(*flag);
    *flag = false;
}

void waiting_check(const WaitingFiles *files) {
    uint64_t rows = 0, bytes = 0;
    for (size_t i = 0; i < files->count; i++) {
        const WaitingFile *file = &files->items[i];
        check(i == 0 || file[-1].first_row < file->first_row);
        check(file->importing + file->expiring + file->dividing <= 1);
        check(file->damaged <= file->rows);
        rows += file->rows - file->damaged;
        bytes += file->bytes;
    }
    check(rows == files->rows && bytes == files->bytes);
}

void waiting_deinit(WaitingFiles *files) {
    free(files->items);
    *files = (WaitingFiles){0};
}
