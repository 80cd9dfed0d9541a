#include "tests/unit/storage/fixture.h"

#include <zstd.h>

#include "base/buffer.h"
#include "base/checksum.h"
#include "base/failpoint.h"
#include "base/random.h"
#include "storage/pack.h"
#include "storage/pack_private.h"
#include "tests/support/memory-files.h"

static const Uuid pack_id = {.bytes = {1, 2, 3}}, instance = {.bytes = {9, 9}};

static Files *new_files(Random *random) {
    Files *files = memory_files_new(random, NULL);
    assert_ok(files->make_directory(files, "staging", 0700, error));
    assert_ok(files->sync_directory(files, "", error));
    return files;
}

static SliceRecord make_slice(uint32_t sink, uint64_t rows) {
    return (SliceRecord){
        .sink = sink, .mapping_version = 3, .first_row = 100, .rows = rows, .first_time = 5, .last_time = 6, .file = fixture_id(sink)};
}

static void put_slice(PackWriter *writer, SliceRecord *slice, Span rows) {
    assert_ok(pack_begin_slice(writer, slice, SPAN("{\"tableId\":\"t\"}"), error));
    assert_ok(pack_add_rows(writer, rows, error));
    assert_ok(pack_end_slice(writer, slice, error));
}

/* Rows whose cells may hold newlines in quotes; sizes around `size`. */
static void make_rows(Buffer *out, Random *random, size_t rows, size_t size) {
    for (size_t i = 0; i < rows; i++) {
        buffer_printf(out, "%zu,", i);
        bool quoted = random_below(random, 2);
        if (quoted) buffer_append_byte(out, '"');
        for (size_t n = random_below(random, 2 * size + 1); n > 0; n--) {
            uint64_t kind = random_below(random, 20);
            if (quoted && kind == 0)
                buffer_append_text(out, "\"\"");
            else if (quoted && kind == 1)
                buffer_append_byte(out, '\n');
            else
                buffer_append_byte(out, (char)('a' + random_below(random, 26)));
        }
        if (quoted) buffer_append_byte(out, '"');
        buffer_append_byte(out, '\n');
    }
}

static bool ends_a_row(Span rows) {
    bool quoted = false;
    for (size_t i = 0; i < rows.size; i++) quoted ^= rows.data[i] == '"';
    return rows.size && rows.data[rows.size - 1] == '\n' && !quoted;
}

static void check_slice(Files *files, const SliceRecord *slice, Span rows, size_t block_max) {
    SliceReader *reader;
    Span block;
    assert_int_equal(slice->bytes, rows.size);
    assert_int_equal(slice->checksum, checksum_of(rows.data, rows.size));
    assert_ok(slice_open(files, slice, &reader, error));
    for (int pass = 0; pass < 2; pass++) {
        Span left = rows;
        while (left.size > 0) {
            assert_ok(slice_read(reader, &block, error));
            assert_true(block.size <= left.size && block.size <= block_max);
            assert_memory_equal(block.data, left.data, block.size);
            assert_true(ends_a_row(block));
            left.data += block.size;
            left.size -= block.size;
            if (pass == 0 && left.size < rows.size / 2) break; /* half way, then again from the start */
        }
        if (pass == 0) assert_ok(slice_rewind(reader, error));
    }
    assert_int_equal(slice_read(reader, &block, NULL), SLICE_READ_END);
    assert_int_equal(slice_read(reader, &block, NULL), SLICE_READ_END);
    slice_close(reader);
    assert_ok(slice_verify(files, slice, error));
}

