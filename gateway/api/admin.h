/*
 * The admin listener A: HTTP for the management API, on its own loop. It makes an ApiCall of each
 * request for the control thread, which fills in the answer. These need no token: GET /v1,
 * /health-check, /ready, /v1/documentation/….
 */
#pragma once

#include "base/error.h"
#include "gateway/control/call.h"
#include "gateway/flow/usage.h"
#include "gateway/http/loop.h"

typedef struct Admin Admin;

/* Starts the loop on `listener`. Calls are posted to `control` as MESSAGE_API_CALL. */
int admin_start(const HttpListener *listener, const HttpLimits *limits, Usage *usage, Mailbox *control, Admin **ret_admin, Error *error);
/* Answers open calls with 503. The control thread must not answer calls any more; control_free
 * frees the calls that it still has. NULL-safe. */
void admin_stop(Admin *admin);
