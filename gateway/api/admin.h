/*
 * The admin listener A: HTTP for the management API on its own loop. It only carries: a request
 * becomes an ApiCall for the control thread, which fills in the answer. Without a token: GET /v1,
 * /health-check, /ready, /v1/documentation/….
 */
#pragma once

#include "base/error.h"
#include "gateway/control/call.h"
#include "gateway/flow/usage.h"
#include "gateway/http/loop.h"

typedef struct Admin Admin;

/* Starts the loop on `listener`. Calls go to `control` as MESSAGE_API_CALL. */
int admin_start(const HttpListener *listener, const HttpLimits *limits, Usage *usage, Mailbox *control, Admin **ret_admin, Error *error);
/* Answers what is open with 503. The control thread must not answer calls any more; the ones that
 * it has are freed by control_free. NULL-safe. */
void admin_stop(Admin *admin);
