#include "tests/support/sink-case.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "sinks/csv_record.h"

static bool is_left_out(const TextRows *rows, uint64_t number) {
    for (size_t i = 0; i < rows->left_out_count; i++) {
        if (number >= rows->left_out[i].first_row && number - rows->left_out[i].first_row < rows->left_out[i].rows) return true;
    }
    return false;
}

static void skip_left_out(TextRows *rows) {
    while (rows->at < rows->count && is_left_out(rows, rows->items[rows->at].number)) rows->at++;
}

static void rows_leave_out(SinkRows *sink_rows, const SinkRange *ranges, size_t count) {
    TextRows *rows = (TextRows *)(void *)sink_rows;
    rows->left_out = reallocarray(rows->left_out, count + 1, sizeof *ranges);
    check(rows->left_out);
    for (size_t i = 0; i < count; i++) rows->left_out[i] = ranges[i];
    rows->left_out_count = count;
}

static int rows_seek(SinkRows *sink_rows, uint64_t row, Error *error) {
    TextRows *rows = (TextRows *)(void *)sink_rows;
    for (rows->at = 0; rows->at < rows->count && rows->items[rows->at].number < row;) rows->at++;
    return 0;
}

static int rows_block(SinkRows *sink_rows, Span *ret_csv, uint64_t *ret_first_row, uint64_t *ret_rows, Error *error) {
    TextRows *rows = (TextRows *)(void *)sink_rows;
    skip_left_out(rows);
    if (rows->at == rows->count) return SINK_ROWS_END;
    rows->blocks_given++;
    if (rows->at_block) rows->at_block(rows->context, rows->blocks_given);
    if (rows->blocks_given == rows->fail_at_block)
        return error_set(error, -EIO, "block %llu is damaged", (unsigned long long)rows->blocks_given);
    const struct TextRow *first = &rows->items[rows->at];
    size_t size = 0;
    uint64_t count = 0;
    /* A block's numbers have no hole. */
    while (rows->at < rows->count && rows->items[rows->at].number == first->number + count && (size == 0 || size < rows->block_bytes) &&
           !is_left_out(rows, first->number + count)) {
        size += rows->items[rows->at++].size;
        count++;
    }
    *ret_csv = (Span){.data = rows->csv.data + first->start, .size = size};
    *ret_first_row = first->number;
    *ret_rows = count;
    return 0;
}

static int rows_next(SinkRows *sink_rows, SinkCell *cells, uint64_t *ret_row, Error *error) {
    TextRows *rows = (TextRows *)(void *)sink_rows;
    skip_left_out(rows);
    if (rows->at == rows->count) return SINK_ROWS_END;
    memcpy(cells, rows->items[rows->at].cells, rows->column_count * sizeof *cells);
    *ret_row = rows->items[rows->at++].number;
    return 0;
}

void text_rows_init(TextRows *rows, size_t column_count, uint64_t first_row) {
    *rows = (TextRows){.rows = {.seek = rows_seek, .block = rows_block, .next = rows_next, .leave_out = rows_leave_out},
                       .column_count = column_count,
                       .block_bytes = 1 << 20,
                       .next_number = first_row};
}

void text_rows_add(TextRows *rows, const char *const *cells) {
    if (rows->count == rows->capacity) {
        rows->capacity = rows->capacity > 0 ? rows->capacity * 2 : 64;
        rows->items = reallocarray(rows->items, rows->capacity, sizeof *rows->items);
        check(rows->items);
    }
    struct TextRow *row = &rows->items[rows->count++];
    *row = (struct TextRow){
        .number = rows->next_number++, .cells = arena_zalloc(&rows->arena, rows->column_count * sizeof(SinkCell)), .start = rows->csv.size};
    for (size_t i = 0; i < rows->column_count; i++) {
        Span text = span_of(cells[i]);
        row->cells[i] = (SinkCell){.data = arena_copy(&rows->arena, text), .size = text.size, .is_null = !cells[i]};
    }
    csv_record_put(&rows->csv, row->cells, rows->column_count);
    row->size = rows->csv.size - row->start;
}

void text_rows_deinit(TextRows *rows) {
    arena_deinit(&rows->arena);
    buffer_deinit(&rows->csv);
    free(rows->items);
    free(rows->left_out);
    *rows = (TextRows){0};
}

static DataType type_named(const char *name) {
    for (DataType type = DATA_TEXT; type < DATA_TYPE_COUNT; type++) {
        if (strcmp(data_type_name(type), name) == 0) return type;
    }
    unreachable();
}

