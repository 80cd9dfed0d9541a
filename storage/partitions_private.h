/*
 * Records of the database `cursors`, shared with their repair. Every part of a key is big-endian:
 *   'P' number             a partition
 *   'N'                    the last number that was given
 *   'C' sink partition     its end for the sink
 *   'M' number             its mark
 */
#pragma once

#include "base/cursor.h"
#include "storage/environment_private.h"
#include "storage/partitions.h"

#define CURSOR_PARTITION 'P'
#define CURSOR_LAST_NUMBER 'N'
#define CURSOR_END 'C'
#define CURSOR_MARK 'M'

int partition_decode(Span key, Span value, Partition *ret_partition, Error *error);
int partition_put(Txn *txn, const Partition *partition, Error *error);
int partition_decode_end(Span key, Span value, uint32_t *ret_sink, uint32_t *ret_partition, int64_t *ret_end, Error *error);
int partition_decode_mark(Span key, Span value, Span *ret_mark, Error *error);
/* 0: none was given. */
int partition_last_number(Txn *txn, uint32_t *ret_number, Error *error);
int partition_put_last_number(Txn *txn, uint32_t number, Error *error);
