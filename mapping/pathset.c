#include "mapping/pathset.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "config/path_text.h"
#include "mapping/json_check.h"
#include "mapping/json_text.h"

typedef struct PathStep {
    const char *text; /* of PathSteps.text once the path is whole */
    uint32_t size;
    uint32_t index; /* PATH_NONE: a key only */
} PathStep;

struct PathSteps {
    Buffer text;
    Buffer steps;  /* of PathStep */
    uint32_t node; /* of a watched path in a sealed set */
    bool watched;
};

static size_t step_count(const PathSteps *path) {
    return path->steps.size / sizeof(PathStep);
}

static const PathStep *step_at(const PathSteps *path, size_t at) {
    check(at < step_count(path));
    return (const PathStep *)(const void *)path->steps.data + at;
}

static void steps_deinit(PathSteps *path) {
    buffer_deinit(&path->text);
    buffer_deinit(&path->steps);
}

PathSet *pathset_new(void) {
    static atomic_uint_fast64_t last_number;
    PathSet *set = calloc(1, sizeof *set);
    check(set);
    set->number = atomic_fetch_add(&last_number, 1) + 1;
    set->key = *hash_key_of_process();
    return set;
}

void pathset_free(PathSet *set) {
    if (!set) return;
    for (uint32_t i = 0; i < set->slot_count; i++) steps_deinit(&set->paths[i]);
    free(set->paths);
    free(set->same);
    free(set->nodes);
    free(set->keys);
    free(set->indexes);
    free(set->slots);
    free(set->table);
    free(set);
}

/* A canonical decimal below 2^31, else PATH_NONE. */
static uint32_t index_of(Span text) {
    if (text.size == 0 || text.size > 10 || (text.size > 1 && text.data[0] == '0')) return PATH_NONE;
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (!text_is_digit(text.data[i])) return PATH_NONE;
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    return value <= INT32_MAX ? (uint32_t)value : PATH_NONE;
}

/* The texts move while they grow: steps hold offsets until the path is whole. */
static void step_put(PathSteps *path, size_t text_at, uint32_t index) {
    PathStep step = {.text = NULL, .size = (uint32_t)(path->text.size - text_at), .index = index};
    buffer_append(&path->steps, &step, sizeof step);
}

static int parse_bracket(PathSteps *path, Span text, size_t *at, Error *error) {
    check(text.data[*at] == '[');
    size_t start = *at + 1, text_at = path->text.size;
    if (start < text.size && text.data[start] == '"') {
        size_t stop = start + 1;
        while (stop < text.size && text.data[stop] != '"') stop += text.data[stop] == '\\' && stop + 1 < text.size ? 2 : 1;
        if (stop + 1 >= text.size || text.data[stop + 1] != ']')
            return error_set(error, -EINVAL, "the quoted step at byte %zu of the path has no end: it must end with \"]", *at);
        Span quoted = {text.data + start, stop + 1 - start};
        ScanFault fault;
        if (scan_validate(quoted, &fault))
            return error_set(error, -EINVAL, "the quoted step at byte %zu of the path is not a JSON string: %s", *at, fault.what);
        if (json_unescape(&path->text, (Span){quoted.data + 1, quoted.size - 2}))
            return error_set(error, -EINVAL, "the quoted step at byte %zu of the path contains half a surrogate pair", *at);
        step_put(path, text_at, PATH_NONE);
        *at = stop + 2;
        return 0;
    }
    size_t stop = start;
    while (stop < text.size && text.data[stop] != ']') stop++;
    Span digits = {text.data + start, stop - start};
    uint32_t index = stop < text.size ? index_of(digits) : PATH_NONE;
    if (index == PATH_NONE)
        return error_set(error, -EINVAL,
                         "brackets at byte %zu of the path contain neither an index, as in [0], nor a quoted key, as in [\"x.y\"]", *at);
    buffer_append_span(&path->text, digits);
    step_put(path, text_at, index);
    *at = stop + 1;
    return 0;
}

