/*
 * Which messages of a stream are committed here, of a durable consumer of JetStream: a message that
 * the server delivers again although it was committed (its ack was lost, or the server forgot it)
 * is told from a new one. A set of stream sequences, kept as intervals. It is stored with the rows,
 * in one transaction (Append.mark), so it says exactly what the log has.
 *
 * Few intervals: messages whose orders follow each other were delivered one after the other, so the
 * stream has nothing for this consumer between them, and they are joined with the sequences
 * between. All from the first one up to the consumer's ack floor is one interval. What remains are
 * the holes of messages that are on their way, and those that deliveries of other messages came
 * between, until the floor passes them.
 *
 * A sequence can be given twice: a server whose disk lost its last messages goes on behind those
 * that are left. The later message has a later time than all that the set has seen, and is none of
 * it; when it is added, all that was seen from its sequence on is forgotten.
 *
 * Pure; one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"

#define SEEN_INTERVALS_MAX 4096 /* 64 KB in a mark */

typedef struct SeenInterval {
    uint64_t first, last;             /* sequences, 1 <= first <= last */
    uint64_t first_order, last_order; /* of its ends; 0: not known */
} SeenInterval;

/* All-zero is empty. A stream and a subject that the sequences are of: those of another one say
 * nothing. */
typedef struct SeenIntervals {
    SeenInterval *items; /* owned; ascending, with at least one sequence between them */
    size_t count, capacity;
    int64_t last_time; /* ns since 1970: of the latest message that was added */
} SeenIntervals;

typedef struct SeenMessage {
    uint64_t sequence; /* of the stream, from 1 */
    /* In which order it was delivered the first time, in this process: 1 more than that of the
     * message before it, when the stream has none of the consumer's between them. 0: not known, as
     * of a message that is delivered again. */
    uint64_t order;
    int64_t time_nsec; /* when the stream took it */
} SeenMessage;

void seen_intervals_deinit(SeenIntervals *seen);
void seen_intervals_clear(SeenIntervals *seen);
void seen_intervals_copy(SeenIntervals *to, const SeenIntervals *from); /* in the place of what `to` has */
bool seen_intervals_has(const SeenIntervals *seen, const SeenMessage *message);
/* A message that it has already changes nothing. There may be more than SEEN_INTERVALS_MAX:
 * seen_intervals_is_full. */
void seen_intervals_add(SeenIntervals *seen, const SeenMessage *message);
/* The stream has nothing behind this sequence (any more): what was seen there is forgotten. */
void seen_intervals_cut(SeenIntervals *seen, uint64_t last);
/* All up to this sequence is acked: what lies between the intervals below it does not come any
 * more. */
void seen_intervals_join(SeenIntervals *seen, uint64_t ack_floor);
/* It cannot be stored: nothing may be added before intervals were joined. */
bool seen_intervals_is_full(const SeenIntervals *seen);

/* The bytes of a mark (docs/formats.md, "Marks"). `stream_id`: of the stream, another one when it
 * is made anew (ClientTopic.topic_id). `subject`: that the consumer filters with; "" all. */
void seen_intervals_put(const SeenIntervals *seen, Span stream_id, Span subject, Buffer *out);
enum { SEEN_INTERVALS_OF_ANOTHER_STREAM = 1, SEEN_INTERVALS_OF_ANOTHER_SUBJECT };
/* Replaces what `seen` has. > 0: they are of a stream that was made anew since, or of another
 * subject; it is empty then. -EBADMSG: the bytes are no mark; as before. */
int seen_intervals_get(SeenIntervals *seen, Span mark, Span stream_id, Span subject, Error *error);
