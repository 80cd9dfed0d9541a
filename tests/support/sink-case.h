/* What a test of a sink driver needs: tables, files of rows in memory, and a job around them that
 * keeps what the driver refuses. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "sinks/driver.h"

/* Rows in memory, read as SinkRows. All-zero, then text_rows_init. */
typedef struct TextRows {
    SinkRows rows; /* first: a SinkRows * is a TextRows * */
    size_t column_count;
    size_t block_bytes; /* of CSV a block, at least one row */
    Arena arena;
    struct TextRow {
        uint64_t number;
        SinkCell *cells;
        size_t start, size; /* in csv */
    } * items;
    size_t count, capacity;
    uint64_t next_number;
    Buffer csv;
    size_t at;                                       /* the next row to be read */
    uint64_t blocks_given;                           /* in all */
    uint64_t fail_at_block;                          /* this one (from 1) fails with -EIO; 0: none */
    void (*at_block)(void *context, uint64_t block); /* called before a block is given; may be NULL */
    void *context;
    SinkRange *left_out;
    size_t left_out_count;
} TextRows;

void text_rows_init(TextRows *rows, size_t column_count, uint64_t first_row);
/* `cells`: column_count of them, NULL is NULL. */
void text_rows_add(TextRows *rows, const char *const *cells);
/* One record of `cells…`, as many as there are columns. */
#define ADD(rows, ...) text_rows_add((rows), (const char *const[]){__VA_ARGS__})
void text_rows_deinit(TextRows *rows);

typedef struct SinkCase {
    SinkTarget target;
    Column columns[COLUMNS_A_SINK_MAX];
    TextRows rows[4];
    ImportFile files[4];
    ImportJob job;
    Arena arena;
    SinkReject *rejects; /* copies of what store_rejects got */
    size_t reject_count;
    unsigned store_calls;
    bool store_fails;
    uint64_t interrupt_at; /* rows done at which progress answers true; 0: never */
    uint64_t progress_calls;
    usec_t patience; /* without progress for longer, progress answers true, as the loaders do; 0: for ever */
    usec_t since;    /* boot: of the last progress */
    usec_t most;     /* in all: then progress answers true; 0: for ever */
    usec_t began;    /* boot */
    uint64_t rows_done, times_working;
} SinkCase;

/* A table `table_id` with the columns named and typed by "name:type[:key]" separated by spaces,
 * and a job with `file_count` empty files. A last word "deletes": rows have one more cell, NULL
 * or "d". */
void sink_case_init(SinkCase *sink_case, const char *table_id, const char *columns, size_t file_count);
/* The job, with the files' counts taken from their rows, ready for import. */
ImportJob *sink_case_job(SinkCase *sink_case);
void sink_case_deinit(SinkCase *sink_case);
/* Another id and later row numbers for file `index`, without rows. */
void sink_case_next_file(SinkCase *sink_case, size_t index);
