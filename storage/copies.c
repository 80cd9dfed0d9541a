#include "storage/copies.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/text.h"
#include "storage/ledger_private.h"
#include "storage/names.h"
#include "storage/pack.h"
#include "storage/record.h"

#define ORPHANS "staging/orphans"
#define EXPIRED "staging/expired"
#define VERSION 1
#define NEW_AT_ONCE 200

typedef struct CopyRecord {
    usec_t since; /* running time */
    uint64_t rows;
} CopyRecord;

/* Key: 'O' and the path. Longer ones than LMDB takes are no names of ours. */
#define PATH_MOST 500

static Buffer key_of(const char *path) {
    Buffer key = {0};
    buffer_append_byte(&key, LEDGER_COPY);
    buffer_append_text(&key, path);
    return key;
}

int copies_note(Txn *txn, const char *path, usec_t running, uint64_t rows, Error *error) {
    check(txn_may_write(txn) && running >= 0 && strlen(path) <= PATH_MOST);
    _cleanup_(buffer_deinit) Buffer key = key_of(path), record = {0};
    record_begin(&record, LEDGER_COPY, VERSION);
    buffer_put_u64(&record, (uint64_t)running);
    buffer_put_u64(&record, rows);
    record_seal(&record);
    return db_put(txn, DB_FILES, buffer_span(&key), buffer_span(&record), error);
}

static int decode(Span value, CopyRecord *ret_copy, Error *error) {
    static const char what[] = "an orphan or a copy of an expired file";
    Cursor fields;
    int result = record_open(value, LEDGER_COPY, VERSION, what, &fields, error);
    if (result < 0) return result;
    ret_copy->since = (usec_t)cursor_u64(&fields);
    ret_copy->rows = cursor_u64(&fields);
    return record_read_whole(&fields, what, error);
}

static int find(Txn *txn, const char *path, CopyRecord *ret_copy, Error *error) {
    _cleanup_(buffer_deinit) Buffer key = key_of(path);
    Span value;
    int result = db_get(txn, DB_FILES, buffer_span(&key), &value, error);
    return result == 0 ? decode(value, ret_copy, error) : result;
}

static void add(Copies *copies, const char *path, uint64_t rows, CopyChange change) {
    array_reserve(copies->items, copies->count, copies->capacity);
    Copy *copy = &copies->items[copies->count++];
    *copy = (Copy){.path = text_copy(path), .rows = rows, .change = change};
}

/* 0 when it does not say. */
static uint64_t rows_of_pack(Files *files, const char *path) {
    PackDirectory directory;
    uint64_t rows = 0;
    if (pack_read_directory(files, path, &directory, NULL) < 0) return 0;
    for (size_t i = 0; i < directory.count; i++) rows += directory.slices[i].rows;
    pack_directory_deinit(&directory);
    return rows;
}

/* By the id in its name, while the ledger knows the file. */
static uint64_t rows_of_file(Txn *txn, const char *name) {
    FileRecord file;
    Uuid id;
    if (strlen(name) < UUID_TEXT_SIZE || !uuid_parse((Span){.data = name, .size = UUID_TEXT_SIZE}, &id)) return 0;
    if (ledger_find_file(txn, &id, &file, NULL) != 0) return 0;
    uint64_t rows = file_readable_rows(&file);
    file_record_deinit(&file);
    return rows;
}

typedef struct Review {
    Files *files;
    Txn *txn;
    usec_t running;
    Copies *copies;
    size_t new_count;
} Review;

static int review_file(Review *review, const char *folder, const char *name, usec_t keep, Error *error) {
    _cleanup_free_ char *path = name_in(folder, name);
    CopyRecord copy;
    if (text_ends(span_of(name), SPAN(".tmp")) || strlen(path) > PATH_MOST) return 0;
    int result = find(review->txn, path, &copy, error);
    if (result < 0) return result;
    if (result == 0) {
        if (keep > 0 && review->running - copy.since >= keep) add(review->copies, path, copy.rows, COPY_OVER);
        return 0;
    }
    if (review->new_count == NEW_AT_ONCE) {
        review->copies->more = true;
        return 0;
    }
    review->new_count++;
    bool is_pack = text_ends(span_of(name), SPAN(".pack"));
    add(review->copies, path, is_pack ? rows_of_pack(review->files, path) : rows_of_file(review->txn, name), COPY_NEW);
    return 0;
}

static int review_folder(Review *review, const char *folder, usec_t keep, Error *error) {
    _cleanup_(names_deinit) Names names = {0};
    int result = names_list(review->files, folder, &names, error);
    for (size_t i = 0; i < names.count && result == 0; i++) result = review_file(review, folder, names.names[i], keep, error);
    if (result < 0) return result;

    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Buffer prefix = key_of(folder);
    buffer_append_byte(&prefix, '/');
    Span key = buffer_span(&prefix), value;
    result = db_cursor(review->txn, DB_FILES, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (result == 0 && span_starts_with(key, buffer_span(&prefix))) {
        _cleanup_free_ char *path = strndup(key.data + 1, key.size - 1);
        check(path);
        if (!names_have(&names, path + strlen(folder) + 1)) add(review->copies, path, 0, COPY_GONE);
        result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    buffer_deinit(&prefix);
    return result < 0 ? result : 0;
}

int copies_review(Files *files, Txn *txn, usec_t running, const CopiesKept *kept, Copies *ret_copies, Error *error) {
    Copies copies = {0};
    Review review = {.files = files, .txn = txn, .running = running, .copies = &copies};
    int result = review_folder(&review, ORPHANS, kept->orphans, error);
    if (result == 0) result = review_folder(&review, EXPIRED, kept->expired, error);
    if (result < 0) {
        copies_deinit(&copies);
        return result;
    }
    *ret_copies = copies;
    return 0;
}

int copies_record(Txn *txn, const Copies *copies, usec_t running, Error *error) {
    check(txn_may_write(txn));
    for (size_t i = 0; i < copies->count; i++) {
        const Copy *copy = &copies->items[i];
        _cleanup_(buffer_deinit) Buffer key = key_of(copy->path);
        int result = copy->change == COPY_NEW ? copies_note(txn, copy->path, running, copy->rows, error)
                                              : db_remove(txn, DB_FILES, buffer_span(&key), error);
        if (result < 0) return result;
    }
    return 0;
}

void copies_remove(Files *files, const Copies *copies) {
    for (size_t i = 0; i < copies->count; i++) {
        const Copy *copy = &copies->items[i];
        Error error = {0};
        if (copy->change != COPY_OVER) continue;
        int result = files->remove(files, copy->path, &error);
        if (result < 0 && result != -ENOENT) {
            log_failure(LOG_WARNING, "cannot remove an old copy; its retention time starts again", &error);
            continue;
        }
        metrics_add(METRIC_COPIES_REMOVED_ROWS, copy->rows);
        log_warning("removed \"%s\" with %" PRIu64 " rows: its retention has passed", copy->path, copy->rows);
    }
}

void copies_deinit(Copies *copies) {
    for (size_t i = 0; i < copies->count; i++) free(copies->items[i].path);
    free(copies->items);
    *copies = (Copies){0};
}
