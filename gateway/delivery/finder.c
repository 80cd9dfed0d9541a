#include "gateway/delivery/finder.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "base/thread.h"
#include "gateway/delivery/find_rows.h"
#include "gateway/delivery/writer/versions.h"
#include "gateway/flow/messages.h"
#include "storage/catalog.h"
#include "storage/commit_log.h"
#include "storage/pack.h"

#define NEAR (10 * USEC_MINUTE)     /* how far times of requests, commits and clocks differ in ordinary cases */
#define ID_SLACK USEC_SECOND        /* how far the time of an id differs from the receive time */
#define SLICES_READ_MAX 10000       /* of one search */
#define TXN_AGE_MAX (100 * USEC_MS) /* the database cannot use freed pages again while an older transaction reads */
#define REJECTS_BETWEEN_LOOKS 1000u /* at the clock */
#define SHUTDOWN "The gateway is shutting down."

struct Finder {
    Environment *environment;
    Files *files;
    Clock *clock;
    const atomic_bool *end;
    Mailbox *mailbox;
    Message *taken; /* not worked off yet, oldest first */
    ThreadOwner owner;
};

/* A slice whose rows are to be read. */
typedef struct SliceToRead {
    SliceRecord slice;
    IdColumn column;
} SliceToRead;

typedef struct Search {
    Finder *finder;
    FindEvent *find;
    Txn *txn; /* NULL while packs are read */
    usec_t txn_began, deadline;
    bool has_time; /* the id says when the event was received: */
    usec_t time;
    usec_t from, to; /* receive times that are looked at */
    size_t place_room;
    SliceToRead *candidates;
    size_t candidate_count, candidate_room;
    uint32_t sink; /* that is looked at */
    size_t rejects_seen;
    /* the last target that was parsed */
    char *target_text;
    SinkTarget target;
    IdColumn column;
    bool has_column;
} Search;

static void drop(Request *request) {
    find_event_free((FindEvent *)request);
}

FindEvent *find_event_new(const Uuid *id) {
    FindEvent *find = calloc(1, sizeof *find);
    check(find);
    find->request.message.kind = MESSAGE_FIND_EVENT;
    find->request.drop = drop;
    find->id = *id;
    return find;
}

static void place_deinit(FoundPlace *place) {
    free(place->connection);
    free(place->table);
    free(place->last_error);
    free(place->reason);
}

void find_event_free(FindEvent *find) {
    if (!find) return;
    for (size_t i = 0; i < find->place_count; i++) place_deinit(&find->places[i]);
    free(find->places);
    free(find->sinks);
    free(find);
}

static bool goes_on(void *context) {
    Search *search = context;
    Clock *clock = search->finder->clock;
    if (!search->find->is_cut && (atomic_load(search->finder->end) || clock->boot(clock) >= search->deadline)) search->find->is_cut = true;
    return !search->find->is_cut;
}

static int begin_txn(Search *search, Error *error) {
    check(!search->txn);
    search->txn_began = search->finder->clock->boot(search->finder->clock);
    return txn_begin_read(search->finder->environment, &search->txn, error);
}

static void end_txn(Search *search) {
    if (search->txn) txn_abort(steal(search->txn));
}

static int renew_txn(Search *search, Error *error) {
    if (search->finder->clock->boot(search->finder->clock) - search->txn_began < TXN_AGE_MAX) return 0;
    end_txn(search);
    return begin_txn(search, error);
}

static bool is_wanted(const FindEvent *find, uint32_t sink) {
    size_t low = 0, high = find->sink_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (find->sinks[middle] < sink)
            low = middle + 1;
        else
            high = middle;
    }
    return low < find->sink_count && find->sinks[low] == sink;
}

/* NULL: there are enough. */
static FoundPlace *add_place(Search *search) {
    FindEvent *find = search->find;
    if (find->place_count >= FIND_PLACES_MAX) {
        find->is_cut = true;
        return NULL;
    }
    array_reserve(find->places, find->place_count, search->place_room);
    FoundPlace *place = &find->places[find->place_count++];
    *place = (FoundPlace){0};
    return place;
}