static void test_round_trip(void **state) {
    Random random = {.state = 3};
    Files *files = new_files(NULL);
    PackWriter *writer;
    Buffer small = {0}, large = {0};
    uint64_t bytes;
    FileInfo info;
    char path[64];
    make_rows(&small, &random, 3, 10);
    make_rows(&large, &random, 6000, 200);
    SliceRecord slices[] = {make_slice(1, 3), make_slice(2, 6000), make_slice(3, 6000), make_slice(UINT32_MAX, 1)};
    assert_ok(pack_create(files, &pack_id, &instance, &writer, error));
    put_slice(writer, &slices[0], buffer_span(&small));
    put_slice(writer, &slices[1], buffer_span(&large)); /* one piece of more than a megabyte */
    /* The same rows one by one: pieces that are whole rows. */
    assert_ok(pack_begin_slice(writer, &slices[2], SPAN("{}"), error));
    for (size_t at = 0, start = 0; at < large.size; at++) {
        if (!ends_a_row((Span){.data = large.data + start, .size = at + 1 - start})) continue;
        assert_ok(pack_add_rows(writer, (Span){.data = large.data + start, .size = at + 1 - start}, error));
        start = at + 1;
    }
    assert_ok(pack_end_slice(writer, &slices[2], error));
    put_slice(writer, &slices[3], SPAN("\n"));
    pack_path(&pack_id, path);
    assert_int_equal(files->info(files, path, &info, NULL), -ENOENT);
    assert_ok(pack_finish(writer, &bytes, error));
    assert_ok(files->info(files, path, &info, error));
    assert_int_equal(info.bytes, bytes);
    assert_true(bytes < 2 * large.size);
    memory_files_crash(files); /* synced, and its name */

    check_slice(files, &slices[0], buffer_span(&small), small.size);
    check_slice(files, &slices[1], buffer_span(&large), 256 << 10);
    check_slice(files, &slices[2], buffer_span(&large), 256 << 10);
    check_slice(files, &slices[3], SPAN("\n"), 1);
    PackDirectory directory;
    assert_ok(pack_read_directory(files, path, &directory, error));
    assert_true(uuid_equal(&directory.id, &pack_id) && uuid_equal(&directory.instance, &instance));
    assert_int_equal(directory.count, 4);
    for (size_t i = 0; i < 4; i++) {
        const SliceRecord *a = &directory.slices[i], *b = &slices[i];
        assert_true(a->offset == b->offset && a->length == b->length && a->sink == b->sink && a->mapping_version == b->mapping_version);
        assert_true(a->first_row == b->first_row && a->rows == b->rows && a->bytes == b->bytes && a->checksum == b->checksum);
        assert_true(a->first_time == 5 && a->last_time == 6 && uuid_equal(&a->file, &b->file) && uuid_equal(&a->pack, &pack_id));
    }
    pack_directory_deinit(&directory);
    assert_ok(pack_remove(files, &pack_id, error));
    assert_ok(pack_remove(files, &pack_id, error));
    SliceReader *reader;
    assert_fails(slice_open(files, &slices[0], &reader, error), -ENOENT);
    buffer_deinit(&small);
    buffer_deinit(&large);
    files_free(files);
}

/* ---- runs ------------------------------------------------------------------------------------ */

static void take_partition(Partitions *partitions, uint32_t number, const char *topic, const char *topic_id) {
    Partition literal = {.number = number,
                         .cluster = (char *)"c-1",
                         .group = (char *)"a \"group\"",
                         .topic = (char *)(uintptr_t)topic,
                         .topic_id = (char *)(uintptr_t)topic_id,
                         .generation = UINT32_MAX,
                         .partition = INT32_MAX};
    Partition partition = partition_copy(&literal);
    partitions_take(partitions, &partition);
}

/* The content of the frame at `offset`. */
static char *read_frame(Files *files, const char *path, uint64_t offset) {
    File *file;
    uint32_t head[2];
    assert_ok(files->open(files, path, &file, error));
    assert_ok(files->read(files, file, offset, head, sizeof head, error));
    char *text = malloc(head[1] + 1);
    assert_ok(files->read(files, file, offset + 8, text, head[1], error));
    text[head[1]] = '\0';
    files->close(files, file);
    return text;
}

static const OffsetRun some_runs[] = {{.sink = 3, .partition = 7, .first = 0, .next = 5},
                                      {.sink = 3, .partition = 8, .first = 99, .next = INT64_MAX, .rows = 2},
                                      {.sink = 3, .partition = 9, .first = 1, .next = 2, .rows = 1}};

