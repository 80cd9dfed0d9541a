/* Damaged records that the writer meets while it works: repaired, and what memory knows of them
 * brought up to date. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* Something was -EBADMSG: true when damaged records were repaired, so that it is worth another try.
 * Outside of transactions. */
bool writer_repaired(Writer *writer, const Error *met);
