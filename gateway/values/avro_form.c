#include "gateway/values/avro_form.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <string.h>

#include "base/array.h"
#include "gateway/values/avro_form_parts.h"
#include "gateway/values/avro_text.h"
#include "mapping/json_text.h"

enum {
    JSON_DEPTH_MAX = 512,         /* of a schema's text: a type in a field is three levels of it */
    FIXED_BYTES_MAX = 1 << 26,    /* more than any event has */
    LIBRARY_BYTES_MAX = 16 << 20, /* that libavro takes at once for a schema */
};

/* libavro is not safe for threads: one allocator, one error text. */
static pthread_mutex_t library = PTHREAD_MUTEX_INITIALIZER;

void avro_lock(avro_allocator_t allocate, void *context) {
    check(pthread_mutex_lock(&library) == 0);
    avro_set_allocator(allocate, context);
}

static void *no_memory(void *context, void *block, size_t old_bytes, size_t bytes) {
    unreachable(); /* libavro is used under the lock only */
}

void avro_unlock(void) {
    avro_set_allocator(no_memory, NULL);
    check(pthread_mutex_unlock(&library) == 0);
}

/* A schema goes as a whole with its arena. It could not go otherwise: libavro counts references,
 * and a type that names itself has a circle. */
static void *schema_memory(void *context, void *block, size_t old_bytes, size_t bytes) {
    if (bytes == 0 || bytes > LIBRARY_BYTES_MAX) return NULL;
    void *new_block = arena_alloc(context, bytes);
    if (block) memcpy(new_block, block, old_bytes < bytes ? old_bytes : bytes);
    return new_block;
}

typedef struct Named {
    avro_schema_t schema;
    AvroNode *node;
} Named;

typedef struct Compiler {
    Arena *arena;
    Named *named; /* records, enums, fixed */
    size_t named_count, named_capacity;
    size_t depth;
    Error *error;
} Compiler;

static AvroNode *node_of(Compiler *compiler, avro_schema_t schema, const json_t *json);

/* Objects and arrays; more than the limit when it is nested too deep. */
static size_t count_parts(const json_t *json, size_t depth) {
    if (!json_is_object(json) && !json_is_array(json)) return 0;
    size_t count = 1;
    if (depth == JSON_DEPTH_MAX) return AVRO_SCHEMA_PARTS_MAX + 1;
    for (size_t i = 0; i < json_array_size(json); i++) count += count_parts(json_array_get(json, i), depth + 1);
    for (void *at = json_object_iter((json_t *)(uintptr_t)json); at; at = json_object_iter_next((json_t *)(uintptr_t)json, at))
        count += count_parts(json_object_iter_value(at), depth + 1);
    return count;
}

static int64_t whole_number(const json_t *json, const char *name, int64_t absent) {
    const json_t *value = json_object_get(json, name);
    return json_is_integer(value) ? json_integer_value(value) : absent;
}

/* What `json` says beyond what libavro has read of it. */
static void set_logical(AvroNode *node, const json_t *json) {
    static const struct {
        const char *name;
        avro_type_t type;
        AvroLogical logical;
        unsigned digits;
    } known[] = {
        {"decimal", AVRO_BYTES, AVRO_DECIMAL, 0},
        {"decimal", AVRO_FIXED, AVRO_DECIMAL, 0},
        {"uuid", AVRO_STRING, AVRO_UUID, 0},
        {"uuid", AVRO_FIXED, AVRO_UUID, 0},
        {"date", AVRO_INT32, AVRO_DATE, 0},
        {"time-millis", AVRO_INT32, AVRO_TIME, 3},
        {"time-micros", AVRO_INT64, AVRO_TIME, 6},
        {"timestamp-millis", AVRO_INT64, AVRO_TIMESTAMP, 3},
        {"timestamp-micros", AVRO_INT64, AVRO_TIMESTAMP, 6},
        {"timestamp-nanos", AVRO_INT64, AVRO_TIMESTAMP, 9},
        {"local-timestamp-millis", AVRO_INT64, AVRO_TIMESTAMP, 3},
        {"local-timestamp-micros", AVRO_INT64, AVRO_TIMESTAMP, 6},
        {"local-timestamp-nanos", AVRO_INT64, AVRO_TIMESTAMP, 9},
    };
    const char *name = json_string_value(json_object_get(json, "logicalType"));
    avro_schema_t schema = node->consumer.schema;
    for (size_t i = 0; name && i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name) != 0 || known[i].type != avro_typeof(schema)) continue;
        if (known[i].logical == AVRO_DECIMAL) {
            int64_t precision = whole_number(json, "precision", 0), scale = whole_number(json, "scale", 0);
            if (precision < 1 || precision > AVRO_DECIMAL_DIGITS_MAX || scale < 0 || scale > precision) return;
            node->scale = (size_t)scale;
        }
        if (known[i].logical == AVRO_UUID && is_avro_fixed(schema) && avro_schema_fixed_size(schema) != 16) return;
        node->logical = known[i].logical;
        node->digits = known[i].digits;
        return;
    }
}