static int parse_path(PathSteps *path, Span text, Error *error) {
    if (text.size == 0) return error_set(error, -EINVAL, "the path is empty, the whole body is \".\"");
    if (text.size > PATH_BYTES_MAX) return error_set(error, -EINVAL, "the path is longer than %d bytes", PATH_BYTES_MAX);
    size_t bad = text_check(text);
    if (bad < text.size) return error_set(error, -EINVAL, "the path is not UTF-8 text at byte %zu", bad);
    if (span_equal(text, SPAN("."))) return 0;
    const size_t first = path_root_size(text);
    size_t at = first;
    while (at < text.size) {
        if (text.data[at] == '[') {
            int r = parse_bracket(path, text, &at, error);
            if (r < 0) return r;
        } else {
            if (at > first) {
                if (text.data[at] != '.') return error_set(error, -EINVAL, "expected \".\" or \"[\" at byte %zu of the path", at);
                at++;
            }
            size_t start = at, text_at = path->text.size;
            while (at < text.size && !strchr(".[]", text.data[at])) at++;
            if (at == start)
                return error_set(error, -EINVAL, "a step is missing at byte %zu of the path, keys with . or [ are written as a[\"x.y\"]",
                                 at);
            if (at < text.size && text.data[at] == ']') return error_set(error, -EINVAL, "\"]\" without \"[\" at byte %zu of the path", at);
            Span step = {text.data + start, at - start};
            buffer_append_span(&path->text, step);
            step_put(path, text_at, index_of(step));
        }
        if (step_count(path) > PATH_STEPS_MAX) return error_set(error, -EINVAL, "the path has more than %d steps", PATH_STEPS_MAX);
    }
    const char *step_text = path->text.data;
    for (size_t i = 0; i < step_count(path); i++) {
        PathStep *step = (PathStep *)(void *)path->steps.data + i;
        step->text = step_text;
        if (step->size) step_text += step->size;
    }
    check(path->text.size == 0 || step_text == path->text.data + path->text.size); /* the steps are the whole text, in its order */
    return 0;
}

/* Order by the texts of the steps, so that what shares a beginning stands together. */
static int compare_paths(const PathSteps *a, const PathSteps *b) {
    size_t both = step_count(a) < step_count(b) ? step_count(a) : step_count(b);
    for (size_t i = 0; i < both; i++) {
        const PathStep *x = step_at(a, i), *y = step_at(b, i);
        uint32_t least = x->size < y->size ? x->size : y->size;
        int order = least ? memcmp(x->text, y->text, least) : 0;
        if (order) return order;
        if (x->size != y->size) return x->size < y->size ? -1 : 1;
    }
    return step_count(a) < step_count(b) ? -1 : step_count(a) > step_count(b);
}

static bool same_path(const PathSteps *a, const PathSteps *b) {
    if (step_count(a) != step_count(b) || compare_paths(a, b) != 0) return false;
    for (size_t i = 0; i < step_count(a); i++)
        if (step_at(a, i)->index != step_at(b, i)->index) return false;
    return true;
}

static uint64_t hash_path(const PathSet *set, const PathSteps *path) {
    uint64_t hash = 0;
    for (size_t i = 0; i < step_count(path); i++) {
        const PathStep *step = step_at(path, i);
        uint64_t of_step = keyed_hash(&set->key, step->text, step->size) ^ step->index;
        hash = keyed_hash_join(&set->key, hash, of_step);
    }
    return hash;
}

static void put_same(PathSet *set, uint32_t slot) {
    uint64_t at = hash_path(set, &set->paths[slot]) & set->same_mask;
    while (set->same[at]) at = (at + 1) & set->same_mask;
    set->same[at] = slot + 1;
}

/* At most half full, so that each search ends. */
static void grow_same(PathSet *set) {
    if (set->same && 2 * (set->slot_count + 1) <= set->same_mask) return;
    set->same_mask = set->same ? set->same_mask * 2 + 1 : 63;
    free(set->same);
    set->same = calloc((size_t)set->same_mask + 1, sizeof *set->same);
    check(set->same);
    for (uint32_t i = 0; i < set->slot_count; i++) put_same(set, i);
}

