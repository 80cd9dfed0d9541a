/* What the control thread says of sinks and connections, with the catalog in one transaction. */
#pragma once

#include "gateway/delivery/writer/state.h"

void writer_define(Writer *writer, Define *define);
/* Those that waited for a Stage: again. */
void writer_run_held(Writer *writer);
/* Removes versions that no row needs any more. In the transaction that made it so. */
int writer_drop_versions(Txn *txn, SinkState *sink, Error *error);