static void test_slices_with_runs(void **state) {
    Files *files = new_files(NULL);
    PackWriter *writer;
    uint64_t bytes;
    char path[64];
    Partitions partitions = {0};
    take_partition(&partitions, 7, "orders", "");
    take_partition(&partitions, 8, "t\xc3\xb6pfe", "an id");
    take_partition(&partitions, 9, "\xff no text", ""); /* cannot be told: its number is */
    SliceRecord slices[] = {make_slice(3, 3), make_slice(4, 3)};
    slices[0].run_count = 3;
    assert_ok(pack_create(files, &pack_id, &instance, &writer, error));
    assert_ok(pack_begin_slice_with_runs(writer, &slices[0], SPAN("{\"tableId\":\"t\"}"), some_runs, &partitions, error));
    assert_ok(pack_add_rows(writer, SPAN("a\nb\nc\n"), error));
    assert_ok(pack_end_slice(writer, &slices[0], error));
    assert_int_equal(slices[0].run_count, 3);
    put_slice(writer, &slices[1], SPAN("a\nb\nc\n"));
    assert_ok(pack_finish(writer, &bytes, error));

    pack_path(&pack_id, path);
    char *text = read_frame(files, path, slices[0].offset);
    const char *expected =
        "\"target\":{\"tableId\":\"t\"},\"partitions\":["
        "{\"number\":7,\"cluster\":\"c-1\",\"group\":\"a \\\"group\\\"\",\"topic\":\"orders\",\"topicId\":\"\","
        "\"generation\":4294967295,\"partition\":2147483647},"
        "{\"number\":8,\"cluster\":\"c-1\",\"group\":\"a \\\"group\\\"\",\"topic\":\"t\xc3\xb6pfe\",\"topicId\":\"an id\","
        "\"generation\":4294967295,\"partition\":2147483647}],"
        "\"runs\":[[7,0,5,0],[8,99,9223372036854775807,2],[9,1,2,1]]}";
    assert_string_equal(strstr(text, "\"target\""), expected);
    free(text);
    text = read_frame(files, path, slices[1].offset);
    assert_string_equal(strstr(text, "\"target\""), "\"target\":{\"tableId\":\"t\"}}"); /* as without bridges */
    free(text);

    check_slice(files, &slices[0], SPAN("a\nb\nc\n"), 6);
    SliceReader *reader;
    SliceRuns runs;
    assert_ok(slice_open(files, &slices[0], &reader, error));
    assert_ok(slice_runs(reader, &runs, error));
    assert_int_equal(runs.runs.count, 3);
    assert_true(offset_runs_equal(runs.runs.items, some_runs, 3));
    assert_int_equal(runs.partitions.count, 2);
    for (uint32_t number = 7; number <= 8; number++) {
        const Partition *a = partitions_get(&partitions, number), *b = partitions_get(&runs.partitions, number);
        assert_int_equal(partition_compare(a, b), 0);
        assert_string_equal(a->topic_id, b->topic_id);
    }
    slice_runs_deinit(&runs);
    slice_close(reader);
    assert_ok(slice_open(files, &slices[1], &reader, error));
    assert_ok(slice_runs(reader, &runs, error));
    assert_true(runs.runs.count == 0 && runs.partitions.count == 0);
    slice_runs_deinit(&runs);
    slice_close(reader);

    /* Each bit of its description. */
    for (uint64_t bit = 8 * (slices[0].offset + 8); bit < 8 * (slices[0].offset + 300); bit += 7) {
        Error why = {0};
        assert_ok(memory_files_flip(files, path, bit, error));
        assert_ok(slice_open(files, &slices[0], &reader, error));
        assert_int_equal(slice_runs(reader, &runs, &why), SLICE_READ_DAMAGED);
        assert_true(why.text[0]);
        slice_close(reader);
        assert_ok(memory_files_flip(files, path, bit, error));
    }
    partitions_deinit(&partitions);
    files_free(files);
}

