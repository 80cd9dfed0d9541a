#include "tests/support/memory-files.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

typedef struct Node Node;

/* The names of one folder. */
typedef struct Entry {
    char *name;
    Node *node; /* a reference */
} Entry;
typedef struct Table {
    Entry *entries;
    size_t count;
    size_t capacity;
} Table;

struct Node {
    unsigned references; /* of tables, pending changes and open files */
    bool is_directory;
    bool sync_lost; /* a sync failed: the bytes from `synced` on never reach the disk */
    usec_t modified;
    /* a file */
    Buffer data;
    size_t synced; /* bytes from the front that are durable */
    /* a folder */
    Table now;
    Table durable;
};

/* A change of names that is not durable yet: `folder/name` becomes `node` (NULL: goes), and
 * `old_folder/old_name`, if any, goes. */
typedef struct Change {
    Node *folder;
    char *name;
    Node *node;
    Node *old_folder; /* of an atomic rename: the same as folder; else NULL */
    char *old_name;
    /* The second half of a rename between folders, which goes only if the first half stays: its
     * identity; 0: none. */
    uint64_t needs;
    uint64_t id;
} Change;

typedef struct Plan {
    uint64_t in; /* calls until it strikes; 0: no plan */
    int code;
    bool for_good;
} Plan;

typedef struct MemoryFiles {
    Files files; /* first */
    pthread_mutex_t lock;
    /* all under the lock */
    Random *random;
    Clock *clock;
    Node *root;
    Change *changes; /* oldest first */
    size_t changes_count;
    size_t changes_capacity;
    uint64_t last_id;
    uint64_t crashes;
    uint64_t used;
    uint64_t capacity;
    uint64_t calls[MEMORY_FILES_CALLS_];
    Plan any;
    Plan each[MEMORY_FILES_CALLS_];
    size_t open_count;
} MemoryFiles;

struct File {
    Node *node;
    uint64_t crashes; /* when it was opened */
    bool writable;
    int failed;
};

static MemoryFiles *memory_of(Files *files) {
    return (MemoryFiles *)files;
}

static MemoryFiles *lock(Files *files) {
    MemoryFiles *memory = memory_of(files);
    check(pthread_mutex_lock(&memory->lock) == 0);
    return memory;
}

static int unlock(MemoryFiles *memory, int result) {
    check(pthread_mutex_unlock(&memory->lock) == 0);
    return result;
}

static void *grown(void *array, size_t count, size_t *capacity, size_t item_bytes) {
    if (count < *capacity) return array;
    *capacity = *capacity ? 2 * *capacity : 8;
    array = realloc(array, *capacity * item_bytes);
    check(array);
    return array;
}

static char *copy_text(const char *text) {
    char *copy = strdup(text);
    check(copy);
    return copy;
}

/* ---- nodes and tables ---- */

static Node *node_new(MemoryFiles *memory, bool is_directory) {
    Node *node = calloc(1, sizeof *node);
    check(node);
    node->references = 1;
    node->is_directory = is_directory;
    node->modified = memory->clock->wall(memory->clock);
    return node;
}

static Node *node_ref(Node *node) {
    node->references++;
    return node;
}

static void table_clear(MemoryFiles *memory, Table *table);

static void node_unref(MemoryFiles *memory, Node *node) {
    check(node->references > 0);
    if (--node->references > 0) return;
    memory->used -= node->data.size;
    buffer_deinit(&node->data);
    table_clear(memory, &node->now);
    table_clear(memory, &node->durable);
    free(node);
}

static Entry *table_find(const Table *table, const char *name) {
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->entries[i].name, name) == 0) return &table->entries[i];
    return NULL;
}

static void table_remove(MemoryFiles *memory, Table *table, const char *name) {
    Entry *entry = table_find(table, name);
    if (!entry) return;
    Entry gone = *entry;
    size_t at = (size_t)(entry - table->entries);
    memmove(entry, entry + 1, (--table->count - at) * sizeof *entry);
    free(gone.name);
    node_unref(memory, gone.node);
}

