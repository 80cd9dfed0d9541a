#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/buffer.h"
#include "base/checksum.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "storage/pack.h"
#include "storage/pack_format.h"
#include "storage/pack_private.h"

#define LEVEL 1
#define WINDOW_LOG 19            /* what a reader must hold in memory: 512 KB */
#define WRITE_BYTES (256u << 10) /* handed to the file at a time, about */

struct PackWriter {
    Files *files;
    File *file; /* NULL once it is closed */
    Uuid id, instance;
    char path[64], temporary[72];
    int failed;          /* negated errno: what is in the file is not known */
    Buffer out;          /* not in the file yet */
    uint64_t bytes;      /* in the file and in `out` */
    uint64_t slices_end; /* where the last slice ends: the next one begins there */
    Buffer directory;
    uint32_t slices;
    ZSTD_CCtx *compressor;
    Checksum *checksum;

    /* of the slice that is being written */
    bool in_slice;
    SliceRecord slice;
    uint32_t description_bytes;
    uint64_t description_checksum;
    uint64_t frame_start;
    uint64_t text_bytes;
    Buffer block; /* text of whole rows that is not compressed yet */
    Buffer block_sizes;
    uint32_t block_count;
};

static int fail(PackWriter *writer, int result) {
    if (result < 0) writer->failed = result;
    return result;
}

static int refuse_failed(const PackWriter *writer, Error *error) {
    if (!writer->failed) return 0;
    return error_set(error, writer->failed, "writing \"%s\" failed before: it has to be written again", writer->temporary);
}

static int flush_out(PackWriter *writer, Error *error) {
    if (writer->out.size == 0) return 0;
    check(writer->file && writer->out.size <= writer->bytes);
    int result = writer->files->append(writer->files, writer->file, buffer_span(&writer->out), error);
    buffer_clear(&writer->out);
    return fail(writer, result);
}

static int wrote(PackWriter *writer, size_t size, Error *error) {
    writer->bytes += size;
    return writer->out.size >= WRITE_BYTES ? flush_out(writer, error) : 0;
}

static int put_frame(PackWriter *writer, uint32_t magic, Span content, Error *error) {
    buffer_put_u32(&writer->out, magic);
    buffer_put_block(&writer->out, content);
    return wrote(writer, FRAME_PREFIX_BYTES + content.size, error);
}

static int put_header(PackWriter *writer, Error *error) {
    _cleanup_(buffer_deinit) Buffer header = {0};
    buffer_append(&header, PACK_MAGIC, 8);
    buffer_put_u32(&header, PACK_FORMAT);
    buffer_put_u32(&header, 0);
    buffer_append(&header, writer->id.bytes, sizeof writer->id.bytes);
    buffer_append(&header, writer->instance.bytes, sizeof writer->instance.bytes);
    buffer_put_u64(&header, checksum_of(header.data, header.size));
    check(header.size == PACK_HEADER_BYTES);
    return put_frame(writer, FRAME_HEADER, buffer_span(&header), error);
}

static void free_writer(PackWriter *writer) {
    writer->files->close(writer->files, writer->file);
    buffer_deinit(&writer->out);
    buffer_deinit(&writer->directory);
    buffer_deinit(&writer->block);
    buffer_deinit(&writer->block_sizes);
    checksum_free(writer->checksum);
    (void)ZSTD_freeCCtx(writer->compressor);
    free(writer);
}

int pack_create(Files *files, const Uuid *id, const Uuid *instance, PackWriter **ret_writer, Error *error) {
    check(!uuid_is_nil(id) && !uuid_is_nil(instance));
    PackWriter *writer = calloc(1, sizeof *writer);
    check(writer);
    *writer = (PackWriter){.files = files, .id = *id, .instance = *instance};
    pack_path(id, writer->path);
    (void)snprintf(writer->temporary, sizeof writer->temporary, "%s.tmp", writer->path);
    writer->compressor = ZSTD_createCCtx();
    writer->checksum = checksum_new();
    check(writer->compressor);
    check(!ZSTD_isError(ZSTD_CCtx_setParameter(writer->compressor, ZSTD_c_compressionLevel, LEVEL)));
    check(!ZSTD_isError(ZSTD_CCtx_setParameter(writer->compressor, ZSTD_c_windowLog, WINDOW_LOG)));
    check(!ZSTD_isError(ZSTD_CCtx_setParameter(writer->compressor, ZSTD_c_checksumFlag, 1)));

    int result = files->create(files, writer->temporary, 0600, &writer->file, error);
    if (result < 0) {
        writer->file = NULL;
        free_writer(writer);
        return result;
    }
    result = failpoint_error("pack.after-create", error);
    if (result == 0) result = put_header(writer, error);
    if (result < 0) {
        pack_abandon(writer);
        return result;
    }
    check(writer->bytes == PACK_FIRST_SLICE);
    writer->slices_end = writer->bytes;
    *ret_writer = writer;
    return 0;
}