/* ---- targets --------------------------------------------------------------------------------- */

static void forget_target(Search *search) {
    if (search->target_text) sink_target_deinit(&search->target);
    free(search->target_text);
    search->target_text = NULL;
}

/* false: it cannot be read. Many slices have the same one. */
static bool take_target(Search *search, Span text) {
    if (search->target_text && span_equal(text, span_of(search->target_text))) return true;
    forget_target(search);
    json_t *stored = json_loadb(text.data, text.size, 0, NULL);
    bool is_target = stored && sink_target_load(stored, &search->target, NULL) == 0;
    json_decref(stored);
    if (!is_target) return false;
    search->target_text = text_copy_span(text);
    search->has_column = id_column_find(&search->target, &search->column);
    return true;
}

/* Of the rows of the sink that have this mapping version, while the log needs it. */
static bool take_version(Search *search, uint32_t sink, uint32_t version) {
    Span text;
    return versions_find_stored(search->txn, sink, version, &text, NULL) == 0 && take_target(search, text);
}

static void name_table(const Search *search, FoundPlace *place) {
    if (place->table) return;
    place->connection = text_copy(search->target.connection);
    place->table = text_copy(sink_target_name(&search->target));
}

/* ---- the log --------------------------------------------------------------------------------- */

static EventState state_of_range(RangeState range, EventState staged) {
    static const EventState states[] = {
        [RANGE_IMPORTED] = EVENT_IMPORTED, [RANGE_EXPIRED] = EVENT_EXPIRED,     [RANGE_QUARANTINED] = EVENT_QUARANTINED,
        [RANGE_DELETED] = EVENT_DELETED,   [RANGE_DISCARDED] = EVENT_DISCARDED, [RANGE_OVERTAKEN] = EVENT_OVERTAKEN,
        [RANGE_RETURNED] = EVENT_RETURNED};
    return range == RANGE_STAGED ? staged : states[range];
}

static bool may_have(const Search *search, const GroupEntry *entry) {
    if (uuid_range_is_known(&entry->ids)) return uuid_range_may_have(&entry->ids, &search->find->id);
    return !search->has_time || (entry->first_time - ID_SLACK <= search->time && search->time <= entry->last_time + ID_SLACK);
}

static int look_at_entry(Search *search, const GroupView *group, const GroupEntry *entry, Span rows, Error *error) {
    FindEvent *find = search->find;
    FoundRows found = {0};
    uint64_t counted;
    RangeState range;
    bool is_known = take_version(search, entry->sink, entry->mapping_version), is_unread = false;
    bool reads = is_known && search->has_column;
    if (!reads && !search->has_time) return 0; /* its ids say nothing */
    if (reads) {
        is_unread = !group_rows_intact(entry, rows) ||
                    find_rows_in_text(&search->column, &find->id, entry->first_row, rows, &found, &counted) < 0;
        if (is_unread) find->damaged++;
        if (!is_unread && found.rows == 0 && !search->column.may_be_empty) return 0;
    }
    int r = ledger_row_state(search->txn, entry->sink, found.rows > 0 ? found.first_row : entry->first_row, &range, error);
    if (r < 0) return r;
    FoundPlace *place = add_place(search);
    if (!place) return 0;
    *place = (FoundPlace){.sink = entry->sink,
                          .mapping_version = entry->mapping_version,
                          .state = r == LEDGER_NOT_FOUND ? EVENT_IN_LOG : state_of_range(range, EVENT_STAGED),
                          .precision = found.rows > 0 ? EVENT_TO_ROW : EVENT_TO_GROUP,
                          .first_row = found.rows > 0 ? found.first_row : entry->first_row,
                          .rows = found.rows > 0 ? found.rows : entry->rows,
                          .first_time = entry->first_time,
                          .last_time = entry->last_time,
                          .commit = group->commit,
                          .commit_time = group->commit_time,
                          .is_unread = is_unread};
    if (is_known) name_table(search, place);
    return 0;
}

/* Some groups, within one transaction. `*commit`: the first one, and then the next one. Returns 0,
 * COMMIT_LOG_READ_END or < 0. */
