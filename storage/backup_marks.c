#include "storage/backup_marks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "storage/environment_private.h"
#include "storage/record.h"

#define KIND 'B'
#define VERSION 1
#define ROWS_MAX (1u << 24)

static const char record_key = KIND, record_name[] = "the record of the backups";

int backup_marks_store(Txn *txn, const BackupMarks *marks, Error *error) {
    check(txn_may_write(txn) && marks->count <= BACKUP_MARKS_MAX && marks->row_count <= ROWS_MAX);
    _cleanup_(buffer_deinit) Buffer record = {0};
    record_begin(&record, KIND, VERSION);
    buffer_put_u32(&record, (unsigned)marks->count);
    for (size_t i = 0; i < marks->count; i++) {
        buffer_put_u64(&record, marks->items[i].number);
        buffer_put_u8(&record, marks->items[i].complete);
        buffer_put_u64(&record, (uint64_t)marks->items[i].running);
    }
    buffer_put_u32(&record, (unsigned)marks->row_count);
    for (size_t i = 0; i < marks->row_count; i++) {
        buffer_put_u32(&record, marks->rows[i].sink);
        buffer_put_u64(&record, marks->rows[i].row);
    }
    record_seal(&record);
    return db_put(txn, DB_STATISTICS, (Span){.data = &record_key, .size = 1}, buffer_span(&record), error);
}

static int read_fields(Cursor *fields, BackupMarks *marks, Error *error) {
    uint32_t count = cursor_u32(fields);
    if (count > BACKUP_MARKS_MAX) return error_set(error, -EBADMSG, "%s names too many backups", record_name);
    for (uint32_t i = 0; i < count; i++) {
        BackupMark mark = {.number = cursor_u64(fields), .complete = cursor_u8(fields) != 0};
        mark.running = (usec_t)cursor_u64(fields);
        if (mark.number <= (marks->count > 0 ? marks->items[marks->count - 1].number : 0))
            return error_set(error, -EBADMSG, "%s names backups that are not in order", record_name);
        backup_marks_add(marks, &mark);
    }
    count = cursor_u32(fields);
    if (count > ROWS_MAX) return error_set(error, -EBADMSG, "%s names too many sinks", record_name);
    for (uint32_t i = 0; i < count && !fields->failed; i++) {
        uint32_t sink = cursor_u32(fields);
        backup_marks_add_row(marks, sink, cursor_u64(fields));
    }
    return marks->row_count == count ? record_read_whole(fields, record_name, error)
                                     : error_set(error, -EBADMSG, "%s is shorter than it says", record_name);
}

int backup_marks_load(Txn *txn, BackupMarks *ret_marks, Error *error) {
    Span value;
    Cursor fields;
    BackupMarks marks = {0};
    int r = db_get(txn, DB_STATISTICS, (Span){.data = &record_key, .size = 1}, &value, error);
    if (r == 0) r = record_open(value, KIND, VERSION, record_name, &fields, error);
    if (r == 0) r = read_fields(&fields, &marks, error);
    if (r < 0)
        backup_marks_deinit(&marks);
    else
        *ret_marks = marks;
    return r < 0 ? r : 0;
}

void backup_marks_add(BackupMarks *marks, const BackupMark *mark) {
    array_reserve(marks->items, marks->count, marks->capacity);
    marks->items[marks->count++] = *mark;
}

void backup_marks_add_row(BackupMarks *marks, uint32_t sink, uint64_t row) {
    array_reserve(marks->rows, marks->row_count, marks->row_capacity);
    marks->rows[marks->row_count++] = (BackupRow){.sink = sink, .row = row};
}

static void remove_first(BackupMarks *marks, size_t count) {
    memmove(marks->items, marks->items + count, (marks->count - count) * sizeof *marks->items);
    marks->count -= count;
}

void backup_marks_complete(BackupMarks *marks, uint64_t number, size_t kept) {
    size_t complete = 0, first = marks->count;
    check(kept > 0 && kept <= BACKUP_MARKS_MAX);
    for (size_t i = marks->count; i > 0 && complete < kept; i--) {
        BackupMark *mark = &marks->items[i - 1];
        if (mark->number == number) mark->complete = true;
        complete += mark->complete;
        first = i - 1;
    }
    if (complete == kept) remove_first(marks, first);
}

void backup_marks_remove(BackupMarks *marks, uint64_t number) {
    size_t left = 0;
    for (size_t i = 0; i < marks->count; i++)
        if (marks->items[i].number != number) marks->items[left++] = marks->items[i];
    marks->count = left;
}

uint64_t backup_marks_oldest(const BackupMarks *marks) {
    return marks->count > 0 ? marks->items[0].number : UINT64_MAX;
}

void backup_marks_deinit(BackupMarks *marks) {
    free(marks->items);
    free(marks->rows);
    *marks = (BackupMarks){0};
}
