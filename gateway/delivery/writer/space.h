/* What takes space: trimming the log, retention, the disk budget, the share of each sink. */
#pragma once

#include "gateway/delivery/writer/state.h"

void writer_find_trim(Writer *writer); /* after rows left the log */
int writer_trim(Writer *writer, Txn *txn, Error *error);
void writer_trim_rest(Writer *writer);
void writer_mind_space(Writer *writer);
void writer_check_space_soon(Writer *writer); /* something met a full disk: do not wait for the next look */
usec_t writer_space_next(const Writer *writer);
void writer_mind_share(Writer *writer, SinkState *sink);
/* Bytes of the environment that only what records the way of accepted rows may use. */
uint64_t writer_record_reserve(const Writer *writer);
void writer_expired_path(const Uuid *file, char out[static 80]);