/* Takes the steps. */
static uint32_t add_steps(PathSet *set, PathSteps *take_steps) {
    check(!set->sealed && set->slot_count < PATH_NONE / 4);
    grow_same(set);
    for (uint64_t at = hash_path(set, take_steps) & set->same_mask; set->same[at]; at = (at + 1) & set->same_mask) {
        uint32_t slot = set->same[at] - 1;
        if (same_path(&set->paths[slot], take_steps)) {
            steps_deinit(take_steps);
            return slot;
        }
    }
    array_extend(set->paths, set->slot_count);
    set->paths[set->slot_count] = *take_steps;
    put_same(set, set->slot_count);
    return set->slot_count++;
}

int pathset_add(PathSet *set, Span path, uint32_t *ret_slot, Error *error) {
    PathSteps steps = {0};
    int r = parse_path(&steps, path, error);
    if (r < 0)
        steps_deinit(&steps);
    else
        *ret_slot = add_steps(set, &steps);
    return r;
}

static bool begins_with(const PathSteps *path, const PathSteps *base) {
    if (step_count(path) < step_count(base)) return false;
    for (size_t i = 0; i < step_count(base); i++) {
        const PathStep *step = step_at(path, i), *other = step_at(base, i);
        if (step->index != other->index || !span_equal((Span){step->text, step->size}, (Span){other->text, other->size})) return false;
    }
    return true;
}

/* The steps from number `from` on, as a path of its own. */
static PathSteps steps_behind(const PathSteps *path, size_t from) {
    PathSteps rest = {0};
    size_t bytes = 0;
    for (size_t i = from; i < step_count(path); i++) bytes += step_at(path, i)->size;
    char *text = buffer_reserve(&rest.text, bytes + 1);
    for (size_t i = from; i < step_count(path); i++) {
        PathStep step = *step_at(path, i);
        buffer_append(&rest.text, step.text, step.size);
        step.text = text;
        text += step.size;
        buffer_append(&rest.steps, &step, sizeof step);
    }
    return rest;
}

int pathset_add_below(PathSet *set, Span base, Span path, bool *ret_below, uint32_t *ret_slot, Error *error) {
    PathSteps steps = {0}, first = {0};
    int r = parse_path(&steps, path, error);
    if (r == 0) r = parse_path(&first, base, error);
    *ret_below = r == 0 && begins_with(&steps, &first);
    if (*ret_below) {
        PathSteps rest = steps_behind(&steps, step_count(&first));
        *ret_slot = add_steps(set, &rest);
    }
    steps_deinit(&steps);
    steps_deinit(&first);
    return r;
}

void pathset_watch(PathSet *set, uint32_t slot) {
    check(!set->sealed && slot < set->slot_count);
    for (size_t i = 0; i < step_count(&set->paths[slot]); i++) check(step_at(&set->paths[slot], i)->index == PATH_NONE);
    set->paths[slot].watched = true;
}

size_t pathset_step_count(const PathSet *set, uint32_t slot) {
    check(slot < set->slot_count);
    return step_count(&set->paths[slot]);
}

Span pathset_step(const PathSet *set, uint32_t slot, size_t at) {
    check(slot < set->slot_count);
    const PathStep *step = step_at(&set->paths[slot], at);
    return (Span){step->text, step->size};
}

bool pathset_step_is_key(const PathSet *set, uint32_t slot, size_t at) {
    check(slot < set->slot_count);
    return step_at(&set->paths[slot], at)->index == PATH_NONE;
}

uint32_t pathset_node(const PathSet *set, uint32_t slot) {
    check(set->sealed && slot < set->slot_count && set->paths[slot].watched);
    return set->paths[slot].node;
}

/* While the trie is made. */
typedef struct Build {
    PathSet *set;
    Buffer nodes, keys, indexes, slots, table;
    bool full;
} Build;

static uint32_t build_count(const Buffer *buffer, size_t item) {
    return (uint32_t)(buffer->size / item);
}

