#include "storage/pack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/checksum.h"
#include "base/cleanup.h"
#include "storage/pack_format.h"
#include "storage/pack_private.h"

#define FOLDER "staging/"
#define SUFFIX ".pack"

void pack_path(const Uuid *id, char out[static 64]) {
    memcpy(out, FOLDER, strlen(FOLDER));
    uuid_format(id, out + strlen(FOLDER));
    memcpy(out + strlen(FOLDER) + UUID_TEXT_SIZE, SUFFIX, strlen(SUFFIX) + 1);
}

int pack_remove(Files *files, const Uuid *id, Error *error) {
    char path[64];
    pack_path(id, path);
    int result = files->remove(files, path, error);
    return result == -ENOENT ? 0 : result;
}

static Uuid get_uuid(Cursor *cursor) {
    Uuid id = {0};
    Span bytes = cursor_bytes(cursor, sizeof id.bytes);
    if (bytes.size) memcpy(id.bytes, bytes.data, sizeof id.bytes);
    return id;
}

void pack_get_common(Cursor *cursor, SliceRecord *slice) {
    slice->file = get_uuid(cursor);
    slice->sink = cursor_u32(cursor);
    slice->mapping_version = cursor_u32(cursor);
    slice->first_row = cursor_u64(cursor);
    slice->rows = cursor_u64(cursor);
    slice->first_time = (usec_t)cursor_u64(cursor);
    slice->last_time = (usec_t)cursor_u64(cursor);
    slice->bytes = cursor_u64(cursor);
    slice->checksum = cursor_u64(cursor);
}

/* The content ends with the checksum of what is before. */
static bool ends_with_checksum(Span content) {
    Cursor end = cursor_of((Span){.data = content.data + content.size - 8, .size = 8});
    return cursor_u64(&end) == checksum_of(content.data, content.size - 8);
}

bool pack_parse_header(Span frame, Uuid *ret_id, Uuid *ret_instance) {
    Cursor cursor = cursor_of(frame);
    if (cursor_u32(&cursor) != FRAME_HEADER || cursor_u32(&cursor) != PACK_HEADER_BYTES || frame.size != PACK_FIRST_SLICE) return false;
    if (!ends_with_checksum((Span){.data = frame.data + FRAME_PREFIX_BYTES, .size = PACK_HEADER_BYTES})) return false;
    if (!span_equal(cursor_bytes(&cursor, 8), SPAN(PACK_MAGIC)) || cursor_u32(&cursor) != PACK_FORMAT) return false;
    (void)cursor_u32(&cursor);
    *ret_id = get_uuid(&cursor);
    *ret_instance = get_uuid(&cursor);
    return true;
}

static int bad(const char *path, const char *what, Error *error) {
    return error_set(error, -EBADMSG, "the pack \"%s\" is damaged: %s", path, what);
}

static int read_at(Files *files, File *file, uint64_t offset, size_t size, const char *path, Buffer *out, Error *error) {
    buffer_clear(out);
    int result = files->read(files, file, offset, buffer_reserve(out, size + 1), size, error);
    if (result == -ENODATA) return bad(path, "it is cut off", error);
    if (result == 0) out->size = size;
    return result;
}

/* The footer's place and number of entries, from the file's last bytes. */
static int read_footer_tail(Files *files, File *file, uint64_t file_bytes, const char *path, uint32_t *ret_count, Error *error) {
    _cleanup_(buffer_deinit) Buffer bytes = {0};
    if (file_bytes < PACK_FIRST_SLICE + FRAME_PREFIX_BYTES + FOOTER_TAIL_BYTES) return bad(path, "it is too short", error);
    int result = read_at(files, file, file_bytes - FOOTER_TAIL_BYTES, FOOTER_TAIL_BYTES, path, &bytes, error);
    if (result < 0) return result;
    Cursor cursor = cursor_of(buffer_span(&bytes));
    uint32_t count = cursor_u32(&cursor), version = cursor_u32(&cursor);
    (void)cursor_bytes(&cursor, 32);
    uint64_t said_bytes = cursor_u64(&cursor);
    if (!span_equal(cursor_bytes(&cursor, 8), SPAN(PACK_MAGIC))) return bad(path, "it does not end with a footer", error);
    if (version != PACK_FORMAT) return bad(path, "its footer is of another version", error);
    if (said_bytes != file_bytes) return bad(path, "its length is not what its footer says", error);
    if (count > (file_bytes - PACK_FIRST_SLICE - FRAME_PREFIX_BYTES - FOOTER_TAIL_BYTES) / FOOTER_ENTRY_BYTES)
        return bad(path, "its footer counts more slices than it can hold", error);
    *ret_count = count;
    return 0;
}

