#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/buffer.h"
#include "base/checksum.h"
#include "base/cleanup.h"
#include "base/cursor.h"
#include "storage/pack.h"
#include "storage/pack_format.h"
#include "storage/pack_private.h"

#define READ_BYTES (128u << 10)
#define WINDOW_LOG_MAX 23 /* 8 MB: a bound on memory, whatever a file says */

struct SliceReader {
    Files *files;
    File *file;
    SliceRecord slice;
    bool damaged;
    Error damage;       /* why */
    Buffer block_sizes; /* u32 each */
    uint32_t block_count, next_block;
    uint32_t description_bytes;
    uint64_t description_checksum;
    uint64_t frame_offset, frame_bytes; /* of the zstd frame in the file */
    uint64_t frame_read;                /* of those: read into `in` */
    ZSTD_DCtx *decompressor;
    Checksum *checksum;
    char *in;
    size_t in_at, in_size;
    Buffer block;
};

static int damage(SliceReader *reader, const char *what) {
    reader->damaged = true;
    error_set(&reader->damage, -EBADMSG, "the slice of sink %" PRIu32 " from row %" PRIu64 " is damaged: %s", reader->slice.sink,
              reader->slice.first_row, what);
    return SLICE_READ_DAMAGED;
}

static int tell_damage(const SliceReader *reader, Error *error) {
    if (error) *error = reader->damage;
    return SLICE_READ_DAMAGED;
}

static int read_at(SliceReader *reader, uint64_t offset, void *out, size_t size, Error *error) {
    return reader->files->read(reader->files, reader->file, offset, out, size, error);
}

static int read_buffer(SliceReader *reader, uint64_t offset, size_t size, Buffer *out, Error *error) {
    buffer_clear(out);
    int result = read_at(reader, offset, buffer_reserve(out, size + 1), size, error);
    if (result == 0) out->size = size;
    return result;
}

typedef struct SliceEnd {
    SliceRecord slice; /* what of it stands in the end frame */
    uint64_t frame_bytes, description_checksum;
    uint32_t description_bytes, block_count;
} SliceEnd;

static bool parse_end(Span tail, SliceEnd *end) {
    Cursor cursor = cursor_of(tail);
    pack_get_common(&cursor, &end->slice);
    end->frame_bytes = cursor_u64(&cursor);
    end->description_checksum = cursor_u64(&cursor);
    end->description_bytes = cursor_u32(&cursor);
    end->block_count = cursor_u32(&cursor);
    return cursor_u32(&cursor) == SLICE_MAGIC && cursor_u32(&cursor) == PACK_FORMAT && !cursor.failed;
}

static bool same_slice(const SliceRecord *a, const SliceRecord *b) {
    return a->sink == b->sink && a->mapping_version == b->mapping_version && a->first_row == b->first_row && a->rows == b->rows &&
           a->bytes == b->bytes && a->checksum == b->checksum && a->first_time == b->first_time && a->last_time == b->last_time &&
           uuid_equal(&a->file, &b->file);
}

static bool is_frame(Span bytes, uint32_t magic, uint64_t content_bytes) {
    Cursor cursor = cursor_of(bytes);
    return cursor_u32(&cursor) == magic && cursor_u32(&cursor) == content_bytes && !cursor.failed;
}

/* The end frame: tail, then all of it with its checksum. */
static int read_end(SliceReader *reader, SliceEnd *end, Error *error) {
    const SliceRecord *slice = &reader->slice;
    _cleanup_(buffer_deinit) Buffer bytes = {0};
    if (slice->length < 3 * FRAME_PREFIX_BYTES + SLICE_TAIL_BYTES || slice->offset > UINT64_MAX - slice->length)
        return damage(reader, "its place in the pack is not possible");
    uint64_t slice_end = slice->offset + slice->length;
    int result = read_buffer(reader, slice_end - SLICE_TAIL_BYTES, SLICE_TAIL_BYTES, &bytes, error);
    if (result != 0) return result;
    if (!parse_end(buffer_span(&bytes), end)) return damage(reader, "its end frame is not one");

    uint64_t sizes = 4 * (uint64_t)end->block_count;
    uint64_t around = 2 * FRAME_PREFIX_BYTES + SLICE_TAIL_BYTES; /* what is not counted below */
    if (slice->length < around || end->frame_bytes > slice->length - around ||
        slice->length - around - end->frame_bytes != sizes + end->description_bytes)
        return damage(reader, "the lengths of its parts do not fit");
    size_t whole = FRAME_PREFIX_BYTES + (size_t)sizes + SLICE_TAIL_BYTES;
    result = read_buffer(reader, slice_end - whole, whole, &bytes, error);
    if (result != 0) return result;
    Span content = {.data = bytes.data + FRAME_PREFIX_BYTES, .size = bytes.size - FRAME_PREFIX_BYTES};
    Cursor checksum = cursor_of((Span){.data = content.data + content.size - 8, .size = 8});
    if (!is_frame(buffer_span(&bytes), FRAME_SLICE_END, content.size) ||
        cursor_u64(&checksum) != checksum_of(content.data, content.size - 8))
        return damage(reader, "the checksum of its end frame differs");
    if (!same_slice(&end->slice, slice)) return damage(reader, "it is not the slice in the ledger");
    buffer_append(&reader->block_sizes, content.data, (size_t)sizes);
    reader->block_count = end->block_count;
    return 0;
}