static int look_at_groups(Search *search, uint64_t *commit, Error *error) {
    CommitLogReader *reader;
    GroupView group;
    int r = commit_log_reader_new(search->txn, *commit, &reader, error);
    if (r < 0) return r;
    Clock *clock = search->finder->clock;
    while ((r = commit_log_read(reader, &group, error)) == 0 || r == COMMIT_LOG_READ_DAMAGED) {
        *commit = group.commit + 1;
        if (r == COMMIT_LOG_READ_DAMAGED) search->find->damaged++;
        if (r == 0 && group.commit_time > search->to) r = COMMIT_LOG_READ_END;
        for (size_t i = 0; i < group.count && r == 0; i++) {
            const GroupEntry *entry = &group.entries[i];
            if (entry->rows > 0 && is_wanted(search->find, entry->sink) && may_have(search, entry))
                r = look_at_entry(search, &group, entry, group.rows[i], error);
        }
        if (r < 0 || r == COMMIT_LOG_READ_END || !goes_on(search) || clock->boot(clock) - search->txn_began > TXN_AGE_MAX) break;
    }
    commit_log_reader_free(reader);
    return r == COMMIT_LOG_READ_DAMAGED ? 0 : r;
}

static int look_at_log(Search *search, Error *error) {
    uint64_t commit = 0;
    int r = search->from > INT64_MIN ? commit_log_since(search->txn, search->from, &commit, error) : 0;
    while (r == 0 && goes_on(search)) {
        r = look_at_groups(search, &commit, error);
        int renewed = r < 0 ? 0 : renew_txn(search, error);
        if (renewed < 0) r = renewed;
    }
    return r < 0 ? r : 0;
}

/* ---- slices ---------------------------------------------------------------------------------- */

/* What the log has of the same rows; NULL: nothing. */
static FoundPlace *find_log_place(const FindEvent *find, const SliceRecord *slice) {
    for (size_t i = 0; i < find->place_count; i++) {
        FoundPlace *place = &find->places[i];
        if (place->sink == slice->sink && place->commit > 0 && place->first_row >= slice->first_row &&
            place->first_row - slice->first_row < slice->rows)
            return place;
    }
    return NULL;
}

static void note_file(FoundPlace *place, const FileRecord *file) {
    place->has_file = true;
    place->file_state = file->state;
    place->attempts = file->attempts;
    place->closed = file->closed;
    place->done = file->done;
    place->next_try = file->state == FILE_CLOSED && file->attempts > 0 ? file->next_try : 0;
    free(place->last_error);
    place->last_error = file->last_error ? text_copy(file->last_error) : NULL;
}

/* What the ledger says of the slice, or of the rows in it that the place has already. */
static int describe_slice(Search *search, const SliceRecord *slice, const FileRecord *file, FoundPlace *place, Error *error) {
    static const EventState states[] = {[FILE_OPEN] = EVENT_STAGED,
                                        [FILE_CLOSED] = EVENT_WAITING,
                                        [FILE_IMPORTED] = EVENT_IMPORTED,
                                        [FILE_EXPIRED] = EVENT_EXPIRED,
                                        [FILE_DELETED] = EVENT_DELETED};
    RangeState range;
    if (place->rows == 0) {
        place->first_row = slice->first_row;
        place->rows = slice->rows;
    }
    place->sink = slice->sink;
    place->mapping_version = slice->mapping_version;
    place->first_time = slice->first_time;
    place->last_time = slice->last_time;
    place->pack = slice->pack;
    place->pack_offset = slice->offset;
    place->file = slice->file;
    place->state = file ? states[file->state] : EVENT_STAGED;
    if (file) note_file(place, file);
    if (file && take_target(search, span_of(file->target))) name_table(search, place);
    int r = ledger_row_state(search->txn, slice->sink, place->first_row, &range, error);
    if (r == 0) place->state = state_of_range(range, place->state);
    return r < 0 ? r : 0;
}