static void table_set(MemoryFiles *memory, Table *table, const char *name, Node *node) {
    node_ref(node);
    Entry *entry = table_find(table, name);
    if (entry) {
        node_unref(memory, entry->node);
        entry->node = node;
        return;
    }
    table->entries = grown(table->entries, table->count, &table->capacity, sizeof *table->entries);
    table->entries[table->count++] = (Entry){.name = copy_text(name), .node = node};
}

static void table_clear(MemoryFiles *memory, Table *table) {
    for (size_t i = 0; i < table->count; i++) {
        free(table->entries[i].name);
        node_unref(memory, table->entries[i].node);
    }
    free(table->entries);
    *table = (Table){0};
}

/* Makes `to` the same as `from`. */
static void table_copy(MemoryFiles *memory, Table *to, const Table *from) {
    Table copy = {0};
    for (size_t i = 0; i < from->count; i++) table_set(memory, &copy, from->entries[i].name, from->entries[i].node);
    table_clear(memory, to);
    *to = copy;
}

/* ---- paths ---- */

/* A place: the folder and the last part of a path, which may or may not be there. The root has no
 * name. */
typedef struct Place {
    Node *folder; /* borrowed */
    char name[256];
    Node *node; /* borrowed; NULL: not there */
} Place;

static int fail(Error *error, int code, const char *what, const char *path) {
    return error_set(error, -code, "cannot %s \"%s\": %s", what, path, strerrordesc_np(code));
}

static int find(MemoryFiles *memory, const char *path, const char *what, Place *ret_place, Error *error) {
    if (!files_path_inside(path)) return error_set(error, -EINVAL, "the path \"%s\" leaves its folder", path);

    Place place = {.node = memory->root};
    for (const char *part = path; *part;) {
        size_t size = strcspn(part, "/");
        const char *next = part + size + (part[size] == '/');
        if (size > 0 && !(size == 1 && *part == '.')) {
            if (!place.node) return fail(error, ENOENT, what, path);
            if (!place.node->is_directory) return fail(error, ENOTDIR, what, path);
            if (size >= sizeof place.name) return fail(error, ENAMETOOLONG, what, path);
            place.folder = place.node;
            memcpy(place.name, part, size);
            place.name[size] = '\0';
            Entry *entry = table_find(&place.folder->now, place.name);
            place.node = entry ? entry->node : NULL;
        }
        part = next;
    }
    *ret_place = place;
    return 0;
}

/* ---- changes of names ---- */

static void change_free(MemoryFiles *memory, Change *change) {
    free(change->name);
    free(change->old_name);
    node_unref(memory, change->folder);
    if (change->node) node_unref(memory, change->node);
    if (change->old_folder) node_unref(memory, change->old_folder);
}

static void change_apply(MemoryFiles *memory, const Change *change, bool durable) {
    Table *table = durable ? &change->folder->durable : &change->folder->now;
    /* The node stays alive through the change's own reference. */
    if (change->old_folder) table_remove(memory, table, change->old_name);
    if (change->node) {
        table_set(memory, table, change->name, change->node);
    } else {
        table_remove(memory, table, change->name);
    }
}

/* Carries it out, and remembers that it is not durable. Returns its identity. */
static uint64_t change_names(MemoryFiles *memory, Node *folder, const char *name, Node *node, const char *old_name, uint64_t needs) {
    Change change = {
        .folder = node_ref(folder),
        .name = copy_text(name),
        .node = node ? node_ref(node) : NULL,
        .old_folder = old_name ? node_ref(folder) : NULL,
        .old_name = old_name ? copy_text(old_name) : NULL,
        .needs = needs,
        .id = ++memory->last_id,
    };
    memory->changes = grown(memory->changes, memory->changes_count, &memory->changes_capacity, sizeof *memory->changes);
    memory->changes[memory->changes_count++] = change;
    change_apply(memory, &change, false);
    folder->modified = memory->clock->wall(memory->clock);
    return change.id;
}

static bool changes_name(const Change *change, const Node *folder, const char *name) {
    if (change->folder != folder) return false;
    return strcmp(change->name, name) == 0 || (change->old_name && strcmp(change->old_name, name) == 0);
}

