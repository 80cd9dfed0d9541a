/* Connections that come and go through the management API: kept in the data directory, known to all
 * threads at once. */
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "config/declared.h"
#include "config/source_bridge.h"
#include "gateway/control/change_parts.h"
#include "sinks/driver.h"
#include "storage/declared_files.h"

static Connections *list_of(const Control *control) {
    return &control->options.options->list;
}

static int not_stored(const char *name, const Error *why, Failure *failure) {
    log_error("connection %s cannot be stored: %s", name, why->text);
    return failure_set(failure, 503, "notStored", "It could not be stored: %.300s", why->text);
}

/* May it be declared, as it is? `known`: the one of that name; NULL: none. */
static int check_known(const Control *control, const Declared *declared, const Connection *known, Failure *failure) {
    const char *name = declared->connection.name;
    if (known && !connections_is_declared(list_of(control), known))
        return failure_set(failure, 409, "connectionInConfig", "Connection \"%s\" is in the config file: change it there.", name);
    if (known && connection_equal(known, &declared->connection)) return 0;
    if (known && !connections_same_place(known, &declared->connection))
        return failure_set(
            failure, 409, "connectionExists",
            "There is another connection \"%s\", and the type and the field \"%s\" of a connection cannot be changed: use another name.",
            name, known->type->place);
    if (connections_declared(list_of(control)) < DECLARED_MAX) return 0;
    return failure_set(failure, 409, "tooManyConnections",
                       "Connections were declared or changed %d times since the start. This is the limit until the next start.",
                       DECLARED_MAX);
}

static int declare(Control *control, Declared *declared, bool dry_run, const char *by, Declaring *ret_result, Failure *failure) {
    const Connection *known = connections_find(list_of(control), declared->connection.name);
    Files *files = control->options.directory->files;
    bool changed = false;
    Error error = {0};
    int r = check_known(control, declared, known, failure);
    if (r < 0) return r;
    r = dry_run ? declared_files_differ(files, declared, &changed, &error) : declared_files_store(files, declared, known, &changed, &error);
    if (r < 0) return not_stored(declared->connection.name, &error, failure);
    *ret_result = !known ? DECLARING_CREATES : changed ? DECLARING_CHANGES : DECLARING_NOTHING;
    if (dry_run || *ret_result == DECLARING_NOTHING) return 0;
    log_info("%s: connection %s is %s", by, declared->connection.name, known ? "changed" : "declared");
    if (!known)
        (void)connections_declare(list_of(control), &declared->connection);
    else if (!connection_equal(known, &declared->connection))
        (void)connections_replace(list_of(control), known, &declared->connection);
    return 0;
}

int control_declare_connection(Control *control, const char *name, const json_t *body, bool dry_run, const char *by, Declaring *ret_result,
                               Failure *failure) {
    Declared declared;
    Error error = {0};
    Fault fault = {.error = &error};
    Node root = {.value = body};
    if (control_is_stalled(control)) return failure_set(failure, 503, "notStored", "The disk hangs: try again when it answers.");
    if (declared_read(&fault, &root, name, connection_types, &declared) < 0)
        return failure_set(failure, 400, "badRequest", "%s.", error.text);
    int r = declare(control, &declared, dry_run, by, ret_result, failure);
    declared_deinit(&declared);
    return r;
}

static bool source_names(const Source *source, const char *name) {
    const BridgeSource *bridge = source_bridge(source);
    return bridge && strcmp(bridge->connection, name) == 0;
}

static int check_unused(const Control *control, const char *name, Failure *failure) {
    const char *user = NULL;
    for (size_t i = 0; i < control->registry.count && !user; i++) {
        const RegistrySource *source = control->registry.sources[i];
        if (source_names(source->source, name)) user = source->source->source_id;
        for (size_t k = 0; k < source->sink_count && !user; k++)
            if (strcmp(source->sinks[k]->sink->target.connection, name) == 0) user = source->source->source_id;
    }
    for (const Change *change = control->changes; change && !user; change = change->next) { /* what is on its way */
        const ChangeOutcome *outcome = &change->outcome;
        if (outcome->source && source_names(outcome->source, name)) user = outcome->source->source_id;
        for (size_t k = 0; k < outcome->sink_count && !user; k++)
            if (strcmp(outcome->sinks[k]->target.connection, name) == 0) user = outcome->sinks[k]->sink_id;
    }
    if (!user) return 0;
    return failure_set(failure, 409, "connectionInUse", "Connection \"%s\" is named by \"%s\", which may be deleted but not purged yet.",
                       name, user);
}

int control_withdraw_connection(Control *control, const char *name, const char *by, Failure *failure) {
    const Connection *known = connections_find(list_of(control), name);
    Error error = {0};
    if (!known) return failure_set(failure, 404, "connectionNotFound", "There is no connection \"%.60s\".", name);
    if (!connections_is_declared(list_of(control), known))
        return failure_set(failure, 409, "connectionInConfig", "Connection \"%s\" is in the config file: remove it there.", name);
    if (control_is_stalled(control)) return failure_set(failure, 503, "notStored", "The disk hangs: try again when it answers.");
    int r = check_unused(control, name, failure);
    if (r < 0) return r;
    if (declared_files_remove(control->options.directory->files, known, &error) < 0) return not_stored(name, &error, failure);
    log_info("%s: connection %s is removed", by, name);
    connections_withdraw(list_of(control), known);
    return 0;
}