/* Returns 0, or LEDGER_NOT_FOUND if the ledger does not have the file or its record is damaged. */
static int find_file(const Search *search, const SliceRecord *slice, FileRecord *ret_file, Error *error) {
    int r = ledger_find_file(search->txn, &slice->file, ret_file, error);
    return r == -EBADMSG ? LEDGER_NOT_FOUND : r;
}

/* Adds the place, or completes what the log has of it. `found`: NULL: it is not known which row it
 * is. */
static int add_slice_place(Search *search, const SliceRecord *slice, const FoundRows *found, bool is_unread, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {0};
    int known = find_file(search, slice, &file, error);
    FoundPlace *place = known < 0 ? NULL : find_log_place(search->find, slice);
    if (known >= 0 && !place) place = add_place(search);
    if (!place) return known < 0 ? known : 0;
    if (place->precision != EVENT_TO_ROW) {
        place->precision = found ? EVENT_TO_ROW : EVENT_TO_FILE;
        place->first_row = found ? found->first_row : 0;
        place->rows = found ? found->rows : 0;
        place->is_unread = is_unread;
    }
    return describe_slice(search, slice, known == 0 ? &file : NULL, place, error);
}

static int take_slice(void *context, const SliceRecord *slice, Error *error) {
    Search *search = context;
    _cleanup_(file_record_deinit) FileRecord file = {0};
    if (!goes_on(search)) return error_set(error, -ECANCELED, "enough");
    int known = find_file(search, slice, &file, error);
    if (known < 0) return known;
    bool reads = known == 0 && take_target(search, span_of(file.target)) && search->has_column;
    const FoundPlace *of_log = find_log_place(search->find, slice);
    if (reads && !(of_log && of_log->precision == EVENT_TO_ROW)) {
        if (search->candidate_count >= SLICES_READ_MAX) {
            search->find->is_cut = true;
            return error_set(error, -ECANCELED, "enough");
        }
        array_reserve(search->candidates, search->candidate_count, search->candidate_room);
        search->candidates[search->candidate_count++] = (SliceToRead){.slice = *slice, .column = search->column};
        return 0;
    }
    if (!reads && !search->has_time) return 0; /* its ids say nothing */
    return add_slice_place(search, slice, NULL, false, error);
}

static int look_at_slices(Search *search, Error *error) {
    int r = 0;
    for (size_t i = 0; i < search->find->sink_count && r == 0 && goes_on(search); i++) {
        Error why = {0};
        r = ledger_visit_event_slices(search->txn, search->find->sinks[i], &search->find->id, search->from, search->to, take_slice, search,
                                      &why);
        if (r == -EBADMSG) search->find->damaged++;
        if (r == -EBADMSG || r == -ECANCELED) r = 0;
        if (r < 0) return error_set(error, r, "%s", why.text);
        r = renew_txn(search, error);
    }
    return r;
}

/* Without a transaction while packs are read: that takes long. */
static int read_candidates(Search *search, Error *error) {
    int r = 0;
    for (size_t i = search->candidate_count; i > 0 && r == 0; i--) { /* the newest ones first */
        const SliceToRead *candidate = &search->candidates[i - 1];
        FoundRows found = {0};
        end_txn(search);
        int read = goes_on(search) ? find_rows_in_slice(search->finder->files, &candidate->slice, &candidate->column, &search->find->id,
                                                        goes_on, search, &found, NULL)
                                   : -ECANCELED;
        if (read == SLICE_READ_DAMAGED || read == -EBADMSG) search->find->damaged++;
        r = begin_txn(search, error);
        bool is_unread = read != 0 && found.rows == 0, is_near = search->has_time;
        bool may_be = (is_unread || candidate->column.may_be_empty) && is_near;
        if (r == 0 && (found.rows > 0 || may_be))
            r = add_slice_place(search, &candidate->slice, found.rows > 0 ? &found : NULL, is_unread, error);
    }
    search->candidate_count = 0;
    return r;
}

/* ---- rejects --------------------------------------------------------------------------------- */

static int take_first_reject(void *context, const Reject *reject, Error *error) {
    *(Reject *)context = *reject;
    return error_set(error, -ECANCELED, "enough");
}

