#include "gateway/sources/seen_intervals.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/checksum.h"
#include "base/cursor.h"

#define VERSION 1

void seen_intervals_deinit(SeenIntervals *seen) {
    free(seen->items);
    *seen = (SeenIntervals){0};
}

void seen_intervals_clear(SeenIntervals *seen) {
    seen->count = 0;
    seen->last_time = 0;
}

static void append(SeenIntervals *seen, const SeenInterval *interval) {
    array_reserve(seen->items, seen->count, seen->capacity);
    seen->items[seen->count++] = *interval;
}

void seen_intervals_copy(SeenIntervals *to, const SeenIntervals *from) {
    seen_intervals_clear(to);
    for (size_t i = 0; i < from->count; i++) append(to, &from->items[i]);
    to->last_time = from->last_time;
}

/* How many intervals begin at or below the sequence: the last of them is the only one that may have
 * it. */
static size_t begun(const SeenIntervals *seen, uint64_t sequence) {
    size_t low = 0, high = seen->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (seen->items[middle].first <= sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool seen_intervals_has(const SeenIntervals *seen, const SeenMessage *message) {
    size_t at = begun(seen, message->sequence);
    return at > 0 && seen->items[at - 1].last >= message->sequence && message->time_nsec <= seen->last_time;
}

/* Is nothing of the consumer's between the two? */
static bool follow(uint64_t last, uint64_t last_order, uint64_t first, uint64_t first_order) {
    return last + 1 == first || (last_order > 0 && last_order + 1 == first_order);
}

static void remove_items(SeenIntervals *seen, size_t at, size_t count) {
    memmove(seen->items + at, seen->items + at + count, (seen->count - at - count) * sizeof *seen->items);
    seen->count -= count;
}

static void join_at(SeenIntervals *seen, size_t at) { /* with the next one */
    seen->items[at].last = seen->items[at + 1].last;
    seen->items[at].last_order = seen->items[at + 1].last_order;
    remove_items(seen, at + 1, 1);
}

void seen_intervals_cut(SeenIntervals *seen, uint64_t last) {
    seen->count = begun(seen, last);
    if (seen->count == 0 || seen->items[seen->count - 1].last <= last) return;
    seen->items[seen->count - 1].last = last;
    seen->items[seen->count - 1].last_order = 0;
}

void seen_intervals_add(SeenIntervals *seen, const SeenMessage *message) {
    uint64_t sequence = message->sequence, order = message->order;
    size_t at = begun(seen, sequence);
    SeenInterval *below = at > 0 ? &seen->items[at - 1] : NULL;
    if (below && below->last >= sequence) {
        if (message->time_nsec <= seen->last_time) return;
        seen_intervals_cut(seen, sequence - 1);
        at = seen->count;
        below = at > 0 ? &seen->items[at - 1] : NULL;
    }
    if (message->time_nsec > seen->last_time) seen->last_time = message->time_nsec;
    if (below && follow(below->last, below->last_order, sequence, order)) {
        below->last = sequence;
        below->last_order = order;
        at--;
    } else {
        append(seen, &(SeenInterval){0});
        memmove(seen->items + at + 1, seen->items + at, (seen->count - 1 - at) * sizeof *seen->items);
        seen->items[at] = (SeenInterval){sequence, sequence, order, order};
    }
    if (at + 1 < seen->count && follow(sequence, order, seen->items[at + 1].first, seen->items[at + 1].first_order)) join_at(seen, at);
}

void seen_intervals_join(SeenIntervals *seen, uint64_t ack_floor) {
    if (seen->count == 0 || seen->items[0].first > ack_floor) return;
    size_t below = begun(seen, ack_floor);
    SeenInterval *last = &seen->items[below - 1];
    if (last->last < ack_floor) {
        last->last = ack_floor;
        last->last_order = 0;
    }
    seen->items[0].last = last->last;
    seen->items[0].last_order = last->last_order;
    remove_items(seen, 1, below - 1);
    if (seen->count > 1 && seen->items[0].last + 1 == seen->items[1].first) join_at(seen, 0);
}

bool seen_intervals_is_full(const SeenIntervals *seen) {
    return seen->count > SEEN_INTERVALS_MAX;
}

void seen_intervals_put(const SeenIntervals *seen, Span stream_id, Span subject, Buffer *out) {
    size_t start = out->size;
    buffer_put_u8(out, VERSION);
    buffer_put_block(out, stream_id);
    buffer_put_block(out, subject);
    buffer_put_u64(out, (uint64_t)seen->last_time);
    buffer_put_u32(out, (uint32_t)seen->count);
    for (size_t i = 0; i < seen->count; i++) {
        buffer_put_u64(out, seen->items[i].first);
        buffer_put_u64(out, seen->items[i].last);
    }
    buffer_put_u64(out, checksum_of(out->data + start, out->size - start));
}

static bool get_items(SeenIntervals *seen, Cursor *fields) {
    seen->last_time = (int64_t)cursor_u64(fields);
    uint32_t count = cursor_u32(fields);
    uint64_t before = 0;
    for (uint32_t i = 0; i < count && !fields->failed; i++) {
        SeenInterval item = {.first = cursor_u64(fields), .last = cursor_u64(fields)};
        if (item.first == 0 || item.first > item.last || (i > 0 && item.first <= before + 1) || item.last == UINT64_MAX) return false;
        before = item.last;
        append(seen, &item);
    }
    return !fields->failed && fields->at == fields->end;
}

int seen_intervals_get(SeenIntervals *seen, Span mark, Span stream_id, Span subject, Error *error) {
    Cursor fields = cursor_of(mark), sum = {0};
    bool sound = mark.size > sizeof(uint64_t);
    if (sound) {
        fields.end -= sizeof(uint64_t);
        sum = cursor_of((Span){fields.end, sizeof(uint64_t)});
        sound = cursor_u64(&sum) == checksum_of(mark.data, mark.size - sizeof(uint64_t)) && cursor_u8(&fields) == VERSION;
    }
    if (!sound) return error_set(error, -EBADMSG, "The record of the messages that are committed is damaged.");
    Span id = cursor_block(&fields), filter = cursor_block(&fields);
    SeenIntervals got = {0};
    if (fields.failed || !get_items(&got, &fields)) {
        seen_intervals_deinit(&got);
        return error_set(error, -EBADMSG, "The record of the messages that are committed cannot be read.");
    }
    int other = !span_equal(id, stream_id)     ? SEEN_INTERVALS_OF_ANOTHER_STREAM
                : !span_equal(filter, subject) ? SEEN_INTERVALS_OF_ANOTHER_SUBJECT
                                               : 0;
    if (other) seen_intervals_clear(&got);
    seen_intervals_deinit(seen);
    *seen = got;
    return other;
}