/* The whole frame. */
static int read_description(SliceReader *reader, Buffer *out, Error *error) {
    uint32_t size = reader->description_bytes;
    int result = read_buffer(reader, reader->slice.offset, FRAME_PREFIX_BYTES + size, out, error);
    if (result != 0) return result;
    if (!is_frame(buffer_span(out), FRAME_DESCRIPTION, size) ||
        checksum_of(out->data + FRAME_PREFIX_BYTES, size) != reader->description_checksum)
        return damage(reader, "the checksum of its description differs");
    return 0;
}

static int find_rows(SliceReader *reader, const SliceEnd *end, Error *error) {
    _cleanup_(buffer_deinit) Buffer description = {0};
    if (end->description_bytes > PACK_DESCRIPTION_BYTES_MAX) return damage(reader, "its description is too long");
    reader->description_bytes = end->description_bytes;
    reader->description_checksum = end->description_checksum;
    int result = read_description(reader, &description, error);
    if (result != 0) return result;
    reader->frame_offset = reader->slice.offset + description.size;
    reader->frame_bytes = end->frame_bytes;
    return 0;
}

static uint32_t block_size(const SliceReader *reader, uint32_t block) {
    uint32_t size;
    check(block < reader->block_count && reader->block_sizes.size == 4 * (size_t)reader->block_count);
    memcpy(&size, reader->block_sizes.data + 4 * (size_t)block, sizeof size);
    return size;
}

static int check_blocks(SliceReader *reader) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < reader->block_count; i++) {
        if (block_size(reader, i) == 0 || block_size(reader, i) > PACK_BLOCK_BYTES_MAX)
            return damage(reader, "the size of a block is not possible");
        bytes += block_size(reader, i);
    }
    return bytes == 0 || bytes != reader->slice.bytes ? damage(reader, "the sizes of its blocks do not fit") : 0;
}

static int read_header(SliceReader *reader, Error *error) {
    char header[PACK_FIRST_SLICE];
    Uuid id, instance;
    int result = read_at(reader, 0, header, sizeof header, error);
    if (result != 0) return result;
    if (!pack_parse_header((Span){.data = header, .size = sizeof header}, &id, &instance) || !uuid_equal(&id, &reader->slice.pack))
        return damage(reader, "the header of its pack is damaged");
    return 0;
}

int slice_open(Files *files, const SliceRecord *slice, SliceReader **ret_reader, Error *error) {
    char path[64];
    pack_path(&slice->pack, path);
    return slice_open_at(files, path, slice, ret_reader, error);
}

int slice_open_at(Files *files, const char *path, const SliceRecord *slice, SliceReader **ret_reader, Error *error) {
    SliceReader *reader = calloc(1, sizeof *reader);
    check(reader);
    *reader = (SliceReader){.files = files, .slice = *slice};
    int result = files->open(files, path, &reader->file, error);
    if (result < 0) {
        reader->file = NULL;
        slice_close(reader);
        return result;
    }
    reader->decompressor = ZSTD_createDCtx();
    reader->checksum = checksum_new();
    reader->in = malloc(READ_BYTES);
    check(reader->decompressor && reader->in);
    check(!ZSTD_isError(ZSTD_DCtx_setParameter(reader->decompressor, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)));

    SliceEnd end;
    result = read_header(reader, error);
    if (result == 0) result = read_end(reader, &end, error);
    if (result == 0) result = find_rows(reader, &end, error);
    if (result == 0) result = check_blocks(reader);
    if (result < 0) {
        slice_close(reader);
        return result;
    }
    *ret_reader = reader; /* damage is told by slice_read */
    return 0;
}

void slice_close(SliceReader *reader) {
    if (!reader) return;
    reader->files->close(reader->files, reader->file);
    buffer_deinit(&reader->block_sizes);
    buffer_deinit(&reader->block);
    checksum_free(reader->checksum);
    (void)ZSTD_freeDCtx(reader->decompressor);
    free(reader->in);
    free(reader);
}

int slice_rewind(SliceReader *reader, Error *error) {
    reader->next_block = 0;
    reader->frame_read = 0;
    reader->in_at = reader->in_size = 0;
    checksum_reset(reader->checksum);
    (void)ZSTD_DCtx_reset(reader->decompressor, ZSTD_reset_session_only);
    return 0;
}

/* One call of the decompressor with more input if there is any. `ret_left`: its hint, 0 at the end
 * of the frame. */
