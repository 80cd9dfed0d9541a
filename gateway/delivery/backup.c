#include "gateway/delivery/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "gateway/flow/messages.h"
#include "sinks/driver.h"
#include "sinks/sqlite_copy.h"
#include "storage/backup_folder.h"
#include "storage/ledger.h"
#include "storage/names.h"
#include "storage/pack.h"

#define UNFINISHED ".unfinished" /* end of the name of a backup that is not complete */
#define DATABASE "sluice.mdb/data.mdb"
#define POINT_TRIES 3
#define COPY_BEGINS_MS 1500       /* less than the writer holds still */
#define SPACE_RESERVE (64u << 20) /* bytes that a backup leaves free */
#define ANSWER_EVERY (100 * USEC_MS)

struct Backups {
    BackupsOptions options;
    char *directory; /* owned; absolute */
    Mailbox *mailbox;
    Thread thread;
    atomic_bool stops;
};

/* One backup. */
typedef struct Work {
    Backups *backups;
    BackupRun *run;
    char *folder; /* owned: its temporary name */
    BackupManifest manifest;
    bool at_point; /* the writer keeps staging files for it */
    uint64_t bytes;
    Uuid *packs; /* owned: those that the database names */
    size_t pack_count, pack_capacity;
} Work;

/* ---- the writer ------------------------------------------------------------------------------ */

static void refuse_busy(BackupRun *run) {
    run->request.result = error_set(&run->request.error, -EBUSY, "another backup is running");
    request_answer(&run->request);
}

/* Sends the order and waits until it is back: the writer answers as long as its thread runs. */
static int order(Work *work, BackupStep step, bool complete, BackupOrder *ret_order, Error *error) {
    Backups *backups = work->backups;
    BackupOrder *sent = calloc(1, sizeof *sent);
    check(sent);
    sent->request.message.kind = MESSAGE_BACKUP_ORDER;
    sent->request.reply = backups->mailbox;
    sent->step = step;
    sent->complete = complete;
    sent->number = work->manifest.number;
    mailbox_post(backups->options.writer, &sent->request.message);
    for (bool back = false; !back;) {
        (void)mailbox_wait(backups->mailbox, ANSWER_EVERY);
        for (Message *message = mailbox_take(backups->mailbox), *next; message; message = next) {
            next = message->next;
            if (message->kind == MESSAGE_BACKUP)
                refuse_busy((BackupRun *)message);
            else
                back = true;
        }
    }
    int r = sent->request.result;
    if (r < 0) (void)error_set(error, r, "%s", sent->request.error.text);
    if (ret_order) *ret_order = *sent;
    free(sent);
    return r;
}

/* ---- the database ---------------------------------------------------------------------------- */

typedef struct Copying {
    Environment *environment;
    int fd;
    int result;
    Error error;
    Thread thread;
} Copying;

static void *run_copy(void *context) {
    Copying *copying = context;
    copying->result = environment_copy(copying->environment, copying->fd, &copying->error);
    (void)close(copying->fd);
    return NULL;
}

static int note_pack(void *context, const PackRecord *pack, Error *error) {
    Work *work = context;
    (void)error;
    array_reserve(work->packs, work->pack_count, work->pack_capacity);
    work->packs[work->pack_count++] = pack->id;
    return 0;
}

/* Those of the copy: the writer changes no file between the two transactions. */
static int list_packs(Work *work, Error *error) {
    Txn *txn;
    int r = txn_begin_read(work->backups->options.environment, &txn, error);
    if (r < 0) return r;
    work->pack_count = 0;
    r = ledger_visit_packs(txn, note_pack, work, error);
    txn_abort(txn);
    return r;
}

static int wait_for_copy(int fd, Error *error) {
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    int ready;
    do ready = poll(&entry, 1, COPY_BEGINS_MS);
    while (ready < 0 && errno == EINTR);
    return ready > 0 ? 0 : error_set(error, -ETIMEDOUT, "the copy of the database did not begin in time");
}

static int copy_while_held(Work *work, int from, Error *error) {
    uint64_t bytes, checksum;
    _cleanup_free_ char *path = name_in(work->folder, DATABASE);
    Error why = {0};
    int r = list_packs(work, error);
    if (r == 0) r = wait_for_copy(from, error);
    int released = order(work, BACKUP_RELEASE, false, NULL, &why);
    if (r == 0 && released < 0) r = error_set(error, released, "%s", why.text);
    if (r == 0) r = failpoint_hit("backup.after-point") ? error_set(error, -EIO, "failpoint backup.after-point") : 0;
    if (r == 0) r = backup_copy_stream(from, path, &work->backups->stops, &bytes, &checksum, error);
    if (r < 0) return r;
    work->bytes += bytes;
    backup_manifest_add(&work->manifest, DATABASE, bytes, checksum);
    return 0;
}