/* Whether `later` can only be durable when `earlier` is. */
static bool builds_on(const Change *later, const Change *earlier) {
    if (later->needs == earlier->id) return true;
    return changes_name(earlier, later->folder, later->name) || (later->old_name && changes_name(earlier, later->folder, later->old_name));
}

/* Makes the chosen changes durable, oldest first; drops the others from the list if `crash`, else
 * keeps them. */
static void settle(MemoryFiles *memory, const bool *chosen, bool crash) {
    size_t kept = 0;
    for (size_t i = 0; i < memory->changes_count; i++) {
        Change change = memory->changes[i];
        if (chosen[i]) change_apply(memory, &change, true);
        if (chosen[i] || crash) {
            change_free(memory, &change);
        } else {
            memory->changes[kept++] = change;
        }
    }
    memory->changes_count = kept;
}

static bool *choices_new(const MemoryFiles *memory) {
    bool *chosen = calloc(memory->changes_count + 1, sizeof *chosen);
    check(chosen);
    return chosen;
}

static void make_names_durable(MemoryFiles *memory, const Node *folder) {
    bool *chosen = choices_new(memory);
    /* From the youngest back, so that what a chosen one builds on is chosen too. */
    for (size_t i = memory->changes_count; i-- > 0;) {
        if (memory->changes[i].folder == folder) chosen[i] = true;
        for (size_t j = 0; chosen[i] && j < i; j++)
            if (builds_on(&memory->changes[i], &memory->changes[j])) chosen[j] = true;
    }
    settle(memory, chosen, false);
    free(chosen);
}

/* ---- the crash ---- */

static bool coin(MemoryFiles *memory) {
    return memory->random && random_below(memory->random, 2) == 0;
}

static void crash_names(MemoryFiles *memory) {
    bool *chosen = choices_new(memory);
    for (size_t i = 0; i < memory->changes_count; i++) {
        chosen[i] = coin(memory);
        for (size_t j = 0; chosen[i] && j < i; j++)
            if (!chosen[j] && builds_on(&memory->changes[i], &memory->changes[j])) chosen[i] = false;
    }
    settle(memory, chosen, true);
    free(chosen);
}

static void crash_bytes(MemoryFiles *memory, Node *node) {
    size_t unsynced = node->data.size - node->synced, kept = 0;
    if (unsynced > 0 && coin(memory)) kept = coin(memory) ? unsynced : random_below(memory->random, unsynced + 1);
    /* The length may have reached the disk before the bytes did. */
    if (kept > 0 && (node->sync_lost || random_below(memory->random, 4) == 0)) {
        size_t zeros = random_below(memory->random, kept) + 1;
        memset(node->data.data + node->synced + kept - zeros, 0, zeros);
    }
    memory->used -= unsynced - kept;
    node->data.size = node->synced + kept;
    node->synced = node->data.size;
    node->sync_lost = false;
}

static void crash_tree(MemoryFiles *memory, Node *node) {
    if (!node->is_directory) {
        crash_bytes(memory, node);
        return;
    }
    table_copy(memory, &node->now, &node->durable);
    for (size_t i = 0; i < node->now.count; i++) crash_tree(memory, node->now.entries[i].node);
}

void memory_files_crash(Files *files) {
    MemoryFiles *memory = lock(files);
    memory->crashes++;
    crash_names(memory);
    crash_tree(memory, memory->root);
    (void)unlock(memory, 0);
}

/* ---- planned failures ---- */

static bool strikes(Plan *plan) {
    if (plan->in == 0) return false;
    if (plan->in > 1) {
        plan->in--;
        return false;
    }
    if (!plan->for_good) plan->in = 0;
    return true;
}

/* Counts the call; the errno it has to fail with, or 0. */
static int planned(MemoryFiles *memory, MemoryFilesCall call) {
    memory->calls[call]++;
    int code = strikes(&memory->any) ? memory->any.code : 0;
    if (strikes(&memory->each[call]) && !code) code = memory->each[call].code;
    return code;
}

