#include "sinks/chained_files.h"

#include <stdlib.h>

/* The last file that begins at or below the row; 0 when none does. */
static size_t file_at(const ChainedFiles *chain, uint64_t row) {
    size_t from = 0, to = chain->count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (chain->files[middle]->first_row <= row)
            from = middle + 1;
        else
            to = middle;
    }
    return from > 0 ? from - 1 : 0;
}

static int seek_file(ChainedFiles *chain, uint64_t row, Error *error) {
    if (chain->at == chain->count) return 0;
    SinkRows *reader = chain->files[chain->at]->reader;
    return reader->seek(reader, row, error);
}

static int seek(SinkRows *rows, uint64_t row, Error *error) {
    ChainedFiles *chain = (ChainedFiles *)(void *)rows;
    chain->at = file_at(chain, row);
    return seek_file(chain, row, error);
}

/* The file at hand has ended. */
static int go_on(ChainedFiles *chain, Error *error) {
    chain->at++;
    return chain->at < chain->count ? seek_file(chain, chain->files[chain->at]->first_row, error) : 0;
}

static int block(SinkRows *rows, Span *ret_csv, uint64_t *ret_first_row, uint64_t *ret_rows, Error *error) {
    ChainedFiles *chain = (ChainedFiles *)(void *)rows;
    while (chain->at < chain->count) {
        SinkRows *reader = chain->files[chain->at]->reader;
        int r = reader->block(reader, ret_csv, ret_first_row, ret_rows, error);
        if (r != SINK_ROWS_END) return r;
        r = go_on(chain, error);
        if (r < 0) return r;
    }
    return SINK_ROWS_END;
}

static int next(SinkRows *rows, SinkCell *cells, uint64_t *ret_row, Error *error) {
    ChainedFiles *chain = (ChainedFiles *)(void *)rows;
    while (chain->at < chain->count) {
        SinkRows *reader = chain->files[chain->at]->reader;
        int r = reader->next(reader, cells, ret_row, error);
        if (r != SINK_ROWS_END) return r;
        r = go_on(chain, error);
        if (r < 0) return r;
    }
    return SINK_ROWS_END;
}

void chained_files_init(ChainedFiles *chain, const ImportJob *job) {
    *chain = (ChainedFiles){.reader = {.seek = seek, .block = block, .next = next},
                            .files = calloc(job->file_count + 1, sizeof *chain->files)};
    check(chain->files);
    for (size_t i = 0; i < job->file_count; i++) {
        ImportFile *file = &job->files[i];
        if (file->already_imported || file->left_out == file->rows) continue;
        if (chain->count == 0) chain->whole = (ImportFile){.id = file->id, .first_row = file->first_row, .reader = &chain->reader};
        check(chain->count == 0 || file->first_row > chain->files[chain->count - 1]->first_row); /* in row order */
        chain->files[chain->count++] = file;
        chain->whole.rows += file->rows;
        chain->whole.left_out += file->left_out;
    }
}

void chained_files_name_rejects(const ChainedFiles *chain, SinkRejects *rejects) {
    for (size_t i = 0; i < rejects->count; i++) rejects->items[i].file = &chain->files[file_at(chain, rejects->items[i].row)]->id;
}

void chained_files_deinit(ChainedFiles *chain) {
    free(chain->files);
    chain->files = NULL;
}