static void build_table(Build *build, PathNode *node) {
    if (node->key_count <= PATH_KEYS_LINEAR) return;
    uint32_t size = 16;
    while (size < node->key_count * 2) size *= 2;
    node->table_first = build_count(&build->table, sizeof(uint32_t));
    node->table_mask = size - 1;
    uint32_t *table = (uint32_t *)(void *)buffer_reserve(&build->table, size * sizeof *table);
    memset(table, 0, size * sizeof *table);
    build->table.size += size * sizeof *table;
    for (uint32_t i = 0; i < node->key_count; i++) {
        uint32_t place = node->key_first + i;
        const PathKey *key = (const PathKey *)(void *)build->keys.data + place;
        uint64_t at = pathset_hash(build->set, key->text, key->size, key->head, key->tail);
        while (table[at & node->table_mask]) at++;
        table[at & node->table_mask] = place + 1;
    }
}

static int compare_indexes(const void *a, const void *b) {
    const PathIndex *x = a, *y = b;
    return x->index < y->index ? -1 : x->index > y->index;
}

/*
 * Makes the node of the paths `slots` (in path order), which share their first `depth` steps; gives
 * its number. A key's paths and an index's paths differ only when one of them quotes the number;
 * then the two lead to different nodes, hence the bound on nodes.
 */
static uint32_t build_node(Build *build, const uint32_t *slots, uint32_t count, size_t depth) {
    check(depth <= PATH_STEPS_MAX && count <= build->set->slot_count);
    uint32_t number = build_count(&build->nodes, sizeof(PathNode));
    if (number >= PATH_NODES_MAX) build->full = true;
    if (build->full) return 0;
    PathNode node = {0};
    buffer_append(&build->nodes, &node, sizeof node);
    const PathSteps *paths = build->set->paths;
    _cleanup_(buffer_deinit) Buffer keys = {0};
    _cleanup_(buffer_deinit) Buffer indexes = {0};
    node.slot_first = build_count(&build->slots, sizeof(uint32_t));
    uint32_t at = 0;
    for (; at < count && step_count(&paths[slots[at]]) == depth; at++) {
        PathSteps *path = &build->set->paths[slots[at]];
        buffer_append(&build->slots, &slots[at], sizeof *slots);
        node.slot_count++;
        if (!path->watched) continue;
        path->node = number;
        node.watched = true;
    }
    while (at < count) {
        const PathStep *step = step_at(&paths[slots[at]], depth);
        uint32_t stop = at;
        _cleanup_(buffer_deinit) Buffer numeric = {0};
        uint32_t index = PATH_NONE;
        for (; stop < count; stop++) {
            const PathStep *other = step_at(&paths[slots[stop]], depth);
            if (other->size != step->size || (step->size && memcmp(other->text, step->text, step->size) != 0)) break;
            if (other->index == PATH_NONE) continue;
            index = other->index;
            buffer_append(&numeric, &slots[stop], sizeof *slots);
        }
        check(stop > at);
        PathKey key = {.text = step->text, .size = step->size, .node = build_node(build, slots + at, stop - at, depth + 1)};
        for (uint32_t i = 0; i < key.size && i < 8; i++) key.head |= (uint64_t)(unsigned char)key.text[i] << (i * 8);
        key.tail = key.size >= 8 ? text_load8(key.text + key.size - 8) : key.head;
        buffer_append(&keys, &key, sizeof key);
        node.key_sizes |= UINT64_C(1) << (key.size & 63);
        if (key.size > build->set->key_bytes_max) build->set->key_bytes_max = key.size;
        uint32_t numeric_count = build_count(&numeric, sizeof(uint32_t));
        if (numeric_count > 0) {
            PathIndex entry = {.index = index, .node = key.node};
            if (numeric_count < stop - at) entry.node = build_node(build, (const uint32_t *)(void *)numeric.data, numeric_count, depth + 1);
            buffer_append(&indexes, &entry, sizeof entry);
        }
        if (build->full) return 0;
        at = stop;
    }
    node.key_first = build_count(&build->keys, sizeof(PathKey));
    node.key_count = build_count(&keys, sizeof(PathKey));
    node.key_unseen = node.key_count > 63 ? ~UINT64_C(0) : (UINT64_C(1) << node.key_count) - 1;
    if (node.watched) node.key_unseen |= PATH_WATCHED;
    buffer_append(&build->keys, keys.data, keys.size);
    node.index_first = build_count(&build->indexes, sizeof(PathIndex));
    node.index_count = build_count(&indexes, sizeof(PathIndex));
    if (node.index_count > 1) qsort(indexes.data, node.index_count, sizeof(PathIndex), compare_indexes);
    buffer_append(&build->indexes, indexes.data, indexes.size);
    build_table(build, &node);
    ((PathNode *)(void *)build->nodes.data)[number] = node;
    return number;
}

