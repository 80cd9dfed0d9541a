#include "config/source_kafka.h"

#include <regex.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "config/source_bridge_parts.h"

#define TOPICS_MAX 100
#define TOPIC_BYTES_MAX 249
#define EXPRESSION_BYTES_MAX 1000
#define GROUP_BYTES_MAX 249

_Static_assert(offsetof(KafkaSource, bridge) == 0, "the rows of all bridges are of the begin of the part");

static int check_expression(Fault *fault, const Node *field, const char *text) {
    regex_t compiled;
    int r = regcomp(&compiled, text, REG_EXTENDED | REG_NOSUB);
    if (r == 0) {
        regfree(&compiled);
        return 0;
    }
    char why[128];
    (void)regerror(r, &compiled, why, sizeof why);
    return fault_at(fault, field, "begins with '^' but is not a regular expression (POSIX, extended): %s", why);
}

static int check_topic(Fault *fault, const Node *field) {
    const char *text = json_string_value(field->value);
    if (text[0] == '^') return check_expression(fault, field, text);
    size_t length = strlen(text);
    size_t valid = strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-");
    if (length <= TOPIC_BYTES_MAX && valid == length && strcmp(text, ".") != 0 && strcmp(text, "..") != 0) return 0;
    char excerpt[TEXT_EXCERPT_SIZE];
    return fault_at(fault, field, "is \"%s\": a topic has 1 to %d of 0-9, A-Z, a-z, '.', '_' and '-'; a regular expression begins with '^'",
                    text_excerpt(span_of(text), excerpt), TOPIC_BYTES_MAX);
}

static const char *const tombstone_names[] = {"skip", "event", NULL};

static int read_tombstones(Fault *fault, const Node *field, void *place) {
    int choice;
    int r = node_choice(fault, field, tombstone_names, NULL, &choice);
    if (r == 0) *(bool *)place = choice == 1;
    return r;
}

static json_t *write_tombstones(const void *place) {
    return json_string(tombstone_names[*(const bool *)place]);
}

static const FieldInfo kafka_rows[] = {
    BRIDGE_CONNECTION_ROW("name of a connection of type `kafka`", "\"connection\": the name of a connection of type kafka"),
    {.name = "topics",
     .type = FIELD_TEXTS,
     .offset = offsetof(KafkaSource, topics),
     .count_offset = offsetof(KafkaSource, topic_count),
     .least = 1,
     .most = TOPICS_MAX,
     .item_max = EXPRESSION_BYTES_MAX,
     .needed = "\"topics\": a list of names",
     .validate = check_topic,
     .sentence = "Topics that it reads. A topic with a leading `^` is a regular expression (POSIX, extended) for all matching topics."},
    {.name = "groupId",
     .type = FIELD_TEXT,
     .offset = offsetof(KafkaSource, group_id),
     .default_words = "sluice-PROJECT-SOURCE",
     .least = 1,
     .most = GROUP_BYTES_MAX,
     .is_plain = true,
     .is_optional = true,
     .sentence =
         "Its consumer group. Nodes with the same group share the partitions. The positions belong to the group. So a source whose group "
         "is changed begins at `startFrom` again."},
    BRIDGE_START_ROW(bridge_read_start, "`earliest`, `latest`, or a time (RFC 3339)",
                     "Where a sink begins that has no position yet. A change does not affect sinks that have one."),
    BRIDGE_READING_ROWS("3000"),
    {.name = "tombstones",
     .type = FIELD_OWN,
     .offset = offsetof(KafkaSource, tombstones_are_events),
     .default_words = "skip",
     .choices = tombstone_names,
     .read = read_tombstones,
     .write = write_tombstones,
     .sentence = "What a record without a value gives: nothing, or an event with an empty body."},
    {0},
};
static const FieldTable kafka_fields = {.owners = "sources", .fields = kafka_rows, .size = sizeof(KafkaSource), .kind = "value"};

static const FieldInfo part_rows[] = {
    {.name = "kafka",
     .type = FIELD_OBJECT,
     .fields = &kafka_fields,
     .needed = "\"kafka\" with \"connection\" and \"topics\"",
     .sentence = "What the source reads."},
    {0},
};
static const FieldTable part_fields = {.owners = "sources", .fields = part_rows, .size = sizeof(KafkaSource)};

char *kafka_source_group(const Source *source, uint32_t project) {
    const KafkaSource *kafka = source_kafka(source);
    check(kafka);
    return kafka->group_id ? text_copy(kafka->group_id) : bridge_default_group(source, project);
}

static bool keeps_positions(const void *part) {
    (void)part;
    return true;
}

static const char *new_key(const Source *old, const Source *now, uint32_t project) {
    const KafkaSource *was = source_kafka(old), *is = source_kafka(now);
    if (strcmp(was->bridge.connection, is->bridge.connection) != 0) return "kafka.connection";
    _cleanup_free_ char *old_group = kafka_source_group(old, project), *group = kafka_source_group(now, project);
    return strcmp(old_group, group) != 0 ? "kafka.groupId" : NULL;
}

static char *reads(const Source *source, uint32_t project, size_t index) {
    const KafkaSource *kafka = source_kafka(source);
    return index < kafka->topic_count ? text_copy(kafka->topics[index]) : NULL;
}

/* A pattern may be of any topic. */
static bool same_topic(const char *a, const char *b) {
    return a[0] == '^' || b[0] == '^' || strcmp(a, b) == 0;
}

/* Members of one group divide the partitions of a topic. Without `loop` all are read, and nobody is
 * joined. */
static bool shares(const Source *a, const Source *b, uint32_t project) {
    const KafkaSource *one = source_kafka(a), *other = source_kafka(b);
    _cleanup_free_ char *group = kafka_source_group(a, project), *other_group = kafka_source_group(b, project);
    if (!one->bridge.loop || !other->bridge.loop || strcmp(group, other_group) != 0) return false;
    for (size_t i = 0; i < one->topic_count; i++)
        for (size_t k = 0; k < other->topic_count; k++)
            if (same_topic(one->topics[i], other->topics[k])) return true;
    return false;
}

static const BridgeKind kafka_bridge = {.connection_type = "kafka",
                                        .divides_partitions = true,
                                        .keeps_positions = keeps_positions,
                                        .group_field = "groupId",
                                        .group = kafka_source_group,
                                        .new_key = new_key,
                                        .shares = shares,
                                        .reads = reads};

const SourceKind source_kind_kafka = {
    .name = "kafka",
    .fields = &part_fields,
    .first_sink_rejects = bridge_first_sink_rejects,
    .framing = bridge_framing,
    .without_sink = bridge_without_sink,
    .meta_fields = META_KAFKA,
    .bridge = &kafka_bridge,
};

const char *source_without_tombstones(const Source *source) {
    const KafkaSource *kafka = source_kafka(source);
    return kafka && kafka->tombstones_are_events ? NULL : "which needs a source of type \"kafka\" with \"tombstones\": \"event\"";
}
