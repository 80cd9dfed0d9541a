/*
 * The new fields that mapping threads have found for a sink that infers, and the columns that are
 * needed for them. There is one per sink in this process, shared by all snapshots with the sink.
 * Any thread adds. The control thread takes them and makes columns. At most DISCOVERIES_MAX fields
 * are stored at a time. Further ones are dropped, and found again with the next event that has
 * them.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/mailbox.h"
#include "config/inference.h"
#include "mapping/plan.h"

#define DISCOVERIES_MAX COLUMNS_INFERRED_MAX

typedef struct Discoveries Discoveries;

/* `sink`: its number. */
Discoveries *discoveries_new(uint32_t sink);
Discoveries *discoveries_ref(Discoveries *discoveries);
void discoveries_unref(Discoveries *discoveries); /* NULL-safe */
uint32_t discoveries_sink(const Discoveries *discoveries);

/* Adds fields. The type of a field's own column is widened; there is one variant for each type. If
 * there were none before, MESSAGE_DISCOVERED is sent to `control`. It is sent once until the fields
 * are taken. */
void discoveries_add(Discoveries *discoveries, const MapDiscovery *found, Mailbox *control);
/* The Discoveries that sent MESSAGE_DISCOVERED, which is a part of it. The receiver gets a
 * reference, takes the fields and drops the reference. */
Discoveries *discoveries_of(Message *message);
/* Takes all fields, in the order of discovery, a field before its variants; inferred_columns_free.
 * Afterwards there are none. The control thread calls it once for each message. NULL and 0 if there
 * are none. */
InferredColumn *discoveries_take(Discoveries *discoveries, size_t *ret_count);
