/*
 * Who may send to a source: the secret in the URL, or in a header (Authorization: Bearer, the
 * password of Authorization: Basic, X-Api-Key). Comparing takes the same time whatever the bytes
 * are, and whether or not the source exists. Pure; any thread.
 */
#pragma once

#include <stdbool.h>

#include "base/span.h"
#include "config/definition.h"

#define CREDENTIAL_BYTES_MAX 256 /* longest secret of a source */

/* `expected` NULL: there is no such source; the same work is done, and false comes out. */
bool credential_matches(const char *expected, Span given);

/* Looks at both headers (empty: not sent) and does the same work for all that they may hold.
 * `expected` as above. */
bool credential_in_headers(const char *expected, Span authorization, Span api_key);