/* From the point to the whole copy. The copy goes through a pipe: so its first byte says that its
 * read transaction has begun, and closing the pipe ends it. */
static int copy_database(Work *work, Error *error) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) return error_set(error, -errno, "cannot make a pipe: %s", strerrordesc_np(errno));
    Copying copying = {.environment = work->backups->options.environment, .fd = ends[1]};
    int r = thread_start(&copying.thread, "backup-copy", run_copy, &copying, error);
    bool runs = r == 0;
    if (runs) r = copy_while_held(work, ends[0], error);
    (void)close(ends[0]);
    if (runs)
        thread_join(&copying.thread);
    else
        (void)close(ends[1]);
    return r < 0 ? r : copying.result < 0 ? error_set(error, copying.result, "%s", copying.error.text) : 0;
}

/* -ETIMEDOUT: it may be tried again. */
static int try_point(Work *work, Error *error) {
    BackupOrder point;
    _cleanup_free_ char *folder = name_in(work->folder, "sluice.mdb"), *staging = name_in(work->folder, "staging");
    int r = backup_remove_tree(work->folder, error);
    if (r == 0) r = backup_make_folder(folder, error);
    if (r == 0) r = backup_make_folder(staging, error);
    if (r == 0) r = order(work, BACKUP_POINT, false, &point, error);
    if (r < 0) return r;
    work->at_point = true;
    work->manifest.number = point.number;
    work->manifest.commit = point.commit;
    work->manifest.rows = point.rows;
    work->manifest.at = work->backups->options.clock->wall(work->backups->options.clock);
    return copy_database(work, error);
}

static void leave_point(Work *work, bool complete) {
    Error error = {0};
    if (work->at_point && order(work, BACKUP_END, complete, NULL, &error) < 0) log_failure(LOG_WARNING, "the end of a backup", &error);
    work->at_point = false;
}

static int reach_point(Work *work, Error *error) {
    int r = -ETIMEDOUT;
    for (unsigned i = 0; i < POINT_TRIES && r == -ETIMEDOUT; i++) {
        *error = (Error){0};
        r = try_point(work, error);
        if (r == -ETIMEDOUT) leave_point(work, false);
    }
    return r;
}

/* ---- the files ------------------------------------------------------------------------------- */

static int add_pack(Work *work, const char *path, bool may_be_gone, Error *error) {
    Backups *backups = work->backups;
    _cleanup_free_ char *from = name_in(backups->options.data_directory, path), *to = name_in(work->folder, path);
    uint64_t bytes;
    if (atomic_load(&backups->stops)) return error_set(error, -ECANCELED, "the gateway is shutting down");
    int r = backup_link_file(from, to, &backups->stops, &bytes, error);
    if (r == -ENOENT && may_be_gone) {
        *error = (Error){0};
        return 0;
    }
    if (r < 0) return r;
    work->manifest.packs++;
    work->manifest.pack_bytes += bytes;
    work->bytes += bytes;
    return 0;
}

typedef int (*NameVisit)(Work *work, const char *path, Error *error);

/* Regular files, but those that begin with a dot. `path`: relative to the data directory. A missing
 * folder has none. */
static int visit_folder(Work *work, const char *path, NameVisit visit, Error *error) {
    _cleanup_free_ char *folder = name_in(work->backups->options.data_directory, path), *to = name_in(work->folder, path);
    DIR *open = opendir(folder);
    if (!open) return errno == ENOENT ? 0 : error_set(error, -errno, "cannot open \"%s\": %s", folder, strerrordesc_np(errno));
    int r = backup_make_folder(to, error);
    for (const struct dirent *entry; r == 0 && (entry = readdir(open));) {
        _cleanup_free_ char *name = name_in(path, entry->d_name), *from = name_in(folder, entry->d_name);
        struct stat info;
        if (entry->d_name[0] == '.' || lstat(from, &info) < 0 || !S_ISREG(info.st_mode)) continue;
        r = visit(work, name, error);
    }
    (void)closedir(open);
    return r;
}

/* Others may remove it: an expired copy, an orphan. */
static int add_loose_pack(Work *work, const char *path, Error *error) {
    return add_pack(work, path, true, error);
}

static int add_packs(Work *work, Error *error) {
    int r = 0;
    for (size_t i = 0; i < work->pack_count && r == 0; i++) {
        char path[64];
        pack_path(&work->packs[i], path);
        r = add_pack(work, path, false, error);
    }
    if (r == 0) r = visit_folder(work, "staging/expired", add_loose_pack, error);
    if (r == 0) r = visit_folder(work, "staging/orphans", add_loose_pack, error);
    return r;
}

