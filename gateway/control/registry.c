#include "gateway/control/registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/log.h"
#include "config/mask_table.h"
#include "config/settings.h"
#include "storage/catalog.h"
#include "storage/mask_key.h"
#include "storage/totals.h"

#define NUMBERS_KEY CATALOG_NUMBERS

/* ---- arrays in order of ids ------------------------------------------------------------------ */

static size_t find_source(const Registry *registry, const char *id) {
    size_t low = 0, high = registry->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(registry->sources[middle]->source->source_id, id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static size_t find_sink(const RegistrySource *source, const char *id) {
    size_t at = 0;
    while (at < source->sink_count && strcmp(source->sinks[at]->sink->sink_id, id) < 0) at++;
    return at;
}

RegistrySource *registry_find(const Registry *registry, const char *source_id) {
    size_t at = find_source(registry, source_id);
    bool found = at < registry->count && strcmp(registry->sources[at]->source->source_id, source_id) == 0;
    return found ? registry->sources[at] : NULL;
}

RegistrySink *registry_find_sink(const RegistrySource *source, const char *sink_id) {
    size_t at = find_sink(source, sink_id);
    bool found = at < source->sink_count && strcmp(source->sinks[at]->sink->sink_id, sink_id) == 0;
    return found ? source->sinks[at] : NULL;
}

size_t registry_after(const Registry *registry, const char *after_id) {
    if (!after_id) return 0;
    size_t at = find_source(registry, after_id);
    return at + (at < registry->count && strcmp(registry->sources[at]->source->source_id, after_id) == 0);
}

size_t registry_sink_after(const RegistrySource *source, const char *after_id) {
    if (!after_id) return 0;
    size_t at = find_sink(source, after_id);
    return at + (at < source->sink_count && strcmp(source->sinks[at]->sink->sink_id, after_id) == 0);
}

size_t registry_live_sources(const Registry *registry) {
    size_t live = 0;
    for (size_t i = 0; i < registry->count; i++) live += registry->sources[i]->source->deleted == 0;
    return live;
}

size_t registry_live_sinks(const RegistrySource *source) {
    size_t live = 0;
    for (size_t i = 0; i < source->sink_count; i++) live += source->sinks[i]->sink->deleted == 0;
    return live;
}

RegistrySource *registry_put(Registry *registry, Source *take_source) {
    RegistrySource *known = registry_find(registry, take_source->source_id);
    check(take_source->number > 0);
    if (known) {
        check(known->source->number == take_source->number);
        source_unref(known->source);
        known->source = take_source;
        return known;
    }
    RegistrySource *added = calloc(1, sizeof *added);
    check(added);
    added->source = take_source;
    array_reserve(registry->sources, registry->count, registry->room);
    size_t at = find_source(registry, take_source->source_id);
    memmove(registry->sources + at + 1, registry->sources + at, (registry->count - at) * sizeof *registry->sources);
    registry->sources[at] = added;
    registry->count++;
    check(at == 0 || strcmp(registry->sources[at - 1]->source->source_id, take_source->source_id) < 0);
    check(at + 1 == registry->count || strcmp(take_source->source_id, registry->sources[at + 1]->source->source_id) < 0);
    return added;
}

RegistrySink *registry_sink_numbered(const RegistrySource *source, uint32_t number) {
    for (size_t i = 0; i < source->sink_count; i++)
        if (source->sinks[i]->sink->number == number) return source->sinks[i];
    return NULL;
}

static void take_out(RegistrySource *source, const RegistrySink *entry) {
    size_t at = 0;
    while (source->sinks[at] != entry) at++;
    source->sink_count--;
    memmove(source->sinks + at, source->sinks + at + 1, (source->sink_count - at) * sizeof *source->sinks);
}

/* Two sinks that change their ids have the same one for a moment. */
static RegistrySink *put_in(RegistrySource *source, RegistrySink *entry) {
    array_reserve(source->sinks, source->sink_count, source->sink_room);
    size_t at = find_sink(source, entry->sink->sink_id);
    memmove(source->sinks + at + 1, source->sinks + at, (source->sink_count - at) * sizeof *source->sinks);
    source->sinks[at] = entry;
    source->sink_count++;
    return entry;
}

RegistrySink *registry_put_sink(RegistrySource *source, Sink *take_sink, SinkGate *gate) {
    RegistrySink *known = registry_sink_numbered(source, take_sink->number);
    check(take_sink->number > 0);
    if (known) {
        check(!gate || gate == known->gate);
        bool moves = strcmp(known->sink->sink_id, take_sink->sink_id) != 0;
        if (moves) take_out(source, known);
        sink_unref(known->sink);
        known->sink = take_sink;
        known->gave_up = false;
        return moves ? put_in(source, known) : known;
    }
    RegistrySink *added = calloc(1, sizeof *added);
    check(added);
    added->sink = take_sink;
    added->gate = gate ? sink_gate_ref(gate) : sink_gate_new();
    return put_in(source, added);
}

void registry_check_sinks(const RegistrySource *source) {
    for (size_t i = 1; i < source->sink_count; i++) check(strcmp(source->sinks[i - 1]->sink->sink_id, source->sinks[i]->sink->sink_id) < 0);
}

static void sink_entry_free(RegistrySink *entry) {
    sink_unref(entry->sink);
    sink_gate_unref(entry->gate);
    free(entry);
}

static void source_entry_free(RegistrySource *entry) {
    for (size_t i = 0; i < entry->sink_count; i++) sink_entry_free(entry->sinks[i]);
    free(entry->sinks);
    snapshot_source_unref(entry->shown);
    source_unref(entry->source);
    free(entry);
}

void registry_remove(Registry *registry, RegistrySource *source) {
    size_t at = find_source(registry, source->source->source_id);
    check(at < registry->count && registry->sources[at] == source);
    check(!source->shown && source->sink_count == 0);
    registry->count--;
    memmove(registry->sources + at, registry->sources + at + 1, (registry->count - at) * sizeof *registry->sources);
    source_entry_free(source);
}

void registry_remove_sink(RegistrySource *source, RegistrySink *sink) {
    check(sink->sink->deleted != 0);
    take_out(source, sink);
    sink_entry_free(sink);
}

void registry_deinit(Registry *registry) {
    for (size_t i = 0; i < registry->count; i++) source_entry_free(registry->sources[i]);
    free(registry->sources);
    *registry = (Registry){0};
}

/* ---- from the catalog ------------------------------------------------------------------------ */

typedef struct Loading {
    Registry *registry;
    RegistrySource **by_number; /* numbers ascend in the walk */
    size_t count, room;
} Loading;

static json_t *parse(Span document) {
    return json_loadb(document.data, document.size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
}

/* Damage costs this one: its rows wait, the others go on. */
static int leave_out(const char *what, uint32_t number, Error *error) {
    log_error("the catalog's %s number %u cannot be read and is left out: %s", what, number, error->text);
    *error = (Error){0};
    return 0;
}

static int load_source(void *context, Span key, Span document, Error *error) {
    Loading *loading = context;
    if (key.size != 4) return error_set(error, -EBADMSG, "the catalog holds a source under a key of %zu bytes", key.size);
    json_t *stored = parse(document);
    Source *source;
    int r = stored ? source_load(stored, &source, error) : error_set(error, -EBADMSG, "it is not JSON");
    json_decref(stored);
    uint32_t number = load_be32(key.data);
    if (r == 0 && source->number != number) {
        source_unref(source);
        r = error_set(error, -EBADMSG, "it has another number");
    }
    if (r == 0 && registry_find(loading->registry, source->source_id)) {
        source_unref(source);
        r = error_set(error, -EBADMSG, "another source has its id");
    }
    if (loading->registry->next_source <= number) loading->registry->next_source = number + 1;
    if (r < 0) return leave_out("source", number, error);
    array_reserve(loading->by_number, loading->count, loading->room);
    loading->by_number[loading->count++] = registry_put(loading->registry, source);
    return 0;
}

static int load_sink(void *context, Span key, Span document, Error *error) {
    Loading *loading = context;
    if (key.size != 8) return error_set(error, -EBADMSG, "the catalog holds a sink under a key of %zu bytes", key.size);
    uint32_t source_number = load_be32(key.data), number = load_be32(key.data + 4);
    size_t low = 0, high = loading->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (loading->by_number[middle]->source->number < source_number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < loading->count && loading->by_number[low]->source->number == source_number;
    json_t *stored = parse(document);
    Sink *sink = NULL;
    int r = stored ? sink_load(stored, &sink, error) : error_set(error, -EBADMSG, "it is not JSON");
    json_decref(stored);
    if (r == 0 && sink->number != number) r = error_set(error, -EBADMSG, "it has another number");
    if (r == 0 && !found) r = error_set(error, -EBADMSG, "there is no source number %u", source_number);
    if (r == 0 && registry_find_sink(loading->by_number[low], sink->sink_id)) r = error_set(error, -EBADMSG, "another sink has its id");
    /* A key can be damaged while the document is not. */
    uint32_t given = sink ? sink->number : number;
    if (loading->registry->next_sink <= given) loading->registry->next_sink = given + 1;
    if (r < 0) {
        sink_unref(sink);
        return leave_out("sink", number, error);
    }
    (void)registry_put_sink(loading->by_number[low], sink, NULL);
    return 0;
}

/* Numbers that were given and left no trace may be among those that are skipped now. */
#define NUMBERS_SKIPPED 1000

static int guess_numbers(Registry *registry, Txn *txn, Error *error) {
    uint32_t last;
    log_error("the catalog's number counters are damaged: %d numbers are skipped", NUMBERS_SKIPPED);
    int r = totals_last_sink(txn, &last, error);
    if (r < 0) return r;
    if (registry->next_sink <= last) registry->next_sink = last + 1;
    registry->next_sink += NUMBERS_SKIPPED;
    registry->next_source += NUMBERS_SKIPPED;
    return 0;
}

static int load_numbers(Registry *registry, Txn *txn, Error *error) {
    Span document;
    int r = catalog_get(txn, CATALOG_META, SPAN(NUMBERS_KEY), &document, error);
    if (r == -EBADMSG) return guess_numbers(registry, txn, error);
    if (r < 0) return r;
    if (r == CATALOG_NOT_FOUND) return 0;
    json_t *stored = parse(document);
    json_int_t source = json_integer_value(json_object_get(stored, "source")), sink = json_integer_value(json_object_get(stored, "sink"));
    json_decref(stored);
    if (source < 1 || source > UINT32_MAX || sink < 1 || sink > UINT32_MAX) return guess_numbers(registry, txn, error);
    if (registry->next_source < source) registry->next_source = (uint32_t)source;
    if (registry->next_sink < sink) registry->next_sink = (uint32_t)sink;
    return 0;
}

int registry_load(Registry *registry, Environment *environment, Error *error) {
    *registry = (Registry){.next_source = 1, .next_sink = 1};
    Txn *txn;
    int r = txn_begin_read(environment, &txn, error);
    if (r < 0) return r;
    Loading loading = {.registry = registry};
    r = catalog_visit(txn, CATALOG_SOURCES, (Span){0}, load_source, &loading, error);
    if (r == 0) r = catalog_visit(txn, CATALOG_SINKS, (Span){0}, load_sink, &loading, error);
    if (r == 0) r = load_numbers(registry, txn, error);
    txn_abort(txn);
    free(loading.by_number);
    if (r < 0) registry_deinit(registry);
    return r;
}

/* ---- what the loops run ---------------------------------------------------------------------- */

typedef struct Choice {
    Sink *sinks[SINKS_A_SOURCE_MAX + 1]; /* in order of numbers: stable rows whatever the names */
    SinkGate *gates[SINKS_A_SOURCE_MAX + 1];
    size_t count;
    uint32_t skipped[SINKS_A_SOURCE_MAX + 1]; /* disabled sinks */
    size_t skipped_count;
    Sink *skipped_sinks[SINKS_A_SOURCE_MAX + 1];
} Choice;

static void insert(Choice *choice, const Sink *sink, SinkGate *gate) {
    check(choice->count <= SINKS_A_SOURCE_MAX);
    size_t at = choice->count++;
    for (; at > 0 && choice->sinks[at - 1]->number > sink->number; at--) {
        choice->sinks[at] = choice->sinks[at - 1];
        choice->gates[at] = choice->gates[at - 1];
    }
    choice->sinks[at] = (Sink *)(uintptr_t)sink;
    choice->gates[at] = gate;
}

static void choose(Choice *choice, const Sink *sink, SinkGate *gate) {
    if (sink->deleted != 0) return;
    check(choice->count + choice->skipped_count <= SINKS_A_SOURCE_MAX);
    if (!sink->disabled) {
        insert(choice, sink, gate);
        return;
    }
    choice->skipped_sinks[choice->skipped_count] = (Sink *)(uintptr_t)sink;
    choice->skipped[choice->skipped_count++] = sink->number;
}

/* The first mask that needs one makes the key of the data directory. */
static int find_key(const Registry *registry, const Choice *choice, Error *error) {
    bool needed = false, made;
    if (!registry->mask_keys || !registry->files || mask_keys_main(registry->mask_keys, NULL).size > 0) return 0;
    for (size_t i = 0; i < choice->count; i++) needed = needed || sink_needs_mask_key(choice->sinks[i]);
    if (!needed) return 0;
    int r = mask_key_own(registry->files, registry->mask_keys, &made, error);
    if (r == 0 && made)
        log_warning("the data directory had no mask key: " MASK_KEY_FILE
                    " was created. Values that were masked before, if any, were masked with another key");
    return r;
}

/* What is stored goes on, even if a definition like it would be refused today. */
static int compile_stored(const Source *source, const Choice *choice, PlanMasks masks, Plan **ret_plan, Error *error) {
    int r = plan_compile_masked(source, choice->sinks, choice->count, &masks, ret_plan, error);
    if (r == 0) return 0;
    Error reason = *error;
    masks.in_force = true;
    r = plan_compile_masked(source, choice->sinks, choice->count, &masks, ret_plan, error);
    if (r == 0)
        log_warning("source \"%s\" stores unmasked what it masks; its next change is refused until this is fixed: %s", source->source_id,
                    reason.text);
    return r;
}

int registry_compile(const Registry *registry, const RegistrySource *known, const Source *source, Sink *const *sinks,
                     SinkGate *const *gates, size_t sink_count, SnapshotSource **ret_shown, Error *error) {
    bool is_stored = !source && sink_count == 0;
    if (!source) source = known->source;
    if (source->deleted != 0) {
        *ret_shown = NULL;
        return 0;
    }
    Choice choice = {0};
    for (size_t i = 0; known && i < known->sink_count; i++) {
        const Sink *sink = known->sinks[i]->sink;
        for (size_t k = 0; k < sink_count; k++)
            if (sinks[k]->number == known->sinks[i]->sink->number) sink = sinks[k];
        choose(&choice, sink, known->sinks[i]->gate);
    }
    for (size_t k = 0; k < sink_count; k++)
        if (!known || !registry_sink_numbered(known, sinks[k]->number)) choose(&choice, sinks[k], gates[k]);

    Plan *plan = NULL;
    if (choice.count > 0) {
        int r = find_key(registry, &choice, error);
        PlanMasks masks = {.keys = registry->mask_keys, .disabled = choice.skipped_sinks, .disabled_count = choice.skipped_count};
        if (r == 0 && is_stored)
            r = compile_stored(source, &choice, masks, &plan, error);
        else if (r == 0)
            r = plan_compile_masked(source, choice.sinks, choice.count, &masks, &plan, error);
        if (r < 0) return r;
    }
    bool sync_wait[SINKS_A_SOURCE_MAX + 1];
    for (size_t i = 0; i < choice.count; i++)
        sync_wait[i] = settings_effective(SETTING_SYNC_WAIT, &source->settings, &choice.sinks[i]->settings) != 0;
    Source *shared = source_ref(source);
    *ret_shown = snapshot_source_new(shared, plan, choice.gates, sync_wait, choice.skipped, choice.skipped_count,
                                     known ? known->shown : NULL);
    source_unref(shared);
    if (plan) plan_unref(plan);
    return 0;
}

int registry_compile_all(const Registry *registry, const RegistrySource *source, Plan **ret_plan, Error *error) {
    Choice choice = {0};
    *ret_plan = NULL;
    for (size_t i = 0; i < source->sink_count; i++)
        if (source->sinks[i]->sink->deleted == 0) insert(&choice, source->sinks[i]->sink, source->sinks[i]->gate);
    if (choice.count == 0) return 0;
    /* A mask of a disabled sink hides nothing from the others until it is enabled. */
    const PlanMasks masks = {.keys = registry->mask_keys, .in_force = true};
    int r = find_key(registry, &choice, error);
    return r < 0 ? r : plan_compile_masked(source->source, choice.sinks, choice.count, &masks, ret_plan, error);
}

Snapshot *registry_snapshot(const Registry *registry, uint64_t generation, Mailbox *gone) {
    _cleanup_free_ SnapshotSource **shown = calloc(registry->count + 1, sizeof *shown);
    check(shown);
    size_t count = 0;
    for (size_t i = 0; i < registry->count; i++)
        if (registry->sources[i]->shown) shown[count++] = registry->sources[i]->shown;
    return snapshot_new(generation, shown, count, gone);
}

/* ---- to the catalog -------------------------------------------------------------------------- */

static void store_numbers(const Registry *registry, Define *define) {
    json_t *numbers = json_pack("{s:I, s:I}", "source", (json_int_t)registry->next_source, "sink", (json_int_t)registry->next_sink);
    check(numbers);
    define_put(define, CATALOG_META, SPAN(NUMBERS_KEY), numbers);
    json_decref(numbers);
}

static Span version_key(char out[static 9], char kind, uint32_t number, uint32_t version) {
    out[0] = kind;
    store_be32(out + 1, number);
    store_be32(out + 5, version);
    return (Span){.data = out, .size = 9};
}

static void store_version(Define *define, char kind, uint32_t number, uint32_t version, const json_t *stored) {
    char key[9];
    define_put(define, CATALOG_VERSIONS, version_key(key, kind, number, version), stored);
    if (version > VERSIONS_KEPT) define_remove(define, CATALOG_VERSIONS, version_key(key, kind, number, version - VERSIONS_KEPT));
}

static void erase_versions(Define *define, char kind, uint32_t number, uint32_t last) {
    char key[9];
    for (uint32_t version = last > VERSIONS_KEPT ? last - VERSIONS_KEPT + 1 : 1; version <= last; version++)
        define_remove(define, CATALOG_VERSIONS, version_key(key, kind, number, version));
}

static Span sink_key(char out[static 8], const Source *source, const Sink *sink) {
    store_be32(out, source->number);
    store_be32(out + 4, sink->number);
    return (Span){.data = out, .size = 8};
}

void registry_store_source(const Registry *registry, Define *define, const Source *source) {
    check(source->number > 0 && source->number < registry->next_source);
    char key[4];
    store_be32(key, source->number);
    json_t *stored = source_store(source);
    define_put(define, CATALOG_SOURCES, (Span){.data = key, .size = sizeof key}, stored);
    store_version(define, 's', source->number, source->version.number, stored);
    json_decref(stored);
    store_numbers(registry, define);
}

/* The columns that were inferred are in the newest version only: each version has those of the one
 * before it, and with long paths they are megabytes. What a version was made for, what people
 * declared, is in all. */
static void shorten_version(const Registry *registry, Define *define, const Source *source, const Sink *sink) {
    const RegistrySource *known = registry_find(registry, source->source_id);
    const RegistrySink *entry = known ? registry_sink_numbered(known, sink->number) : NULL;
    if (!entry || !entry->sink->target.infer) return;
    if (entry->sink->version.number == 0 || entry->sink->version.number >= sink->version.number) return;
    char key[9];
    json_t *past = sink_store_past(entry->sink);
    define_put(define, CATALOG_VERSIONS, version_key(key, 'k', sink->number, entry->sink->version.number), past);
    json_decref(past);
}

void registry_store_sink(const Registry *registry, Define *define, const Source *source, const Sink *sink) {
    check(sink->number > 0 && sink->number < registry->next_sink);
    char key[8];
    json_t *stored = sink_store(sink);
    define_put(define, CATALOG_SINKS, sink_key(key, source, sink), stored);
    shorten_version(registry, define, source, sink);
    store_version(define, 'k', sink->number, sink->version.number, stored);
    json_decref(stored);
    store_numbers(registry, define);
}

void registry_erase_source(Define *define, const Source *source) {
    char key[4];
    store_be32(key, source->number);
    define_remove(define, CATALOG_SOURCES, (Span){.data = key, .size = sizeof key});
    erase_versions(define, 's', source->number, source->version.number);
}

void registry_erase_sink(Define *define, const Source *source, const Sink *sink) {
    char key[8];
    define_remove(define, CATALOG_SINKS, sink_key(key, source, sink));
    erase_versions(define, 'k', sink->number, sink->version.number);
}

void registry_order_all(const Registry *registry, Define *define) {
    for (size_t i = 0; i < registry->count; i++) {
        const RegistrySource *source = registry->sources[i];
        for (size_t k = 0; k < source->sink_count; k++)
            (void)define_order(define, source->source, source->sinks[k]->sink, source->sinks[k]->gate);
    }
}
