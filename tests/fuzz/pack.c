/*
 * Packs: the files of the staging folder. The first byte chooses (bits 0 and 1). 0: the rest is a
 * pack file. 1: the same, with lengths and checksums put right where they can be found, so that
 * what is behind them is reached. Header and footer, then each slice that they name, are read: they
 * hold, or they are told to be damaged. 2: the rest is row text of up to four slices, each with
 * runs; the pack that is written must read back the same. 3: then two bytes say which bit of it
 * flips: each slice is damaged or still has its rows.
 */
#include <errno.h>
#include <string.h>

#include "base/buffer.h"
#include "base/checksum.h"
#include "base/cursor.h"
#include "base/files.h"
#include "storage/pack.h"
#include "storage/pack_format.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/memory-files.h"

enum { SLICES_MAX = 4 };

static Files *new_files(void) {
    Files *files = memory_files_new(NULL, NULL);
    check(files->make_directory(files, "staging", 0700, NULL) == 0);
    return files;
}

static uint64_t load(const char *p, size_t bytes) {
    Span left = {p, bytes};
    return fuzz_number(&left, bytes);
}

/* The last eight bytes are the checksum of the others. */
static void seal(char *content, size_t size) {
    uint64_t checksum = checksum_of(content, size - 8);
    memcpy(content + size - 8, &checksum, 8);
}

/* The end frame of a slice whose last byte is before `end`, and the checksum of its description, so
 * that what this says is read. */
static void put_right_end(char *bytes, size_t start, size_t end) {
    if (end - start < FRAME_PREFIX_BYTES + SLICE_TAIL_BYTES) return;
    size_t blocks = load(bytes + end - 20, 4);
    if (blocks > (end - start - FRAME_PREFIX_BYTES - SLICE_TAIL_BYTES) / 4) return;
    size_t description = load(bytes + end - 24, 4), before = FRAME_PREFIX_BYTES + SLICE_TAIL_BYTES + 4 * blocks;
    if (end - start >= before + FRAME_PREFIX_BYTES && description <= end - start - before - FRAME_PREFIX_BYTES) {
        uint64_t checksum = checksum_of(bytes + start + FRAME_PREFIX_BYTES, description);
        memcpy(bytes + end - 32, &checksum, 8);
    }
    seal(bytes + end - SLICE_TAIL_BYTES - 4 * blocks, SLICE_TAIL_BYTES + 4 * blocks);
}

static void put_right(char *bytes, size_t size) {
    if (size < PACK_FIRST_SLICE + FRAME_PREFIX_BYTES + FOOTER_TAIL_BYTES) return;
    seal(bytes + FRAME_PREFIX_BYTES, PACK_HEADER_BYTES);
    char *tail = bytes + size - FOOTER_TAIL_BYTES;
    size_t count = load(tail, 4), most = (size - PACK_FIRST_SLICE - FRAME_PREFIX_BYTES - FOOTER_TAIL_BYTES) / FOOTER_ENTRY_BYTES;
    if (count > most) return;
    memcpy(tail + 40, &(uint64_t){size}, 8);
    size_t footer = size - FOOTER_TAIL_BYTES - count * FOOTER_ENTRY_BYTES;
    for (size_t i = 0; i < count; i++) {
        const char *entry = bytes + footer + i * FOOTER_ENTRY_BYTES;
        uint64_t offset = load(entry + FOOTER_ENTRY_BYTES - 16, 8), length = load(entry + FOOTER_ENTRY_BYTES - 8, 8);
        if (offset < footer && length <= footer - offset) put_right_end(bytes, offset, offset + length);
    }
    seal(bytes + footer, FOOTER_TAIL_BYTES + count * FOOTER_ENTRY_BYTES);
}

static void write_file(Files *files, const char *path, Span bytes) {
    File *file;
    (void)files->remove(files, path, NULL);
    check(files->create(files, path, 0600, &file, NULL) == 0);
    if (bytes.size) check(files->append(files, file, bytes, NULL) == 0);
    files->close(files, file);
}

/* They hold, or the slice is damaged. */
static void read_runs(SliceReader *reader, const SliceRecord *slice) {
    SliceRuns runs;
    Error error = {0};
    int r = slice_runs(reader, &runs, &error);
    check(r == 0 || (r == SLICE_READ_DAMAGED && error.text[0]));
    if (r != 0) return;
    check(runs.runs.count == 0 || offset_runs_have(runs.runs.items, runs.runs.count, slice->sink, slice->rows));
    for (size_t i = 1; i < runs.partitions.count; i++) check(runs.partitions.items[i - 1].number < runs.partitions.items[i].number);
    check(slice->run_count == 0 || slice->run_count == runs.runs.count);
    slice_runs_deinit(&runs);
}

/* The rows that could be read before the end or the damage go to `rows`. */
static int read_slice(Files *files, const SliceRecord *slice, Buffer *rows) {
    SliceReader *reader;
    Error error = {0};
    int first = SLICE_READ_END;
    for (int pass = 0; pass < 2; pass++) {
        check(slice_open(files, slice, &reader, &error) == 0);
        read_runs(reader, slice);
        if (pass) check(slice_rewind(reader, &error) == 0);
        buffer_clear(rows);
        Span block;
        int r;
        while ((r = slice_read(reader, &block, &error)) == 0) {
            check(block.size > 0 && rows->size + block.size <= slice->bytes);
            buffer_append_span(rows, block);
        }
        check(r == SLICE_READ_END || (r == SLICE_READ_DAMAGED && error.text[0]));
        check(slice_read(reader, &block, &error) == r);
        if (r == SLICE_READ_END) check(rows->size == slice->bytes && checksum_of(rows->data, rows->size) == slice->checksum);
        slice_close(reader);
        check(pass == 0 || r == first);
        first = r;
    }
    check(slice_verify(files, slice, &error) == (first == SLICE_READ_END ? 0 : first));
    return first;
}