void pack_abandon(PackWriter *writer) {
    if (!writer) return;
    writer->files->close(writer->files, writer->file);
    writer->file = NULL;
    (void)writer->files->remove(writer->files, writer->temporary, NULL);
    free_writer(writer);
}

uint64_t pack_bytes(const PackWriter *writer) {
    return writer->bytes;
}

static void put_uuid_text(Buffer *out, const char *name, const Uuid *id) {
    char text[UUID_TEXT_SIZE + 1] = "";
    uuid_format(id, text);
    buffer_printf(out, "\"%s\":\"%s\",", name, text);
}

static void describe(const PackWriter *writer, const SliceRecord *slice, Span target, const OffsetRun *runs, const Partitions *partitions,
                     Buffer *out) {
    buffer_printf(out, "{\"format\":%d,", PACK_FORMAT);
    put_uuid_text(out, "instance", &writer->instance);
    put_uuid_text(out, "pack", &writer->id);
    put_uuid_text(out, "file", &slice->file);
    buffer_printf(out,
                  "\"sink\":%" PRIu32 ",\"mappingVersion\":%" PRIu32 ",\"firstRow\":%" PRIu64 ",\"rows\":%" PRIu64 ",\"firstTime\":%" PRId64
                  ",\"lastTime\":%" PRId64 ",\"target\":",
                  slice->sink, slice->mapping_version, slice->first_row, slice->rows, slice->first_time, slice->last_time);
    buffer_append_span(out, target.size ? target : SPAN("null"));
    if (uuid_range_is_known(&slice->ids)) {
        buffer_append_byte(out, ',');
        put_uuid_text(out, "firstEventId", &slice->ids.first);
        put_uuid_text(out, "lastEventId", &slice->ids.last);
        out->size--; /* no comma at the end */
    }
    if (slice->run_count > 0) pack_describe_runs(runs, slice->run_count, partitions, out);
    buffer_append_byte(out, '}');
}

int pack_begin_slice(PackWriter *writer, SliceRecord *slice, Span description, Error *error) {
    check(slice->run_count == 0);
    return pack_begin_slice_with_runs(writer, slice, description, NULL, NULL, error);
}

int pack_begin_slice_with_runs(PackWriter *writer, SliceRecord *slice, Span description, const OffsetRun *runs,
                               const Partitions *partitions, Error *error) {
    _cleanup_(buffer_deinit) Buffer text = {0};
    check(!writer->in_slice && slice->sink && slice->rows > 0 && slice->first_row > 0);
    check(description.size <= PACK_DESCRIPTION_BYTES_MAX / 2);
    check(slice->run_count == 0 || offset_runs_have(runs, slice->run_count, slice->sink, slice->rows));
    int result = refuse_failed(writer, error);
    if (result < 0) return result;

    slice->pack = writer->id;
    check(writer->bytes == writer->slices_end);
    slice->offset = writer->bytes;
    writer->slice = *slice;
    describe(writer, slice, description, runs, partitions, &text);
    if (text.size > PACK_DESCRIPTION_BYTES_MAX)
        return error_set(error, -E2BIG, "a slice of sink %" PRIu32 " has too many runs: %" PRIu32, slice->sink, slice->run_count);
    result = put_frame(writer, FRAME_DESCRIPTION, buffer_span(&text), error);
    if (result < 0) return result;

    writer->in_slice = true;
    writer->description_bytes = (uint32_t)text.size;
    writer->description_checksum = checksum_of(text.data, text.size);
    writer->frame_start = writer->bytes;
    writer->text_bytes = 0;
    writer->block_count = 0;
    buffer_clear(&writer->block);
    buffer_clear(&writer->block_sizes);
    checksum_reset(writer->checksum);
    (void)ZSTD_CCtx_reset(writer->compressor, ZSTD_reset_session_only);
    return 0;
}

