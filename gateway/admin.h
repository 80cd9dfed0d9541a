/*
 * The admin listener A: HTTP for the management API on its own loop. It only carries: a request becomes an ApiCall for the control thread, which
 * fills in the answer. Without a token: GET /v1, /health-check, /ready, /v1/documentation/….
 */
#pragma once

#include "base/error.h"
#include "gateway/http_loop.h"
#include "gateway/messages.h"
#include "gateway/usage.h"

typedef struct Admin Admin;

typedef struct ApiCall {
    Message message;
    Mailbox *reply; /* the admin loop's */
    /* in; owned by the call */
    char *method;   /* "GET" */
    char *path;     /* decoded, without query: "/v1/branches/default/sources" */
    char *query;    /* as sent, "" when none */
    char *token;    /* "" when none */
    char *if_match; /* "" when none */
    usec_t wait;    /* Prefer: wait=N; 0: do not wait */
    char *peer;     /* address */
    Buffer body;
    /* out */
    int status;
    Buffer response;          /* JSON unless content_type says otherwise */
    const char *content_type; /* static text */
    char *location;           /* header, or NULL */
    bool challenge;           /* 401: WWW-Authenticate: Bearer */
    unsigned retry_after;     /* seconds; 0: no header */
    /* admin loop */
    void *ticket;
} ApiCall;

void api_call_free(ApiCall *call); /* NULL-safe */

/* Starts the loop on `listener`. Calls go to `control` as MESSAGE_API_CALL. */
int admin_start(int listener, const HttpLimits *limits, Usage *usage, Mailbox *control, Admin **ret_admin, Error *error);
Mailbox *admin_mailbox(Admin *admin);
void admin_stop(Admin *admin); /* answers what is open with 503; NULL-safe */