static int add_file(Work *work, const char *path, Error *error) {
    Backups *backups = work->backups;
    _cleanup_free_ char *from = name_in(backups->options.data_directory, path), *to = name_in(work->folder, path);
    uint64_t bytes, checksum;
    int r = backup_copy_file(from, to, &backups->stops, &bytes, &checksum, error);
    if (r == -ENOENT) {
        *error = (Error){0};
        return 0;
    }
    if (r < 0) return r;
    work->bytes += bytes;
    backup_manifest_add(&work->manifest, path, bytes, checksum);
    return 0;
}

static int add_small_files(Work *work, Error *error) {
    const BackupsOptions *options = &work->backups->options;
    int r = 0;
    for (size_t i = 0; options->files[i] && r == 0; i++) r = add_file(work, options->files[i], error);
    for (size_t i = 0; options->folders[i] && r == 0; i++) r = visit_folder(work, options->folders[i], add_file, error);
    return r;
}

/* The file of a SQLite connection if it lies in the data directory. NULL: it does not. */
static const char *table_file(const Connection *connection) {
    if (!connection || connection->type != &connection_type_sqlite) return NULL;
    const char *path = connection_value(connection, "path");
    bool inside = path && path[0] && path[0] != '/' && strncmp(path, "../", 3) != 0 && !strstr(path, "/../");
    return inside ? path : NULL;
}

static int add_table(Work *work, const char *path, Error *error) {
    Backups *backups = work->backups;
    _cleanup_free_ char *from = name_in(backups->options.data_directory, path), *to = name_in(work->folder, path), *first = NULL;
    uint64_t bytes, checksum;
    check(asprintf(&first, "%s.copy", to) > 0);
    if (access(from, F_OK) < 0) return 0; /* nothing was imported there yet */
    _cleanup_free_ char *folder = name_in(work->folder, path);
    char *name = strrchr(folder, '/');
    if (name) *name = '\0';
    int r = backup_make_folder(folder, error);
    if (r == 0) r = sqlite_copy(from, first, &backups->stops, error);
    /* Written anew, so that it is synced and has a checksum. */
    if (r == 0) r = backup_copy_file(first, to, &backups->stops, &bytes, &checksum, error);
    if (unlink(first) < 0 && r == 0) r = error_set(error, -errno, "cannot remove \"%s\": %s", first, strerrordesc_np(errno));
    if (r < 0) return r;
    work->bytes += bytes;
    backup_manifest_add(&work->manifest, path, bytes, checksum);
    return 0;
}

