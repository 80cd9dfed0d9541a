/* Statistics of a sink. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "gateway/api/router.h"

typedef struct Query {
    Errand errand; /* first */
    ApiCall *call;
    uint32_t sink;
    json_t *pause; /* of the sink, its source or its connection, when it was asked; or null */
    SinkStatistics statistics;
} Query;

static void query_drop(Errand *errand) {
    Query *query = (Query *)errand;
    api_call_free(query->call);
    json_decref(query->pause);
    free(query);
}

static json_t *time_json(usec_t wall) {
    char text[25];
    if (wall == 0) return json_null();
    clock_format_utc(wall, text);
    return json_string(text);
}

static json_t *level(uint64_t rows, uint64_t bytes, usec_t first, usec_t last) {
    json_t *json = json_pack("{s:I, s:I, s:o, s:o}", "recordsCount", (json_int_t)rows, "size", (json_int_t)bytes, "firstRecordAt",
                             time_json(first), "lastRecordAt", time_json(last));
    check(json);
    return json;
}

static json_t *tally_json(const Tally *tally) {
    return level(tally->rows, tally->bytes, tally->rows ? tally->first_time : 0, tally->rows ? tally->last_time : 0);
}

/* What was imported since the statistics were cleared. */
static json_t *target_json(const SinkTotals *totals) {
    uint64_t rows = totals->imported.rows - totals->cleared_rows, bytes = totals->imported.bytes - totals->cleared_bytes;
    return level(rows, bytes, rows ? totals->imported.first_time : 0, rows ? totals->imported.last_time : 0);
}

static json_t *total_json(const SinkStatistics *statistics) {
    const SinkTotals *totals = &statistics->totals;
    uint64_t rows = statistics->local.rows + statistics->staging.rows + totals->imported.rows - totals->cleared_rows;
    uint64_t bytes = statistics->local.bytes + statistics->staging.bytes + totals->imported.bytes - totals->cleared_bytes;
    return level(rows, bytes, rows ? totals->received.first_time : 0, rows ? totals->received.last_time : 0);
}

static json_t *pause_json(const ApiRequest *request) {
    const char *what;
    const Pause *pause = pauses_of_sink(&request->control->pauses, request->source->source, request->sink->sink, &what);
    if (!pause) return json_null();
    json_t *json = pause_to_json(pause);
    check(json_object_set_new(json, "what", json_string(what)) == 0);
    return json;
}

static void answer(Query *query, const SinkStatistics *statistics) {
    const SinkTotals *totals = &statistics->totals;
    json_t *last_error = statistics->last_error[0] ? json_string(statistics->last_error) : json_null();
    if (!last_error)
        last_error = json_string("The last import failed; the destination's words are not UTF-8."); /* or cut within a character */
    json_t *damage = statistics->damage[0] ? json_string(statistics->damage) : json_null();
    if (!damage) damage = json_string("A stored record was damaged: see the log.");
    json_t *json = json_pack(
        "{s:o, s:{s:o, s:o, s:o}, s:{s:I, s:I}, s:I, s:I, s:{s:I, s:I}, s:b, s:O, s:b, s:o, s:o}", "total", total_json(statistics),
        "levels", "local", tally_json(&statistics->local), "staging", tally_json(&statistics->staging), "target", target_json(totals),
        "rejects", "events", (json_int_t)totals->rejected_events, "rows", (json_int_t)totals->rejected_rows, "droppedRows",
        (json_int_t)totals->dropped_rows, "skippedEvents", (json_int_t)totals->skipped_events, "files", "waiting",
        (json_int_t)statistics->files_waiting, "failed", (json_int_t)statistics->files_failed, "paused", (int)statistics->paused,
        "pausedBy", query->pause, "failing", (int)statistics->failing, "lastError", last_error, "damage", damage);
    check(json);
    api_call_answer(steal(query->call), 200, json);
}

static void query_back(Control *control, Errand *errand, Message *take_message) {
    (void)control;
    Query *query = (Query *)errand;
    free(take_message);
    if (query->call) answer(query, &query->statistics);
    errand_end(errand);
    query_drop(errand);
}

static void query_late(Control *control, Errand *errand) {
    Query *query = (Query *)errand;
    SinkStatistics statistics;
    if (!query->call) return;
    if (control->peers.lender && writer_lent_statistics(control->peers.lender, &query->sink, &statistics, 1)) {
        answer(query, &statistics);
    } else {
        api_call_fail_stalled(steal(query->call));
    }
}

void api_statistics_total(ApiRequest *request) {
    Query *query = calloc(1, sizeof *query);
    TotalsQuery *message = calloc(1, sizeof *message);
    check(query && message);
    query->errand.back = query_back;
    query->errand.drop = query_drop;
    query->errand.late = query_late;
    query->sink = request->sink->sink->number;
    query->pause = pause_json(request);
    query->call = api_keep(request);
    if (control_is_stalled(request->control)) {
        query_late(request->control, &query->errand);
        query_drop(&query->errand);
        free(message);
        return;
    }
    errand_begin(request->control, &query->errand);
    message->request.message.kind = MESSAGE_TOTALS;
    message->request.reply = request->control->mailbox;
    message->sinks = &query->sink;
    message->statistics = &query->statistics;
    message->count = 1;
    message->request.context = &query->errand;
    mailbox_post(request->control->peers.writer, &message->request.message);
}
