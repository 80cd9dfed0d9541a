/*
 * The registry holds all definitions of the catalog in memory, including deleted ones, which are
 * kept for 7 days. Only the control thread assigns numbers. The counters are stored with each
 * definition that got a number, so that no number is assigned twice. The registry holds committed
 * definitions only: a change puts its result here after the writer has stored it. Control thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/files.h"
#include "config/definition.h"
#include "config/mask_keys.h"
#include "gateway/control/define.h"
#include "gateway/flow/snapshot.h"
#include "storage/environment.h"

#define VERSIONS_KEPT 1000

typedef struct RegistrySink {
    Sink *sink;     /* owned reference */
    SinkGate *gate; /* owned reference; one for the life of the sink in this process */
    bool gave_up;   /* it is deleted, and its destination has nothing of an open run (left_runs.h) */
} RegistrySink;

typedef struct RegistrySource {
    Source *source;       /* owned reference */
    RegistrySink **sinks; /* by id; deleted ones too */
    size_t sink_count, sink_room;
    SnapshotSource *shown; /* what the next snapshot shows of it; NULL: nothing, it is deleted */
} RegistrySource;

typedef struct Registry {
    RegistrySource **sources; /* by id; deleted ones too */
    size_t count, room;
    uint32_t next_source, next_sink; /* numbers */
    MaskKeys *mask_keys;             /* borrowed, as the next; NULL: there are none */
    Files *files;                    /* of the data directory, whose own key is made when a mask needs one; NULL: it has none */
} Registry;

/* Everything from the catalog, with nothing shown yet. -EBADMSG names the record that cannot be
 * read. */
int registry_load(Registry *registry, Environment *environment, Error *error);
void registry_deinit(Registry *registry);

/* By id, deleted ones too; NULL: none. */
RegistrySource *registry_find(const Registry *registry, const char *source_id);
RegistrySink *registry_find_sink(const RegistrySource *source, const char *sink_id);
/* By number, which a sink keeps when it gets another id; NULL: none. */
RegistrySink *registry_sink_numbered(const RegistrySource *source, uint32_t number);
/* Position of the first item whose id is behind `after_id` (NULL: the first). */
size_t registry_after(const Registry *registry, const char *after_id);
size_t registry_sink_after(const RegistrySource *source, const char *after_id);
size_t registry_live_sources(const Registry *registry);
size_t registry_live_sinks(const RegistrySource *source);
/* Adds, or replaces what has that id. */
RegistrySource *registry_put(Registry *registry, Source *take_source);
/* Adds, or replaces what has that number, whose id may be another one. `gate`: of a new sink, a
 * reference is taken; NULL: a new one. */
RegistrySink *registry_put_sink(RegistrySource *source, Sink *take_sink, SinkGate *gate);
/* Asserts what holds when all sinks of a change are put: each has an id of its own. */
void registry_check_sinks(const RegistrySource *source);
/* Removes the source with its sinks from memory. No snapshot may show them. */
void registry_remove(Registry *registry, RegistrySource *source);
void registry_remove_sink(RegistrySource *source, RegistrySink *sink);

/* Compiles what the loops run of a source. `known`: NULL for a new source. `source`: the new
 * definition; NULL: it does not change. `sinks` replace the sinks that have the same numbers; the
 * others stay. `gates`: by index, the gates of new sinks. *ret_shown is NULL for a deleted source.
 * -EINVAL as in plan_compile. */
int registry_compile(const Registry *registry, const RegistrySource *known, const Source *source, Sink *const *sinks,
                     SinkGate *const *gates, size_t sink_count, SnapshotSource **ret_shown, Error *error);
/* A plan of all sinks of the source that are not deleted, also of those that are disabled;
 * *ret_plan is NULL when there is none. For dry runs. */
int registry_compile_all(const Registry *registry, const RegistrySource *source, Plan **ret_plan, Error *error);
/* All that is shown. */
Snapshot *registry_snapshot(const Registry *registry, uint64_t generation, Mailbox *gone);

/* The definition, its version, and the number counters. */
void registry_store_source(const Registry *registry, Define *define, const Source *source);
void registry_store_sink(const Registry *registry, Define *define, const Source *source, const Sink *sink);
/* Removes the definition and its versions. */
void registry_erase_source(Define *define, const Source *source);
void registry_erase_sink(Define *define, const Source *source, const Sink *sink);
/* Orders for all sinks (of all sources): what the writer must know when it starts. */
void registry_order_all(const Registry *registry, Define *define);
