#include "storage/commit_log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "storage/environment_private.h"

/*
 * The value: header (32 bytes), directory (88 bytes an entry, then 32 bytes a run), u64 XXH3-64 of
 * both, row text of each entry in the order of the directory. All little-endian. A GroupEntry and
 * an OffsetRun in memory have the layout of one on disk. Entries of versions 1 and 2 end before
 * the ids.
 */
#define MAGIC 0x474C5153u /* "SQLG" */
#define VERSION 3u
#define VERSION_RUNS 2u    /* entries without ids, and runs */
#define VERSION_NO_RUNS 1u /* entries without ids, no runs */
#define HEADER_BYTES 32
#define ENTRY_BYTES 88
#define OLD_ENTRY_BYTES 56 /* before version 3 */
#define RECORD_RUN_BYTES 32
#define CHECKSUM_BYTES 8

/* Copied and checksummed in runs that stay in the processor's cache. */
#define RUN_BYTES (64u << 10)

_Static_assert(sizeof(GroupEntry) == ENTRY_BYTES, "a GroupEntry is the directory's entry, byte for byte");
_Static_assert(offsetof(GroupEntry, ids) == OLD_ENTRY_BYTES, "an old entry is the beginning of a GroupEntry");
_Static_assert(sizeof(OffsetRun) == RECORD_RUN_BYTES, "an OffsetRun is the directory's run, byte for byte");

typedef struct Header {
    uint32_t magic;
    uint16_t version;
    uint16_t reserved;
    uint64_t commit;
    int64_t commit_time;
    uint32_t entries;
    uint32_t runs; /* 0 in version 1 */
} Header;
_Static_assert(sizeof(Header) == HEADER_BYTES, "no padding in the header");

/* Copies the pieces to `out` and returns the checksum of them all. */
static uint64_t copy_rows(const GroupSegment *segment, char *out, Checksum *checksum) {
    if (segment->entry.bytes <= RUN_BYTES) {
        char *at = out;
        for (size_t i = 0; i < segment->piece_count; i++) {
            Span piece = segment->pieces[i];
            if (piece.size) memcpy(at, piece.data, piece.size);
            at += piece.size;
        }
        check((uint64_t)(at - out) == segment->entry.bytes);
        return checksum_of(out, (size_t)segment->entry.bytes);
    }

    checksum_reset(checksum);
    char *run = out, *at = out;
    for (size_t i = 0; i < segment->piece_count; i++) {
        Span left = segment->pieces[i];
        while (left.size > 0) {
            size_t room = RUN_BYTES - (size_t)(at - run);
            size_t size = left.size < room ? left.size : room;
            memcpy(at, left.data, size);
            at += size;
            left.data += size;
            left.size -= size;
            if ((size_t)(at - run) == RUN_BYTES) {
                checksum_add(checksum, run, RUN_BYTES);
                run = at;
            }
        }
    }
    check((uint64_t)(at - out) == segment->entry.bytes && at - run < RUN_BYTES);
    checksum_add(checksum, run, (size_t)(at - run));
    return checksum_end(checksum);
}

/* Puts the runs of all segments to `out` and returns its end. */
static char *put_runs(const GroupSegment *segments, size_t count, char *out) {
    for (size_t i = 0; i < count; i++) {
        const GroupSegment *segment = &segments[i];
        if (segment->run_count == 0) continue;
        check(offset_runs_have(segment->runs, segment->run_count, segment->entry.sink, segment->entry.rows));
        memcpy(out, segment->runs, segment->run_count * RECORD_RUN_BYTES);
        out += segment->run_count * RECORD_RUN_BYTES;
    }
    return out;
}

int commit_log_append(Txn *txn, uint64_t commit, usec_t commit_time, GroupSegment *segments, size_t count, Error *error) {
    check(txn_may_write(txn));
    check(commit > 0);
    check(count <= UINT32_MAX);
    uint64_t row_bytes = 0;
    size_t run_count = 0;
    for (size_t i = 0; i < count; i++) {
        const GroupSegment *segment = &segments[i];
        uint64_t bytes = 0;
        for (size_t k = 0; k < segment->piece_count; k++) bytes += segment->pieces[k].size;
        check(bytes == segment->entry.bytes);
        check(segment->entry.sink && (segment->entry.rows > 0 || segment->run_count > 0) && segment->entry.first_row > 0);
        check(segment->entry.rows <= UINT64_MAX - segment->entry.first_row);
        check(i == 0 || segments[i - 1].entry.sink < segment->entry.sink);
        row_bytes += bytes;
        run_count += segment->run_count;
    }
    check(run_count <= UINT32_MAX && row_bytes <= COMMIT_LOG_GROUP_BYTES_MAX);

    char key[8];
    store_be64(key, commit);
    size_t directory_bytes = HEADER_BYTES + count * ENTRY_BYTES + run_count * RECORD_RUN_BYTES;
    char *value;
    int result = db_append_reserve(txn, DB_LOG, (Span){.data = key, .size = sizeof key},
                                   directory_bytes + CHECKSUM_BYTES + (size_t)row_bytes, &value, error);
    if (result < 0) {
        if (result == -EEXIST) return error_set(error, -EEXIST, "commit %" PRIu64 " does not follow the last one of the log", commit);
        return result;
    }

    Header header = {.magic = MAGIC,
                     .version = VERSION,
                     .commit = commit,
                     .commit_time = commit_time,
                     .entries = (uint32_t)count,
                     .runs = (uint32_t)run_count};
    memcpy(value, &header, sizeof header);
    char *entry = value + HEADER_BYTES;
    char *rows = value + directory_bytes + CHECKSUM_BYTES;
    for (size_t i = 0; i < count; i++) {
        segments[i].entry.checksum = copy_rows(&segments[i], rows, txn->environment->checksum);
        memcpy(entry, &segments[i].entry, ENTRY_BYTES);
        entry += ENTRY_BYTES;
        rows += segments[i].entry.bytes;
    }
    if (run_count > 0) entry = put_runs(segments, count, entry);
    check(entry == value + directory_bytes && (uint64_t)(rows - entry) == CHECKSUM_BYTES + row_bytes);
    uint64_t checksum = checksum_of(value, directory_bytes);
    memcpy(entry, &checksum, sizeof checksum);
    return 0;
}