/* What a description may say of runs, and what it may not. */
static void test_runs_in_a_description(void **state) {
#define ONE "{\"number\":1,\"cluster\":\"c\",\"group\":\"g\",\"topic\":\"t\",\"topicId\":\"\",\"generation\":0,\"partition\":0}"
    static const struct {
        const char *text;
        bool holds;
        size_t runs;
    } cases[] = {
        {"{}", true, 0},
        {"{\"partitions\":[" ONE "],\"runs\":[[1,0,5,3]]}", true, 1},
        {"{\"partitions\":[],\"runs\":[[1,0,5,1],[2,0,5,2],[2,5,6,0]]}", true, 3},
        {"", false, 0},
        {"[]", false, 0},
        {"{\"partitions\":[],\"runs\":[[1,0,5,3]]", false, 0},
        {"{\"runs\":[[1,0,5,3]]}", false, 0},
        {"{\"partitions\":[]}", false, 0},
        {"{\"partitions\":[],\"runs\":{}}", false, 0},
        {"{\"partitions\":[],\"runs\":[]}", false, 0},
        {"{\"partitions\":[],\"runs\":[[1,0,5,2]]}", false, 0},
        {"{\"partitions\":[],\"runs\":[[1,0,5,4]]}", false, 0},
        {"{\"partitions\":[],\"runs\":[[1,0,5]]}", false, 0},
        {"{\"partitions\":[],\"runs\":[[1,0,5,3,1]]}", false, 0},
        {"{\"partitions\":[],\"runs\":[[0,0,5,3]]}", false, 0},
        {"{\"partitions\":[],\"runs\":[[4294967296,0,5,3]]}", false, 0},
        {"{\"partitions\":[],\"runs\":[[1,5,5,3]]}", false, 0},
        {"{\"partitions\":[],\"runs\":[[1,-1,5,3]]}", false, 0},
        {"{\"partitions\":[],\"runs\":[[1,0,5,3.0]]}", false, 0},
        {"{\"partitions\":[],\"runs\":[[1,0,5,-1],[1,5,6,4]]}", false, 0},
        {"{\"partitions\":[" ONE "," ONE "],\"runs\":[[1,0,5,3]]}", false, 0},
        {"{\"partitions\":[{\"number\":1}],\"runs\":[[1,0,5,3]]}", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        OffsetRuns runs = {0};
        Partitions partitions = {0};
        bool holds = pack_parse_runs(span_of(cases[i].text), 1, 3, &runs, &partitions);
        if (holds != cases[i].holds) fail_msg("%s: %d", cases[i].text, holds);
        assert_int_equal(runs.count, cases[i].runs);
        offset_runs_deinit(&runs);
        partitions_deinit(&partitions);
    }
}

/* A row that is longer than a block is a block; its newlines in quotes cut nothing. */
static void test_long_rows(void **state) {
    Files *files = new_files(NULL);
    PackWriter *writer;
    Buffer rows = {0};
    uint64_t bytes;
    buffer_append_text(&rows, "1,a\n2,\"");
    for (int i = 0; i < 200000; i++) buffer_append_text(&rows, i % 3 ? "x\n" : "\"\"\n");
    buffer_append_text(&rows, "\"\n3,b\n");
    SliceRecord slice = make_slice(1, 3);
    assert_ok(pack_create(files, &pack_id, &instance, &writer, error));
    put_slice(writer, &slice, buffer_span(&rows));
    assert_ok(pack_finish(writer, &bytes, error));
    check_slice(files, &slice, buffer_span(&rows), rows.size);
    SliceReader *reader;
    Span block;
    assert_ok(slice_open(files, &slice, &reader, error));
    assert_ok(slice_read(reader, &block, error));
    assert_true(span_equal(block, SPAN("1,a\n")));
    assert_ok(slice_read(reader, &block, error));
    assert_int_equal(block.size, rows.size - 8);
    assert_ok(slice_read(reader, &block, error));
    assert_true(span_equal(block, SPAN("3,b\n")));
    slice_close(reader);
    buffer_deinit(&rows);
    files_free(files);
}

static char *read_whole(Files *files, const char *path, size_t *size) {
    char *bytes = NULL;
    assert_ok(files_read_all(files, path, 64 << 20, &bytes, size, error));
    return bytes;
}

static void write_whole(Files *files, const char *path, const char *bytes, size_t size) {
    File *file = NULL;
    (void)files->remove(files, path, NULL);
    assert_ok(files->create(files, path, 0600, &file, error));
    assert_ok(files->append(files, file, (Span){.data = bytes, .size = size}, error));
    files->close(files, file);
}

/* Two slices; `rows` of each as given. */
static void make_pack(Files *files, SliceRecord slices[2], Span rows) {
    PackWriter *writer;
    uint64_t bytes;
    slices[0] = make_slice(1, 3);
    slices[1] = make_slice(2, 3);
    assert_ok(pack_create(files, &pack_id, &instance, &writer, error));
    put_slice(writer, &slices[0], rows);
    put_slice(writer, &slices[1], rows);
    assert_ok(pack_finish(writer, &bytes, error));
}

/* Any tool that knows zstd gives the rows of all slices, and skips the rest. */
static void test_readable_by_zstd(void **state) {
    Files *files = new_files(NULL);
    SliceRecord slices[2];
    char path[64], text[64];
    size_t size;
    make_pack(files, slices, SPAN("1,a\n2,b\n"));
    pack_path(&pack_id, path);
    char *bytes = read_whole(files, path, &size);
    ZSTD_DCtx *context = ZSTD_createDCtx();
    ZSTD_inBuffer in = {.src = bytes, .size = size};
    ZSTD_outBuffer out = {.dst = text, .size = sizeof text};
    while (in.pos < in.size) assert_false(ZSTD_isError(ZSTD_decompressStream(context, &out, &in)));
    assert_true(span_equal((Span){.data = text, .size = out.pos}, SPAN("1,a\n2,b\n1,a\n2,b\n")));
    (void)ZSTD_freeDCtx(context);
    /* The description is plain JSON text at the slice's offset. */
    const char *json = bytes + slices[0].offset + 8;
    assert_memory_equal(json, "{\"format\":1,\"instance\":\"09090000-0000-0000-0000-000000000000\",\"pack\":\"01020300-", 74);
    assert_non_null(
        memmem(json, 400, SPAN(",\"firstRow\":100,\"rows\":3,\"firstTime\":5,\"lastTime\":6,\"target\":{\"tableId\":\"t\"}}").data, 76));
    free(bytes);
    files_free(files);
}

static int verify_pack(Files *files, const char *path) {
    PackDirectory directory;
    int result = pack_read_directory(files, path, &directory, NULL);
    if (result == 0) pack_directory_deinit(&directory);
    return result;
}

static void test_every_truncation_is_refused(void **state) {
    Files *files = new_files(NULL);
    SliceRecord slices[2];
    char path[64];
    size_t size;
    make_pack(files, slices, SPAN("1,a\n2,b\n3,\"c\nd\"\n"));
    pack_path(&pack_id, path);
    char *bytes = read_whole(files, path, &size);
    for (size_t length = 0; length < size; length++) {
        write_whole(files, path, bytes, length);
        assert_int_equal(verify_pack(files, path), -EBADMSG);
        for (int i = 0; i < 2; i++) {
            /* What is not there was not read: no damage. */
            int expected = length < slices[i].offset + slices[i].length ? -ENODATA : 0;
            Error error = {0};
            assert_int_equal(slice_verify(files, &slices[i], &error), expected);
            assert_true(!expected || error.text[0]);
        }
    }
    char *longer = malloc(size + 1);
    memcpy(longer, bytes, size);
    longer[size] = 0;
    write_whole(files, path, longer, size + 1);
    assert_int_equal(verify_pack(files, path), -EBADMSG);
    write_whole(files, path, bytes, size);
    assert_int_equal(verify_pack(files, path), 0);
    free(longer);
    free(bytes);
    files_free(files);
}

static void test_every_flipped_bit_is_noticed(void **state) {
    Files *files = new_files(NULL);
    SliceRecord slices[2];
    char path[64];
    FileInfo info;
    make_pack(files, slices, SPAN("1,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n2,b\n3,\"c\nd\"\n"));
    pack_path(&pack_id, path);
    assert_ok(files->info(files, path, &info, error));
    int harmless = 0;
    for (uint64_t bit = 0; bit < 8 * info.bytes; bit++) {
        assert_ok(memory_files_flip(files, path, bit, error));
        uint64_t byte = bit / 8;
        bool in_slice = byte >= slices[0].offset && byte < slices[1].offset + slices[1].length;
        assert_int_equal(verify_pack(files, path), in_slice ? 0 : -EBADMSG);
        for (int i = 0; i < 2; i++) {
            bool hit = byte < slices[0].offset || (byte >= slices[i].offset && byte < slices[i].offset + slices[i].length);
            int result = slice_verify(files, &slices[i], NULL);
            if (hit && result == 0)
                harmless++;
            else
                assert_int_equal(result, hit ? SLICE_READ_DAMAGED : 0);
        }
        assert_ok(memory_files_flip(files, path, bit, error));
    }
    /* A few bits of a zstd frame's header do not matter to a decoder (an unused one, the size of
     * its window): the rows were read right and had the right checksum. */
    assert_in_range(harmless, 0, 2 * 8);
    /* What the ledger says must be what stands there. */
    SliceRecord other = slices[0];
    other.first_row++;
    assert_int_equal(slice_verify(files, &other, NULL), SLICE_READ_DAMAGED);
    other = slices[0];
    other.offset++;
    assert_int_equal(slice_verify(files, &other, NULL), SLICE_READ_DAMAGED);
    other.offset = UINT64_MAX;
    assert_int_equal(slice_verify(files, &other, NULL), SLICE_READ_DAMAGED);
    other = slices[0];
    other.length = UINT64_MAX;
    assert_int_equal(slice_verify(files, &other, NULL), SLICE_READ_DAMAGED);
    other.length = 3;
    assert_int_equal(slice_verify(files, &other, NULL), SLICE_READ_DAMAGED);
    files_free(files);
}

/* Damage in a long slice is told before its last block is given, whatever came before. */
static void test_damage_in_a_long_slice(void **state) {
    Random random = {.state = 8};
    Files *files = new_files(NULL);
    SliceRecord slices[2];
    Buffer rows = {0};
    char path[64];
    make_rows(&rows, &random, 5000, 200);
    make_pack(files, slices, buffer_span(&rows));
    pack_path(&pack_id, path);
    for (int i = 0; i < 100; i++) {
        uint64_t bit = 8 * slices[0].offset + random_below(&random, 8 * slices[0].length);
        assert_ok(memory_files_flip(files, path, bit, error));
        SliceReader *reader;
        Span block;
        size_t given = 0;
        int result;
        assert_ok(slice_open(files, &slices[0], &reader, error));
        while ((result = slice_read(reader, &block, NULL)) == 0) given += block.size;
        assert_int_equal(result, SLICE_READ_DAMAGED);
        assert_true(given < rows.size);
        assert_int_equal(slice_read(reader, &block, NULL), SLICE_READ_DAMAGED);
        slice_close(reader);
        assert_ok(memory_files_flip(files, path, bit, error));
    }
    buffer_deinit(&rows);
    files_free(files);
}

/* Returns the result of writing a pack of two slices; a failed one is abandoned. */
static int try_pack(Files *files, SliceRecord slices[2], Span rows) {
    PackWriter *writer;
    uint64_t bytes;
    int result = pack_create(files, &pack_id, &instance, &writer, NULL);
    if (result < 0) return result;
    for (uint32_t i = 0; i < 2 && result == 0; i++) {
        slices[i] = make_slice(i + 1, 3);
        result = pack_begin_slice(writer, &slices[i], SPAN("{}"), NULL);
        if (result == 0) result = pack_add_rows(writer, rows, NULL);
        if (result == 0) result = pack_end_slice(writer, &slices[i], NULL);
    }
    if (result == 0) return pack_finish(writer, &bytes, NULL);
    assert_true(pack_add_rows(writer, rows, NULL) < 0 || pack_begin_slice(writer, &slices[0], SPAN("{}"), NULL) < 0);
    pack_abandon(writer);
    pack_abandon(NULL);
    return result;
}

static void assert_whole_or_absent(Files *files, const SliceRecord slices[2], bool must_be_there) {
    char path[64];
    FileInfo info;
    pack_path(&pack_id, path);
    int result = files->info(files, path, &info, NULL);
    if (must_be_there) assert_int_equal(result, 0);
    if (result < 0) return;
    assert_int_equal(verify_pack(files, path), 0);
    for (int i = 0; i < 2; i++) assert_ok(slice_verify(files, &slices[i], error));
}

/* Each call to the file system fails once, or from then on; then the power goes. At the final name
 * there is never half a pack. */
static void test_fail_the_nth_call(void **state) {
    Random random = {.state = 5};
    Buffer rows = {0};
    while (rows.size < 600 << 10)
        buffer_append_byte(&rows, (char)('!' + random_below(&random, 90) + 2)); /* hardly compresses: several writes */
    buffer_append_byte(&rows, '\n');
    for (int mode = 0; mode < 4; mode++) {
        bool for_good = mode & 1, crash = mode & 2, finished = false;
        for (uint64_t nth = 1; !finished; nth++) {
            assert_true(nth < 100);
            Files *files = new_files(&random);
            SliceRecord slices[2];
            memory_files_fail(files, nth, nth % 2 ? EIO : ENOSPC, for_good);
            int result = try_pack(files, slices, buffer_span(&rows));
            finished = result == 0;
            memory_files_fail(files, 0, 0, false);
            if (!crash)
                assert_whole_or_absent(files, slices, finished);
            else {
                memory_files_crash(files);
                assert_whole_or_absent(files, slices, finished);
            }
            /* Written anew, it is there. (What an earlier attempt left is for recovery to
             * sweep.) */
            char temporary[80], path[64];
            pack_path(&pack_id, path);
            (void)snprintf(temporary, sizeof temporary, "%s.tmp", path);
            (void)files->remove(files, temporary, NULL);
            assert_int_equal(try_pack(files, slices, buffer_span(&rows)), 0);
            memory_files_crash(files);
            assert_whole_or_absent(files, slices, true);
            files_free(files);
        }
    }
    buffer_deinit(&rows);
}

static int count_name(void *context, const char *name, const FileInfo *info) {
    ++*(int *)context;
    return 0;
}

static void assert_no_pack(Files *files) {
    int names = 0;
    assert_ok(files->list(files, "staging", count_name, &names, error));
    assert_int_equal(names, 0);
}

static void test_failpoints_and_abandon(void **state) {
    static const char *const points[] = {"pack.before-sync=error", "pack.before-rename=error", "pack.after-rename=error"};
    SliceRecord slices[2];
    for (size_t i = 0; i < 3; i++) {
        Files *files = new_files(NULL);
        assert_ok(failpoint_set(points[i], error));
        assert_int_equal(try_pack(files, slices, SPAN("a\n")), -EIO);
        failpoint_clear();
        assert_no_pack(files);
        files_free(files);
    }
    Files *files = new_files(NULL);
    PackWriter *writer;
    assert_ok(pack_create(files, &pack_id, &instance, &writer, error));
    slices[0] = make_slice(1, 1);
    assert_ok(pack_begin_slice(writer, &slices[0], SPAN(""), error));
    assert_true(pack_bytes(writer) > 64);
    pack_abandon(writer); /* in the middle of a slice */
    assert_no_pack(files);
    files_free(files);
}

/* Reading fails now and then: it is told as what it is, not as damage, and the next try reads
 * all. */
static void test_read_errors_are_no_damage(void **state) {
    Files *files = new_files(NULL);
    SliceRecord slices[2];
    make_pack(files, slices, SPAN("1,a\n2,b\n3,c\n"));
    bool done = false;
    for (uint64_t nth = 1; !done; nth++) {
        memory_files_fail(files, nth, EIO, false);
        int result = slice_verify(files, &slices[1], NULL);
        memory_files_fail(files, 0, 0, false);
        done = result == 0;
        assert_true(done || result == -EIO);
        assert_true(nth < 20);
        assert_ok(slice_verify(files, &slices[1], error));
    }
    files_free(files);
}

/* The real file system, and many small slices in one pack. */
static void test_many_slices_on_disk(void **state) {
    char folder[256], staging[280];
    Files *files;
    PackWriter *writer;
    uint64_t bytes;
    fixture_make_folder(folder);
    (void)snprintf(staging, sizeof staging, "%s/staging", folder);
    assert_int_equal(mkdir(staging, 0700), 0);
    assert_ok(files_open(folder, &files, error));
    SliceRecord *slices = calloc(2000, sizeof *slices);
    assert_ok(pack_create(files, &pack_id, &instance, &writer, error));
    for (uint32_t i = 0; i < 2000; i++) {
        slices[i] = make_slice(i + 1, 2);
        put_slice(writer, &slices[i], SPAN("some,\"cells\"\nand,more\n"));
    }
    assert_ok(pack_finish(writer, &bytes, error));
    for (uint32_t i = 0; i < 2000; i += 37) assert_ok(slice_verify(files, &slices[i], error));
    free(slices);
    files_free(files);
    fixture_remove_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_slices_with_runs),
        cmocka_unit_test(test_runs_in_a_description),
        cmocka_unit_test(test_long_rows),
        cmocka_unit_test(test_readable_by_zstd),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_every_flipped_bit_is_noticed),
        cmocka_unit_test(test_damage_in_a_long_slice),
        cmocka_unit_test(test_fail_the_nth_call),
        cmocka_unit_test(test_failpoints_and_abandon),
        cmocka_unit_test(test_read_errors_are_no_damage),
        cmocka_unit_test(test_many_slices_on_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
