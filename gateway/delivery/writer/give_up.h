/* A start whose staging files are not all there: refused, or the rows are given up because an admin
 * said so. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* Before recovery, with the totals loaded: 0 when the bytes of every slice that waits are there, or
 * when those that are not were given up. */
int writer_mind_missing(Writer *writer, Error *error);
