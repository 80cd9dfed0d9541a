/* Events on their way to the template broker. Pure but for the batch; any thread. */
#pragma once

#include "base/uuid.h"
#include "gateway/templates/batch.h"
#include "mapping/framing.h"

/* What so many events take while the broker has them, about: it is counted against the bytes in
 * flight. */
uint64_t template_events_bytes(const Plan *plan, const Frame *frames, size_t count);
/* Copies one event, which has its id, as the batch's event `at`. */
void template_events_put(TemplateBatch *batch, size_t at, const Event *event, void *cookie);
/* Copies the events that have `common` in common into the batch, from its event `at` on, each with
 * an id of its own and the cookie. */
void template_events_fill(TemplateBatch *batch, size_t at, const Event *common, const Frame *frames, size_t count, UuidSource *ids,
                          void *cookie);
