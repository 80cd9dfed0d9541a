/*
 * A file that a destination cannot take in the time that an import may take becomes several smaller
 * ones, each with an id of its own: to all that comes after they are files like any other. Only
 * done with a file of which the last try proved that it is not at the destination, and cannot get
 * there any more (ImportJob.proven_absent): else its rows could arrive a second time under the new
 * ids.
 */
#pragma once

#include "gateway/delivery/writer/state.h"

void writer_begin_divide(Writer *writer, SinkState *sink, struct WaitingFile *file);
void writer_divide_ended(Writer *writer, Divide *take_divide);
void divide_free(Divide *divide); /* NULL-safe */
