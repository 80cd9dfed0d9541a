/* Backups: a task that ends when the thread of backups has made it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/control/change_parts.h"
#include "storage/backup_folder.h"

typedef struct Backing {
    PendingRequest pending; /* first */
    Task *task;
} Backing;

static void drop_run(Request *request) {
    backup_run_free((BackupRun *)request);
}

static void note_success(Control *control, const BackupRun *run) {
    LastBackup *last = &control->view.last_backup;
    Clock *clock = control->options.clock;
    *last = (LastBackup){.at = clock->wall(clock), .took = run->took, .bytes = run->bytes};
}

static void backup_back(Control *control, PendingRequest *pending, Message *take_message) {
    Backing *backing = (Backing *)pending;
    BackupRun *run = (BackupRun *)take_message;
    Task *task = backing->task;
    _cleanup_free_ char *text = NULL;
    if (run->request.result < 0) {
        metrics_add(METRIC_BACKUP_FAILURES, 1);
        check(asprintf(&text, "There is no new backup: %s.", run->request.error.text) > 0);
        tasks_end(control->tasks, task, TASK_ERROR, text);
    } else {
        json_t *outputs = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "path", run->path, "number", (json_int_t)run->number, "commit",
                                    (json_int_t)run->commit, "waitingRows", (json_int_t)run->rows, "stagingFiles", (json_int_t)run->packs,
                                    "bytes", (json_int_t)run->bytes, "milliseconds", (json_int_t)(run->took / USEC_MS));
        if (outputs) check(json_object_update_new(task->outputs, outputs) == 0);
        note_success(control, run);
        tasks_end(control->tasks, task, TASK_SUCCESS, "The backup is complete.");
    }
    control_store_task(control, task);
    backup_run_free(run);
    pending_request_end(pending);
}

/* By the time: "20261201T101500Z". */
static void default_name(usec_t wall, char out[static 25]) {
    char text[25];
    size_t size = 0;
    clock_format_utc(wall, text);
    for (const char *at = text; *at && *at != '.'; at++)
        if (*at != '-' && *at != ':') out[size++] = *at;
    if (size > 0 && out[size - 1] != 'Z') out[size++] = 'Z';
    out[size] = '\0';
}

int control_backup(Control *control, const char *name, const char *by, ApiCall *call, Failure *failure) {
    char made[25];
    const Options *options = control->options.options;
    default_name(control->options.clock->wall(control->options.clock), made);
    if (!name) name = made;
    if (!backup_name_is_valid(name))
        return failure_set(failure, 400, "badRequest",
                           "Parameter \"name\" must be 1 to %d of a-z, A-Z, 0-9, \".\", \"_\" and \"-\", and begin with a letter or digit.",
                           BACKUP_NAME_MAX);
    if (!control->peers.backups || !options->backup_directory[0])
        return failure_set(failure, 409, "backupsOff", "There are no backups: the option backup.directory is empty.");
    if (control_pending_requests(control, backup_back) > 0)
        return failure_set(failure, 409, "backupRunning", "Another backup is running: try again when its task has ended.");
    log_info("%s: backup %s", by, name);
    Backing *backing = pending_request_new(sizeof *backing, backup_back, NULL, NULL);
    BackupRun *run = calloc(1, sizeof *run);
    check(run);
    run->request.message.kind = MESSAGE_BACKUP;
    run->request.drop = drop_run;
    run->request.reply = control->mailbox;
    run->request.context = &backing->pending;
    (void)snprintf(run->name, sizeof run->name, "%s", name);
    Task *task = tasks_begin(control->tasks, "backup.create", "");
    check(json_object_set_new(task->outputs, "name", json_string(name)) == 0);
    backing->task = task;
    control_note_task(control, task);
    tasks_answer(control->tasks, task, call, 202);
    pending_request_begin(control, &backing->pending);
    mailbox_post(control->peers.backups, &run->request.message);
    return 0;
}
