#include "gateway/values/schema_registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "config/source_bridge.h"
#include "gateway/values/schema_lookup.h"

typedef struct Schema {
    uint32_t number;
    SchemaResult result; /* never SCHEMA_WAIT */
    AvroForm *form;      /* of an Avro schema that was found */
    char *why;           /* of SCHEMA_UNFIT */
    size_t bytes;
    usec_t again;  /* of SCHEMA_UNKNOWN: boot time of the next lookup */
    uint64_t used; /* the greater, the later */
} Schema;

struct SchemaRegistry {
    ThreadOwner owner;
    char *url;
    SchemaKind kind;
    Clock *clock;
    SchemaLookup *lookup;
    Schema *schemas; /* by number */
    size_t count, capacity, bytes;
    uint64_t uses, lookups;
    unsigned failures; /* since the last lookup that was answered */
    usec_t again;      /* boot time: no lookup before */
    usec_t down_since; /* wall time; 0: it is not down */
    Error down;
};

int schema_registry_open(const SchemaRegistrySettings *settings, Clock *clock, SchemaRegistry **ret_registry, Error *error) {
    const char *wrong = registry_url_wrong(settings->url);
    if (wrong) return error_set(error, -EINVAL, "the URL of a schema registry %s", wrong);
    SchemaRegistry *registry = calloc(1, sizeof *registry);
    check(registry);
    registry->url = text_copy(settings->url);
    for (size_t size = strlen(registry->url); registry->url[size - 1] == '/'; size--) registry->url[size - 1] = '\0';
    registry->kind = settings->kind;
    registry->clock = clock;
    int r = schema_lookup_open(registry->url, settings->user, settings->password_file, &registry->lookup, error);
    if (r < 0) {
        schema_registry_close(registry);
        return r;
    }
    *ret_registry = registry;
    return 0;
}

static void schema_deinit(Schema *schema) {
    avro_form_free(schema->form);
    free(schema->why);
}

void schema_registry_close(SchemaRegistry *registry) {
    if (!registry) return;
    schema_lookup_close(registry->lookup);
    for (size_t i = 0; i < registry->count; i++) schema_deinit(&registry->schemas[i]);
    free(registry->schemas);
    free(registry->url);
    free(registry);
}