static int compress(PackWriter *writer, Span text, ZSTD_EndDirective directive, Error *error) {
    ZSTD_inBuffer in = {.src = text.data, .size = text.size};
    size_t left;
    do {
        ZSTD_outBuffer out = {.size = ZSTD_CStreamOutSize()};
        out.dst = buffer_reserve(&writer->out, out.size);
        left = ZSTD_compressStream2(writer->compressor, &out, &in, directive);
        if (ZSTD_isError(left)) return fail(writer, error_set(error, -ENOMEM, "cannot compress: %s", ZSTD_getErrorName(left)));
        writer->out.size += out.pos;
        int result = wrote(writer, out.pos, error);
        if (result < 0) return result;
    } while (in.pos < in.size || (directive == ZSTD_e_end && left > 0));
    return 0;
}

static int put_block(PackWriter *writer, Span text, ZSTD_EndDirective directive, Error *error) {
    check(writer->in_slice && text.size > 0 && text.size <= UINT32_MAX);
    buffer_put_u32(&writer->block_sizes, (uint32_t)text.size);
    writer->block_count++;
    writer->text_bytes += text.size;
    checksum_add(writer->checksum, text.data, text.size);
    return compress(writer, text, directive, error);
}

static int put_gathered_block(PackWriter *writer, Error *error) {
    if (writer->block.size == 0) return 0;
    int result = put_block(writer, buffer_span(&writer->block), ZSTD_e_continue, error);
    buffer_clear(&writer->block);
    return result;
}

/*
 * Where to cut text that is longer than a block: at the last end of a row in it, or at the end of
 * its first row when that is longer. A newline ends a row when the quotes before it are paired: an
 * escaped quote is two, so counting needs no other rule of CSV.
 */
static size_t find_cut(Span text) {
    size_t cut = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"') quoted = !quoted;
        if (text.data[i] != '\n' || quoted) continue;
        if (i >= PACK_BLOCK_BYTES) return cut ? cut : i + 1;
        cut = i + 1;
    }
    return text.size; /* the rest ends a block, whatever it holds */
}

int pack_add_rows(PackWriter *writer, Span rows, Error *error) {
    check(writer->in_slice);
    int result = refuse_failed(writer, error);
    if (result < 0 || rows.size == 0) return result;
    check(rows.data[rows.size - 1] == '\n' && rows.size <= UINT32_MAX);

    if (writer->block.size + rows.size > PACK_BLOCK_BYTES) result = put_gathered_block(writer, error);
    while (result == 0 && rows.size > PACK_BLOCK_BYTES) {
        size_t cut = find_cut(rows);
        check(cut > 0 && cut <= rows.size);
        result = put_block(writer, (Span){.data = rows.data, .size = cut}, ZSTD_e_continue, error);
        rows.data += cut;
        rows.size -= cut;
    }
    check(result < 0 || writer->block.size + rows.size <= PACK_BLOCK_BYTES);
    if (result == 0) buffer_append_span(&writer->block, rows);
    return result;
}

static void put_common(Buffer *out, const SliceRecord *slice) {
    buffer_append(out, slice->file.bytes, sizeof slice->file.bytes);
    buffer_put_u32(out, slice->sink);
    buffer_put_u32(out, slice->mapping_version);
    buffer_put_u64(out, slice->first_row);
    buffer_put_u64(out, slice->rows);
    buffer_put_u64(out, (uint64_t)slice->first_time);
    buffer_put_u64(out, (uint64_t)slice->last_time);
    buffer_put_u64(out, slice->bytes);
    buffer_put_u64(out, slice->checksum);
}

