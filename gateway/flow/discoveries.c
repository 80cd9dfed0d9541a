#include "gateway/flow/discoveries.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "base/keyed_hash.h"
#include "config/inferred_type.h"
#include "gateway/flow/messages.h"

#define TABLE_SIZE 2048 /* a power of two, at least twice DISCOVERIES_MAX */
_Static_assert(TABLE_SIZE >= 2 * DISCOVERIES_MAX, "a search in the table ends");
_Static_assert(DISCOVERIES_MAX <= UINT16_MAX, "the table holds the number of each field");
_Static_assert(DATA_TYPE_COUNT <= 32, "`variants` has a bit for each type");

typedef struct DiscoveredField {
    uint64_t hash;
    char *path;
    size_t size;
    bool has_own;
    DataType own;      /* of the field's column */
    unsigned variants; /* bits, by DataType */
} DiscoveredField;

struct Discoveries {
    Message message; /* first */
    atomic_uint references;
    uint32_t sink;
    pthread_mutex_t lock; /* of what follows */
    bool is_posted;
    DiscoveredField *fields;
    size_t count, room;
    uint16_t *table; /* 1 + index by hash; 0: free. NULL: nothing was discovered yet */
};

Discoveries *discoveries_new(uint32_t sink) {
    Discoveries *made = calloc(1, sizeof *made);
    check(made);
    atomic_init(&made->references, 1);
    made->sink = sink;
    check(pthread_mutex_init(&made->lock, NULL) == 0);
    return made;
}

Discoveries *discoveries_ref(Discoveries *discoveries) {
    check(atomic_fetch_add_explicit(&discoveries->references, 1, memory_order_relaxed) > 0);
    return discoveries;
}

static void forget(Discoveries *discoveries) {
    for (size_t i = 0; i < discoveries->count; i++) free(discoveries->fields[i].path);
    free(discoveries->fields);
    free(discoveries->table);
    discoveries->fields = NULL;
    discoveries->table = NULL;
    discoveries->count = discoveries->room = 0;
}

void discoveries_unref(Discoveries *discoveries) {
    if (!discoveries) return;
    unsigned before = atomic_fetch_sub_explicit(&discoveries->references, 1, memory_order_acq_rel);
    check(before > 0);
    if (before > 1) return;
    forget(discoveries);
    pthread_mutex_destroy(&discoveries->lock);
    free(discoveries);
}

uint32_t discoveries_sink(const Discoveries *discoveries) {
    return discoveries->sink;
}

/* NULL: there is no room for another field. */
static DiscoveredField *find_field(Discoveries *discoveries, Span path) {
    uint64_t hash = keyed_hash(hash_key_of_process(), path.data, path.size); /* paths are names in events */
    if (!discoveries->table) {
        discoveries->table = calloc(TABLE_SIZE, sizeof *discoveries->table);
        check(discoveries->table);
    }
    size_t at = hash % TABLE_SIZE;
    for (; discoveries->table[at]; at = (at + 1) % TABLE_SIZE) {
        DiscoveredField *field = &discoveries->fields[discoveries->table[at] - 1];
        if (field->hash == hash && span_equal((Span){field->path, field->size}, path)) return field;
    }
    if (discoveries->count == DISCOVERIES_MAX) return NULL;
    array_reserve(discoveries->fields, discoveries->count, discoveries->room);
    DiscoveredField *field = &discoveries->fields[discoveries->count++];
    *field = (DiscoveredField){.hash = hash, .path = strndup(path.data, path.size), .size = path.size};
    check(field->path);
    discoveries->table[at] = (uint16_t)discoveries->count;
    return field;
}

void discoveries_add(Discoveries *discoveries, const MapDiscovery *found, Mailbox *control) {
    check(found->path.size > 0 && inferred_type_valid(found->type));
    check(pthread_mutex_lock(&discoveries->lock) == 0);
    DiscoveredField *field = find_field(discoveries, found->path);
    if (field && found->is_variant) {
        field->variants |= 1u << found->type;
    } else if (field) {
        field->own = field->has_own ? inferred_type_widen(field->own, found->type) : found->type;
        field->has_own = true;
    }
    bool post = field && !discoveries->is_posted;
    if (post) discoveries->is_posted = true;
    check(pthread_mutex_unlock(&discoveries->lock) == 0);
    if (!post) return;
    discoveries_ref(discoveries);
    discoveries->message.kind = MESSAGE_DISCOVERED;
    mailbox_post(control, &discoveries->message);
}

Discoveries *discoveries_of(Message *message) {
    check(message->kind == MESSAGE_DISCOVERED);
    return (Discoveries *)message;
}

static void put_column(InferredColumn *columns, size_t *count, const DiscoveredField *field, bool is_variant, DataType type) {
    InferredColumn column = {.path = strndup(field->path, field->size), .is_variant = is_variant, .type = type};
    check(column.path);
    columns[(*count)++] = column;
}

InferredColumn *discoveries_take(Discoveries *discoveries, size_t *ret_count) {
    size_t count = 0, most = 0;
    InferredColumn *columns = NULL;
    check(pthread_mutex_lock(&discoveries->lock) == 0);
    discoveries->is_posted = false;
    for (size_t i = 0; i < discoveries->count; i++) {
        const DiscoveredField *field = &discoveries->fields[i];
        most += field->has_own + (size_t)__builtin_popcount(field->variants);
    }
    if (most > 0) {
        columns = calloc(most, sizeof *columns);
        check(columns);
    }
    for (size_t i = 0; i < discoveries->count; i++) {
        const DiscoveredField *field = &discoveries->fields[i];
        if (field->has_own) put_column(columns, &count, field, false, field->own);
        for (unsigned type = 0; type < DATA_TYPE_COUNT; type++)
            if (field->variants >> type & 1) put_column(columns, &count, field, true, (DataType)type);
    }
    check(count == most);
    forget(discoveries);
    check(pthread_mutex_unlock(&discoveries->lock) == 0);
    *ret_count = count;
    return columns;
}
