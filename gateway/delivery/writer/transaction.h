/* Transactions of the environment, and what follows when one fails. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* The promise cannot be kept any more. */
void writer_break(Writer *writer, const char *what, const Error *error);
/* Begins and ends a transaction that records what happened; on failure the writer is broken. false:
 * it is. */
bool writer_record_begin(Writer *writer, Txn **ret_txn);
bool writer_record_end(Writer *writer, Txn *take_txn, int result, const char *what, Error *error);
/* As txn_commit, which is where a disk that hangs is met: lends the memory meanwhile. */
int writer_end_txn(Writer *writer, Txn *take_txn, Error *error);
