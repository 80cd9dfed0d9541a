/*
 * Who may use the management API: tokens by their SHA-256, each with a role. The catalog keeps
 * hashes only; a token's text is shown once, when it is made. Control thread.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"
#include "storage/environment.h"

typedef enum Role {
    ROLE_READ,     /* sees everything but secrets */
    ROLE_OPERATOR, /* and changes settings, flushes, pauses, retries */
    ROLE_ADMIN,    /* and changes definitions */
} Role;

const char *role_name(Role role);

#define TOKEN_HASH_BYTES 32
#define TOKEN_CHARACTERS 48 /* about 285 bits */

typedef struct Token {
    uint8_t hash[TOKEN_HASH_BYTES];
    Role role;
    char *description; /* what versions and logs say who it was */
    usec_t created;    /* wall time */
} Token;

typedef struct Tokens {
    Token *items; /* sorted by hash */
    size_t count, room;
} Tokens;

/* All tokens of the catalog. -EBADMSG: a damaged record. */
int tokens_load(Tokens *tokens, Environment *environment, Error *error);
void tokens_deinit(Tokens *tokens);
/* A new token: its text into `out`, and itself into `tokens`; storing it is the caller's
 * (token_store). The result is valid until the next change. */
const Token *tokens_make(Tokens *tokens, Role role, const char *description, usec_t now, char out[static TOKEN_CHARACTERS + 1]);
/* Whose token is this? NULL: nobody's. The time it takes says nothing of the tokens there are: only
 * hashes are compared. */
const Token *tokens_find(const Tokens *tokens, Span text);
/* The document that the catalog keeps under the hash; new reference. */
json_t *token_store(const Token *token);
