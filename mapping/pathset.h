/*
 * All paths of all columns of all sinks of a source, as one trie, so that one pass over an event
 * finds all values.
 *
 * A path has steps: `issue.id`, `items[1].sku`, `items.1.sku`, `a["x.y"]`. `.` alone is the whole
 * body. `$` alone is the whole body, too, and a leading `$.` is ignored: `$.issue.id`. A bare step
 * is any text without `.`, `[`, `]`. A numeric step (canonical decimal, below 2^31), in brackets or
 * not, is an index in an array and a key in an object. A quoted step is a JSON string (with its
 * escapes) and is only a key.
 *
 * A place can be watched. Then the scanner also notes the members of the object there that no path
 * names.
 *
 * One thread builds the set (new, add…, watch…, seal). Afterwards it is immutable, and any thread
 * may use it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/keyed_hash.h"
#include "base/span.h"
#include "mapping/words.h"

#define PATH_STEPS_MAX 128 /* deeper than any document that is accepted */
#define PATH_BYTES_MAX 4096
#define PATH_NODES_MAX 65536
#define PATH_NONE UINT32_MAX
#define PATH_KEYS_LINEAR 8 /* nodes with more keys have a hash table */

typedef struct PathKey {
    uint64_t head, tail; /* first and last eight bytes of the key, zero-padded: compared before the text is */
    const char *text;    /* not escaped */
    uint32_t size;
    uint32_t node; /* where it leads */
} PathKey;

typedef struct PathIndex {
    uint32_t index;
    uint32_t node;
} PathIndex;

/* A place in the document. The ranges are of the arrays of PathSet. A node can be reached over a
 * key or over an index, never twice in a document. */
typedef struct PathNode {
    uint64_t key_sizes;  /* bit n: there is a key of n bytes, counted modulo 64 */
    uint64_t key_unseen; /* bit n: the key with place n; PATH_WATCHED as well; all bits when there are more than 63 keys */
    uint32_t key_first, key_count;
    uint32_t table_first, table_mask;  /* of `table`; mask 0: no table, look at the keys in turn */
    uint32_t index_first, index_count; /* ascending */
    uint32_t slot_first, slot_count;   /* of the paths that end here */
    bool watched;                      /* the scanner notes members of an object here that are none of the keys */
} PathNode;

#define PATH_WATCHED (UINT64_C(1) << 63)

typedef struct PathSteps PathSteps;

/* Read by the scanner; valid once sealed. Node 0 is the whole document. */
typedef struct PathSet {
    uint64_t number; /* from 1: no other set of this process has it */
    PathNode *nodes;
    uint32_t node_count;
    PathKey *keys;
    PathIndex *indexes;
    uint32_t *slots;
    uint32_t *table; /* 1 + place in keys, 0: free */
    uint32_t slot_count;
    size_t key_bytes_max;
    HashKey key;      /* of the tables: names in events are a stranger's, and paths of inferred columns are names in events */
    PathSteps *paths; /* by slot */
    uint32_t *same;   /* while it is built: 1 + slot, by the hash of its path; 0: free */
    uint32_t same_mask;
    bool sealed;
} PathSet;

PathSet *pathset_new(void);
void pathset_free(PathSet *set); /* NULL-safe */
/* Adds a path. Equal paths (also `a[1]` and `a.1`) share a slot; slots count from 0. -EINVAL: the
 * text has the byte of the path and the reason. */
int pathset_add(PathSet *set, Span path, uint32_t *ret_slot, Error *error);
/* Adds the rest of `path` if it begins with the steps of `base`. *ret_below says whether it does;
 * only then *ret_slot is set. */
int pathset_add_below(PathSet *set, Span base, Span path, bool *ret_below, uint32_t *ret_slot, Error *error);
/* Watches the place where the path of this slot ends. All its steps must be keys, so it ends at one
 * place. */
void pathset_watch(PathSet *set, uint32_t slot);
/* Returns the number of steps of the path, and one step, unescaped. Valid as long as the set. */
size_t pathset_step_count(const PathSet *set, uint32_t slot);
Span pathset_step(const PathSet *set, uint32_t slot, size_t at);
/* Is the step only a key, and never an index? */
bool pathset_step_is_key(const PathSet *set, uint32_t slot, size_t at);
/* Returns the node of a watched path, in a sealed set. */
uint32_t pathset_node(const PathSet *set, uint32_t slot);
/* Builds the trie and ends the additions. -EINVAL: more than PATH_NODES_MAX places. */
int pathset_seal(PathSet *set, Error *error);

/* The hash uses all bytes, because names that differ only in the middle, such as those of many
 * similar fields, must not collide. */
static inline uint64_t pathset_hash(const PathSet *set, const char *text, size_t size, uint64_t head, uint64_t tail) {
    return keyed_hash_of_ends(&set->key, text, size, head, tail);
}

/* Returns the key of `node` that equals the unescaped key, or NULL. `end`: end of readable memory,
 * so that short keys can be loaded at once. */
static inline const PathKey *pathset_find(const PathSet *set, const PathNode *node, const char *text, size_t size, const char *end) {
    uint64_t head = 0, tail = 0;
    if (size >= 8) {
        head = text_load8(text);
        tail = text_load8(text + size - 8);
    } else if (end - text >= 8) {
        head = tail = text_load8(text) & ~(~UINT64_C(0) << (size * 8));
    } else {
        head = text_load_short(text, size);
        tail = head;
    }
    check_debug(set->sealed && size <= (size_t)(end - text));
    const PathKey *keys = set->keys + node->key_first;
    if (node->table_mask == 0) {
        for (uint32_t i = 0; i < node->key_count; i++) {
            const PathKey *key = keys + i;
            if (key->head == head && key->size == size && key->tail == tail && (size <= 16 || memcmp(key->text, text, size) == 0))
                return key;
        }
        return NULL;
    }
    if (size > set->key_bytes_max) return NULL;
    const uint32_t *table = set->table + node->table_first;
    for (uint64_t at = pathset_hash(set, text, size, head, tail);; at++) {
        uint32_t entry = table[at & node->table_mask];
        if (entry == 0) return NULL;
        const PathKey *key = set->keys + entry - 1;
        if (key->head == head && key->size == size && key->tail == tail && (size <= 16 || memcmp(key->text, text, size) == 0)) return key;
    }
}
