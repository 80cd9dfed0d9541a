/* Imports that an admin holds back. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* Does an admin hold back an import of the sink: itself, its source, or a connection that what
 * waits goes to? */
bool writer_is_paused(const Writer *writer, const SinkState *sink);
/* The pauses that these orders end do not count for the age of files: so it is stored, before the
 * orders are in effect. */
int writer_store_pauses(Writer *writer, Txn *txn, const Define *define, Error *error);
/* An admin pauses or resumes the sink (itself or its source); the caller touches it. */
void writer_pause(Writer *writer, SinkState *sink, const SinkOrder *order);
/* Walks over all sinks: seldom. */
void writer_order_connection(Writer *writer, const ConnectionOrder *order);
