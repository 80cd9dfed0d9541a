#include "sinks/checked_rows.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sinks/csv_record.h"

static int seek(SinkRows *sink_rows, uint64_t row, Error *error) {
    CheckedRows *rows = (CheckedRows *)(void *)sink_rows;
    rows->rows_left = 0;
    return rows->source->seek(rows->source, row, error);
}

static void leave_out(SinkRows *sink_rows, const SinkRange *ranges, size_t count) {
    CheckedRows *rows = (CheckedRows *)(void *)sink_rows;
    rows->source->leave_out(rows->source, ranges, count);
}

/* What the cells of one record come to. */
typedef struct Verdict {
    size_t size;       /* of the record with its newline; 0: it does not end */
    const char *words; /* NULL: it fits */
    const CellRule *rule;
} Verdict;

static void put_changed(CheckedRows *rows, Span raw) {
    const SinkCell cell = {.data = rows->changed.data, .size = rows->changed.size};
    buffer_append(&rows->out, rows->copied, (size_t)(raw.data - rows->copied));
    csv_record_put_cell(&rows->out, &cell);
    rows->copied = raw.data + raw.size;
}

/* The record at the beginning of what is left. */
static Verdict examine(CheckedRows *rows) {
    Verdict verdict = {0};
    Span left = rows->left;
    for (size_t i = 0; i < rows->rule_count && !verdict.words; i++) {
        const CellRule *rule = &rows->rules[i];
        Span raw = {.data = left.data, .size = csv_cell_size(left)};
        if (raw.size >= left.size) return verdict;
        if (rule->test && raw.size > 0) {
            buffer_clear(&rows->changed);
            verdict.rule = rule;
            verdict.words = rule->test(rule->context, csv_cell_text(raw, &rows->cell), &rows->changed);
            if (!verdict.words && rows->changed.size > 0 && !rows->sends_originals) put_changed(rows, raw);
        }
        left.data += raw.size;
        left.size -= raw.size;
        if (left.data[0] == '\n') break; /* the last cell */
        left.data++;
        left.size--;
    }
    size_t rest = csv_record_size(left);
    if (rest > 0) verdict.size = (size_t)(left.data - rows->left.data) + rest;
    return verdict;
}

static int refuse(CheckedRows *rows, const Verdict *verdict, Error *error) {
    char reason[300];
    if (rows->row < rows->looked_at) return 0;
    (void)snprintf(reason, sizeof reason, "%s: the value %s", verdict->rule->subject, verdict->words);
    rows->refused++;
    int r = rows->refuse(rows->context, rows->row, reason, (Span){.data = rows->left.data, .size = verdict->size}, error);
    rows->has_failed = r < 0;
    return r;
}

static void step_over(CheckedRows *rows, size_t size) {
    rows->left.data += size;
    rows->left.size -= size;
    rows->rows_left--;
    rows->row++;
    if (rows->row > rows->looked_at) rows->looked_at = rows->row;
}

/* The rows of the source's block up to the next one that is left out; without those that are left
 * out in front of them. */
static int take_run(CheckedRows *rows, Span *ret_csv, uint64_t *ret_rows, Error *error) {
    const char *first = rows->left.data;
    uint64_t count = 0;
    buffer_clear(&rows->out);
    rows->copied = first;
    while (rows->rows_left > 0) {
        const char *copied = rows->copied;
        size_t out_size = rows->out.size;
        Verdict verdict = examine(rows);
        if (verdict.size == 0)
            return error_set(error, -EBADMSG, "A block of rows ends before its last row (row %llu).", (unsigned long long)rows->row);
        if (verdict.words) {
            rows->out.size = out_size;
            rows->copied = copied;
            if (count > 0) break; /* it is looked at again with the next call */
            int r = refuse(rows, &verdict, error);
            if (r < 0) return r;
            step_over(rows, verdict.size);
            first = rows->copied = rows->left.data;
            continue;
        }
        step_over(rows, verdict.size);
        count++;
    }
    *ret_csv = (Span){.data = first, .size = (size_t)(rows->left.data - first)};
    if (rows->out.size > 0) {
        buffer_append(&rows->out, rows->copied, (size_t)(rows->left.data - rows->copied));
        *ret_csv = buffer_span(&rows->out);
    }
    *ret_rows = count;
    return 0;
}

static int block(SinkRows *sink_rows, Span *ret_csv, uint64_t *ret_first_row, uint64_t *ret_rows, Error *error) {
    CheckedRows *rows = (CheckedRows *)(void *)sink_rows;
    for (;;) {
        while (rows->rows_left == 0) {
            int r = rows->source->block(rows->source, &rows->left, &rows->row, &rows->rows_left, error);
            if (r != 0) return r;
        }
        int r = take_run(rows, ret_csv, ret_rows, error);
        if (r < 0) return r;
        *ret_first_row = rows->row - *ret_rows;
        if (*ret_rows > 0) return 0;
    }
}

void checked_rows_init(CheckedRows *rows, SinkRows *source, const CellRule *rules, size_t count,
                       int (*refuse_row)(void *context, uint64_t row, const char *reason, Span csv, Error *error), void *context) {
    *rows = (CheckedRows){.rows = {.seek = seek, .block = block, .leave_out = leave_out},
                          .source = source,
                          .rules = rules,
                          .refuse = refuse_row,
                          .context = context};
    for (size_t i = 0; i < count; i++)
        if (rules[i].test) rows->rule_count = i + 1;
    check(rows->rule_count > 0);
}

void checked_rows_deinit(CheckedRows *rows) {
    buffer_deinit(&rows->out);
    buffer_deinit(&rows->cell);
    buffer_deinit(&rows->changed);
}