static void plan_set(Plan *plan, uint64_t nth, int code, bool for_good) {
    check(nth == 0 || code != 0);
    *plan = (Plan){.in = nth, .code = abs(code), .for_good = for_good};
}

void memory_files_fail(Files *files, uint64_t nth, int code, bool for_good) {
    MemoryFiles *memory = lock(files);
    plan_set(&memory->any, nth, code, for_good);
    if (nth == 0) memset(memory->each, 0, sizeof memory->each);
    (void)unlock(memory, 0);
}

void memory_files_fail_call(Files *files, MemoryFilesCall call, uint64_t nth, int code, bool for_good) {
    MemoryFiles *memory = lock(files);
    check((unsigned)call < MEMORY_FILES_CALLS_);
    plan_set(&memory->each[call], nth, code, for_good);
    (void)unlock(memory, 0);
}

/* ---- the seam ---- */

static File *file_new(MemoryFiles *memory, Node *node, bool writable) {
    File *file = calloc(1, sizeof *file);
    check(file);
    *file = (File){.node = node_ref(node), .crashes = memory->crashes, .writable = writable};
    memory->open_count++;
    return file;
}

static int create_locked(MemoryFiles *memory, const char *path, File **ret_file, Error *error) {
    Place place;
    int code = planned(memory, MEMORY_FILES_CREATE);
    if (code) return fail(error, code, "create", path);
    int result = find(memory, path, "create", &place, error);
    if (result < 0) return result;
    if (place.node) return fail(error, EEXIST, "create", path);

    Node *node = node_new(memory, false);
    (void)change_names(memory, place.folder, place.name, node, NULL, 0);
    *ret_file = file_new(memory, node, true);
    node_unref(memory, node);
    return 0;
}

static int memory_create(Files *files, const char *path, mode_t mode, File **ret_file, Error *error) {
    MemoryFiles *memory = lock(files);
    return unlock(memory, create_locked(memory, path, ret_file, error));
}

static int open_locked(MemoryFiles *memory, const char *path, File **ret_file, Error *error) {
    Place place;
    int code = planned(memory, MEMORY_FILES_OPEN);
    if (code) return fail(error, code, "open", path);
    int result = find(memory, path, "open", &place, error);
    if (result < 0) return result;
    if (!place.node) return fail(error, ENOENT, "open", path);
    *ret_file = file_new(memory, place.node, false);
    return 0;
}

static int memory_open(Files *files, const char *path, File **ret_file, Error *error) {
    MemoryFiles *memory = lock(files);
    return unlock(memory, open_locked(memory, path, ret_file, error));
}

static int usable(const MemoryFiles *memory, const File *file, Error *error) {
    if (file->crashes != memory->crashes) return error_set(error, -EBADF, "the file was opened before the crash");
    if (file->failed) return error_set(error, file->failed, "the file failed before: it has to be written again");
    return 0;
}

static void append_bytes(MemoryFiles *memory, Node *node, Span bytes) {
    buffer_append_span(&node->data, bytes);
    memory->used += bytes.size;
    node->modified = memory->clock->wall(memory->clock);
}

static int append_locked(MemoryFiles *memory, File *file, Span bytes, Error *error) {
    int code = planned(memory, MEMORY_FILES_APPEND);
    int result = usable(memory, file, error);
    if (result < 0) return result;
    if (!file->writable) return error_set(error, -EBADF, "the file is open to read only");

    Span fitting = bytes;
    if (code) {
        fitting.size = memory->random ? random_below(memory->random, bytes.size + 1) : 0;
    } else if (memory->capacity && bytes.size > 0) {
        uint64_t room = memory->capacity > memory->used ? memory->capacity - memory->used : 0;
        if (room < bytes.size) {
            fitting.size = room;
            code = ENOSPC;
        }
    }
    append_bytes(memory, file->node, fitting);
    if (code) return file->failed = error_set(error, -code, "cannot append: %s", strerrordesc_np(code));
    return 0;
}