static int add_tables(Work *work, Error *error) {
    const Connections *connections = work->backups->options.connections;
    int r = 0;
    for (size_t i = 0; i < connections_total(connections) && r == 0; i++) {
        const char *path = table_file(connections_at(connections, i));
        if (path) r = add_table(work, path, error);
    }
    return r;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* An estimate: what is copied in any case. */
static int check_space(const Work *work, Error *error) {
    const Backups *backups = work->backups;
    uint64_t needed, map;
    struct statvfs space;
    environment_usage(backups->options.environment, &needed, &map);
    for (size_t i = 0; i < connections_total(backups->options.connections); i++) {
        const char *name = table_file(connections_at(backups->options.connections, i));
        _cleanup_free_ char *path = name ? name_in(backups->options.data_directory, name) : NULL;
        struct stat info;
        if (path && stat(path, &info) == 0) needed += 2 * (uint64_t)info.st_size;
    }
    if (statvfs(backups->directory, &space) < 0)
        return error_set(error, -errno, "cannot read the free space of \"%s\": %s", backups->directory, strerrordesc_np(errno));
    uint64_t available = (uint64_t)space.f_bavail * space.f_frsize;
    if (available >= needed + SPACE_RESERVE) return 0;
    return error_set(error, -ENOSPC, "the disk of \"%s\" has %" PRIu64 " MB free, and the backup needs at least %" PRIu64 " MB",
                     backups->directory, available >> 20, (needed + SPACE_RESERVE) >> 20);
}

/* What a crash, or a failed removal, left. */
static void remove_unfinished(const Backups *backups) {
    Error error = {0};
    DIR *open = opendir(backups->directory);
    if (!open) return;
    for (const struct dirent *entry; (entry = readdir(open));) {
        if (entry->d_name[0] != '.' || !text_ends(span_of(entry->d_name), SPAN(UNFINISHED))) continue;
        _cleanup_free_ char *path = name_in(backups->directory, entry->d_name);
        if (backup_remove_tree(path, &error) < 0) log_failure(LOG_WARNING, "a backup that was not completed", &error);
    }
    (void)closedir(open);
}

static int prepare(Work *work, Error *error) {
    BackupRun *run = work->run;
    Backups *backups = work->backups;
    check(backup_name_is_valid(run->name));
    int r = backup_make_folder(backups->directory, error);
    if (r < 0) return r;
    remove_unfinished(backups);
    run->path = name_in(backups->directory, run->name);
    check(asprintf(&work->folder, "%s/.%s" UNFINISHED, backups->directory, run->name) > 0);
    if (access(run->path, F_OK) == 0) return error_set(error, -EEXIST, "there is a backup \"%s\" already", run->name);
    work->manifest.instance = backups->options.instance;
    work->manifest.format = backups->options.format;
    work->manifest.kept = backups->options.kept;
    return check_space(work, error);
}

static int finish(Work *work, Error *error) {
    BackupRun *run = work->run;
    int r = backup_sync_tree(work->folder, error);
    if (r == 0) r = backup_manifest_write(work->folder, &work->manifest, error);
    if (r == 0 && failpoint_hit("backup.before-rename")) r = error_set(error, -EIO, "failpoint backup.before-rename");
    if (r == 0 && rename(work->folder, run->path) < 0)
        r = error_set(error, -errno, "cannot rename \"%s\": %s", work->folder, strerrordesc_np(errno));
    return r == 0 ? backup_sync_folder(work->backups->directory, error) : r;
}

static int make(Work *work, Error *error) {
    int r = prepare(work, error);
    if (r == 0) r = reach_point(work, error);
    if (r == 0) r = add_packs(work, error);
    if (r == 0) r = add_small_files(work, error);
    if (r == 0) r = add_tables(work, error);
    if (r == 0) r = finish(work, error);
    leave_point(work, r == 0);
    Error why = {0};
    if (r < 0 && work->folder && backup_remove_tree(work->folder, &why) < 0) log_failure(LOG_WARNING, "a backup that failed", &why);
    return r;
}

static void run_one(Backups *backups, BackupRun *run) {
    Clock *clock = backups->options.clock;
    Work work = {.backups = backups, .run = run};
    usec_t began = clock->boot(clock);
    log_info("backup %s begins", run->name);
    int r = make(&work, &run->request.error);
    run->request.result = r;
    run->number = work.manifest.number;
    run->commit = work.manifest.commit;
    run->rows = work.manifest.rows;
    run->packs = work.manifest.packs;
    run->bytes = work.bytes;
    run->took = clock->boot(clock) - began;
    if (r < 0)
        log_error("backup %s failed: %s", run->name, run->request.error.text);
    else
        log_info("backup %s is complete: %" PRIu64 " staging files, %" PRIu64 " bytes, in %s", run->name, run->packs, run->bytes,
                 run->path);
    backup_manifest_deinit(&work.manifest);
    free(work.folder);
    free(work.packs);
    request_answer(&run->request);
}

static void *run_thread(void *context) {
    Backups *backups = context;
    remove_unfinished(backups);
    while (!atomic_load(&backups->stops)) {
        (void)mailbox_wait(backups->mailbox, USEC_NEVER);
        for (Message *message = mailbox_take(backups->mailbox), *next; message; message = next) {
            next = message->next;
            check(message->kind == MESSAGE_BACKUP);
            if (atomic_load(&backups->stops))
                request_refuse((Request *)message, "the gateway is shutting down");
            else
                run_one(backups, (BackupRun *)message);
        }
    }
    return NULL;
}

int backups_start(const BackupsOptions *options, Backups **ret_backups, Error *error) {
    Backups *backups = calloc(1, sizeof *backups);
    check(backups);
    backups->options = *options;
    backups->directory = options->directory[0] == '/' ? text_copy(options->directory)
                                                      : name_in(options->data_directory, options->directory);
    backups->mailbox = mailbox_new(NULL, NULL);
    int r = thread_start(&backups->thread, "backups", run_thread, backups, error);
    if (r == 0) {
        *ret_backups = backups;
        return 0;
    }
    backups->thread.run = NULL;
    backups_free(backups);
    return r;
}

Mailbox *backups_mailbox(Backups *backups) {
    return backups->mailbox;
}

void backups_stop(Backups *backups) {
    if (!backups || !backups->thread.run) return;
    atomic_store(&backups->stops, true);
    mailbox_interrupt(backups->mailbox);
    thread_join(&backups->thread);
    backups->thread.run = NULL;
}

void backups_free(Backups *backups) {
    if (!backups) return;
    mailbox_pass(backups->mailbox);
    for (Message *message = mailbox_take(backups->mailbox), *next; message; message = next) {
        next = message->next;
        request_refuse((Request *)message, "the gateway is shutting down");
    }
    mailbox_free(backups->mailbox);
    free(backups->directory);
    free(backups);
}
