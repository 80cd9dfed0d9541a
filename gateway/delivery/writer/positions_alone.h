/*
 * Imports of positions alone: over runs without rows, where nothing of their sink waits before
 * them, and over the runs of a file of a bridge's sink that is deleted. They also read the
 * positions that bridges watch (watch.h), which is done every few seconds, also when there is
 * nothing to set.
 */
#pragma once

#include "gateway/delivery/writer/connections.h"
#include "gateway/delivery/writer/waiting.h"

/* When runs without rows are due, boot time; USEC_NEVER: there are none, or rows come before
 * them. */
usec_t writer_positions_due(const SinkState *sink);
/* Where they go; NULL: nobody knows. */
WriterConnection *writer_positions_connection(Writer *writer, SinkState *sink);
/* `sets`: runs without rows are due; else positions are only read. */
void writer_start_positions(Writer *writer, SinkState *sink, WriterConnection *connection, bool sets);
/* When the positions that are watched are read next, boot time; USEC_NEVER: none is. */
usec_t writer_look_due(const SinkState *sink);
/* They are read as soon as can be. */
void writer_look_now(Writer *writer, SinkState *sink);
/* Lets those go that no bridge asked for lately. */
void writer_drop_watched(Writer *writer, SinkState *sink);
/* A file that waits is deleted: the action is answered when its runs are decided about. Not 0: it
 * is not begun. */
int writer_begin_delete(Writer *writer, SinkState *sink, WaitingFile *file, FileAction *action);
void writer_positions_back(Writer *writer, LoadJob *take_job);
