/* The slices of one file that waits for its import. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* Those that can be read, in row order; free(). -EBADMSG: they do not have all rows of the file
 * that can be read. */
int slices_read(Txn *txn, const FileRecord *file, SliceRecord **ret_slices, size_t *ret_count, Error *error);
/* Those that were found damaged: named, quarantined, and never asked for again. `damaged`: by
 * slice; NULL: none is. */
int slices_quarantine(Txn *txn, SinkState *sink, struct WaitingFile *waiting, FileRecord *file, const SliceRecord *slices,
                      const bool *damaged, size_t count, Error *error);
