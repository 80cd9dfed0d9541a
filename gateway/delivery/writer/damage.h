/*
 * Records of the ledger or the statistics that turn out to be damaged while the writer works or
 * starts: they are written anew where that is possible (storage/repair.h), and what became of each
 * is logged and named in the statistics of its sink, until the sink is erased.
 */
#pragma once

#include "gateway/delivery/writer/state.h"
#include "storage/repair.h"

/* Nothing of the sink is staged any more, and its gate is closed; what waits stays. */
void writer_stop_sink(SinkState *sink, const char *why);
/* What became of a record of it, and whether the sink stays stopped for that. */
void damage_take_note(SinkState *sink, const char *text, bool stays);
/* Notes of earlier repairs. */
int writer_load_damage(Writer *writer, Txn *txn, Error *error);
int writer_forget_damage(Txn *txn, uint32_t sink, Error *error);
enum { WRITER_NOTHING_DAMAGED = 1 };
/* Repairs what is damaged, in a transaction of its own, and says what that was:
 * free(ret_damages->items). 0, or WRITER_NOTHING_DAMAGED. */
int damage_repair(Writer *writer, Damages *ret_damages, Error *error);
/* For a writer that is thrown away after it: repairs what the next one will read. 0, or
 * WRITER_NOTHING_DAMAGED. */
int writer_repair_for_next(Writer *writer, Error *error);
