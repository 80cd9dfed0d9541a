/*
 * Checks the secret of a request to a source. It is in the URL or in a header (Authorization:
 * Bearer, the password of Authorization: Basic, X-Api-Key). The comparison takes the same time for
 * all bytes, and also if the source does not exist. Pure; any thread.
 */
#pragma once

#include <stdbool.h>

#include "base/span.h"
#include "config/definition.h"

#define CREDENTIAL_BYTES_MAX 256 /* maximum length of a secret */

/* `expected` NULL: there is no such source; the same work is done, and the result is false. */
bool credential_matches(const char *expected, Span given);

/* Checks both headers (empty: not sent), with the same work for all their possible content.
 * `expected` as above. */
bool credential_in_headers(const char *expected, Span authorization, Span api_key);
