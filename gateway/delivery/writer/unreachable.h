/* Connections that cannot be reached. */
#pragma once

#include "gateway/delivery/writer/connections.h"

/* It answered, whatever it said; the log says so when it had not before. */
void writer_note_reachable(Writer *writer, WriterConnection *connection);
/* Its next try comes later. */
void writer_note_unreachable(Writer *writer, WriterConnection *connection, const char *why);
