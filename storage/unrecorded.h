/*
 * Packs that were written and never recorded: a crash, or a commit that failed, between the rename
 * of a pack and its transaction. Their rows are still in the log and are staged again, so such a
 * pack is worth nothing, and a start that fails again and again must not pile them up. A pack that
 * holds anything else (the database was set back to an older copy) may be the only copy of its
 * rows: an orphan.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/files.h"
#include "base/uuid.h"
#include "storage/environment.h"

/* Are all rows of each pack in the log, byte for byte? `packs` lie in staging/. A pack that cannot
 * be read, or of another instance: no. Reads the log once, and looks at a slice only where its rows
 * lie. */
int unrecorded_find(Files *files, Txn *txn, const Uuid *instance, const Uuid *packs, size_t count, bool *ret_unrecorded, Error *error);
