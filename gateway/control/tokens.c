#include "gateway/control/tokens.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/random.h"
#include "base/text.h"
#include "storage/catalog.h"

static const char *const role_names[] = {"read", "operator", "admin"};

const char *role_name(Role role) {
    check(role <= ROLE_ADMIN);
    return role_names[role];
}

static void hash_of(Span text, uint8_t out[static TOKEN_HASH_BYTES]) {
    unsigned size = 0;
    check(EVP_Digest(text.data ? text.data : "", text.size, out, &size, EVP_sha256(), NULL) == 1 && size == TOKEN_HASH_BYTES);
}

/* Where the hash is, or would be. */
static size_t place_of(const Tokens *tokens, const uint8_t *hash) {
    size_t low = 0, high = tokens->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(tokens->items[middle].hash, hash, TOKEN_HASH_BYTES) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static Token *insert(Tokens *tokens, const Token *token) {
    array_reserve(tokens->items, tokens->count, tokens->room);
    size_t at = place_of(tokens, token->hash);
    memmove(tokens->items + at + 1, tokens->items + at, (tokens->count - at) * sizeof *tokens->items);
    tokens->items[at] = *token;
    tokens->count++;
    check(at == 0 || memcmp(tokens->items[at - 1].hash, token->hash, TOKEN_HASH_BYTES) < 0);
    check(at + 1 == tokens->count || memcmp(token->hash, tokens->items[at + 1].hash, TOKEN_HASH_BYTES) < 0);
    return &tokens->items[at];
}

static int load_one(void *context, Span key, Span document, Error *error) {
    Tokens *tokens = context;
    if (key.size != TOKEN_HASH_BYTES) return error_set(error, -EBADMSG, "the catalog holds a token under a key of %zu bytes", key.size);
    json_t *stored = json_loadb(document.data, document.size, JSON_REJECT_DUPLICATES, NULL);
    const char *role = json_string_value(json_object_get(stored, "role"));
    const char *description = json_string_value(json_object_get(stored, "description"));
    Token token = {.created = json_integer_value(json_object_get(stored, "created"))};
    memcpy(token.hash, key.data, TOKEN_HASH_BYTES);
    int found = -1;
    for (int i = 0; role && i <= ROLE_ADMIN; i++)
        if (strcmp(role, role_names[i]) == 0) found = i;
    if (found >= 0) {
        token.role = (Role)found;
        token.description = text_copy(description ? description : "");
        (void)insert(tokens, &token);
    }
    json_decref(stored);
    return found >= 0 ? 0 : error_set(error, -EBADMSG, "the catalog holds a token that cannot be read");
}

int tokens_load(Tokens *tokens, Environment *environment, Error *error) {
    *tokens = (Tokens){0};
    Txn *txn;
    int r = txn_begin_read(environment, &txn, error);
    if (r < 0) return r;
    r = catalog_visit(txn, CATALOG_TOKENS, (Span){0}, load_one, tokens, error);
    txn_abort(txn);
    if (r < 0) tokens_deinit(tokens);
    return r;
}

void tokens_deinit(Tokens *tokens) {
    for (size_t i = 0; i < tokens->count; i++) free(tokens->items[i].description);
    free(tokens->items);
    *tokens = (Tokens){0};
}

const Token *tokens_make(Tokens *tokens, Role role, const char *description, usec_t now, char out[static TOKEN_CHARACTERS + 1]) {
    random_secret(out, TOKEN_CHARACTERS);
    Token token = {.role = role, .description = text_copy(description), .created = now};
    hash_of((Span){.data = out, .size = TOKEN_CHARACTERS}, token.hash);
    return insert(tokens, &token);
}

const Token *tokens_find(const Tokens *tokens, Span text) {
    uint8_t hash[TOKEN_HASH_BYTES];
    hash_of(text, hash);
    size_t at = place_of(tokens, hash);
    return at < tokens->count && memcmp(tokens->items[at].hash, hash, TOKEN_HASH_BYTES) == 0 ? &tokens->items[at] : NULL;
}

json_t *token_store(const Token *token) {
    json_t *stored = json_pack("{s:s, s:s, s:I}", "role", role_names[token->role], "description", token->description, "created",
                               (json_int_t)token->created);
    check(stored);
    return stored;
}
