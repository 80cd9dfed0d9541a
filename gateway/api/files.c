/* Files of a sink: what is imported at once, from the open one to those that are kept after their
 * import. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "config/source_kind.h"
#include "gateway/api/router.h"
#include "gateway/api/statistics.h"
#include "storage/ledger.h"

#define FILES_SHOWN 100
#define FILES_MAX 1000 /* that are looked at: the newest ones; the control thread reads no more at once */

typedef struct FileList {
    FileRecord *items; /* owned, each; the newest first */
    size_t count, room;
} FileList;

static int take_file(void *context, const FileRecord *file, Error *error) {
    FileList *list = context;
    (void)error;
    array_reserve(list->items, list->count, list->room);
    FileRecord *copy = &list->items[list->count++];
    *copy = *file;
    copy->last_error = file->last_error ? strdup(file->last_error) : NULL;
    copy->target = strdup(file->target);
    copy->label = NULL;
    check(copy->target && (copy->last_error || !file->last_error));
    return 0;
}

static void list_deinit(FileList *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].last_error);
        free(list->items[i].target);
    }
    free(list->items);
}

static bool has_failed(const FileRecord *file) {
    return file->state == FILE_EXPIRED || (file->state == FILE_CLOSED && file->attempts > 0);
}

const char *files_state_name(FileState state) {
    static const char *const names[] = {[FILE_OPEN] = "writing",
                                        [FILE_CLOSED] = "importing",
                                        [FILE_IMPORTED] = "imported",
                                        [FILE_EXPIRED] = "expired",
                                        [FILE_DELETED] = "deleted"};
    return names[state];
}

static json_t *reason_json(CloseReason reason) {
    static const char *const names[] = {[CLOSE_TIME] = "time",     [CLOSE_SIZE] = "size",   [CLOSE_COUNT] = "count",
                                        [CLOSE_CHANGE] = "change", [CLOSE_FLUSH] = "flush", [CLOSE_SHUTDOWN] = "shutdown"};
    return reason == CLOSE_NONE ? json_null() : json_string(names[reason]);
}

static json_t *uuid_json(const Uuid *id) {
    char text[UUID_TEXT_SIZE + 1] = {0};
    uuid_format(id, text);
    return json_string(text);
}

/* "connection", "tableId" and whether it has a key, as the file's own copy of the target says. */
static json_t *table_of(const FileRecord *file, bool *ret_keyed) {
    SinkTarget target;
    json_t *stored = json_loads(file->target, 0, NULL);
    bool is_target = stored && sink_target_load(stored, &target, NULL) == 0;
    json_decref(stored);
    *ret_keyed = false;
    if (!is_target) return json_null();
    for (size_t i = 0; i < target.column_count; i++) *ret_keyed = *ret_keyed || target.columns[i].primary_key;
    json_t *table = json_pack("{s:s, s:s}", "connection", target.connection, "tableId", sink_target_name(&target));
    sink_target_deinit(&target);
    return table ? table : json_null();
}

static void set(json_t *object, const char *name, json_t *take_value) {
    check(json_object_set_new(object, name, take_value) == 0);
}

static json_t *where_json(const FileRecord *file) {
    uint64_t kept_out = file->state == FILE_IMPORTED ? file->rejected_rows + file->damaged_rows + file->left_out : 0;
    json_t *level = statistics_level_json(kept_out < file->rows ? file->rows - kept_out : 0, file->bytes, file->first_time,
                                          file->last_time);
    json_t *json = json_pack("{s:O, s:{s:O}}", "total", level, "levels", file->state == FILE_IMPORTED ? "target" : "staging", level);
    check(json);
    json_decref(level);
    return json;
}

