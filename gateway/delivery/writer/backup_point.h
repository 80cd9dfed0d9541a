/*
 * The writer's part of a backup. A restored directory must find at the destination what was
 * imported after the backup. A closed file can be found by its id, and rows in the log cannot. So
 * at the point of a backup no sink has rows in its log or an open file: what was received before is
 * staged and closed, then new messages wait for a moment while the rest is staged and closed. They
 * wait until the copy of the database has begun. The ids of the files that wait at the point stay
 * in the ledgers of their destinations as long as the backup may be restored.
 */
#pragma once

#include "gateway/delivery/writer/state.h"

void writer_backup_order(Writer *writer, BackupOrder *order);
/* Does the message wait until the backup lets it go? Then it is kept. */
bool writer_backup_keeps(Writer *writer, Message *message);
/* The messages that waited and may be handled now, the oldest first; NULL: none. */
Message *writer_backup_let_go(Writer *writer);
/* true: nothing but pending rejects may be changed now. */
bool writer_backup_is_held(const Writer *writer);
/* Looks how far it is. */
void writer_mind_backup(Writer *writer);
usec_t writer_backup_next(const Writer *writer); /* boot; USEC_NEVER: it needs no step of its own */
/* The gateway stops, or the writer is broken. */
void writer_backup_give_up(Writer *writer);
/* What a start finds. A damaged record is logged and forgotten. */
int writer_backup_load(Writer *writer, Txn *txn, Error *error);
void writer_backup_deinit(Writer *writer);
