#include "config/bridge_request.h"

#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "config/field.h"

#define TOPIC_BYTES_MOST 255
#define SINK_BYTES_MAX 48
#define NSEC_OF_MS 1000000
#define GOAL_WORDS "\"earliest\", \"latest\", {\"offset\": N} or {\"time\": \"2006-01-02T15:04:05Z\"}"

static int read_text(Fault *fault, const Node *body, const char *key, size_t most, const char **text) {
    Node field = node_member(body, key);
    return node_given(&field) ? node_text(fault, &field, 1, most, text) : 0;
}

static int read_partition(Fault *fault, const Node *body, int32_t *partition) {
    Node field = node_member(body, "partition");
    int64_t number = 0;
    int r = node_integer(fault, &field, 0, INT32_MAX, &number);
    if (r == 0) *partition = (int32_t)number;
    return r;
}

static int read_time(Fault *fault, const Node *field, int64_t *ret_ms) {
    const char *text;
    int64_t nsec;
    int r = node_text(fault, field, 1, 64, &text);
    if (r != 0) return r;
    if (!clock_parse(span_of(text), &nsec)) {
        char excerpt[TEXT_EXCERPT_SIZE];
        return fault_at(fault, field, "must be a time such as 2006-01-02T15:04:05Z (RFC 3339), not \"%s\"",
                        text_excerpt(span_of(text), excerpt));
    }
    if (nsec < 0) return fault_at(fault, field, "must not be before 1970");
    *ret_ms = nsec / NSEC_OF_MS + (nsec % NSEC_OF_MS != 0);
    return 0;
}

static int read_goal_object(Fault *fault, const Node *field, BridgeSeekBody *seek) {
    static const char *const names[] = {"offset", "time", NULL};
    Node offset = node_member(field, "offset"), time = node_member(field, "time");
    int r = node_object(fault, field, names, NULL);
    if (r != 0) return r;
    if (node_given(&offset) == node_given(&time)) return fault_at(fault, field, "needs one of \"offset\" and \"time\"");
    seek->to = node_given(&offset) ? BRIDGE_TO_OFFSET : BRIDGE_TO_TIME;
    return node_given(&offset) ? node_integer(fault, &offset, 0, INT64_MAX, &seek->at) : read_time(fault, &time, &seek->at);
}

static int read_goal(Fault *fault, const Node *field, BridgeSeekBody *seek) {
    if (json_is_object(field->value)) return read_goal_object(fault, field, seek);
    if (!json_is_string(field->value)) return fault_at(fault, field, "must be " GOAL_WORDS ", not %s", json_kind(field->value));
    const char *text = json_string_value(field->value);
    seek->to = BRIDGE_TO_EARLIEST;
    if (strcmp(text, "earliest") == 0) return 0;
    seek->to = BRIDGE_TO_LATEST;
    if (strcmp(text, "latest") == 0) return 0;
    char excerpt[TEXT_EXCERPT_SIZE];
    return fault_at(fault, field, "must be " GOAL_WORDS ", not \"%s\"", text_excerpt(span_of(text), excerpt));
}

int bridge_seek_read(const json_t *body, BridgeSeekBody *ret_seek, Error *error) {
    static const char *const names[] = {"topic", "partition", "to", "sink", NULL};
    Fault fault = {.error = error};
    Node root = {.value = body}, partition = node_member(&root, "partition"), to = node_member(&root, "to");
    BridgeSeekBody seek = {.partition = -1};
    int r = node_object(&fault, &root, names, NULL);
    if (r == 0) r = read_text(&fault, &root, "topic", TOPIC_BYTES_MOST, &seek.topic);
    if (r == 0 && node_given(&partition)) r = read_partition(&fault, &root, &seek.partition);
    if (r == 0) r = read_text(&fault, &root, "sink", SINK_BYTES_MAX, &seek.sink);
    if (r == 0) r = read_goal(&fault, &to, &seek);
    if (r == 0) *ret_seek = seek;
    return r;
}

int bridge_skip_read(const json_t *body, BridgeSkipBody *ret_skip, Error *error) {
    static const char *const names[] = {"topic", "partition", "offset", NULL};
    Fault fault = {.error = error};
    Node root = {.value = body}, topic = node_member(&root, "topic"), offset = node_member(&root, "offset");
    BridgeSkipBody skip = {0};
    int r = node_object(&fault, &root, names, NULL);
    if (r == 0) r = node_text(&fault, &topic, 1, TOPIC_BYTES_MOST, &skip.topic);
    if (r == 0) r = read_partition(&fault, &root, &skip.partition);
    if (r == 0) r = node_integer(&fault, &offset, 0, INT64_MAX, &skip.offset);
    if (r == 0) *ret_skip = skip;
    return r;
}
