/*
 * What the threads that map have discovered for a sink that infers: the columns that its events
 * would have to have. One for the life of a sink in this process, shared by all snapshots that show
 * it. Any thread adds; control takes, and makes columns of it.
 *
 * Bounded: at most DISCOVERIES_MAX fields at a time. What is beyond is dropped, and seen again with
 * the next event that has it.
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

/* Types of a field's own column are widened; a variant is one of each type. When there was nothing,
 * MESSAGE_DISCOVERED goes to `control`: it comes once, until what there is was taken. */
void discoveries_add(Discoveries *discoveries, const MapDiscovery *found, Mailbox *control);
/* The sender of MESSAGE_DISCOVERED, with a reference for the receiver, who takes and drops it; the
 * message is a part of it. */
Discoveries *discoveries_of(Message *message);
/* All there is, in the order of discovery, a field before its variants; inferred_columns_free. From
 * here on there is nothing. Control, once for each message: NULL and 0 when there is nothing. */
InferredColumn *discoveries_take(Discoveries *discoveries, size_t *ret_count);
