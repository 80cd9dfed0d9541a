#include "gateway/rows/row_batch.h"

#include <malloc.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/error.h"
#include "base/metrics.h"

#define PIECE_BYTES ((size_t)1024 * 1024)
#define PIECE_RUNS ((size_t)10000)                  /* no partition that is quiet makes a piece too large for a group */
#define KEPT_BUFFER_BYTES ((size_t)2 * 1024 * 1024) /* a larger one was needed once */
#define LARGE_ARENA_BYTES ((size_t)32 * 1024 * 1024)
#define KEPT_BYTES ((size_t)16 * 1024 * 1024) /* of all buffers that wait to be used again */

/* Of a sink whose rows are of records. */
typedef struct SinkRuns {
    AppendRun open; /* `next` and `rows` are not known yet */
    bool is_open;
    uint64_t rows_before; /* of the open piece, that are not of it */
    size_t room;
} SinkRuns;

typedef struct BatchSink {
    AppendSink append;
    AppendPiece piece; /* open; offset + bytes is the end of the rows that were kept */
    size_t piece_room;
    SinkRuns *runs;     /* NULL: it has none */
    uint64_t empty;     /* events that gave it no row, since there was nothing to explode */
    uint64_t *defaults; /* how often they were used, by column; NULL: never */
} BatchSink;

#define NOT_WANTED UINT32_MAX /* MapFailure.rows of a sink that should get nothing */

typedef struct BatchSource BatchSource;
struct BatchSource {
    BatchSource *next, *next_in_bucket;
    SnapshotSource *source;
    BatchSink *sinks; /* by index of the plan's sinks */
    Buffer **rows;
    size_t count;
    uint64_t events;  /* that were taken */
    UsageClaim claim; /* never large */
    bool has_runs;
};

typedef struct BatchReject BatchReject;
struct BatchReject {
    BatchReject *next;
    AppendReject reject;
};

/* An Append as the maker sees it. */
typedef struct GatheredAppend GatheredAppend;
struct GatheredAppend {
    Append append; /* first */
    GatheredAppend *next_free;
    uint64_t stored, rejected; /* events */
    BatchSource *sources;      /* in the arena: with what they have in flight */
    UsageClaim large;
    size_t partition_room;
};

struct RowMaker {
    Mapper *mapper;
    Usage *usage;
    size_t part_bytes;
    MapFailure failures[SINKS_A_SOURCE_MAX]; /* of the event at hand */
    GatheredAppend *free_appends;
    Buffer *free_buffers;
    size_t free_buffer_count, free_buffer_room, free_buffer_bytes;
};

/* ---- what is used again ---------------------------------------------------------------------- */

static Buffer take_buffer(RowMaker *maker) {
    if (maker->free_buffer_count == 0) return (Buffer){0};
    Buffer buffer = maker->free_buffers[--maker->free_buffer_count];
    maker->free_buffer_bytes -= buffer.capacity;
    return buffer;
}

static void keep_buffer(RowMaker *maker, Buffer *buffer) {
    if (buffer->capacity > KEPT_BUFFER_BYTES || maker->free_buffer_bytes + buffer->capacity > KEPT_BYTES) {
        buffer_deinit(buffer);
        return;
    }
    array_reserve(maker->free_buffers, maker->free_buffer_count, maker->free_buffer_room);
    buffer_clear(buffer);
    maker->free_buffer_bytes += buffer->capacity;
    maker->free_buffers[maker->free_buffer_count++] = *buffer;
}

static Append *take_append(RowMaker *maker) {
    GatheredAppend *append = maker->free_appends;
    if (append) {
        maker->free_appends = append->next_free;
        append->next_free = NULL;
        return &append->append;
    }
    append = calloc(1, sizeof *append);
    check(append);
    return &append->append;
}

