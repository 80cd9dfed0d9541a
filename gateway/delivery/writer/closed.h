/* A file that was closed waits for its import. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* Adds it to those of its sink that wait. `runs`: its slices have some. NULL: its target is
 * damaged. */
struct WaitingFile *writer_add_waiting(Writer *writer, SinkState *sink, const FileRecord *file, bool runs, Error *error);
