/* Connections that cannot be reached. */
#pragma once

#include "gateway/delivery/writer/connections.h"

/* Its next try comes later. */
void writer_note_unreachable(Writer *writer, WriterConnection *connection, const char *why);