static Span word_of(Compiler *compiler, const char *text, const char *behind) {
    Buffer word = {0};
    json_quote(&word, span_of(text));
    buffer_append_text(&word, behind);
    Span copy = {arena_copy(compiler->arena, buffer_span(&word)), word.size};
    buffer_deinit(&word);
    return copy;
}

static void make_room(Compiler *compiler, AvroNode *node, size_t count, bool children, bool words) {
    node->count = count;
    if (children) node->children = arena_zalloc(compiler->arena, count * sizeof(AvroNode *));
    if (words) node->words = arena_zalloc(compiler->arena, count * sizeof(Span));
}

static int set_fields(Compiler *compiler, AvroNode *node, const json_t *json) {
    avro_schema_t schema = node->consumer.schema;
    const json_t *fields = json_object_get(json, "fields");
    size_t count = avro_schema_record_size(schema);
    if (json_array_size(fields) != count)
        return error_set(compiler->error, -EINVAL, "the fields of a record differ from those that libavro has read");
    make_room(compiler, node, count, true, true);
    for (size_t i = 0; i < count; i++) {
        const char *name = avro_schema_record_field_name(schema, (int)i);
        /* libavro finds the last one of a name. */
        if (avro_schema_record_field_get_index(schema, name) != (int)i)
            return error_set(compiler->error, -EINVAL, "a record has two fields \"%.100s\"", name);
        node->words[i] = word_of(compiler, name, ":");
        avro_schema_t type = avro_schema_record_field_get_by_index(schema, (int)i);
        node->children[i] = node_of(compiler, type, json_object_get(json_array_get(fields, i), "type"));
        if (!node->children[i]) return -EINVAL;
    }
    return 0;
}

static int set_branches(Compiler *compiler, AvroNode *node, const json_t *json) {
    size_t count = avro_schema_union_size(node->consumer.schema);
    if (json_array_size(json) != count)
        return error_set(compiler->error, -EINVAL, "the types of a union differ from those that libavro has read");
    make_room(compiler, node, count, true, false);
    for (size_t i = 0; i < count; i++) {
        avro_schema_t branch = avro_schema_union_branch(node->consumer.schema, (int)i);
        if (is_avro_union(branch)) return error_set(compiler->error, -EINVAL, "a union has a union in it");
        node->children[i] = node_of(compiler, branch, json_array_get(json, i));
        if (!node->children[i]) return -EINVAL;
    }
    return 0;
}

static int set_parts(Compiler *compiler, AvroNode *node, const json_t *json) {
    avro_schema_t schema = node->consumer.schema;
    switch (avro_typeof(schema)) {
    case AVRO_RECORD: return set_fields(compiler, node, json);
    case AVRO_UNION: return set_branches(compiler, node, json);
    case AVRO_ARRAY:
    case AVRO_MAP: {
        bool array = is_avro_array(schema);
        avro_schema_t items = array ? avro_schema_array_items(schema) : avro_schema_map_values(schema);
        make_room(compiler, node, 1, true, false);
        node->children[0] = node_of(compiler, items, json_object_get(json, array ? "items" : "values"));
        return node->children[0] ? 0 : -EINVAL;
    }
    case AVRO_ENUM:
        make_room(compiler, node, (size_t)avro_schema_enum_number_of_symbols(schema), false, true);
        for (size_t i = 0; i < node->count; i++) node->words[i] = word_of(compiler, avro_schema_enum_get(schema, (int)i), "");
        return 0;
    case AVRO_FIXED:
        if (avro_schema_fixed_size(schema) < 1 || avro_schema_fixed_size(schema) > FIXED_BYTES_MAX)
            return error_set(compiler->error, -EINVAL, "a fixed has %lld bytes", (long long)avro_schema_fixed_size(schema));
        break;
    default: break;
    }
    set_logical(node, json);
    return 0;
}