static int commit_of(Span key, uint64_t *ret_commit, Error *error) {
    if (key.size != 8) return error_set(error, -EBADMSG, "the log holds a key of %zu bytes", key.size);
    *ret_commit = load_be64(key.data);
    return 0;
}

int commit_log_bounds(Txn *txn, uint64_t *ret_first, uint64_t *ret_last, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    uint64_t first = 0, last = 0;
    Span key = {0}, value;
    int result = db_cursor(txn, DB_LOG, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_FIRST, &key, &value, error);
    if (result == 0) result = commit_of(key, &first, error);
    if (result == 0) result = db_move(cursor, MDB_LAST, &key, &value, error);
    if (result == 0) result = commit_of(key, &last, error);
    if (result < 0) return result;
    *ret_first = first;
    *ret_last = last;
    return 0;
}

int commit_log_since(Txn *txn, usec_t time, uint64_t *ret_commit, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    uint64_t low, high;
    int result = commit_log_bounds(txn, &low, &high, error);
    if (result == 0) result = db_cursor(txn, DB_LOG, &cursor, error);
    if (result < 0) return result;
    high++;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2, found = 0;
        char seek[8];
        Header header;
        store_be64(seek, middle);
        Span key = {.data = seek, .size = sizeof seek}, value;
        result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
        if (result == 0) result = commit_of(key, &found, error);
        if (result < 0) return result;
        bool is_later = result == DB_NOT_FOUND || found >= high; /* nothing is in the upper half */
        if (!is_later && value.size >= sizeof header) {
            memcpy(&header, value.data, sizeof header);
            is_later = header.commit_time >= time;
        }
        if (is_later)
            high = middle;
        else
            low = found + 1;
    }
    *ret_commit = low;
    return 0;
}

int commit_log_trim_from(Txn *txn, uint64_t from, uint64_t commit, size_t most, size_t *ret_deleted, Error *error) {
    check(txn_may_write(txn));
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    size_t deleted = 0;
    char seek[8];
    check(from <= commit || commit == 0);
    store_be64(seek, from);
    int result = db_cursor(txn, DB_LOG, &cursor, error);
    if (result < 0) return result;
    while (deleted < most) {
        Span key = {.data = seek, .size = sizeof seek}, value;
        uint64_t at = 0;
        result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
        if (result == DB_NOT_FOUND) break;
        if (result == 0) result = commit_of(key, &at, error);
        if (result < 0) return result;
        if (at >= commit) break;
        int code = mdb_cursor_del(cursor, 0);
        if (code) return db_error(error, code, "cannot trim the log");
        deleted++;
    }
    check(deleted <= most);
    *ret_deleted = deleted;
    return 0;
}

int commit_log_trim(Txn *txn, uint64_t commit, size_t most, size_t *ret_deleted, Error *error) {
    return commit_log_trim_from(txn, 0, commit, most, ret_deleted, error);
}

struct CommitLogReader {
    MDB_cursor *cursor;
    uint64_t next; /* commit number to go on from */
    GroupEntry *entries;
    Span *rows;
    size_t capacity;
    OffsetRun *runs;
    size_t run_capacity;
};

int commit_log_reader_new(Txn *txn, uint64_t from_commit, CommitLogReader **ret_reader, Error *error) {
    CommitLogReader *reader = calloc(1, sizeof *reader);
    check(reader);
    reader->next = from_commit;
    int result = db_cursor(txn, DB_LOG, &reader->cursor, error);
    if (result < 0) {
        free(reader);
        return result;
    }
    *ret_reader = reader;
    return 0;
}

void commit_log_reader_free(CommitLogReader *reader) {
    if (!reader) return;
    mdb_cursor_close(reader->cursor);
    free(reader->entries);
    free(reader->rows);
    free(reader->runs);
    free(reader);
}

