/*
 * What a manifest would do, without doing it: the outcome as it would be built now, and what each table of its sinks looks like at its
 * destination, also of those that would not change. Nothing is queued behind other changes, and nothing is stored. Control thread.
 */
#pragma once

#include "gateway/control/call.h"
#include "gateway/control/change.h"

/*
 * `request` is of kind CHANGE_MANIFEST. 0: the call is taken, and answered when the loaders have looked. -1 and CHANGE_NEEDS_TEMPLATES as of
 * change_start: the call is still the caller's.
 */
int preview_start(Control *control, const ChangeRequest *request, ApiCall *call, TemplateCheck **ret_needed, Failure *failure);