static int put_slice_end(PackWriter *writer, uint64_t frame_bytes, Error *error) {
    Buffer *content = &writer->block_sizes; /* the sizes are its first part */
    put_common(content, &writer->slice);
    buffer_put_u64(content, frame_bytes);
    buffer_put_u64(content, writer->description_checksum);
    buffer_put_u32(content, writer->description_bytes);
    buffer_put_u32(content, writer->block_count);
    buffer_put_u32(content, SLICE_MAGIC);
    buffer_put_u32(content, PACK_FORMAT);
    buffer_put_u64(content, checksum_of(content->data, content->size));
    check(content->size == 4 * (size_t)writer->block_count + SLICE_TAIL_BYTES);
    return put_frame(writer, FRAME_SLICE_END, buffer_span(content), error);
}

int pack_end_slice(PackWriter *writer, SliceRecord *slice, Error *error) {
    check(writer->in_slice);
    int result = refuse_failed(writer, error);
    if (result < 0) return result;
    check(writer->text_bytes + writer->block.size > 0);
    result = fail(writer, failpoint_error("pack.within-slice", error));
    if (result < 0) return result;
    /* A slice of one block tells the compressor its size at once, which makes the many small ones
     * cheap. */
    if (writer->block.size)
        result = put_block(writer, buffer_span(&writer->block), ZSTD_e_end, error);
    else
        result = compress(writer, (Span){.data = ""}, ZSTD_e_end, error);
    if (result < 0) return result;

    writer->slice.bytes = writer->text_bytes;
    writer->slice.checksum = checksum_end(writer->checksum);
    result = put_slice_end(writer, writer->bytes - writer->frame_start, error);
    if (result < 0) return result;
    check(writer->slice.offset < writer->frame_start && writer->frame_start < writer->bytes);
    writer->slice.length = writer->bytes - writer->slice.offset;
    writer->slices_end = writer->bytes;
    put_common(&writer->directory, &writer->slice);
    buffer_put_u64(&writer->directory, writer->slice.offset);
    buffer_put_u64(&writer->directory, writer->slice.length);
    writer->slices++;
    writer->in_slice = false;
    *slice = writer->slice;
    return 0;
}

static int put_footer(PackWriter *writer, Error *error) {
    Buffer *content = &writer->directory; /* the entries are its first part */
    check(content->size == (size_t)writer->slices * FOOTER_ENTRY_BYTES && writer->bytes == writer->slices_end);
    buffer_put_u32(content, writer->slices);
    buffer_put_u32(content, PACK_FORMAT);
    buffer_append(content, writer->id.bytes, sizeof writer->id.bytes);
    buffer_append(content, writer->instance.bytes, sizeof writer->instance.bytes);
    buffer_put_u64(content, writer->bytes + FRAME_PREFIX_BYTES + (uint64_t)writer->slices * FOOTER_ENTRY_BYTES + FOOTER_TAIL_BYTES);
    buffer_append(content, PACK_MAGIC, 8);
    buffer_put_u64(content, checksum_of(content->data, content->size));
    return put_frame(writer, FRAME_FOOTER, buffer_span(content), error);
}

static int sync_and_close(PackWriter *writer, Error *error) {
    int result = put_footer(writer, error);
    if (result == 0) result = flush_out(writer, error);
    if (result == 0) result = failpoint_error("pack.before-sync", error);
    if (result == 0) result = writer->files->sync(writer->files, writer->file, error);
    writer->files->close(writer->files, writer->file);
    writer->file = NULL;
    return result;
}

int pack_finish(PackWriter *take_writer, uint64_t *ret_bytes, Error *error) {
    PackWriter *writer = take_writer;
    Files *files = writer->files;
    check(!writer->in_slice || writer->failed);
    int result = refuse_failed(writer, error);
    if (result == 0) result = sync_and_close(writer, error);
    if (result == 0) result = failpoint_error("pack.before-rename", error);
    if (result == 0) result = files->rename(files, writer->temporary, writer->path, error);
    if (result < 0) {
        pack_abandon(writer);
        return result;
    }

    result = failpoint_error("pack.after-rename", error);
    if (result == 0) result = files->sync_directory(files, "staging", error);
    if (result == 0) result = failpoint_error("pack.after-publish", error);
    /* Whole, but whether its name lasts is not known, and nobody will ask for it: a start would
     * find it and call it an orphan. */
    if (result < 0)
        (void)files->remove(files, writer->path, NULL);
    else
        *ret_bytes = writer->bytes;
    free_writer(writer);
    return result;
}