static int decompress_some(SliceReader *reader, ZSTD_outBuffer *out, size_t *ret_left, Error *error) {
    if (reader->in_at == reader->in_size) {
        uint64_t left = reader->frame_bytes - reader->frame_read;
        size_t size = left < READ_BYTES ? (size_t)left : READ_BYTES;
        if (size > 0) {
            int result = read_at(reader, reader->frame_offset + reader->frame_read, reader->in, size, error);
            if (result != 0) return result;
        }
        reader->frame_read += size;
        reader->in_at = 0;
        reader->in_size = size;
    }
    check(reader->in_at <= reader->in_size && reader->in_size <= READ_BYTES && reader->frame_read <= reader->frame_bytes);
    ZSTD_inBuffer in = {.src = reader->in, .size = reader->in_size, .pos = reader->in_at};
    size_t before_in = in.pos, before_out = out->pos;
    size_t left = ZSTD_decompressStream(reader->decompressor, out, &in);
    if (ZSTD_isError(left)) return damage(reader, ZSTD_getErrorName(left));
    reader->in_at = in.pos;
    if (left > 0 && in.pos == before_in && out->pos == before_out && reader->in_at == reader->in_size &&
        reader->frame_read == reader->frame_bytes)
        return damage(reader, "its rows are cut off");
    *ret_left = left;
    return 0;
}

/* Behind the last block: the frame ends here, in the file too, and the checksum holds. */
static int finish_frame(SliceReader *reader, size_t left, Error *error) {
    char more;
    while (left > 0) {
        ZSTD_outBuffer out = {.dst = &more, .size = 1};
        int result = decompress_some(reader, &out, &left, error);
        if (result != 0) return result;
        if (out.pos > 0) return damage(reader, "it has more rows than expected");
    }
    if (reader->frame_read != reader->frame_bytes || reader->in_at != reader->in_size)
        return damage(reader, "there is data after its rows");
    if (checksum_end(reader->checksum) != reader->slice.checksum) return damage(reader, "the checksum of its rows differs");
    return 0;
}

int slice_read(SliceReader *reader, Span *ret_rows, Error *error) {
    if (reader->damaged) return tell_damage(reader, error);
    check(reader->next_block <= reader->block_count);
    if (reader->next_block == reader->block_count) return SLICE_READ_END;

    size_t size = block_size(reader, reader->next_block), left = 1;
    buffer_clear(&reader->block);
    ZSTD_outBuffer out = {.dst = buffer_reserve(&reader->block, size), .size = size};
    int result = 0;
    while (result == 0 && out.pos < out.size) {
        if (left == 0)
            result = damage(reader, "its rows end too early");
        else
            result = decompress_some(reader, &out, &left, error);
    }
    if (result == 0) {
        checksum_add(reader->checksum, out.dst, size);
        reader->next_block++;
        if (reader->next_block == reader->block_count) result = finish_frame(reader, left, error);
    }
    if (result == SLICE_READ_DAMAGED) return tell_damage(reader, error);
    if (result < 0) {
        (void)slice_rewind(reader, NULL); /* the block is half read */
        return result;
    }
    check(out.pos == size);
    reader->block.size = size;
    *ret_rows = buffer_span(&reader->block);
    return 0;
}

int slice_runs(SliceReader *reader, SliceRuns *ret_runs, Error *error) {
    _cleanup_(buffer_deinit) Buffer frame = {0};
    SliceRuns runs = {0};
    if (reader->damaged) return tell_damage(reader, error);
    int result = read_description(reader, &frame, error);
    if (result < 0) return result;
    Span text = {.data = frame.data + FRAME_PREFIX_BYTES, .size = reader->description_bytes};
    if (result != 0) return tell_damage(reader, error);
    if (!pack_parse_runs(text, reader->slice.sink, reader->slice.rows, &runs.runs, &runs.partitions)) {
        (void)error_set(error, -EBADMSG,
                        "the slice of sink %" PRIu32 " from row %" PRIu64 " is damaged: its description has runs that are not possible",
                        reader->slice.sink, reader->slice.first_row);
        return SLICE_READ_DAMAGED; /* its rows can be read all the same */
    }
    *ret_runs = runs;
    return 0;
}

void slice_runs_deinit(SliceRuns *runs) {
    offset_runs_deinit(&runs->runs);
    partitions_deinit(&runs->partitions);
}

int slice_description(SliceReader *reader, Buffer *out, Error *error) {
    _cleanup_(buffer_deinit) Buffer frame = {0};
    if (reader->damaged) return tell_damage(reader, error);
    int result = read_description(reader, &frame, error);
    if (result == 0) buffer_append(out, frame.data + FRAME_PREFIX_BYTES, reader->description_bytes);
    return result > 0 ? tell_damage(reader, error) : result;
}

int slice_verify(Files *files, const SliceRecord *slice, Error *error) {
    char path[64];
    pack_path(&slice->pack, path);
    return slice_verify_at(files, path, slice, error);
}

int slice_verify_at(Files *files, const char *path, const SliceRecord *slice, Error *error) {
    SliceReader *reader;
    Span rows;
    int result = slice_open_at(files, path, slice, &reader, error);
    if (result < 0) return result;
    do result = slice_read(reader, &rows, error);
    while (result == 0);
    slice_close(reader);
    return result == SLICE_READ_END ? 0 : result;
}
