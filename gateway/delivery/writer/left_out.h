/* What an import left out of a file of a bridge's sink, by what became of its runs. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* In the transaction that ends the file. */
int left_out_record(Txn *txn, SinkState *sink, struct WaitingFile *waiting, LoadFile *load, Error *error);
