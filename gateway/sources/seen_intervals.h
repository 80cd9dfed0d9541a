/*
 * The set of messages that were committed, for a durable consumer of JetStream. It distinguishes
 * new messages from messages that the server delivers again although they were committed, because
 * an ack was lost or the server forgot it. The set contains stream sequences, as intervals. It is
 * stored in the same transaction as the rows (Append.mark), so it always matches the log.
 *
 * The number of intervals stays small. If two messages were delivered directly one after the other,
 * the stream has no message for this consumer between them. Both and the sequences between them are
 * joined to one interval. All sequences from the first one up to the consumer's ack floor are one
 * interval. The gaps that remain belong to messages that are in flight, and to messages whose
 * deliveries were interrupted by others. They close when the ack floor passes them.
 *
 * A sequence can be used twice: a server whose disk lost its last messages continues after the
 * remaining ones. The later message has a later time than all messages of the set, and does not
 * count as seen. When it is added, all sequences from its own one on are removed first.
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
    uint64_t first_order, last_order; /* orders of the first and last message; 0: not known */
} SeenInterval;

/* An all-zero value is empty. The sequences are valid for one stream and one subject only. */
typedef struct SeenIntervals {
    SeenInterval *items; /* owned; ascending, with at least one sequence between them */
    size_t count, capacity;
    int64_t last_time; /* ns since 1970; time of the latest message that was added */
} SeenIntervals;

typedef struct SeenMessage {
    uint64_t sequence; /* of the stream, from 1 */
    /* The number of its first delivery in this process. It is 1 more than that of the message
     * before, if the stream has no message for the consumer between them. 0: not known, for example
     * if the message is delivered again. */
    uint64_t order;
    int64_t time_nsec; /* ns since 1970; when the stream stored it */
} SeenMessage;

void seen_intervals_deinit(SeenIntervals *seen);
void seen_intervals_clear(SeenIntervals *seen);
void seen_intervals_copy(SeenIntervals *to, const SeenIntervals *from); /* replaces the content of `to` */
bool seen_intervals_has(const SeenIntervals *seen, const SeenMessage *message);
/* Adds a message. A message that is already in the set changes nothing. The number of intervals can
 * exceed SEEN_INTERVALS_MAX; see seen_intervals_is_full. */
void seen_intervals_add(SeenIntervals *seen, const SeenMessage *message);
/* Removes all sequences after `last`, because the stream has no messages there (any more). */
void seen_intervals_cut(SeenIntervals *seen, uint64_t last);
/* Joins the intervals up to `ack_floor`. All messages up to it are acked, so messages in the gaps
 * are not delivered any more. */
void seen_intervals_join(SeenIntervals *seen, uint64_t ack_floor);
/* Has the set too many intervals to be stored? Then intervals must be joined before a message is
 * added. */
bool seen_intervals_is_full(const SeenIntervals *seen);

/* The bytes of a mark (docs/formats.md, "Marks"). `stream_id`: of the stream, another one when it
 * is made anew (ClientTopic.topic_id). `subject`: that the consumer filters with; "" all. */
void seen_intervals_put(const SeenIntervals *seen, Span stream_id, Span subject, Buffer *out);
enum { SEEN_INTERVALS_OF_ANOTHER_STREAM = 1, SEEN_INTERVALS_OF_ANOTHER_SUBJECT };
/* Replaces the content of `seen` with a mark. Returns 0. Returns a value > 0 if the mark belongs
 * to a stream that was created again since, or to another subject: `seen` is empty then. Returns
 * -EBADMSG if the bytes are not a valid mark: `seen` is unchanged then. */
int seen_intervals_get(SeenIntervals *seen, Span mark, Span stream_id, Span subject, Error *error);