/* `blocker`: the first file of the sink that fails and holds later ones; NULL: there is none. */
static json_t *file_json(const FileRecord *file, const FileRecord *blocker, bool in_order) {
    bool keyed;
    json_t *table = table_of(file, &keyed);
    json_t *json = json_pack("{s:o, s:s, s:o, s:o, s:I}", "fileId", uuid_json(&file->id), "state", files_state_name(file->state), "table",
                             table, "closeReason", reason_json(file->reason), "firstRow", (json_int_t)file->first_row);
    check(json);
    set(json, "openedAt", statistics_time_json(file->opened));
    if (file->closed != 0) set(json, "closingAt", statistics_time_json(file->closed));
    if (file->state == FILE_CLOSED) set(json, "importingAt", statistics_time_json(file->closed));
    if (file->state == FILE_IMPORTED) set(json, "importedAt", statistics_time_json(file->done));
    if (file->state == FILE_EXPIRED || file->state == FILE_DELETED) set(json, "endedAt", statistics_time_json(file->done));
    if (has_failed(file)) {
        set(json, "retryAttempt", json_integer(file->attempts));
        set(json, "retryReason", statistics_error_json(file->last_error ? file->last_error : ""));
        if (file->state == FILE_CLOSED) set(json, "retryAfter", statistics_time_json(file->next_try));
    }
    set(json, "lastError", statistics_error_json(file->last_error ? file->last_error : ""));
    bool blocked = blocker && file->state == FILE_CLOSED && (keyed || in_order) && file->first_row > blocker->first_row;
    set(json, "blockedBy", blocked ? uuid_json(&blocker->id) : json_null());
    set(json, "rejectedRows", json_integer((json_int_t)file->rejected_rows));
    set(json, "damagedRows", json_integer((json_int_t)file->damaged_rows));
    set(json, "statistics", where_json(file));
    return json;
}

/* Those that are done first, then those that wait without a failure, then those that failed; each by
 * the time at which they were opened. */
static int by_state_and_time(const void *one, const void *other) {
    const FileRecord *a = *(FileRecord *const *)one, *b = *(FileRecord *const *)other;
    int rank_a = has_failed(a) ? 2 : a->state == FILE_OPEN || a->state == FILE_CLOSED,
        rank_b = has_failed(b) ? 2 : b->state == FILE_OPEN || b->state == FILE_CLOSED;
    if (rank_a != rank_b) return rank_a - rank_b;
    return a->opened != b->opened ? (a->opened > b->opened) - (a->opened < b->opened)
                                  : (a->first_row > b->first_row) - (a->first_row < b->first_row);
}

static int read_files(ApiRequest *request, FileList *list, Error *error) {
    Txn *txn;
    int r = txn_begin_read(request->view->environment, &txn, error);
    if (r < 0) return r;
    r = ledger_visit_last_files(txn, request->sink->sink->number, FILES_MAX, take_file, list, error);
    txn_abort(txn);
    return r;
}

static json_t *files_json(const FileList *list, bool in_order, bool only_failed, size_t limit) {
    _cleanup_free_ const FileRecord **shown = calloc(list->count + 1, sizeof *shown);
    json_t *files = json_array();
    const FileRecord *blocker = NULL;
    size_t count = 0;
    check(shown && files);
    for (size_t i = 0; i < list->count; i++) {
        const FileRecord *file = &list->items[i];
        if (file->state == FILE_CLOSED && file->attempts > 0 && (!blocker || file->first_row < blocker->first_row)) blocker = file;
        if ((!only_failed || has_failed(file)) && count < limit) shown[count++] = file;
    }
    qsort(shown, count, sizeof(FileRecord *), by_state_and_time);
    for (size_t i = 0; i < count; i++) check(json_array_append_new(files, file_json(shown[i], blocker, in_order)) == 0);
    return files;
}

static bool read_limit(ApiRequest *request, const char *text, size_t *limit) {
    if (!text) return true;
    char *end = NULL;
    unsigned long value = text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;
    if (!end || *end || value < 1 || value > FILES_MAX) {
        api_fail(request, 400, "badRequest", "Parameter \"limit\" must be 1 to %d.", FILES_MAX);
        return false;
    }
    *limit = value;
    return true;
}