static int read_directory(Files *files, const char *path, PackDirectory *ret_directory) {
    Error error = {0};
    int r = pack_read_directory(files, path, ret_directory, &error);
    check(r == 0 || (r == -EBADMSG && error.text[0]));
    return r;
}

static void read_hostile(Files *files, Span input, bool right) {
    Buffer bytes = {0}, rows = {0};
    buffer_append_span(&bytes, input);
    if (right) put_right(bytes.data, bytes.size);
    PackDirectory directory;
    write_file(files, "staging/found", buffer_span(&bytes));
    if (read_directory(files, "staging/found", &directory) == 0) {
        uint64_t end = PACK_FIRST_SLICE;
        for (size_t i = 0; i < directory.count; i++) {
            check(directory.slices[i].offset == end);
            end += directory.slices[i].length;
        }
        check(end + FRAME_PREFIX_BYTES + directory.count * FOOTER_ENTRY_BYTES + FOOTER_TAIL_BYTES == bytes.size);
        char path[64];
        pack_path(&directory.id, path);
        write_file(files, path, buffer_span(&bytes));
        for (size_t i = 0; i < directory.count && i < SLICES_MAX; i++) (void)read_slice(files, &directory.slices[i], &rows);
        pack_directory_deinit(&directory);
    }
    buffer_deinit(&bytes);
    buffer_deinit(&rows);
}

static bool same(const SliceRecord *a, const SliceRecord *b) {
    return uuid_equal(&a->pack, &b->pack) && a->offset == b->offset && a->length == b->length && a->sink == b->sink &&
           a->mapping_version == b->mapping_version && a->first_row == b->first_row && a->rows == b->rows && a->bytes == b->bytes &&
           a->checksum == b->checksum && a->first_time == b->first_time && a->last_time == b->last_time && uuid_equal(&a->file, &b->file);
}

/* FE ends a slice; each is made to end with a newline and not to be empty. */
static void write_slice(PackWriter *writer, Span part, SliceRecord *slice, Buffer *rows) {
    buffer_append_span(rows, part);
    if (!rows->size || rows->data[rows->size - 1] != '\n') buffer_append_byte(rows, '\n');
    *slice = (SliceRecord){.sink = 1 + (uint32_t)part.size, .mapping_version = 7, .first_row = 1, .rows = rows->size, .first_time = 5};
    OffsetRun runs[] = {{.sink = slice->sink, .partition = 1, .first = 0, .next = 1}, {.sink = slice->sink, .partition = 2, .next = 3}};
    Partitions partitions = {0};
    Buffer topic = {0};
    buffer_append_byte(&topic, 't');
    for (size_t i = 0; i < part.size && i < 100; i++)
        if (part.data[i]) buffer_append_byte(&topic, part.data[i]);
    Partition partition = {.number = 2, .cluster = strdup("c"), .group = strdup(""), .topic = buffer_take(&topic), .topic_id = strdup("")};
    partitions_take(&partitions, &partition);
    runs[1].rows = slice->rows;
    slice->run_count = part.size % 3 ? 2 : 0;
    check(pack_begin_slice_with_runs(writer, slice, SPAN("{}"), runs, &partitions, NULL) == 0);
    partitions_deinit(&partitions);
    check(pack_add_rows(writer, buffer_span(rows), NULL) == 0);
    check(pack_end_slice(writer, slice, NULL) == 0);
}

static void write_and_read(Files *files, Span left, bool flip) {
    static const Uuid id = {.bytes = {1, 2, 3}}, instance = {.bytes = {9}};
    uint64_t bit = flip ? fuzz_number(&left, 2) : 0, bytes;
    PackWriter *writer;
    SliceRecord slices[SLICES_MAX];
    Buffer rows[SLICES_MAX] = {{0}}, got = {0};
    size_t count = 0;
    check(pack_create(files, &id, &instance, &writer, NULL) == 0);
    while (count < SLICES_MAX && (left.size || count == 0)) {
        write_slice(writer, fuzz_part(&left, (char)0xfe), &slices[count], &rows[count]);
        count++;
    }
    check(pack_finish(writer, &bytes, NULL) == 0);
    char path[64];
    pack_path(&id, path);
    PackDirectory directory;
    if (flip) check(memory_files_flip(files, path, bit % (8 * bytes), NULL) == 0);
    int r = read_directory(files, path, &directory);
    check(flip || r == 0);
    if (r == 0) {
        check(uuid_equal(&directory.id, &id) && uuid_equal(&directory.instance, &instance) && directory.count == count);
        for (size_t i = 0; i < count; i++) check(same(&directory.slices[i], &slices[i]));
        pack_directory_deinit(&directory);
    }
    size_t damaged = 0;
    for (size_t i = 0; i < count; i++) {
        r = read_slice(files, &slices[i], &got);
        check(flip || r == SLICE_READ_END);
        if (r == SLICE_READ_END) check(span_equal(buffer_span(&got), buffer_span(&rows[i])));
        if (r == SLICE_READ_DAMAGED) damaged++;
        buffer_deinit(&rows[i]);
    }
    /* One bit is in one slice, or in the header, which all need. */
    check(damaged <= 1 || (damaged == count && bit % (8 * bytes) < 8 * PACK_FIRST_SLICE));
    buffer_deinit(&got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Span left = fuzz_input(data, size);
    unsigned choice = fuzz_byte(&left) % 4;
    Files *files = new_files();
    if (choice < 2)
        read_hostile(files, left, choice == 1);
    else
        write_and_read(files, left, choice == 3);
    files_free(files);
    return 0;
}
