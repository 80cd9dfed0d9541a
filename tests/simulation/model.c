#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mapping/row.h"
#include "storage/ledger.h"
#include "storage/rejects.h"
#include "tests/simulation/world.h"

size_t model_add_append(Model *model, unsigned loop) {
    if (model->append_count == model->append_capacity) {
        model->append_capacity = model->append_capacity ? 2 * model->append_capacity : 64;
        model->appends = realloc(model->appends, model->append_capacity * sizeof *model->appends);
        check(model->appends);
    }
    model->appends[model->append_count] = (ModelAppend){.loop = loop, .first_row = model->row_count};
    return model->append_count++;
}

static void put_payload(Buffer *out) {
    static const char *const pieces[] = {"a", "BAD", "\"", ",", "\n", "\\", " ", "\xc3\xa9", "0123456789", "\r\n", "\\."};
    Buffer text = {0};
    if (chance(5)) {
        row_put_null(out);
        return;
    }
    if (chance(10)) buffer_append_text(&text, "BAD");
    for (uint64_t i = below(8); i > 0; i--) buffer_append_text(&text, pieces[below(sizeof pieces / sizeof *pieces)]);
    if (chance(1)) {
        for (uint64_t i = below(30000); i > 0; i--) buffer_append_byte(&text, (char)('a' + random_next(&course.random) % 26));
    }
    row_put(out, buffer_span(&text));
    buffer_deinit(&text);
}

void model_add_row(Model *model, size_t append, ModelSink *sink, uint32_t version, Buffer *out) {
    if (model->row_count == model->row_capacity) {
        model->row_capacity = model->row_capacity ? 2 * model->row_capacity : 256;
        model->rows = realloc(model->rows, model->row_capacity * sizeof *model->rows);
        check(model->rows);
    }
    ModelRow row = {.append = append, .sink = sink->number, .version = version, .key = (unsigned)below(7)};
    size_t start = out->size;
    char cell[32];
    (void)snprintf(cell, sizeof cell, "%zu", model->row_count);
    row_put(out, span_of(cell));
    row_next_cell(out);
    (void)snprintf(cell, sizeof cell, "key %u", row.key);
    row_put(out, span_of(cell));
    row_next_cell(out);
    (void)snprintf(cell, sizeof cell, "v%u", version);
    row_put(out, span_of(cell));
    row_next_cell(out);
    put_payload(out);
    row_end(out);
    row.size = out->size - start;
    row.text = malloc(row.size);
    check(row.text);
    memcpy(row.text, out->data + start, row.size);
    model->rows[model->row_count++] = row;
    model->appends[append].rows++;
}

ModelRow *model_find(Model *model, Span text) {
    size_t number = 0, digits = 0;
    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9')
        number = number * 10 + (size_t)(text.data[digits++] - '0');
    if (digits == 0 || number >= model->row_count) fail("a row that nobody sent: %.*s", (int)text.size, text.data);
    ModelRow *row = &model->rows[number];
    if (row->size != text.size || memcmp(row->text, text.data, text.size) != 0)
        fail("row %zu changed on its way: sent %.*s, arrived %.*s", number, (int)row->size, row->text, (int)text.size, text.data);
    return row;
}

Sink *model_definition(const ModelSink *sink, uint32_t version) {
    Sink *made = calloc(1, sizeof *made);
    check(made);
    atomic_init(&made->references, 1);
    made->number = sink->number;
    made->mapping_version = version;
    char text[64];
    (void)snprintf(text, sizeof text, "sink%u", sink->number);
    made->sink_id = strdup(text);
    made->name = strdup(text);
    made->description = strdup("");
    made->version.by = strdup("");
    made->version.description = strdup("");
    (void)snprintf(text, sizeof text, "t.sink%u_%u", sink->number, sink->keyed ? 0 : sink->moves);
    made->target.table.table_id = strdup(text);
    made->target.connection = strdup(sink->connection ? "second" : "first");
    made->target.table.strategy = sink->keyed ? STRATEGY_MERGE : STRATEGY_APPEND;
    made->target.columns = calloc(COLUMNS, sizeof(Column));
    check(made->target.columns);
    made->target.column_count = COLUMNS;
    char versioned[32];
    (void)snprintf(versioned, sizeof versioned, "v%u", version);
    const char *const names[COLUMNS] = {"number", "key", versioned, "payload"};
    for (size_t i = 0; i < COLUMNS; i++) {
        Column *column = &made->target.columns[i];
        column->name = strdup(names[i]);
        column->type = COLUMN_BODY;
        column->data_type = DATA_TEXT;
        column->primary_key = sink->keyed && i == 1;
    }
    return made;
}