static void keep_append(RowMaker *maker, GatheredAppend *append) {
    Arena arena = append->append.arena;
    bool large = arena.used_bytes > LARGE_ARENA_BYTES;
    arena_reset(&arena);
    if (large) (void)malloc_trim(0); /* its many blocks are too small to go back to the system by themselves */
    *append = (GatheredAppend){.append.arena = arena, .next_free = maker->free_appends};
    maker->free_appends = append;
}

RowMaker *row_maker_new(size_t row_bytes, size_t part_bytes, Usage *usage) {
    RowMaker *maker = calloc(1, sizeof *maker);
    check(maker);
    maker->mapper = mapper_new(row_bytes);
    maker->part_bytes = part_bytes;
    maker->usage = usage;
    return maker;
}

void row_maker_free(RowMaker *maker) {
    if (!maker) return;
    while (maker->free_buffer_count) buffer_deinit(&maker->free_buffers[--maker->free_buffer_count]);
    free(maker->free_buffers);
    while (maker->free_appends) {
        GatheredAppend *append = maker->free_appends;
        maker->free_appends = append->next_free;
        arena_deinit(&append->append.arena);
        free(append);
    }
    mapper_free(maker->mapper);
    free(maker);
}

/* ---- sources of the batch -------------------------------------------------------------------- */

static BatchSource **bucket_of(RowBatch *batch, const SnapshotSource *source) {
    return &batch->buckets[((uintptr_t)source >> 5) * 0x9e3779b1u % ROW_BATCH_BUCKETS];
}

static BatchSource *add_source(RowBatch *batch, SnapshotSource *source, BatchSource **bucket) {
    Arena *arena = &batch->append->arena;
    BatchSource *made = arena_zalloc(arena, sizeof *made);
    made->source = source;
    made->count = plan_sink_count(source->plan);
    check(made->count > 0);
    made->sinks = arena_zalloc(arena, made->count * sizeof *made->sinks);
    made->rows = arena_alloc(arena, made->count * sizeof *made->rows);
    for (size_t i = 0; i < made->count; i++) {
        const Sink *sink = plan_sink(source->plan, i);
        made->sinks[i].append.sink = sink->number;
        made->sinks[i].append.mapping_version = sink->mapping_version;
        made->sinks[i].append.rows = take_buffer(batch->maker);
        made->rows[i] = &made->sinks[i].append.rows;
    }
    made->next_in_bucket = *bucket;
    *bucket = made;
    made->next = batch->sources;
    batch->sources = made;
    return made;
}