/* Where the number is, or would be. */
static size_t place_of(const SchemaRegistry *registry, uint32_t number) {
    size_t low = 0, high = registry->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (registry->schemas[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static Schema *kept(SchemaRegistry *registry, uint32_t number) {
    size_t at = place_of(registry, number);
    return at < registry->count && registry->schemas[at].number == number ? &registry->schemas[at] : NULL;
}

static void forget(SchemaRegistry *registry, size_t at) {
    registry->bytes -= registry->schemas[at].bytes;
    schema_deinit(&registry->schemas[at]);
    memmove(&registry->schemas[at], &registry->schemas[at + 1], (registry->count - at - 1) * sizeof(Schema));
    registry->count--;
}

static void make_room(SchemaRegistry *registry, size_t bytes) {
    while (registry->count > 0 && (registry->count >= SCHEMA_COUNT_MAX || registry->bytes + bytes > SCHEMA_BYTES_MAX)) {
        size_t oldest = 0;
        for (size_t i = 1; i < registry->count; i++)
            if (registry->schemas[i].used < registry->schemas[oldest].used) oldest = i;
        forget(registry, oldest);
    }
}

static void keep(SchemaRegistry *registry, Schema take_schema) {
    Schema *old = kept(registry, take_schema.number);
    if (old) forget(registry, (size_t)(old - registry->schemas));
    make_room(registry, take_schema.bytes);
    array_reserve(registry->schemas, registry->count, registry->capacity);
    size_t at = place_of(registry, take_schema.number);
    memmove(&registry->schemas[at + 1], &registry->schemas[at], (registry->count - at) * sizeof(Schema));
    registry->schemas[at] = take_schema;
    registry->count++;
    registry->bytes += take_schema.bytes;
}

static void refuse(Schema *schema, const char *why) {
    schema->result = SCHEMA_UNFIT;
    schema->why = text_copy(why);
}

/* What the registry knows of a number. */
static Schema schema_of(const SchemaRegistry *registry, const SchemaAnswer *answer, usec_t now) {
    static const char *const types[] = {[SCHEMA_AVRO] = "AVRO", [SCHEMA_JSON] = "JSON"};
    Schema schema = {.number = answer->number, .result = SCHEMA_FOUND};
    Error error;
    char text[128], type[TEXT_EXCERPT_SIZE];
    if (answer->kind == SCHEMA_ANSWER_UNKNOWN) {
        schema.result = SCHEMA_UNKNOWN;
        schema.again = now + SCHEMA_UNKNOWN_AGAIN;
    } else if (answer->kind == SCHEMA_ANSWER_TOO_LONG) {
        refuse(&schema, "is too long");
    } else if (strcmp(answer->type, types[registry->kind]) != 0) {
        (void)snprintf(text, sizeof text, "is of type %s, not %s", text_excerpt(span_of(answer->type), type), types[registry->kind]);
        refuse(&schema, text);
    } else if (registry->kind == SCHEMA_AVRO && answer->has_references) {
        refuse(&schema, "has references to other schemas, which are not supported");
    } else if (registry->kind == SCHEMA_AVRO && avro_form_new(buffer_span(&answer->text), &schema.form, &error) < 0) {
        refuse(&schema, error.text);
    }
    schema.bytes = sizeof schema + (schema.form ? avro_form_bytes(schema.form) : 0) + (schema.why ? strlen(schema.why) : 0);
    return schema;
}

static void is_down(SchemaRegistry *registry, const Error *error, usec_t now) {
    usec_t pause = registry->failures < 5 ? USEC_SECOND << registry->failures : SCHEMA_DOWN_AGAIN_MAX;
    registry->failures++;
    registry->again = now + pause;
    registry->down = *error;
    if (registry->down_since == 0) {
        registry->down_since = registry->clock->wall(registry->clock);
        log_warning("the schema registry %s does not work, and records wait for it: %s", registry->url, error->text);
    }
}

static void is_up(SchemaRegistry *registry) {
    if (registry->down_since != 0) log_info("the schema registry %s answers again", registry->url);
    registry->down_since = 0;
    registry->failures = 0;
    registry->again = 0;
}

static void take_answer(SchemaRegistry *registry, usec_t now) {
    SchemaAnswer answer;
    if (!schema_lookup_take(registry->lookup, &answer)) return;
    registry->lookups++;
    if (answer.kind == SCHEMA_ANSWER_FAILED) {
        is_down(registry, &answer.error, now);
    } else {
        is_up(registry);
        Schema schema = schema_of(registry, &answer, now);
        schema.used = ++registry->uses;
        keep(registry, schema);
    }
    schema_answer_deinit(&answer);
}

static void look_up(SchemaRegistry *registry, uint32_t number, usec_t now) {
    if (now >= registry->again && !schema_lookup_is_busy(registry->lookup)) schema_lookup_start(registry->lookup, number);
}

SchemaResult schema_registry_find(SchemaRegistry *registry, uint32_t number, AvroForm **ret_form, Error *why) {
    check_on_thread(&registry->owner);
    usec_t now = registry->clock->boot(registry->clock);
    take_answer(registry, now);
    Schema *schema = kept(registry, number);
    if (!schema) {
        look_up(registry, number, now);
        return SCHEMA_WAIT;
    }
    schema->used = ++registry->uses;
    switch (schema->result) {
    case SCHEMA_FOUND: *ret_form = schema->form; break;
    case SCHEMA_UNFIT: (void)error_set(why, -EBADMSG, "schema %u %s", number, schema->why); break;
    case SCHEMA_UNKNOWN:
        if (now >= schema->again) look_up(registry, number, now);
        /* Nobody can tell whether a registry that is down knows it by now. */
        if (registry->down_since != 0) return SCHEMA_WAIT;
        (void)error_set(why, -ENOENT, "the schema registry has no schema %u", number);
        break;
    case SCHEMA_WAIT: unreachable();
    }
    return schema->result;
}

void schema_registry_wait(SchemaRegistry *registry, usec_t most) {
    check_on_thread(&registry->owner);
    schema_lookup_wait(registry->lookup, most);
}

void schema_registry_state(const SchemaRegistry *registry, SchemaRegistryState *ret_state) {
    check_on_thread(&registry->owner);
    *ret_state = (SchemaRegistryState){
        .down_since = registry->down_since, .lookups = registry->lookups, .schemas = registry->count, .bytes = registry->bytes};
    if (registry->down_since != 0) (void)snprintf(ret_state->why, sizeof ret_state->why, "%s", registry->down.text);
}
