/* What leaves the packs: which file of which sink goes to the loaders next, and how their jobs ended. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* Queues the sink at a connection when a file of it may go; returns when to look again. */
usec_t writer_consider_import(Writer *writer, SinkState *sink);
void writer_pump_connections(Writer *writer);
void writer_import_back(Writer *writer, LoadJob *take_job);
void writer_record_imports(Writer *writer);
/* Every file may be tried at once. */
void writer_hurry(Writer *writer, SinkState *sink);