static void make_room(CommitLogReader *reader, size_t count) {
    if (count <= reader->capacity) return;
    free(reader->entries);
    free(reader->rows);
    reader->entries = malloc(count * sizeof *reader->entries);
    reader->rows = malloc(count * sizeof *reader->rows);
    check(reader->entries && reader->rows);
    reader->capacity = count;
}

static void make_room_for_runs(CommitLogReader *reader, size_t count) {
    if (count <= reader->run_capacity) return;
    free(reader->runs);
    reader->runs = malloc(count * sizeof *reader->runs);
    check(reader->runs);
    reader->run_capacity = count;
}

/* Do the runs belong to the entries, and have they their rows? An entry without runs has rows. */
static bool runs_hold(const GroupEntry *entries, size_t count, const OffsetRun *runs, size_t run_count) {
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        size_t begin = at;
        while (at < run_count && runs[at].sink == entries[i].sink) at++;
        if (at == begin && entries[i].rows == 0) return false;
        if (at > begin && !offset_runs_have(runs + begin, at - begin, entries[i].sink, entries[i].rows)) return false;
    }
    return at == run_count;
}

static void get_entries(const char *data, size_t count, size_t entry_size, GroupEntry *entries) {
    for (size_t i = 0; i < count; i++) {
        entries[i].ids = (UuidRange){0};
        memcpy(&entries[i], data + i * entry_size, entry_size);
    }
}

/* false: header or directory do not hold. */
static bool parse(CommitLogReader *reader, Span value, uint64_t commit, GroupView *view) {
    Header header;
    uint64_t checksum;
    if (value.size < HEADER_BYTES + CHECKSUM_BYTES) return false;
    memcpy(&header, value.data, sizeof header);
    if (header.magic != MAGIC || header.version < VERSION_NO_RUNS || header.version > VERSION || header.commit != commit) return false;
    bool has_runs = header.version >= VERSION_RUNS;
    size_t entry_size = header.version >= VERSION ? ENTRY_BYTES : OLD_ENTRY_BYTES;
    size_t count = header.entries, run_count = has_runs ? header.runs : 0, room = value.size - HEADER_BYTES - CHECKSUM_BYTES;
    if (count > room / entry_size || run_count > (room - count * entry_size) / RECORD_RUN_BYTES) return false;
    size_t entry_bytes = count * entry_size, directory_bytes = HEADER_BYTES + entry_bytes + run_count * RECORD_RUN_BYTES;
    memcpy(&checksum, value.data + directory_bytes, sizeof checksum);
    if (checksum != checksum_of(value.data, directory_bytes)) return false;

    make_room(reader, count);
    check(reader->capacity >= count && (count == 0 || reader->entries));
    get_entries(value.data + HEADER_BYTES, count, entry_size, reader->entries);
    if (has_runs) {
        make_room_for_runs(reader, run_count);
        if (run_count) memcpy(reader->runs, value.data + HEADER_BYTES + entry_bytes, run_count * RECORD_RUN_BYTES);
        if (!runs_hold(reader->entries, count, reader->runs, run_count)) return false;
    }
    Cursor text = cursor_of(
        (Span){.data = value.data + directory_bytes + CHECKSUM_BYTES, .size = value.size - directory_bytes - CHECKSUM_BYTES});
    for (size_t i = 0; i < count; i++) reader->rows[i] = cursor_bytes(&text, (size_t)reader->entries[i].bytes);
    if (text.failed || text.at != text.end) return false; /* cut off */

    view->commit_time = header.commit_time;
    view->entries = reader->entries;
    view->rows = reader->rows;
    view->count = count;
    view->runs = reader->runs;
    view->run_count = run_count;
    return true;
}

int commit_log_read(CommitLogReader *reader, GroupView *ret_view, Error *error) {
    char seek[8];
    store_be64(seek, reader->next);
    Span key = {.data = seek, .size = sizeof seek}, value;
    uint64_t commit = 0;
    int result = db_move(reader->cursor, MDB_SET_RANGE, &key, &value, error);
    if (result == DB_NOT_FOUND) return COMMIT_LOG_READ_END;
    if (result == 0) result = commit_of(key, &commit, error);
    if (result < 0) return result;

    GroupView view = {.commit = commit, .value_bytes = value.size};
    reader->next = commit + 1;
    bool intact = parse(reader, value, commit, &view);
    *ret_view = view;
    return intact ? 0 : COMMIT_LOG_READ_DAMAGED;
}

bool group_rows_intact(const GroupEntry *entry, Span rows) {
    return rows.size == entry->bytes && checksum_of(rows.data, rows.size) == entry->checksum;
}

size_t group_runs(const GroupView *view, size_t entry, const OffsetRun **ret_runs) {
    check(entry < view->count);
    uint32_t sink = view->entries[entry].sink;
    size_t low = 0, high = view->run_count, end;
    while (low < high) { /* the first run that is not of a sink before */
        size_t middle = low + (high - low) / 2;
        if (view->runs[middle].sink < sink)
            low = middle + 1;
        else
            high = middle;
    }
    for (end = low; end < view->run_count && view->runs[end].sink == sink;) end++;
    *ret_runs = end > low ? view->runs + low : NULL;
    return end - low;
}
