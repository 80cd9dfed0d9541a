/*
 * The writer W: every LMDB write transaction, all row numbers, and the decision what is staged and
 * imported when. A state machine: writer_step takes what waits in its mailbox, commits it in one
 * transaction (group commit: the next group forms meanwhile), sends completions, and gives out work
 * to the stager and the loaders. A thin thread or the simulation calls it.
 */
#pragma once

#include "gateway/delivery/writer/writer_options.h"

/* Recovery: loads totals, replays the log behind them, re-queues what waits. No destination is
 * touched. Sinks become known by MESSAGE_DEFINE; rows of sinks that are not known yet are kept.
 * -EILSEQ: staging files of rows that wait are missing (give_up_missing); nothing was changed. */
int writer_open(const WriterOptions *options, Writer **ret_writer, Error *error);
Mailbox *writer_mailbox(Writer *writer);
/* Does what there is to do; returns how long nothing will change without a message (USEC_NEVER: for
 * ever). Never fails: a broken writer answers APPEND_FAILED, sets usage->broken and tells the
 * control thread once. */
usec_t writer_step(Writer *writer);
/* While it waits for a commit, the writer lends its memory: what MESSAGE_TOTALS would answer, now.
 * Any thread; false: it does not wait for one. */
bool writer_lent_statistics(Writer *writer, TotalsQuery *query);
/* Nothing is staged, imported or owed a reply at present. */
bool writer_is_idle(const Writer *writer);
/* Stores the totals, so that the next start replays nothing; answers what waits with APPEND_FAILED.
 * NULL-safe. */
void writer_close(Writer *writer);
/* Frees everything and writes nothing, as a crash would: after MESSAGE_BROKEN, and in tests.
 * NULL-safe. */
void writer_abandon(Writer *writer);
