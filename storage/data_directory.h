/*
 * The data directory: lock, format number, instance id, subfolders. Made on first start (0700);
 * every new folder and its parent are synced before it is used.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/files.h"
#include "base/uuid.h"
#include "storage/environment.h"

#define DATA_FORMAT 3 /* this program writes this one, and reads it and those before: docs/formats.md says what differs */

typedef struct DataDirectory {
    char *path;              /* absolute */
    Files *files;            /* rooted at path; owned */
    int lock_fd;             /* of the file `lock` */
    int environment_lock_fd; /* of the environment's own file: `lock` may be removed by hand */
    Uuid instance;
    bool is_new; /* a new instance: nothing was ever stored here */
} DataDirectory;

/* Makes missing parents. Opens sluice.mdb for a moment to compare its instance id with the
 * directory's (a new one is given it), so no environment of this directory may be open yet. -EBUSY:
 * another process holds it (its pid is named where the file `lock` knows it). -EPROTO: a newer
 * format, named. -EILSEQ: staging/ is not empty but sluice.mdb is missing or of another instance,
 * or sluice.mdb is there without the format file: says what to do. -EBADMSG: the format file is
 * damaged. */
int data_directory_open(const char *path, DataDirectory *ret_directory, Error *error);
/* For a command that looks at the directory of a gateway that does not run: locks it and opens its
 * environment; writes nothing but the file `lock`. `instance` is nil where there is no format file.
 * -ENOENT: it is no data directory. -EBUSY, -EPROTO, -EBADMSG and -EILSEQ: as above. The caller
 * closes the environment (environment_close), then the directory. */
int data_directory_inspect(const char *path, DataDirectory *ret_directory, Environment **ret_environment, Error *error);
void data_directory_close(DataDirectory *directory);