static int memory_append(Files *files, File *file, Span bytes, Error *error) {
    MemoryFiles *memory = lock(files);
    return unlock(memory, append_locked(memory, file, bytes, error));
}

static int read_locked(MemoryFiles *memory, File *file, uint64_t offset, void *buffer, size_t size, Error *error) {
    int code = planned(memory, MEMORY_FILES_READ);
    if (file->crashes != memory->crashes) return error_set(error, -EBADF, "the file was opened before the crash");
    if (code) return error_set(error, -code, "cannot read: %s", strerrordesc_np(code));
    if (file->writable) return error_set(error, -EBADF, "the file is open to append only");
    if (size == 0) return 0;
    if (file->node->is_directory) return error_set(error, -EISDIR, "cannot read: %s", strerrordesc_np(EISDIR));
    const Buffer *data = &file->node->data;
    if (offset > data->size || size > data->size - offset) return error_set(error, -ENODATA, "the file ends too early");
    memcpy(buffer, data->data + offset, size);
    return 0;
}

static int memory_read(Files *files, File *file, uint64_t offset, void *buffer, size_t size, Error *error) {
    MemoryFiles *memory = lock(files);
    return unlock(memory, read_locked(memory, file, offset, buffer, size, error));
}

static FileInfo info_of(const Node *node) {
    return (FileInfo){.bytes = node->data.size, .modified = node->modified, .is_directory = node->is_directory};
}

static int info_locked(MemoryFiles *memory, const char *path, FileInfo *ret_info, Error *error) {
    Place place;
    int code = planned(memory, MEMORY_FILES_INFO);
    if (code) return fail(error, code, "look at", path);
    int result = find(memory, path, "look at", &place, error);
    if (result < 0) return result;
    if (!place.node) return fail(error, ENOENT, "look at", path);
    *ret_info = info_of(place.node);
    return 0;
}

static int memory_info(Files *files, const char *path, FileInfo *ret_info, Error *error) {
    MemoryFiles *memory = lock(files);
    return unlock(memory, info_locked(memory, path, ret_info, error));
}

static int sync_locked(MemoryFiles *memory, File *file, Error *error) {
    int code = planned(memory, MEMORY_FILES_SYNC);
    int result = usable(memory, file, error);
    if (result < 0) return result;
    if (code) {
        if (file->node->synced < file->node->data.size) file->node->sync_lost = true;
        return file->failed = error_set(error, -code, "cannot sync: %s", strerrordesc_np(code));
    }
    if (!file->node->sync_lost) file->node->synced = file->node->data.size;
    return 0;
}

static int memory_sync(Files *files, File *file, Error *error) {
    MemoryFiles *memory = lock(files);
    return unlock(memory, sync_locked(memory, file, error));
}

static void memory_close(Files *files, File *file) {
    if (!file) return;
    MemoryFiles *memory = lock(files);
    check(memory->open_count > 0);
    memory->open_count--;
    node_unref(memory, file->node);
    free(file);
    (void)unlock(memory, 0);
}

static bool is_below(const Node *node, const Node *folder) {
    if (node == folder) return true;
    for (size_t i = 0; i < folder->now.count; i++)
        if (is_below(node, folder->now.entries[i].node)) return true;
    return false;
}

/* What rename(2) says to these two. */
static int rename_fault(const Place *from, const Place *to) {
    if (!from->node) return ENOENT;
    if (!from->folder || !to->folder) return EBUSY; /* the root */
    /* A crash in the middle of such moves could tie folders into a ring. */
    if (from->node->is_directory && from->folder != to->folder) return EXDEV;
    if (!to->node || to->node == from->node) return 0;
    if (is_below(from->folder, to->node)) return ENOTEMPTY;
    if (from->node->is_directory && !to->node->is_directory) return ENOTDIR;
    if (!from->node->is_directory && to->node->is_directory) return EISDIR;
    return to->node->is_directory && to->node->now.count > 0 ? ENOTEMPTY : 0;
}

