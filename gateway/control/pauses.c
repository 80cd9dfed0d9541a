#include "gateway/control/pauses.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "storage/catalog.h"

#define KEY_PREFIX "pause.connection/"

static PausedConnection *find(const Pauses *pauses, const char *connection) {
    for (size_t i = 0; i < pauses->count; i++)
        if (strcmp(pauses->items[i].name, connection) == 0) return &pauses->items[i];
    return NULL;
}

const Pause *pauses_find(const Pauses *pauses, const char *connection) {
    const PausedConnection *found = find(pauses, connection);
    return found ? &found->pause : NULL;
}

static void add(Pauses *pauses, char *take_name, Pause take_pause) {
    check(take_pause.at != 0 && take_pause.by && !find(pauses, take_name));
    array_extend(pauses->items, pauses->count);
    pauses->items[pauses->count++] = (PausedConnection){.name = take_name, .pause = take_pause};
}

void pauses_set(Pauses *pauses, const char *connection, const Pause *pause) {
    PausedConnection *known = find(pauses, connection);
    if (known) {
        free(known->name);
        pause_end(&known->pause);
        *known = pauses->items[--pauses->count];
    }
    if (pause->at == 0) return;
    Pause copy = {0};
    pause_begin(&copy, pause->at, pause->running, pause->by);
    add(pauses, text_copy(connection), copy);
}

static int load(void *context, Span key, Span document, Error *error) {
    Span prefix = SPAN(KEY_PREFIX);
    json_t *stored = json_loadb(document.data, document.size, 0, NULL);
    Pause pause = {0};
    int r = stored ? pause_load(stored, &pause, error) : error_set(error, -EBADMSG, "it is not JSON");
    json_decref(stored);
    if (r < 0) {
        error_prefix(error, "the catalog's record \"%.*s\" cannot be read", (int)key.size, key.data);
        return -EBADMSG;
    }
    add(context, text_copy_span((Span){.data = key.data + prefix.size, .size = key.size - prefix.size}), pause);
    return 0;
}

int pauses_load(Pauses *pauses, Environment *environment, Error *error) {
    *pauses = (Pauses){0};
    Txn *txn;
    int r = txn_begin_read(environment, &txn, error);
    if (r < 0) return r;
    r = catalog_visit(txn, CATALOG_META, SPAN(KEY_PREFIX), load, pauses, error);
    txn_abort(txn);
    if (r < 0) pauses_deinit(pauses);
    return r;
}

void pauses_deinit(Pauses *pauses) {
    for (size_t i = 0; i < pauses->count; i++) {
        free(pauses->items[i].name);
        pause_end(&pauses->items[i].pause);
    }
    free(pauses->items);
    *pauses = (Pauses){0};
}

void pauses_store(Define *define, const char *connection, const Pause *pause) {
    _cleanup_free_ char *key = NULL;
    check(asprintf(&key, KEY_PREFIX "%s", connection) > 0);
    if (pause->at == 0) {
        define_remove(define, CATALOG_META, span_of(key));
    } else {
        json_t *stored = pause_store(pause);
        define_put(define, CATALOG_META, span_of(key), stored);
        json_decref(stored);
    }
    define_order_connection(define, connection, pause);
}

void pauses_order_all(const Pauses *pauses, Define *define) {
    for (size_t i = 0; i < pauses->count; i++) define_order_connection(define, pauses->items[i].name, &pauses->items[i].pause);
}

const Pause *pauses_of_sink(const Pauses *pauses, const Source *source, const Sink *sink, const char **ret_what) {
    if (sink->paused.at != 0) {
        *ret_what = "sink";
        return &sink->paused;
    }
    if (source->paused.at != 0) {
        *ret_what = "source";
        return &source->paused;
    }
    *ret_what = "connection";
    return pauses_find(pauses, sink->target.connection);
}
