/*
 * Records of the ledger or the statistics that turn out to be damaged while the writer works or starts: they are written anew where that is
 * possible (storage/repair.h), and what became of each is logged and named in the statistics of its sink, until the sink is erased.
 */
#pragma once

#include "gateway/delivery/writer/state.h"

/* Nothing of the sink is staged any more, and its gate is closed; what waits stays. */
void writer_stop_sink(SinkState *sink, const char *why);
/* Notes of earlier repairs. */
int writer_load_damage(Writer *writer, Txn *txn, Error *error);
int writer_forget_damage(Txn *txn, uint32_t sink, Error *error);
/* Something was -EBADMSG: true when damaged records were repaired, so that it is worth another try. Outside of transactions. */
bool writer_repaired(Writer *writer, const Error *met);
/* For a writer that is thrown away after it: repairs what the next one will read. 0, or WRITER_NOTHING_DAMAGED. */
enum { WRITER_NOTHING_DAMAGED = 1 };
int writer_repair_for_next(Writer *writer, Error *error);