static int rename_locked(MemoryFiles *memory, const char *from_path, const char *to_path, Error *error) {
    Place from = {0}, to = {0};
    int code = planned(memory, MEMORY_FILES_RENAME);
    if (code) return fail(error, code, "rename", from_path);
    int result = find(memory, from_path, "rename", &from, error);
    if (result == 0) result = find(memory, to_path, "rename to", &to, error);
    if (result < 0) return result;
    code = rename_fault(&from, &to);
    if (code) return fail(error, code, "rename", from_path);
    if (to.node == from.node) return 0;

    if (from.folder == to.folder) {
        (void)change_names(memory, to.folder, to.name, from.node, from.name, 0);
    } else {
        uint64_t added = change_names(memory, to.folder, to.name, from.node, NULL, 0);
        (void)change_names(memory, from.folder, from.name, NULL, NULL, added);
    }
    return 0;
}

static int memory_rename(Files *files, const char *from, const char *to, Error *error) {
    MemoryFiles *memory = lock(files);
    return unlock(memory, rename_locked(memory, from, to, error));
}

static int remove_locked(MemoryFiles *memory, const char *path, Error *error) {
    Place place;
    int code = planned(memory, MEMORY_FILES_REMOVE);
    if (code) return fail(error, code, "remove", path);
    int result = find(memory, path, "remove", &place, error);
    if (result < 0) return result;
    if (!place.node) return fail(error, ENOENT, "remove", path);
    if (!place.folder) return fail(error, EBUSY, "remove", path);
    if (place.node->now.count > 0) return fail(error, ENOTEMPTY, "remove", path);
    (void)change_names(memory, place.folder, place.name, NULL, NULL, 0);
    return 0;
}

static int memory_remove(Files *files, const char *path, Error *error) {
    MemoryFiles *memory = lock(files);
    return unlock(memory, remove_locked(memory, path, error));
}

static int make_directory_locked(MemoryFiles *memory, const char *path, Error *error) {
    Place place;
    int code = planned(memory, MEMORY_FILES_MAKE_DIRECTORY);
    if (code) return fail(error, code, "make the folder", path);
    int result = find(memory, path, "make the folder", &place, error);
    if (result < 0) return result;
    if (place.node) return place.node->is_directory ? 0 : fail(error, EEXIST, "make the folder", path);

    Node *node = node_new(memory, true);
    (void)change_names(memory, place.folder, place.name, node, NULL, 0);
    node_unref(memory, node);
    return 0;
}

static int memory_make_directory(Files *files, const char *path, mode_t mode, Error *error) {
    MemoryFiles *memory = lock(files);
    return unlock(memory, make_directory_locked(memory, path, error));
}

/* The folder at `path`. */
static int find_folder(MemoryFiles *memory, MemoryFilesCall call, const char *what, const char *path, Node **ret_folder, Error *error) {
    Place place;
    int code = planned(memory, call);
    if (code) return fail(error, code, what, path);
    int result = find(memory, path, what, &place, error);
    if (result < 0) return result;
    if (!place.node) return fail(error, ENOENT, what, path);
    if (!place.node->is_directory) return fail(error, ENOTDIR, what, path);
    *ret_folder = place.node;
    return 0;
}

static int memory_sync_directory(Files *files, const char *path, Error *error) {
    MemoryFiles *memory = lock(files);
    Node *folder;
    int result = find_folder(memory, MEMORY_FILES_SYNC_DIRECTORY, "sync the folder", path, &folder, error);
    if (result == 0) make_names_durable(memory, folder);
    return unlock(memory, result);
}

static int memory_list(Files *files, const char *path, FilesVisit visit, void *context, Error *error) {
    MemoryFiles *memory = lock(files);
    Node *folder;
    int result = find_folder(memory, MEMORY_FILES_LIST, "list", path, &folder, error);
    if (result < 0) return unlock(memory, result);

    /* Copied: the visits may change the folder. */
    size_t count = folder->now.count;
    char **names = calloc(count + 1, sizeof *names);
    FileInfo *infos = calloc(count + 1, sizeof *infos);
    check(names && infos);
    for (size_t i = 0; i < count; i++) {
        names[i] = copy_text(folder->now.entries[i].name);
        infos[i] = info_of(folder->now.entries[i].node);
    }
    (void)unlock(memory, 0);

    for (size_t i = 0; i < count; i++) {
        if (result == 0) result = visit(context, names[i], &infos[i]);
        free(names[i]);
    }
    free(names);
    free(infos);
    return result;
}

