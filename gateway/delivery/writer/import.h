/* What leaves the packs: which file of which sink goes to the loaders next, and how their jobs
 * ended. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* Queues the sink at a connection when a file of it may go; returns when to look again. */
usec_t writer_consider_import(Writer *writer, SinkState *sink);
void writer_dispatch_connections(Writer *writer);
void writer_import_back(Writer *writer, LoadJob *take_job);
/* Of those that came back in this step: how they ended, within the transaction that records it
 * (recorded.h); then what follows from that. */
int writer_record_imports(Writer *writer, Txn *txn, Error *error);
void writer_imports_recorded(Writer *writer, bool recorded);
/* Every file may be tried at once. */
void writer_expedite(Writer *writer, SinkState *sink);