/* The first reject behind the number. 0 or -ENOENT. */
static int next_reject(const Search *search, uint64_t after, Reject *ret_reject) {
    int r = rejects_visit(search->txn, search->sink, after, take_first_reject, ret_reject, NULL);
    return r == -ECANCELED ? 0 : r == 0 ? -ENOENT : r;
}

/* The number before the first reject of `from` or later. */
static uint64_t rejects_before(const Search *search, uint64_t count) {
    Reject reject;
    if (next_reject(search, 0, &reject) < 0) return 0;
    uint64_t low = reject.number - 1, high = low + count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        bool is_later = next_reject(search, middle, &reject) < 0 || reject.at >= search->from;
        if (is_later)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Is the row that the destination refused one of the event? */
static bool is_row_of_event(Search *search, const Reject *reject) {
    char text[UUID_TEXT_SIZE];
    FoundRows found = {0};
    uint64_t rows;
    uuid_format(&search->find->id, text);
    if (!memmem(reject->data.data, reject->data.size, text, sizeof text)) return false;
    bool is_known = take_version(search, reject->sink, reject->mapping_version);
    if (!is_known) {
        _cleanup_(file_record_deinit) FileRecord file = {0};
        is_known = ledger_find_file(search->txn, &reject->id, &file, NULL) == 0 && take_target(search, span_of(file.target));
    }
    return is_known && search->has_column && find_rows_in_text(&search->column, &search->find->id, 1, reject->data, &found, &rows) == 0 &&
           found.rows > 0;
}

/* The place of exactly this row; NULL: none. */
static FoundPlace *find_row_place(const FindEvent *find, const Reject *reject) {
    for (size_t i = 0; i < find->place_count; i++) {
        FoundPlace *place = &find->places[i];
        if (place->sink == reject->sink && place->precision == EVENT_TO_ROW && uuid_equal(&place->file, &reject->id) && place->rows == 1 &&
            place->first_row == reject->row)
            return place;
    }
    return NULL;
}

static int take_reject(void *context, const Reject *reject, Error *error) {
    Search *search = context;
    bool is_of_event = !reject->is_row && uuid_equal(&reject->id, &search->find->id);
    if (++search->rejects_seen % REJECTS_BETWEEN_LOOKS == 0 && !goes_on(search)) return error_set(error, -ECANCELED, "enough");
    FoundPlace *place = reject->is_row ? find_row_place(search->find, reject) : NULL;
    if (!place && !is_of_event && !(reject->is_row && is_row_of_event(search, reject))) return 0;
    if (!place) {
        place = add_place(search);
        if (!place) return error_set(error, -ECANCELED, "enough");
        place->sink = reject->sink;
        place->mapping_version = reject->mapping_version;
        place->precision = EVENT_TO_ROW;
        place->first_time = place->last_time = reject->at;
        if (reject->is_row) {
            place->first_row = reject->row;
            place->rows = 1;
            place->file = reject->id;
        }
    }
    place->state = EVENT_REJECTED;
    place->reject = reject->number;
    if (!place->reason) place->reason = text_copy_span(reject->reason);
    return 0;
}

static int look_at_rejects(Search *search, Error *error) {
    int r = 0;
    for (size_t i = 0; i < search->find->sink_count && r == 0 && goes_on(search); i++) {
        uint64_t count = 0;
        search->sink = search->find->sinks[i];
        r = rejects_count(search->txn, search->sink, &count, NULL);
        if (r == 0 && count > 0) {
            uint64_t after = search->from > INT64_MIN ? rejects_before(search, count) : 0;
            r = rejects_visit(search->txn, search->sink, after, take_reject, search, NULL);
        }
        if (r == -EBADMSG) search->find->damaged++;
        if (r == -EBADMSG || r == -ECANCELED) r = 0;
        if (r < 0) return error_set(error, r, "the rejects cannot be read");
        r = renew_txn(search, error);
    }
    return r;
}

/* ---- since when ------------------------------------------------------------------------------ */

/* Rows of a sink that were received before that time may be forgotten. 0: none is. */
static int forgotten_until(Search *search, uint32_t sink, usec_t *ret_time) {
    SliceRecord slice;
    SinkTotals totals;
    int r = ledger_first_slice(search->txn, sink, &slice, NULL);
    *ret_time = 0;
    if (r == 0 && slice.first_row > 1) *ret_time = slice.first_time;
    if (r != LEDGER_NOT_FOUND) return r;
    r = totals_find(search->txn, sink, &totals, NULL);
    if (r == 0) *ret_time = totals.staged.last_time;
    return r;
}

static int find_since(Search *search, Error *error) {
    int r = 0;
    for (size_t i = 0; i < search->find->sink_count && r == 0; i++) {
        usec_t time;
        if (forgotten_until(search, search->find->sinks[i], &time) == 0 && time > search->find->since) search->find->since = time;
        r = renew_txn(search, error);
    }
    return r;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int by_sink_and_row(const void *a, const void *b) {
    const FoundPlace *left = a, *right = b;
    if (left->sink != right->sink) return left->sink < right->sink ? -1 : 1;
    return left->first_row < right->first_row ? -1 : left->first_row > right->first_row;
}

static int look(Search *search, usec_t from, usec_t to, Error *error) {
    search->from = from;
    search->to = to;
    search->find->damaged = 0; /* what is looked at again is counted again */
    int r = look_at_log(search, error);
    if (r == 0) r = look_at_slices(search, error);
    if (r == 0) r = read_candidates(search, error);
    if (r == 0) r = look_at_rejects(search, error);
    return r;
}

static int find_event(Search *search, Error *error) {
    FindEvent *find = search->find;
    uint64_t ms;
    search->has_time = uuid_time(&find->id, &ms);
    int r = begin_txn(search, error);
    if (r == 0 && search->has_time) {
        search->time = (usec_t)ms * USEC_MS;
        r = look(search, search->time - NEAR, search->time + NEAR, error);
    }
    if (r == 0 && find->place_count == 0 && goes_on(search)) r = look(search, INT64_MIN, INT64_MAX, error);
    if (r == 0 && find->place_count == 0) r = find_since(search, error);
    end_txn(search);
    if (find->place_count > 1) qsort(find->places, find->place_count, sizeof *find->places, by_sink_and_row);
    return r;
}

static void work(Finder *finder, FindEvent *find) {
    Search search = {.finder = finder, .find = find, .deadline = finder->clock->boot(finder->clock) + FIND_TIME_MAX};
    find->request.result = find_event(&search, &find->request.error);
    forget_target(&search);
    free(search.candidates);
    if (atomic_load(finder->end))
        request_refuse(&find->request, SHUTDOWN);
    else
        request_answer(&find->request);
}

Finder *finder_new(Environment *environment, Files *files, Clock *clock, const atomic_bool *end) {
    Finder *finder = calloc(1, sizeof *finder);
    check(finder);
    finder->environment = environment;
    finder->files = files;
    finder->clock = clock;
    finder->end = end;
    finder->mailbox = mailbox_new(NULL, NULL);
    return finder;
}

Mailbox *finder_mailbox(Finder *finder) {
    return finder->mailbox;
}

bool finder_step(Finder *finder) {
    check_on_thread(&finder->owner);
    if (!finder->taken) finder->taken = mailbox_take(finder->mailbox);
    Message *message = finder->taken;
    if (!message) return false;
    finder->taken = message->next;
    check(message->kind == MESSAGE_FIND_EVENT);
    work(finder, (FindEvent *)message);
    return true;
}

void finder_free(Finder *finder) {
    if (!finder) return;
    mailbox_pass(finder->mailbox); /* its thread has ended */
    for (int round = 0; round < 2; round++) {
        Message *next = NULL;
        for (Message *message = round == 0 ? finder->taken : mailbox_take(finder->mailbox); message; message = next) {
            next = message->next;
            request_refuse(&((FindEvent *)message)->request, SHUTDOWN);
        }
    }
    mailbox_free(finder->mailbox);
    free(finder);
}