static int memory_space(Files *files, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes, Error *error) {
    MemoryFiles *memory = lock(files);
    int code = planned(memory, MEMORY_FILES_SPACE);
    if (code) return unlock(memory, fail(error, code, "look at", "the file system"));
    uint64_t total = memory->capacity ? memory->capacity : (uint64_t)1 << 40;
    *ret_total_bytes = total;
    *ret_free_bytes = total > memory->used ? total - memory->used : 0;
    return unlock(memory, 0);
}

static void memory_free(Files *files) {
    MemoryFiles *memory = memory_of(files);
    check(memory->open_count == 0);
    for (size_t i = 0; i < memory->changes_count; i++) change_free(memory, &memory->changes[i]);
    free(memory->changes);
    node_unref(memory, memory->root);
    check(memory->used == 0);
    check(pthread_mutex_destroy(&memory->lock) == 0);
    free(memory);
}

Files *memory_files_new(Random *random, Clock *clock) {
    MemoryFiles *memory = calloc(1, sizeof *memory);
    check(memory);
    memory->files = (Files){
        .create = memory_create,
        .open = memory_open,
        .append = memory_append,
        .read = memory_read,
        .info = memory_info,
        .sync = memory_sync,
        .close = memory_close,
        .rename = memory_rename,
        .remove = memory_remove,
        .make_directory = memory_make_directory,
        .sync_directory = memory_sync_directory,
        .list = memory_list,
        .names = memory_list,
        .space = memory_space,
        .free = memory_free,
    };
    check(pthread_mutex_init(&memory->lock, NULL) == 0);
    memory->random = random;
    memory->clock = clock ? clock : clock_system();
    memory->root = node_new(memory, true);
    return &memory->files;
}

/* ---- looking at it from outside ---- */

void memory_files_capacity(Files *files, uint64_t bytes) {
    MemoryFiles *memory = lock(files);
    memory->capacity = bytes;
    (void)unlock(memory, 0);
}

uint64_t memory_files_calls_of(Files *files, MemoryFilesCall call) {
    MemoryFiles *memory = lock(files);
    check((unsigned)call < MEMORY_FILES_CALLS_);
    uint64_t calls = memory->calls[call];
    (void)unlock(memory, 0);
    return calls;
}

uint64_t memory_files_calls(Files *files) {
    MemoryFiles *memory = lock(files);
    uint64_t calls = 0;
    for (int i = 0; i < MEMORY_FILES_CALLS_; i++) calls += memory->calls[i];
    (void)unlock(memory, 0);
    return calls;
}

uint64_t memory_files_used(Files *files) {
    MemoryFiles *memory = lock(files);
    uint64_t used = memory->used;
    (void)unlock(memory, 0);
    return used;
}

static uint64_t unsynced_bytes(const Node *node) {
    uint64_t bytes = node->data.size - node->synced;
    for (size_t i = 0; i < node->now.count; i++) bytes += unsynced_bytes(node->now.entries[i].node);
    return bytes;
}

uint64_t memory_files_unsynced(Files *files) {
    MemoryFiles *memory = lock(files);
    uint64_t unsynced = memory->changes_count + unsynced_bytes(memory->root);
    (void)unlock(memory, 0);
    return unsynced;
}

int memory_files_flip(Files *files, const char *path, uint64_t bit, Error *error) {
    MemoryFiles *memory = lock(files);
    Place place;
    int result = find(memory, path, "damage", &place, error);
    if (result < 0) return unlock(memory, result);
    if (!place.node) return unlock(memory, fail(error, ENOENT, "damage", path));
    if (bit / 8 >= place.node->data.size) return unlock(memory, fail(error, EINVAL, "damage", path));
    place.node->data.data[bit / 8] ^= (char)(1u << bit % 8);
    return unlock(memory, 0);
}
