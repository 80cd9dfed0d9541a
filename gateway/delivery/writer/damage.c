#include "gateway/delivery/writer/damage.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
#include "gateway/delivery/writer/rules.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/step_clock.h"
#include "storage/repair.h"

#define NOTE_PREFIX "damage.sink/"
typedef struct NoteKey {
    char text[32];
} NoteKey;

static Span note_key(uint32_t sink, NoteKey *key) {
    (void)snprintf(key->text, sizeof key->text, NOTE_PREFIX "%" PRIu32, sink);
    return span_of(key->text);
}

/* ---- notes ----------------------------------------------------------------------------------- */

static int put_note(Txn *txn, uint32_t sink, const char *text, bool stays, usec_t wall, Error *error) {
    NoteKey key;
    json_t *note = json_pack("{s:s%, s:b, s:I}", "text", text, strlen(text), "stays", (int)stays, "at", (json_int_t)wall);
    char *document = note ? json_dumps(note, JSON_COMPACT) : NULL;
    check(document);
    int r = catalog_put(txn, CATALOG_META, note_key(sink, &key), span_of(document), error);
    free(document);
    json_decref(note);
    return r;
}

void writer_stop_sink(SinkState *sink, const char *why) {
    if (sink->stopped) return;
    sink->stopped = true;
    if (sink->rules->gate) atomic_store(&sink->rules->gate->closed, true);
    sink_set_error(sink, why);
    log_error("sink number %u is stopped, the others continue: %s", sink->totals.sink, why);
}

void damage_take_note(SinkState *sink, const char *text, bool stays) {
    (void)snprintf(sink->damage, sizeof sink->damage, "%.*s", (int)sizeof sink->damage - 1, text);
    if (!stays) return;
    sink->stays_stopped = true;
    writer_stop_sink(sink, text);
}

static int load_note(void *context, Span key, Span document, Error *error) {
    size_t prefix = strlen(NOTE_PREFIX);
    char number[16] = {0};
    if (key.size <= prefix || key.size - prefix >= sizeof number) return 0;
    memcpy(number, key.data + prefix, key.size - prefix);
    json_t *note = json_loadb(document.data, document.size, 0, NULL);
    const char *text = json_string_value(json_object_get(note, "text"));
    SinkState *sink = writer_sink(context, (uint32_t)strtoul(number, NULL, 10));
    if (sink && text) damage_take_note(sink, text, json_is_true(json_object_get(note, "stays")));
    json_decref(note);
    return 0;
}

int writer_load_damage(Writer *writer, Txn *txn, Error *error) {
    return catalog_visit(txn, CATALOG_META, SPAN(NOTE_PREFIX), load_note, writer, error);
}

int writer_forget_damage(Txn *txn, uint32_t sink, Error *error) {
    NoteKey key;
    return catalog_remove(txn, CATALOG_META, note_key(sink, &key), error);
}

/* ---- repair ---------------------------------------------------------------------------------- */

static int record(const Writer *writer, Txn *txn, const Damages *damages, Error *error) {
    for (size_t i = 0; i < damages->count; i++) {
        const Damage *damage = &damages->items[i];
        if (damage->sink == 0) continue;
        int r = put_note(txn, damage->sink, damage->text, damage->stays, writer->now->wall, error);
        if (r < 0) return r;
    }
    return 0;
}

static void tell(const Damages *damages) {
    for (size_t i = 0; i < damages->count; i++) log_error("damage in the local database: %s", damages->items[i].text);
    metrics_add(METRIC_DAMAGED_RECORDS, damages->count);
}

/* What is known of sinks that stay stopped is no news: or each look at them would call for the next
 * one. */
static void leave_out_known(const Writer *writer, Damages *damages) {
    size_t kept = 0;
    for (size_t i = 0; i < damages->count; i++) {
        const SinkState *sink = writer_sink(writer, damages->items[i].sink);
        if (!damages->items[i].stays || !sink || !sink->stays_stopped) damages->items[kept++] = damages->items[i];
    }
    damages->count = kept;
}

int damage_repair(Writer *writer, Damages *ret_damages, Error *error) {
    Txn *txn;
    Damages damages = {0};
    int r = txn_begin_write(writer->options.environment, &txn, error);
    if (r < 0) return r;
    r = repair_records(txn, writer->options.files, writer->now->running, &damages, error);
    if (r == 0) leave_out_known(writer, &damages);
    if (r == 0) r = record(writer, txn, &damages, error);
    if (r < 0 || damages.count == 0) {
        txn_abort(txn);
    } else {
        r = txn_commit(txn, error);
    }
    if (r < 0 || damages.count == 0) {
        free(damages.items);
        return r < 0 ? r : WRITER_NOTHING_DAMAGED;
    }
    tell(&damages);
    *ret_damages = damages;
    return 0;
}

int writer_repair_for_next(Writer *writer, Error *error) {
    Damages damages = {0};
    int r = damage_repair(writer, &damages, error);
    if (r != 0) return r;
    /* Rows that are lost by it count as dropped. */
    Txn *txn;
    r = txn_begin_write(writer->options.environment, &txn, error);
    for (size_t i = 0; i < damages.count && r == 0; i++) {
        SinkTotals totals;
        if (damages.items[i].rows == 0 && damages.items[i].returned == 0) continue;
        r = totals_find(txn, damages.items[i].sink, &totals, error);
        if (r == 0) {
            totals.dropped_rows += damages.items[i].rows;
            totals.returned_rows += damages.items[i].returned;
            r = totals_store(txn, &totals, error);
        }
        if (r > 0) r = 0;
        if (r < 0) txn_abort(txn);
    }
    if (r == 0) r = txn_commit(txn, error);
    free(damages.items);
    return r;
}