static AvroNode *named_node(Compiler *compiler, avro_schema_t schema) {
    for (size_t i = 0; i < compiler->named_count; i++)
        if (compiler->named[i].schema == schema) return compiler->named[i].node;
    (void)error_set(compiler->error, -EINVAL, "a type is named before it is declared");
    return NULL;
}

/* The type that libavro read from `json`; NULL: error. */
static AvroNode *node_of(Compiler *compiler, avro_schema_t schema, const json_t *json) {
    if (is_avro_link(schema)) return named_node(compiler, avro_schema_link_target(schema));
    if (++compiler->depth > AVRO_FORM_DEPTH_MAX) {
        (void)error_set(compiler->error, -EINVAL, "more than %d nested types", AVRO_FORM_DEPTH_MAX);
        return NULL;
    }
    AvroNode *node = arena_zalloc(compiler->arena, sizeof *node);
    avro_consumer_init(&node->consumer, schema);
    if (is_avro_record(schema) || is_avro_enum(schema) || is_avro_fixed(schema)) {
        array_reserve(compiler->named, compiler->named_count, compiler->named_capacity);
        compiler->named[compiler->named_count++] = (Named){schema, node};
    }
    int r = set_parts(compiler, node, json);
    compiler->depth--;
    return r < 0 ? NULL : node;
}

/* One line of what libavro says. */
static int refused(Error *error) {
    char says[256];
    size_t size = strnlen(avro_strerror(), sizeof says - 1);
    memcpy(says, avro_strerror(), size);
    says[size] = '\0';
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)says[i] < 0x20 || (unsigned char)says[i] > 0x7e) says[i] = '?';
    return error_set(error, -EINVAL, "is not an Avro schema: %s", says);
}

/* libavro is ours. */
static int compile(AvroForm *form, Span text, const json_t *json, Error *error) {
    avro_schema_t schema;
    if (avro_schema_from_json_length(text.data, text.size, &schema) != 0) return refused(error);
    form->reader = avro_reader_memory("", 0);
    check(form->reader);
    Compiler compiler = {.arena = &form->arena, .error = error};
    form->root = node_of(&compiler, schema, json);
    free(compiler.named);
    return form->root ? 0 : -EINVAL;
}

int avro_form_new(Span text, AvroForm **ret_form, Error *error) {
    if (text.size > AVRO_SCHEMA_BYTES_MAX)
        return error_set(error, -EINVAL, "the schema has %zu bytes, the maximum is %d", text.size, AVRO_SCHEMA_BYTES_MAX);
    json_error_t fault;
    json_t *json = json_loadb(text.size ? text.data : "", text.size, JSON_DECODE_ANY, &fault);
    if (!json) return error_set(error, -EINVAL, "the schema is not JSON: line %d, column %d", fault.line, fault.column);
    int r = 0;
    AvroForm *form = calloc(1, sizeof *form);
    check(form);
    if (count_parts(json, 0) > AVRO_SCHEMA_PARTS_MAX) {
        r = error_set(error, -EINVAL, "the schema has more than %d parts, or is too deep", AVRO_SCHEMA_PARTS_MAX);
    } else {
        avro_lock(schema_memory, &form->arena);
        r = compile(form, text, json, error);
        avro_unlock();
    }
    json_decref(json);
    if (r < 0) {
        avro_form_free(form);
        return r;
    }
    *ret_form = form;
    return 0;
}

void avro_form_free(AvroForm *form) {
    if (!form) return;
    arena_deinit(&form->arena);
    buffer_deinit(&form->memory);
    free(form);
}

size_t avro_form_bytes(const AvroForm *form) {
    return sizeof *form + form->arena.used_bytes + form->memory.capacity;
}