static int parse_entries(Span content, uint32_t count, uint64_t footer_start, const Uuid *id, const char *path, SliceRecord *slices,
                         Error *error) {
    Cursor cursor = cursor_of(content);
    uint64_t end = PACK_FIRST_SLICE;
    for (uint32_t i = 0; i < count; i++) {
        SliceRecord slice = {.pack = *id};
        pack_get_common(&cursor, &slice);
        slice.offset = cursor_u64(&cursor);
        slice.length = cursor_u64(&cursor);
        if (slice.offset != end || slice.length > footer_start - end) return bad(path, "its slices do not follow each other", error);
        end += slice.length;
        slices[i] = slice;
    }
    return end == footer_start ? 0 : bad(path, "its slices do not fill it", error);
}

static int read_directory(Files *files, File *file, uint64_t file_bytes, const char *path, PackDirectory *directory, Error *error) {
    _cleanup_(buffer_deinit) Buffer bytes = {0};
    uint32_t count;
    int result = read_at(files, file, 0, PACK_FIRST_SLICE, path, &bytes, error);
    if (result < 0) return result;
    if (!pack_parse_header(buffer_span(&bytes), &directory->id, &directory->instance)) return bad(path, "its header is damaged", error);
    result = read_footer_tail(files, file, file_bytes, path, &count, error);
    if (result < 0) return result;

    uint64_t content_bytes = (uint64_t)count * FOOTER_ENTRY_BYTES + FOOTER_TAIL_BYTES;
    uint64_t footer_start = file_bytes - FRAME_PREFIX_BYTES - content_bytes;
    result = read_at(files, file, footer_start, FRAME_PREFIX_BYTES + (size_t)content_bytes, path, &bytes, error);
    if (result < 0) return result;
    Cursor frame = cursor_of(buffer_span(&bytes));
    if (cursor_u32(&frame) != FRAME_FOOTER || cursor_u32(&frame) != content_bytes) return bad(path, "its footer is not in a frame", error);
    Span content = {.data = bytes.data + FRAME_PREFIX_BYTES, .size = (size_t)content_bytes};
    if (!ends_with_checksum(content)) return bad(path, "the checksum of its footer differs", error);
    const char *ids = content.data + (size_t)count * FOOTER_ENTRY_BYTES + 8;
    if (memcmp(ids, directory->id.bytes, 16) != 0 || memcmp(ids + 16, directory->instance.bytes, 16) != 0)
        return bad(path, "its footer is that of another pack", error);

    directory->slices = calloc(count ? count : 1, sizeof *directory->slices);
    check(directory->slices);
    directory->count = count;
    return parse_entries(content, count, footer_start, &directory->id, path, directory->slices, error);
}

int pack_read_directory(Files *files, const char *path, PackDirectory *ret_directory, Error *error) {
    FileInfo info;
    File *file;
    int result = files->info(files, path, &info, error);
    if (result == 0) result = files->open(files, path, &file, error);
    if (result < 0) return result;
    PackDirectory directory = {0};
    result = read_directory(files, file, info.bytes, path, &directory, error);
    files->close(files, file);
    if (result < 0)
        pack_directory_deinit(&directory);
    else
        *ret_directory = directory;
    return result;
}

void pack_directory_deinit(PackDirectory *directory) {
    free(directory->slices);
    *directory = (PackDirectory){0};
}
