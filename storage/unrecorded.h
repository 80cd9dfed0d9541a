/*
 * Packs that were written and never recorded: a crash, or a commit that failed, between the rename
 * of a pack and its transaction. Their rows are still in the log and are staged again. So such a
 * pack is not needed, and must be removed, because a start that fails again and again would make
 * more of them. A pack that has anything else (the database was set back to an older copy) may be
 * the only copy of its rows: it is an orphan.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/files.h"
#include "base/uuid.h"
#include "storage/environment.h"

/* Are all rows of each pack in the log, byte for byte? `packs` are in staging/. A pack that cannot
 * be read, or belongs to another instance, is not unrecorded. Reads the log once, and looks at a
 * slice only at the place of its rows in the log. */
int unrecorded_find(Files *files, Txn *txn, const Uuid *instance, const Uuid *packs, size_t count, bool *ret_unrecorded, Error *error);