void api_statistics_files(ApiRequest *request) {
    bool only_failed = false;
    size_t limit = FILES_SHOWN;
    Error error = {0};
    if (!api_boolean(request, "failedFiles", request->parameters[0], &only_failed) || !read_limit(request, request->parameters[1], &limit))
        return;
    FileList list = {0};
    if (read_files(request, &list, &error) < 0) {
        log_failure(LOG_ERROR, "the files of a sink cannot be read", &error);
        api_fail(request, 500, "internalError", "The files cannot be read.");
    } else {
        bool in_order = request->source->source->kind->bridge != NULL;
        json_t *answer = json_pack("{s:o}", "files", files_json(&list, in_order, only_failed, limit));
        check(answer);
        api_answer(request, 200, answer);
    }
    list_deinit(&list);
}

/* ---- retry and deletion ---------------------------------------------------------------------- */

#define ACTIONS_MAX 16 /* on their way to the writer */

static void action_back(Control *control, PendingRequest *pending, Message *take_message) {
    (void)control;
    FileAction *action = (FileAction *)take_message;
    int result = action->request.result;
    if (!pending->call) {
        /* answered meanwhile */
    } else if (result == 0) {
        json_t *answer = json_pack("{s:o, s:s, s:I}", "fileId", uuid_json(&action->file), "state", action->remove ? "deleted" : "importing",
                                   "rows", (json_int_t)action->rows);
        check(answer);
        api_call_answer(steal(pending->call), 200, answer);
    } else if (result == -ENOENT) {
        api_call_fail(steal(pending->call), 404, "fileNotFound", action->request.error.text);
    } else if (result == -EBUSY || result == -EINVAL) {
        api_call_fail(steal(pending->call), 409, "fileState", action->request.error.text);
    } else {
        log_failure(LOG_ERROR, "a file cannot be retried or deleted", &action->request.error);
        api_call_fail(steal(pending->call), 503, "notStored", "The file cannot be changed now.");
    }
    free(action);
    pending_request_end(pending);
}

static void action_late(Control *control, PendingRequest *pending) {
    (void)control;
    if (pending->call) api_call_fail_stalled(steal(pending->call));
}

/* Is it a file of the sink that the path names? false: answered. */
static bool find_file(ApiRequest *request, Uuid *ret_id) {
    Txn *txn;
    Error error = {0};
    FileRecord file = {0};
    if (!uuid_parse(span_of(request->file_id), ret_id)) {
        api_fail(request, 404, "fileNotFound", "\"%.60s\" is not the id of a file.", request->file_id);
        return false;
    }
    int r = txn_begin_read(request->view->environment, &txn, &error);
    if (r == 0) {
        r = ledger_find_file(txn, ret_id, &file, &error);
        txn_abort(txn);
    }
    bool is_of_sink = r == 0 && file.sink == request->sink->sink->number;
    if (r == 0) file_record_deinit(&file);
    if (is_of_sink) return true;
    if (r < 0) {
        log_failure(LOG_ERROR, "a file of a sink cannot be read", &error);
        api_fail(request, 500, "internalError", "The file cannot be read.");
    } else {
        api_fail(request, 404, "fileNotFound", "The sink \"%s\" has no file %.36s.", request->sink_id, request->file_id);
    }
    return false;
}

static void act(ApiRequest *request, bool remove) {
    Uuid id;
    if (!find_file(request, &id) || !api_has_room(request, action_back, ACTIONS_MAX, "retries and deletions of files")) return;
    log_info("%s %s the file %s of %s/%s", request->by, remove ? "deletes" : "retries", request->file_id, request->source_id,
             request->sink_id);
    PendingRequest *pending = pending_request_new(sizeof *pending, action_back, NULL, api_keep(request));
    pending->late = action_late;
    FileAction *action = calloc(1, sizeof *action);
    check(action);
    action->request.message.kind = MESSAGE_FILE_ACTION;
    action->file = id;
    action->remove = remove;
    control_ask_writer(request->control, pending, &action->request);
}

void api_files_retry(ApiRequest *request) {
    act(request, false);
}

void api_files_delete(ApiRequest *request) {
    act(request, true);
}
