/*
 * One request to the management API on its way from the admin loop to the control thread and back.
 * The admin loop fills in what came, the control thread what to answer; whoever has the message
 * owns it.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/mailbox.h"

typedef struct ApiCall {
    Message message;
    Mailbox *reply; /* the admin loop's */
    /* in; owned by the call */
    char *method;    /* "GET" */
    char *path;      /* decoded, without query: "/v1/branches/default/sources" */
    char *query;     /* as sent, "" when none */
    char *token;     /* "" when none */
    char *if_match;  /* "" when none */
    char *body_type; /* Content-Type, "" when none */
    usec_t wait;     /* Prefer: wait=N; 0: do not wait */
    char *peer;      /* address */
    Buffer headers;  /* of the request, less credentials and what is named above: name, NUL, value, NUL, … */
    Buffer body;
    /* out */
    int status;
    Buffer response;          /* JSON unless content_type says otherwise */
    const char *content_type; /* static text; NULL: application/json */
    char *location;           /* header, or NULL */
    char *allow;              /* 405: header, or NULL */
    bool challenge;           /* 401: WWW-Authenticate: Bearer */
    unsigned retry_after;     /* seconds; 0: no header */
    /* admin loop */
    void *ticket;
} ApiCall;

void api_call_free(ApiCall *call); /* NULL-safe */
/* Sends the call back with a JSON answer. */
void api_call_answer(ApiCall *take_call, int status, json_t *take_json);
/* Sends the call back with 503 "diskStalled": the local disk hangs. */
void api_call_fail_stalled(ApiCall *take_call);
/* Formats {"statusCode","error":"stream.api.NAME","message"}. */
void api_error_body(int status, const char *name, const char *message, Buffer *out);
/* Sends the call back with an error. */
void api_call_fail(ApiCall *take_call, int status, const char *name, const char *message);
