/*
 * The data directory: lock, format number, instance id, subdirectories. It is created at the first
 * start (0700). Every new directory and its parent are synced before they are used.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/files.h"
#include "base/uuid.h"
#include "storage/environment.h"

#define DATA_FORMAT 4 /* the format that this program writes; it reads this one and all earlier ones, see docs/formats.md */

typedef struct DataDirectory {
    char *path;              /* absolute */
    Files *files;            /* with the root `path`; owned */
    int lock_fd;             /* of the file `lock` */
    int environment_lock_fd; /* of the file of the environment, because `lock` may be removed by hand */
    Uuid instance;
    bool is_new; /* a new instance, in which nothing was stored yet */
} DataDirectory;

/* Opens the directory; missing parents are created. It opens sluice.mdb for a moment to compare its
 * instance id with that of the directory (a new environment gets the id), so no environment of this
 * directory may be open yet. -EBUSY: another process uses it (the text has its pid if the file
 * `lock` has it). -EPROTO: a newer format, which is named. -EILSEQ: staging/ is not empty but
 * sluice.mdb is missing or belongs to another instance, or sluice.mdb exists without the format
 * file; the text says what to do. -EBADMSG: the format file is damaged. */
int data_directory_open(const char *path, DataDirectory *ret_directory, Error *error);
/* For a command that reads the directory while no gateway runs: locks it and opens its environment.
 * It writes only the file `lock`. `instance` is nil if there is no format file. -ENOENT: it is not
 * a data directory. -EBUSY, -EPROTO, -EBADMSG and -EILSEQ: as above. The caller closes the
 * environment (environment_close), then the directory. */
int data_directory_inspect(const char *path, DataDirectory *ret_directory, Environment **ret_environment, Error *error);
void data_directory_close(DataDirectory *directory);
