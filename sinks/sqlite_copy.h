/* A copy of a SQLite database file that others read and write: its state at one moment. Any
 * thread. */
#pragma once

#include <stdatomic.h>

#include "base/error.h"

/*
 * Writes the database at `from` into a new file `to`. Writers of `from` are not held up: it is in
 * WAL mode, and its WAL cannot become shorter until the copy is done. It does not sync. -ENOENT:
 * there is no such file. -ECANCELED: `cancel` was set. After an error `to` may exist.
 */
int sqlite_copy(const char *from, const char *to, const atomic_bool *cancel, Error *error);
