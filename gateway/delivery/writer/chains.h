/*
 * What becomes of the chains of a bridge's sink (sink_ends.h): an import moves their beginning, and
 * they are forgotten when records of them are to be read again. A chain that began after a job was
 * given out has nothing to do with it. A chain that is forgotten never costs more than records that
 * are read again: the next one begins at the position at the destination, so its first run is
 * taken.
 */
#pragma once

#include "gateway/delivery/writer/state.h"

/* What became of runs, of the job or of one of its files; before chains_note_positions. */
void chains_note_runs(Writer *writer, SinkState *sink, const LoadJob *job, const ImportRun *runs, size_t count);
/* Where the destination stands after the job; also for who watches it (watch.h). */
void chains_note_positions(Writer *writer, SinkState *sink, const LoadJob *job);
/* A job that failed may say that positions are missing that its runs need. */
void chains_note_missing(Writer *writer, SinkState *sink, const LoadJob *job);
/* Runs were lost, nobody knows which. */
void chains_note_loss(SinkState *sink);
/* What waits goes elsewhere than what comes, or is dropped. */
void chains_forget_all(SinkState *sink);
/* The rows of the sink go to another table from now on; the database says so already, see
 * sink_ends_leave. */
void chains_leave(SinkState *sink);
/* In the transaction that goes with it. */
int chains_store(Txn *txn, SinkState *sink, Error *error);
/* The same in a transaction of its own, if there is anything to store. */
void chains_save(Writer *writer, SinkState *sink);

/* At a start: finds where the chains begin from the runs that wait, of the files and then of the
 * log, in the order of their rows. Also which files have any. */
typedef struct ChainSearch ChainSearch;
ChainSearch *chain_search_new(void);
void chain_search_free(ChainSearch *search);
int chain_search_files(ChainSearch *search, Txn *txn, SinkState *sink, Error *error);
void chain_search_run(ChainSearch *search, uint32_t sink, const OffsetRun *run, uint64_t first_row);
/* All were found: chains that do not end where the database says are forgotten. */
void chain_search_end(ChainSearch *search, Writer *writer);