/* ---- what must be true in the end ------------------------------------------------------------ */

static int count_reject(void *context, const Reject *reject, Error *error) {
    Model *model = context;
    if (!reject->is_row) {
        size_t append = 0;
        for (size_t i = 0; i < reject->data.size; i++) append = append * 10 + (size_t)(reject->data.data[i] - '0');
        if (append >= model->append_count) fail("a rejected event that nobody sent");
        model->appends[append].events_seen++;
        model->sinks[reject->sink - 1].events_seen++;
        return 0;
    }
    ModelRow *row = model_find(model, reject->data);
    expect(row->sink == reject->sink && row->version == reject->mapping_version);
    row->rejected++;
    model->sinks[row->sink - 1].rows_rejected++;
    expect(row->number == 0 || row->number == reject->row);
    row->number = reject->row;
    return 0;
}

static void check_append(Model *model, const ModelAppend *append) {
    size_t there = 0, lossless = 0;
    expect(append->fate != FATE_OPEN);
    for (size_t i = append->first_row; i < append->first_row + append->rows; i++) {
        const ModelRow *row = &model->rows[i];
        unsigned times = row->arrived + row->rejected;
        if (times > 1) fail("row %zu of sink %u is there %u times and rejected %u times", i, row->sink, row->arrived, row->rejected);
        if (model->sinks[row->sink - 1].lossy) continue;
        lossless++;
        there += times;
        if (append->fate == FATE_ACKNOWLEDGED && times == 0) fail("row %zu of sink %u was acknowledged and is lost", i, row->sink);
    }
    if (append->fate == FATE_ACKNOWLEDGED) {
        expect(append->events_seen == append->events);
    } else {
        if (there != 0 && there != lossless) fail("%zu of %zu rows of a request that was not acknowledged are there", there, lossless);
        expect(append->events_seen == 0 || append->events_seen == append->events);
        if (there > 0) expect(append->events_seen == append->events);
        if (lossless > 0 && there == 0) expect(append->events_seen == 0);
    }
}

/* The rows of one loop have the order of its requests, and those of one request theirs. */
static void check_order(Model *model) {
    for (unsigned loop = 0; loop < LOOPS; loop++) {
        uint64_t last[SINKS_MAX] = {0};
        for (size_t i = 0; i < model->row_count; i++) {
            const ModelRow *row = &model->rows[i];
            if (model->appends[row->append].loop != loop || row->number == 0) continue;
            if (row->number <= last[row->sink - 1])
                fail("row %zu of sink %u has number %llu, behind %llu", i, row->sink, (unsigned long long)row->number,
                     (unsigned long long)last[row->sink - 1]);
            last[row->sink - 1] = row->number;
        }
    }
}

void model_check(Model *model, Environment *environment) {
    Error error = {0};
    Txn *txn;
    for (size_t i = 0; i < model->row_count; i++) model->rows[i].rejected = 0;
    for (size_t i = 0; i < model->append_count; i++) model->appends[i].events_seen = 0;
    for (size_t i = 0; i < model->sink_count; i++) model->sinks[i].events_seen = model->sinks[i].rows_rejected = 0;
    if (txn_begin_read(environment, &txn, &error) < 0) fail("%s", error.text);
    for (size_t i = 0; i < model->sink_count; i++)
        if (rejects_visit(txn, model->sinks[i].number, 0, count_reject, model, &error) < 0) fail("%s", error.text);
    txn_abort(txn);
    for (size_t i = 0; i < model->append_count; i++) check_append(model, &model->appends[i]);
    check_order(model);
}

void model_deinit(Model *model) {
    for (size_t i = 0; i < model->row_count; i++) free(model->rows[i].text);
    free(model->rows);
    free(model->appends);
    *model = (Model){0};
}
