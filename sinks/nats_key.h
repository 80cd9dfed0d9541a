/*
 * The public part of an nkey (NATS): a seed is text of base32 that holds two bytes of kind, 32
 * bytes of an Ed25519 key and a checksum; the public key is text of the same form. libnats signs
 * with a seed but does not say whose it is. Pure; any thread.
 */
#pragma once

#include "base/error.h"
#include "base/span.h"

#define NATS_KEY_SIZE 57 /* of a public key's text, with its NUL */

/* `seed`: of a user ("SU..."), spaces and newlines around it are left out. -EINVAL with a sentence
 * that does not show it. */
int nats_key_public(Span seed, char ret_public[static NATS_KEY_SIZE], Error *error);