/* What the scanner relies on without looking: every range is inside its array, and each node but
 * the first is behind the one that leads to it. */
static void check_node(const PathSet *set, const Build *build, uint32_t number) {
    const PathNode *node = &set->nodes[number];
    uint32_t keys = build_count(&build->keys, sizeof(PathKey)), indexes = build_count(&build->indexes, sizeof(PathIndex));
    uint32_t slots = build_count(&build->slots, sizeof(uint32_t)), table = build_count(&build->table, sizeof(uint32_t));
    check(node->key_first <= keys && node->key_count <= keys - node->key_first);
    check(node->index_first <= indexes && node->index_count <= indexes - node->index_first);
    check(node->slot_first <= slots && node->slot_count <= slots - node->slot_first);
    check((node->table_mask == 0) == (node->key_count <= PATH_KEYS_LINEAR));
    check(node->table_mask == 0 || (node->table_mask < table && node->table_first <= table - node->table_mask - 1));
    check((node->table_mask & (node->table_mask + 1)) == 0 && node->key_count <= node->table_mask / 2 + PATH_KEYS_LINEAR);
    for (uint32_t i = 0; i < node->key_count; i++) {
        const PathKey *key = &set->keys[node->key_first + i];
        check(key->node > number && key->node < set->node_count && key->size <= set->key_bytes_max);
    }
    for (uint32_t i = 0; i < node->index_count; i++) {
        const PathIndex *index = &set->indexes[node->index_first + i];
        check(index->node > number && index->node < set->node_count && (i == 0 || index->index > index[-1].index));
    }
    for (uint32_t i = 0; i < node->slot_count; i++) check(set->slots[node->slot_first + i] < set->slot_count);
}

static int compare_slots(const void *a, const void *b, void *paths) {
    return compare_paths((const PathSteps *)paths + *(const uint32_t *)a, (const PathSteps *)paths + *(const uint32_t *)b);
}

int pathset_seal(PathSet *set, Error *error) {
    check(!set->sealed);
    set->sealed = true;
    free(set->same);
    set->same = NULL;
    uint32_t *order = calloc(set->slot_count + 1, sizeof *order);
    check(order);
    for (uint32_t i = 0; i < set->slot_count; i++) order[i] = i;
    qsort_r(order, set->slot_count, sizeof *order, compare_slots, set->paths);
    Build build = {.set = set};
    build_node(&build, order, set->slot_count, 0);
    free(order);
    Build sizes = build; /* what is taken has no size any more */
    set->node_count = build_count(&build.nodes, sizeof(PathNode));
    set->nodes = (PathNode *)(void *)buffer_take(&build.nodes);
    set->keys = (PathKey *)(void *)buffer_take(&build.keys);
    set->indexes = (PathIndex *)(void *)buffer_take(&build.indexes);
    set->slots = (uint32_t *)(void *)buffer_take(&build.slots);
    set->table = (uint32_t *)(void *)buffer_take(&build.table);
    for (uint32_t i = 0; i < set->node_count && !build.full; i++) check_node(set, &sizes, i);
    if (build.full)
        return error_set(error, -EINVAL, "the paths need more than %d places in a document: use fewer or shorter paths", PATH_NODES_MAX);
    return 0;
}