static int store_rejects(void *context, const SinkReject *rejects, size_t count, Error *error) {
    SinkCase *sink_case = context;
    sink_case->store_calls++;
    if (sink_case->store_fails) return error_set(error, -ENOSPC, "rejectsFull");
    sink_case->rejects = arena_alloc(&sink_case->arena, count * sizeof *rejects);
    sink_case->reject_count = count;
    for (size_t i = 0; i < count; i++) {
        sink_case->rejects[i] = rejects[i];
        sink_case->rejects[i].reason = arena_copy(&sink_case->arena, span_of(rejects[i].reason));
        sink_case->rejects[i].csv.data = arena_copy(&sink_case->arena, rejects[i].csv);
    }
    return 0;
}

static bool progress(void *context, uint64_t rows_done, bool working) {
    SinkCase *sink_case = context;
    sink_case->progress_calls++;
    usec_t now = clock_system()->boot(clock_system());
    if (working || rows_done != sink_case->rows_done) sink_case->since = now;
    sink_case->rows_done = rows_done;
    sink_case->times_working += working;
    if (sink_case->most > 0 && now - sink_case->began > sink_case->most) return true;
    if (sink_case->patience > 0 && now - sink_case->since > sink_case->patience) return true;
    return sink_case->interrupt_at > 0 && rows_done >= sink_case->interrupt_at;
}

void sink_case_init(SinkCase *sink_case, const char *table_id, const char *columns, size_t file_count) {
    *sink_case = (SinkCase){0};
    char *copy = arena_copy(&sink_case->arena, span_of(columns)), *rest = NULL;
    SinkTarget *target = &sink_case->target;
    target->table.table_id = arena_copy(&sink_case->arena, span_of(table_id));
    target->columns = sink_case->columns;
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        if (strcmp(word, "deletes") == 0) {
            target->table.delete_on.tombstone = true;
            continue;
        }
        Column *column = &sink_case->columns[target->column_count++];
        char *type = strchr(word, ':');
        *type++ = '\0';
        char *key = strchr(type, ':');
        if (key) *key = '\0';
        *column = (Column){.name = word, .type = COLUMN_BODY, .data_type = type_named(type), .primary_key = key};
        if (key) target->table.strategy = STRATEGY_MERGE;
    }
    sink_case->job = (ImportJob){.sink_label = "shop/orders",
                                 .target = target,
                                 .files = sink_case->files,
                                 .file_count = file_count,
                                 .bad_rows_max = 100,
                                 .store_rejects = store_rejects,
                                 .progress = progress,
                                 .context = sink_case};
    memset(sink_case->job.instance.bytes, 0x11, sizeof sink_case->job.instance.bytes);
    for (size_t i = 0; i < file_count; i++) {
        text_rows_init(&sink_case->rows[i], sink_target_cells(target), 1 + i * 1000000);
        random_bytes(sink_case->files[i].id.bytes, sizeof sink_case->files[i].id.bytes);
    }
}

ImportJob *sink_case_job(SinkCase *sink_case) {
    sink_case->job.patience = sink_case->patience;
    sink_case->since = sink_case->began = clock_system()->boot(clock_system());
    for (size_t i = 0; i < sink_case->job.file_count; i++) {
        ImportFile *file = &sink_case->files[i];
        TextRows *rows = &sink_case->rows[i];
        file->first_row = rows->count > 0 ? rows->items[0].number : rows->next_number;
        file->rows = rows->count;
        file->bytes = rows->csv.size;
        file->checksum = 0xfedcba9876543210;
        file->reader = &rows->rows;
        file->already_imported = false;
        file->damaged_rows = file->left_out = 0;
    }
    sink_case->reject_count = 0;
    sink_case->store_calls = 0;
    return &sink_case->job;
}

void sink_case_next_file(SinkCase *sink_case, size_t index) {
    TextRows *rows = &sink_case->rows[index];
    uint64_t next = rows->next_number;
    text_rows_deinit(rows);
    text_rows_init(rows, sink_target_cells(&sink_case->target), next);
    random_bytes(sink_case->files[index].id.bytes, sizeof sink_case->files[index].id.bytes);
}

void sink_case_deinit(SinkCase *sink_case) {
    for (size_t i = 0; i < sizeof sink_case->rows / sizeof sink_case->rows[0]; i++) text_rows_deinit(&sink_case->rows[i]);
    arena_deinit(&sink_case->arena);
}