static BatchSource *find_source(RowBatch *batch, SnapshotSource *source) {
    if (batch->last && batch->last->source == source) return batch->last;
    BatchSource **bucket = bucket_of(batch, source), *found = *bucket;
    while (found && found->source != source) found = found->next_in_bucket;
    return batch->last = found ? found : add_source(batch, source, bucket);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* The open run ends before the record `next`. */
static void put_run(BatchSink *sink, Arena *arena, int64_t next) {
    AppendSink *append = &sink->append;
    SinkRuns *runs = sink->runs;
    check(next > runs->open.first);
    if (append->run_count == runs->room) {
        runs->room = runs->room ? runs->room * 2 : 4;
        AppendRun *items = arena_alloc(arena, runs->room * sizeof *items);
        if (append->run_count) memcpy(items, append->runs, append->run_count * sizeof *items);
        append->runs = items;
    }
    AppendRun *run = &append->runs[append->run_count++];
    *run = runs->open;
    run->next = next;
    run->rows = sink->piece.rows - runs->rows_before;
    runs->rows_before = sink->piece.rows;
    sink->piece.run_count++;
}

/* No piece ends inside a run: the one that has rows in it ends, too, and goes on in the next piece
 * from the record at hand. */
static __attribute__((noinline)) void cut_run(BatchSink *sink, Arena *arena, int64_t record) {
    SinkRuns *runs = sink->runs;
    if (sink->piece.rows > runs->rows_before) {
        put_run(sink, arena, record);
        runs->open.first = record;
        runs->open.sets_end = false;
    }
    runs->rows_before = 0;
}

static __attribute__((noinline)) void close_piece(BatchSink *sink, Arena *arena) {
    AppendSink *append = &sink->append;
    if (sink->piece.rows == 0 && sink->piece.run_count == 0) return;
    if (append->piece_count == sink->piece_room) {
        size_t room = sink->piece_room ? sink->piece_room * 2 : 4;
        AppendPiece *pieces = arena_alloc(arena, room * sizeof *pieces);
        if (append->piece_count) memcpy(pieces, append->pieces, append->piece_count * sizeof *pieces);
        append->pieces = pieces;
        sink->piece_room = room;
    }
    append->pieces[append->piece_count++] = sink->piece;
    sink->piece = (AppendPiece){.offset = sink->piece.offset + sink->piece.bytes};
}

/* Where the rows that were kept end; behind it is the row of the event at hand. */
static size_t kept_end(const BatchSink *sink) {
    return sink->piece.offset + sink->piece.bytes;
}

static size_t fresh_bytes(const BatchSink *sink) {
    return sink->append.rows.size - kept_end(sink);
}

/* There is room for them in the open piece. */
static inline void count_event(BatchSink *sink, size_t bytes, uint32_t rows, const Event *event) {
    usec_t received = event->received;
    check_debug(rows > 0);
    if (__builtin_expect(sink->piece.rows == 0, 0)) {
        if (sink->append.piece_count == 0) sink->append.first_time = received;
        sink->piece.ids.first = event->id;
    }
    uuid_range_extend(&sink->piece.ids, &event->id);
    sink->append.last_time = received;
    sink->piece.bytes += bytes;
    sink->piece.rows += rows;
}

/* ---- parts ----------------------------------------------------------------------------------- */

void row_batch_begin(RowBatch *batch, Snapshot *snapshot, SnapshotSource *source, UsageClaim take_claim, RowPart *ret_part) {
    if (!batch->append) {
        batch->append = take_append(batch->maker);
        batch->append->snapshot = snapshot ? snapshot_ref(snapshot) : NULL;
        batch->rejects_tail = &batch->rejects;
    }
    check(batch->append->snapshot == snapshot);
    BatchSource *found = find_source(batch, source);
    ret_part->tally.events = ret_part->tally.stored = ret_part->tally.rejected = 0;
    for (size_t i = 0; i < found->count; i++) {
        const BatchSink *sink = &found->sinks[i];
        ret_part->tally.sink_rejected[i] = 0;
        ret_part->marks[i] = (RowMark){sink->append.rows.size,  sink->append.piece_count, sink->piece,
                                       sink->append.first_time, sink->append.last_time,   sink->empty};
    }
    ret_part->bytes = ret_part->elsewhere = ret_part->discovered = 0;
    ret_part->claim = take_claim;
    ret_part->source = found;
    ret_part->has_event = false;
    ret_part->defaults = NULL;
    ret_part->rejects_tail = batch->rejects_tail;
    ret_part->reject_count = batch->reject_count;
}

size_t row_batch_map(RowBatch *batch, RowPart *part, const Event *event) {
    check(!part->has_event);
    part->has_event = true;
    part->failed = mapper_map(batch->maker->mapper, part->source->source->plan, event, part->source->rows, batch->maker->failures);
    return part->failed;
}

size_t row_batch_map_some(RowBatch *batch, RowPart *part, const Event *event, const bool *wanted) {
    (void)row_batch_map(batch, part, event);
    for (size_t i = 0; i < part->source->count; i++) {
        if (wanted[i]) continue;
        BatchSink *sink = &part->source->sinks[i];
        MapFailure *failure = &batch->maker->failures[i];
        sink->append.rows.size = kept_end(sink);
        part->failed -= failure->error != MAP_OK;
        failure->error = MAP_OK;
        failure->rows = NOT_WANTED;
    }
    return part->failed;
}

size_t row_batch_fail(RowBatch *batch, RowPart *part, const bool *wanted, Span sentence) {
    check(!part->has_event);
    part->has_event = true;
    part->failed = 0;
    for (size_t i = 0; i < part->source->count; i++) {
        MapFailure *failure = &batch->maker->failures[i];
        failure->error = MAP_OK;
        failure->rows = NOT_WANTED;
        if (wanted && !wanted[i]) continue;
        size_t size = sentence.size < sizeof failure->message ? sentence.size : sizeof failure->message - 1;
        if (size < sentence.size)
            while (size > 0 && ((unsigned char)sentence.data[size] & 0xc0) == 0x80) size--; /* no half of a character */
        *failure = (MapFailure){.error = MAP_NOT_JSON};
        memcpy(failure->message, sentence.data, size);
        part->failed++;
    }
    return part->failed;
}

const MapFailure *row_batch_failure(const RowBatch *batch, size_t sink) {
    const MapFailure *failure = &batch->maker->failures[sink];
    return failure->error == MAP_OK ? NULL : failure;
}

Span row_batch_row(const RowPart *part, size_t sink) {
    const BatchSink *found = &part->source->sinks[sink];
    size_t size = fresh_bytes(found);
    return size ? (Span){found->append.rows.data + kept_end(found), size} : (Span){0};
}

const Sink *row_batch_refuser(const RowBatch *batch, const RowPart *part, const MapFailure **ret_failure) {
    for (size_t i = 0; i < part->source->count; i++) {
        const Sink *sink = plan_sink(part->source->source->plan, i);
        if (sink->on_invalid != ON_INVALID_REJECT || batch->maker->failures[i].error == MAP_OK) continue;
        *ret_failure = &batch->maker->failures[i];
        return sink;
    }
    return NULL;
}

static Span keep(Arena *arena, Span bytes) {
    return (Span){arena_copy(arena, bytes), bytes.size};
}

/* The event as it came, for each sink that failed; without its body where values are masked. What
 * that takes. */
static uint64_t add_rejects(RowBatch *batch, const RowPart *part, const Event *event, Span content_type) {
    Arena *arena = &batch->append->arena;
    bool dropped = plan_drops_bodies(part->source->source->plan);
    Span body = dropped ? (Span){0} : keep(arena, event->body), type = keep(arena, content_type);
    Span place = event->meta ? keep(arena, event->meta->values[META_BRIDGE]) : (Span){0};
    uint64_t bytes = body.size + type.size + place.size;
    for (size_t i = 0; i < part->source->count; i++) {
        const MapFailure *failure = &batch->maker->failures[i];
        const Sink *sink = plan_sink(part->source->source->plan, i);
        if (failure->error == MAP_OK) continue;
        BatchReject *node = arena_zalloc(arena, sizeof *node);
        node->reject = (AppendReject){.sink = sink->number,
                                      .mapping_version = sink->mapping_version,
                                      .event = event->id,
                                      .at = event->received,
                                      .column = keep(arena, span_of(failure->column)),
                                      .reason = keep(arena, span_of(failure->message)),
                                      .content_type = type,
                                      .body = body,
                                      .place = place,
                                      .dropped = dropped,
                                      .event_bytes = dropped ? event->body.size : 0};
        bytes += sizeof *node + node->reject.reason.size + node->reject.column.size;
        *batch->rejects_tail = node;
        batch->rejects_tail = &node->next;
        batch->reject_count++;
    }
    return bytes;
}

static void cut_rejects(RowBatch *batch, BatchReject **tail, size_t count) {
    batch->rejects_tail = tail;
    *tail = NULL;
    batch->reject_count = count;
}

static void cut_rows(BatchSource *source) {
    for (size_t i = 0; i < source->count; i++) source->sinks[i].append.rows.size = kept_end(&source->sinks[i]);
}

void row_batch_leave(RowPart *part) {
    check(part->has_event);
    part->has_event = false;
    cut_rows(part->source);
}

/* The rows of the event at hand are of the part, whose rows have `bytes` then. */
static inline void count_rows(RowPart *part, const MapFailure *outcome, uint64_t bytes, const Event *event) {
    BatchSink *sink = part->source->sinks, *end = sink + part->source->count;
    do {
        size_t fresh = fresh_bytes(sink);
        if (fresh > 0)
            count_event(sink, fresh, outcome->rows, event);
        else if (outcome->error == MAP_OK && outcome->rows == 0)
            sink->empty++;
        outcome++;
    } while (++sink < end);
    part->bytes = bytes;
    part->has_event = false;
}

/* Closes the pieces that the rows would make too large; false: with `more` they are too much. */
static __attribute__((noinline)) bool keep_rows(RowBatch *batch, RowPart *part, uint64_t more, const Event *event) {
    BatchSink *sinks = part->source->sinks;
    Arena *arena = &batch->append->arena;
    uint64_t rows = 0;
    for (size_t i = 0; i < part->source->count; i++) rows += fresh_bytes(&sinks[i]);
    if (part->bytes + more + rows > batch->maker->part_bytes) return false;
    for (size_t i = 0; i < part->source->count; i++) {
        if (sinks[i].piece.bytes + fresh_bytes(&sinks[i]) <= PIECE_BYTES) continue;
        if (sinks[i].runs) cut_run(&sinks[i], arena, part->record);
        close_piece(&sinks[i], arena);
    }
    count_rows(part, batch->maker->failures, part->bytes + more + rows, event);
    part->tally.events++;
    part->tally.stored += rows > 0;
    return true;
}

static __attribute__((noinline)) bool leave(RowPart *part) {
    row_batch_leave(part);
    return false;
}

static __attribute__((noinline)) bool keep_with_rejects(RowBatch *batch, RowPart *part, const Event *event, Span content_type) {
    BatchReject **tail = batch->rejects_tail;
    size_t count = batch->reject_count;
    uint64_t bytes = add_rejects(batch, part, event, content_type);
    if (!keep_rows(batch, part, bytes, event)) {
        cut_rejects(batch, tail, count);
        return leave(part);
    }
    part->tally.rejected++;
    for (size_t i = 0; i < part->source->count; i++) part->tally.sink_rejected[i] += batch->maker->failures[i].error != MAP_OK;
    return true;
}

static __attribute__((noinline)) bool keep_slowly(RowBatch *batch, RowPart *part, const Event *event) {
    return keep_rows(batch, part, 0, event) || leave(part);
}

/* For each event: what is mostly so calls nothing, and needs nothing saved on the stack. */
static inline bool keep_event(RowBatch *batch, RowPart *part, const Event *event, Span content_type) {
    check(part->has_event);
    if (__builtin_expect(part->failed > 0, 0)) return keep_with_rejects(batch, part, event, content_type);
    const uint64_t most = batch->maker->part_bytes;
    const BatchSink *sink = part->source->sinks, *end = sink + part->source->count;
    uint64_t bytes = part->bytes;
    do {
        size_t row = fresh_bytes(sink);
        bytes += row;
        if (__builtin_expect(bytes > most || sink->piece.bytes + row > PIECE_BYTES, 0)) return keep_slowly(batch, part, event);
    } while (++sink < end);
    part->tally.events++;
    part->tally.stored += bytes > part->bytes;
    count_rows(part, batch->maker->failures, bytes, event);
    return true;
}

/* Those that the event at hand has used are of the part. */
static void keep_defaults(RowBatch *batch, RowPart *part, const bool *has_row) {
    Arena *arena = &batch->append->arena;
    size_t count;
    const MapDefault *used = mapper_defaults(batch->maker->mapper, &count);
    if (count == 0) return;
    if (!part->defaults) part->defaults = arena_zalloc(arena, part->source->count * sizeof *part->defaults);
    for (size_t i = 0; i < count; i++) {
        if (!has_row[used[i].sink]) continue;
        uint64_t **columns = &part->defaults[used[i].sink];
        size_t column_count = plan_sink(part->source->source->plan, used[i].sink)->target.column_count;
        if (!*columns) *columns = arena_zalloc(arena, column_count * sizeof **columns);
        (*columns)[used[i].column] += used[i].uses;
    }
}

/* Of a source with sinks that infer: what they lack is told, of the sinks that have a row of the
 * event. Of one with defaults: how often they are used. */
static __attribute__((noinline)) bool keep_and_tell(RowBatch *batch, RowPart *part, const Event *event, Span content_type) {
    bool has_row[SINKS_A_SOURCE_MAX];
    size_t count;
    for (size_t i = 0; i < part->source->count; i++) has_row[i] = fresh_bytes(&part->source->sinks[i]) > 0;
    if (!keep_event(batch, part, event, content_type)) return false;
    keep_defaults(batch, part, has_row);
    const MapDiscovery *found = mapper_discoveries(batch->maker->mapper, &count);
    for (size_t i = 0; i < count && batch->append->snapshot; i++) {
        if (!has_row[found[i].sink]) continue;
        snapshot_discovered(batch->append->snapshot, part->source->source, &found[i]);
        part->discovered++;
    }
    return true;
}

bool row_batch_keep(RowBatch *batch, RowPart *part, const Event *event, Span content_type) {
    if (__builtin_expect(part->source->source->tells, 0)) return keep_and_tell(batch, part, event, content_type);
    return keep_event(batch, part, event, content_type);
}

/* ---- runs ------------------------------------------------------------------------------------ */

void row_batch_runs_begin(RowBatch *batch, RowPart *part, const int64_t *next, const bool *sets_end) {
    BatchSource *source = part->source;
    check(!part->has_event && batch->sources == source && !source->next);
    for (size_t i = 0; i < source->count; i++) {
        BatchSink *sink = &source->sinks[i];
        if (!sink->runs) sink->runs = arena_zalloc(&batch->append->arena, sizeof *sink->runs);
        check(!sink->runs->is_open);
        sink->runs->is_open = next[i] >= 0;
        sink->runs->open = (AppendRun){.partition = batch->append->partition_count, .sets_end = sets_end[i], .first = next[i], .end = -1};
        sink->runs->rows_before = sink->piece.rows;
    }
    source->has_runs = true;
}

void row_batch_runs_end(RowBatch *batch, RowPart *part, const Partition *partition, int64_t end) {
    Append *append = batch->append;
    size_t made = 0;
    check(!part->has_event);
    for (size_t i = 0; i < part->source->count; i++) {
        BatchSink *sink = &part->source->sinks[i];
        size_t count = sink->append.run_count;
        if (!sink->runs->is_open) continue;
        if (end > sink->runs->open.first) put_run(sink, &append->arena, end);
        check(sink->piece.rows == sink->runs->rows_before);
        sink->runs->is_open = false;
        if (sink->piece.run_count >= PIECE_RUNS) close_piece(sink, &append->arena);
        for (; count > 0 && sink->append.runs[count - 1].partition == append->partition_count; count--) made++; /* cut before */
        made += sink->append.run_count - count;
    }
    part->bytes += made * sizeof(AppendRun);
    if (made > 0) row_batch_name(batch, partition);
}

void row_batch_name(RowBatch *batch, const Partition *partition) {
    GatheredAppend *gathered = (GatheredAppend *)batch->append;
    Append *append = batch->append;
    Arena *arena = &append->arena;
    if (append->partition_count == gathered->partition_room) {
        gathered->partition_room = gathered->partition_room ? gathered->partition_room * 2 : 4;
        Partition *items = arena_alloc(arena, gathered->partition_room * sizeof *items);
        if (append->partition_count) memcpy(items, append->partitions, append->partition_count * sizeof *items);
        append->partitions = items;
    }
    append->partitions[append->partition_count++] = (Partition){.cluster = arena_copy(arena, span_of(partition->cluster)),
                                                                .group = arena_copy(arena, span_of(partition->group)),
                                                                .topic = arena_copy(arena, span_of(partition->topic)),
                                                                .topic_id = arena_copy(arena, span_of(partition->topic_id)),
                                                                .generation = partition->generation,
                                                                .partition = partition->partition};
}

/* The part is the only one that has any. */
static void undo_runs(RowBatch *batch, BatchSource *source) {
    batch->append->partition_count = 0;
    for (size_t i = 0; i < source->count; i++) {
        source->sinks[i].append.run_count = 0;
        source->sinks[i].runs->is_open = false;
    }
    source->has_runs = false;
}

/* ---- the end of a part ----------------------------------------------------------------------- */

bool row_batch_admit(RowBatch *batch, RowPart *part) {
    return usage_resize(batch->maker->usage, part->source->source->usage, &part->claim, part->bytes + part->elsewhere);
}

static void end_defaults(RowBatch *batch, const RowPart *part) {
    for (size_t i = 0; i < part->source->count; i++) {
        const uint64_t *used = part->defaults[i];
        BatchSink *sink = &part->source->sinks[i];
        size_t column_count = plan_sink(part->source->source->plan, i)->target.column_count;
        if (!used) continue;
        if (!sink->defaults) sink->defaults = arena_zalloc(&batch->append->arena, column_count * sizeof *sink->defaults);
        for (size_t k = 0; k < column_count; k++) sink->defaults[k] += used[k];
    }
}

void row_batch_end(RowBatch *batch, RowPart *part) {
    GatheredAppend *append = (GatheredAppend *)batch->append;
    UsageClaim *claim = part->claim.large ? &append->large : &part->source->claim;
    check(!part->has_event && part->elsewhere == 0 && part->claim.bytes >= part->bytes);
    claim->large = part->claim.large; /* there is one large request at a time */
    claim->bytes += part->claim.bytes;
    part->claim = (UsageClaim){0};
    if (part->defaults) end_defaults(batch, part);
    part->source->events += part->tally.events;
    append->append.bytes += part->bytes;
    append->stored += part->tally.stored;
    append->rejected += part->tally.rejected;
}

void row_batch_undo(RowBatch *batch, RowPart *part) {
    for (size_t i = 0; i < part->source->count; i++) {
        BatchSink *sink = &part->source->sinks[i];
        const RowMark *mark = &part->marks[i];
        sink->append.rows.size = mark->rows_size;
        sink->append.piece_count = mark->piece_count;
        sink->piece = mark->piece;
        sink->append.first_time = mark->first_time;
        sink->append.last_time = mark->last_time;
        sink->empty = mark->empty;
    }
    if (part->source->has_runs) undo_runs(batch, part->source);
    part->has_event = false;
    cut_rejects(batch, part->rejects_tail, part->reject_count);
    usage_release(batch->maker->usage, part->source->source->usage, &part->claim);
}

/* ---- the Append ------------------------------------------------------------------------------ */

static bool has_empty(const BatchSource *source) {
    uint64_t empty = 0;
    for (size_t i = 0; i < source->count; i++) empty += source->sinks[i].empty;
    return empty > 0;
}

/* What disabled sinks did not get of what was gathered, and what gave the others nothing. Records
 * stay where they are, and wait for a disabled sink. */
static void note_skips(const RowBatch *batch, Append *append, size_t most) {
    append->skips = arena_alloc(&append->arena, most * sizeof *append->skips);
    append->skip_count = 0;
    for (const BatchSource *source = batch->sources; source; source = source->next) {
        for (size_t i = 0; i < source->count; i++)
            if (source->sinks[i].empty > 0)
                append->skips[append->skip_count++] = (AppendSkip){.sink = source->sinks[i].append.sink, .empty = source->sinks[i].empty};
        if (source->events == 0 || source->has_runs) continue;
        for (size_t i = 0; i < source->source->skipped_count; i++)
            append->skips[append->skip_count++] = (AppendSkip){.sink = source->source->skipped[i], .events = source->events};
    }
}

static void put_sinks(RowBatch *batch, BatchSource *source) {
    Append *append = batch->append;
    for (size_t i = 0; i < source->count; i++) {
        BatchSink *sink = &source->sinks[i];
        check(fresh_bytes(sink) == 0 && !(sink->runs && sink->runs->is_open));
        close_piece(sink, &append->arena);
        if (sink->append.piece_count)
            append->sinks[append->sink_count++] = sink->append;
        else
            keep_buffer(batch->maker, &sink->append.rows);
    }
}

Append *row_batch_seal(RowBatch *batch) {
    Append *append = batch->append;
    if (!append) return NULL;
    size_t sinks = 0, skips = 0;
    for (BatchSource *source = batch->sources; source; source = source->next) {
        sinks += source->count;
        skips += source->source->skipped_count + (has_empty(source) ? source->count : 0);
    }
    append->sinks = arena_alloc(&append->arena, (sinks + 1) * sizeof *append->sinks);
    append->sink_count = 0;
    for (BatchSource *source = batch->sources; source; source = source->next) {
        *bucket_of(batch, source->source) = NULL;
        put_sinks(batch, source);
    }
    append->rejects = arena_alloc(&append->arena, (batch->reject_count + 1) * sizeof *append->rejects);
    append->reject_count = 0;
    for (BatchReject *reject = batch->rejects; reject; reject = reject->next) append->rejects[append->reject_count++] = reject->reject;
    if (skips > 0) note_skips(batch, append, skips);
    ((GatheredAppend *)append)->sources = batch->sources;
    batch->append = NULL;
    batch->sources = batch->last = NULL;
    batch->rejects = NULL;
    batch->reject_count = 0;
    return append;
}

static void release(RowMaker *maker, GatheredAppend *append) {
    for (BatchSource *source = append->sources; source; source = source->next)
        usage_release(maker->usage, source->source->usage, &source->claim);
    usage_release(maker->usage, NULL, &append->large);
}

static void count_defaults(const BatchSource *source) {
    for (size_t i = 0; i < source->count; i++) {
        const Sink *sink = plan_sink(source->source->plan, i);
        const uint64_t *used = source->sinks[i].defaults;
        for (size_t k = 0; used && k < sink->target.column_count; k++)
            if (used[k] > 0) default_counts_add(source->source->gates[i]->defaults, sink->target.columns[k].name, k, used[k]);
    }
}

void row_maker_settle(RowMaker *maker, Append *append) {
    GatheredAppend *gathered = (GatheredAppend *)append;
    release(maker, gathered);
    if (append->result != APPEND_DONE) return;
    for (const BatchSource *source = gathered->sources; source; source = source->next) count_defaults(source);
    if (gathered->stored) metrics_add(METRIC_EVENTS_STORED, gathered->stored);
    if (gathered->rejected) metrics_add(METRIC_EVENTS_REJECTED, gathered->rejected);
}

void row_maker_recycle(RowMaker *maker, Append *take_append) {
    for (size_t i = 0; i < take_append->sink_count; i++) keep_buffer(maker, &take_append->sinks[i].rows);
    snapshot_unref(take_append->snapshot);
    keep_append(maker, (GatheredAppend *)take_append);
}

void row_batch_drop(RowBatch *batch) {
    for (BatchSource *source = batch->sources; source; source = source->next) {
        cut_rows(source);
        if (source->has_runs) undo_runs(batch, source);
    }
    Append *append = row_batch_seal(batch);
    if (!append) return;
    release(batch->maker, (GatheredAppend *)append);
    row_maker_recycle(batch->maker, append);
}
