#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

#include "base/arena.h"
#include "base/array.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/manifest.h"
#include "config/yaml_scalar.h"

#define TEXT_BYTES_MAX (16UL << 20)
#define DEPTH_MAX 64
#define NODES_MAX 1000000UL
#define ALIAS_NODES_MAX 100000UL
#define SCALAR_BYTES_MAX (64UL << 20)
#define ANCHORS_MAX 1000

typedef struct YamlMark {
    size_t line, column; /* from 1 */
} YamlMark;

/* Where a value stands, and those in it. All in the arena of the parse; an alias shares the places
 * of its anchor. */
typedef struct YamlPlace YamlPlace;
typedef struct PlaceEntry {
    const char *key; /* NULL in a sequence */
    YamlMark key_mark;
    const YamlPlace *value;
    struct PlaceEntry *next; /* only while the parent is read */
} PlaceEntry;
struct YamlPlace {
    YamlMark mark;
    bool is_scalar;
    const PlaceEntry **entries;
    size_t count;
    size_t nodes, bytes; /* of everything below, aliases counted as often as they stand */
    int height;          /* levels of collections, this one included */
};

/* Of the documents of one text; the first one frees it. */
typedef struct YamlShared {
    Arena places;
    Expansions expansions;
} YamlShared;

struct YamlDocument {
    char *name;
    YamlShared *shared;
    bool owns_shared;
    json_t *json;
    const YamlPlace *root;
};

typedef struct Anchor {
    char *name;
    const json_t *json; /* borrowed from the tree that is being built */
    const YamlPlace *place;
} Anchor;

typedef struct Parse {
    const char *name;
    yaml_parser_t parser;
    YamlShared *shared;
    Anchor *anchors;
    size_t anchor_count;
    size_t nodes, alias_nodes, bytes;
    Error *error;
} Parse;

static YamlMark mark_of(const yaml_mark_t *mark) {
    return (YamlMark){.line = mark->line + 1, .column = mark->column + 1};
}

static int fail(Parse *parse, YamlMark mark, const char *text) {
    return error_set(parse->error, -EINVAL, "%s:%zu:%zu: %s", parse->name, mark.line, mark.column, text);
}

/* Bad bytes have an offset only. */
static YamlMark mark_of_offset(const char *text, size_t size, size_t offset) {
    YamlMark mark = {1, 1};
    for (size_t i = 0; i < size && i < offset; i++) {
        mark.column++;
        if (text[i] == '\n') mark = (YamlMark){mark.line + 1, 1};
    }
    return mark;
}

static int next_event(Parse *parse, yaml_event_t *event) {
    if (yaml_parser_parse(&parse->parser, event)) return 0;
    const yaml_parser_t *parser = &parse->parser;
    if (parser->error == YAML_READER_ERROR) {
        YamlMark mark = mark_of_offset((const char *)parser->input.string.start,
                                       (size_t)(parser->input.string.end - parser->input.string.start), parser->problem_offset);
        return fail(parse, mark, parser->problem);
    }
    check(parser->error != YAML_MEMORY_ERROR);
    char text[200];
    (void)snprintf(text, sizeof text, "%s%s%s", parser->context ? parser->context : "", parser->context ? ": " : "",
                   parser->problem ? parser->problem : "not YAML");
    return fail(parse, mark_of(&parser->problem_mark), text);
}

static int count_node(Parse *parse, YamlMark mark, size_t bytes) {
    parse->nodes++;
    parse->bytes += bytes;
    if (parse->nodes > NODES_MAX) return fail(parse, mark, "too many nodes");
    if (parse->bytes > SCALAR_BYTES_MAX) return fail(parse, mark, "too much text");
    return 0;
}

static int remember_anchor(Parse *parse, YamlMark mark, const char *name, const json_t *json, const YamlPlace *place) {
    if (name == NULL) return 0;
    if (parse->anchor_count == ANCHORS_MAX) return fail(parse, mark, "too many anchors");
    parse->anchors[parse->anchor_count++] = (Anchor){.name = text_copy(name), .json = json, .place = place};
    return 0;
}

static void forget_anchors(Parse *parse) {
    while (parse->anchor_count > 0) free(parse->anchors[--parse->anchor_count].name);
}

/* An alias becomes a copy. Only finished anchors are known, so there is no cycle; what copies may
 * grow to is counted first. */
static int read_alias(Parse *parse, YamlMark mark, const char *name, int depth, json_t **ret_json, const YamlPlace **ret_place) {
    for (size_t i = parse->anchor_count; i-- > 0;) {
        const Anchor *anchor = &parse->anchors[i];
        if (strcmp(anchor->name, name) != 0) continue;
        parse->alias_nodes += anchor->place->nodes;
        parse->nodes += anchor->place->nodes;
        parse->bytes += anchor->place->bytes;
        if (parse->alias_nodes > ALIAS_NODES_MAX || parse->nodes > NODES_MAX || parse->bytes > SCALAR_BYTES_MAX)
            return fail(parse, mark, "aliases make the document too large");
        if (depth + anchor->place->height > DEPTH_MAX) return fail(parse, mark, "nested too deeply");
        *ret_json = json_deep_copy(anchor->json);
        check(*ret_json != NULL);
        *ret_place = anchor->place;
        return 0;
    }
    return fail(parse, mark, "there is no finished anchor of this name");
}

static int refuse_tag(Parse *parse, YamlMark mark, const yaml_char_t *tag) {
    return tag ? fail(parse, mark, "tags are not allowed") : 0;
}

static YamlPlace *place_new(Parse *parse, YamlMark mark) {
    YamlPlace *place = arena_zalloc(&parse->shared->places, sizeof *place);
    place->mark = mark;
    place->nodes = 1;
    return place;
}

static int read_scalar(Parse *parse, const yaml_event_t *event, json_t **ret_json, const YamlPlace **ret_place) {
    YamlMark mark = mark_of(&event->start_mark);
    Span raw = {(const char *)event->data.scalar.value, event->data.scalar.length};
    _cleanup_(buffer_deinit) Buffer text = {0};
    Error why = {0};
    if (yaml_scalar_expand(parse->name, raw, &text, &parse->shared->expansions, &why) < 0) return fail(parse, mark, why.text);
    bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    json_t *json = NULL;
    if (yaml_scalar_resolve(buffer_span(&text), is_plain, &json, &why) < 0) return fail(parse, mark, why.text);
    YamlPlace *place = place_new(parse, mark);
    place->is_scalar = true;
    place->bytes = text.size;
    int r = count_node(parse, mark, text.size);
    if (r < 0) {
        json_decref(json);
        return r;
    }
    *ret_json = json;
    *ret_place = place;
    return 0;
}

static int read_node(Parse *parse, const yaml_event_t *event, int depth, json_t **ret_json, const YamlPlace **ret_place);

/* The key of the next entry, or NULL at the end of the mapping. */
static int read_key(Parse *parse, const json_t *object, const char **ret_key, YamlMark *ret_mark) {
    yaml_event_t event;
    int r = next_event(parse, &event);
    if (r < 0) return r;
    *ret_key = NULL;
    *ret_mark = mark_of(&event.start_mark);
    if (event.type == YAML_SCALAR_EVENT) {
        _cleanup_(buffer_deinit) Buffer text = {0};
        Error why = {0};
        r = refuse_tag(parse, *ret_mark, event.data.scalar.tag);
        if (r == 0 && yaml_scalar_expand(parse->name, (Span){(const char *)event.data.scalar.value, event.data.scalar.length}, &text,
                                         &parse->shared->expansions, &why) < 0)
            r = fail(parse, *ret_mark, why.text);
        if (r == 0 && !text_is_utf8(buffer_span(&text))) r = fail(parse, *ret_mark, "a key must be UTF-8 without NUL");
        if (r == 0) *ret_key = arena_copy(&parse->shared->places, buffer_span(&text));
        if (r == 0) r = count_node(parse, *ret_mark, text.size);
        if (r == 0 && json_object_get(object, *ret_key)) r = fail(parse, *ret_mark, "this key is given twice in its map");
    } else if (event.type != YAML_MAPPING_END_EVENT) {
        r = fail(parse, *ret_mark, "a key must be a scalar");
    }
    yaml_event_delete(&event);
    return r;
}

static int read_value(Parse *parse, int depth, json_t **ret_json, const YamlPlace **ret_place) {
    yaml_event_t event;
    int r = next_event(parse, &event);
    if (r < 0) return r;
    /* Only a sequence can end here. */
    if (event.type != YAML_SEQUENCE_END_EVENT) r = read_node(parse, &event, depth, ret_json, ret_place);
    yaml_event_delete(&event);
    return r;
}

/* Turns the list of entries (newest first) into the array of the finished place. */
static void finish_place(Parse *parse, YamlPlace *place, PlaceEntry *newest, size_t count) {
    place->entries = arena_alloc(&parse->shared->places, (count > 0 ? count : 1) * sizeof(const PlaceEntry *));
    place->count = count;
    for (PlaceEntry *entry = newest; entry; entry = entry->next) {
        place->entries[--count] = entry;
        if (entry->value->height >= place->height) place->height = entry->value->height + 1;
        place->nodes += entry->value->nodes;
        place->bytes += entry->value->bytes + (entry->key ? strlen(entry->key) : 0);
    }
}

static int read_collection(Parse *parse, YamlMark mark, bool is_mapping, int depth, json_t *json, const YamlPlace **ret_place) {
    YamlPlace *place = place_new(parse, mark);
    PlaceEntry *newest = NULL;
    size_t count = 0;
    place->height = 1;
    if (depth >= DEPTH_MAX) return fail(parse, mark, "nested too deeply");
    int r = count_node(parse, mark, 0);
    while (r == 0) {
        PlaceEntry entry = {.next = newest};
        json_t *value = NULL;
        if (is_mapping) {
            r = read_key(parse, json, &entry.key, &entry.key_mark);
            if (r < 0 || entry.key == NULL) break;
        }
        r = read_value(parse, depth + 1, &value, &entry.value);
        if (r < 0 || value == NULL) break;
        check((is_mapping ? json_object_set_new(json, entry.key, value) : json_array_append_new(json, value)) == 0);
        newest = arena_alloc(&parse->shared->places, sizeof *newest);
        *newest = entry;
        count++;
    }
    if (r < 0) return r;
    finish_place(parse, place, newest, count);
    *ret_place = place;
    return 0;
}

static int read_node(Parse *parse, const yaml_event_t *event, int depth, json_t **ret_json, const YamlPlace **ret_place) {
    YamlMark mark = mark_of(&event->start_mark);
    const yaml_char_t *anchor = NULL, *tag = NULL;
    json_t *json = NULL;
    const YamlPlace *place = NULL;
    int r = 0;
    switch (event->type) {
    case YAML_ALIAS_EVENT: return read_alias(parse, mark, (const char *)event->data.alias.anchor, depth, ret_json, ret_place);
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        r = refuse_tag(parse, mark, tag);
        if (r == 0) r = read_scalar(parse, event, &json, &place);
        break;
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT: {
        bool is_mapping = event->type == YAML_MAPPING_START_EVENT;
        anchor = is_mapping ? event->data.mapping_start.anchor : event->data.sequence_start.anchor;
        tag = is_mapping ? event->data.mapping_start.tag : event->data.sequence_start.tag;
        r = refuse_tag(parse, mark, tag);
        if (r < 0) break;
        json = is_mapping ? json_object() : json_array();
        check(json != NULL);
        r = read_collection(parse, mark, is_mapping, depth, json, &place);
        break;
    }
    default: r = fail(parse, mark, "a value is missing");
    }
    if (r == 0) r = remember_anchor(parse, mark, (const char *)anchor, json, place);
    if (r < 0) {
        json_decref(json);
        return r;
    }
    *ret_json = json;
    *ret_place = place;
    return 0;
}

/* One document after its start event. */
static int read_document(Parse *parse, YamlDocument *document) {
    int r = read_value(parse, 0, &document->json, &document->root);
    forget_anchors(parse);
    if (r < 0) return r;
    yaml_event_t event;
    r = next_event(parse, &event);
    if (r < 0) return r;
    check(event.type == YAML_DOCUMENT_END_EVENT);
    yaml_event_delete(&event);
    return 0;
}

static int read_stream(Parse *parse, YamlDocument ***documents, size_t *count) {
    for (;;) {
        yaml_event_t event;
        int r = next_event(parse, &event);
        if (r < 0) return r;
        yaml_event_type_t type = event.type;
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT) return 0;
        if (type != YAML_DOCUMENT_START_EVENT) continue;
        YamlDocument *document = calloc(1, sizeof *document);
        check(document != NULL);
        array_extend(*documents, *count);
        document->name = text_copy(parse->name);
        document->shared = parse->shared;
        document->owns_shared = *count == 0;
        (*documents)[(*count)++] = document;
        r = read_document(parse, document);
        if (r < 0) return r;
    }
}

static void shared_free(YamlShared *shared) {
    arena_deinit(&shared->places);
    expansions_deinit(&shared->expansions);
    free(shared);
}

int yaml_parse(const char *name, const char *text, size_t size, YamlDocument ***ret_documents, size_t *ret_count, Error *error) {
    YamlDocument **documents = NULL;
    size_t count = 0;
    if (size > TEXT_BYTES_MAX) return error_set(error, -EINVAL, "%s: larger than 16 MB", name);
    if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        text += 3;
        size -= 3;
    }
    Parse parse = {.name = name, .error = error, .shared = calloc(1, sizeof(YamlShared)), .anchors = calloc(ANCHORS_MAX, sizeof(Anchor))};
    check(parse.shared != NULL && parse.anchors != NULL && yaml_parser_initialize(&parse.parser));
    yaml_parser_set_encoding(&parse.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parse.parser, (const unsigned char *)(size > 0 ? text : ""), size);
    int r = read_stream(&parse, &documents, &count);
    yaml_parser_delete(&parse.parser);
    forget_anchors(&parse);
    free(parse.anchors);
    if (count == 0) shared_free(parse.shared);
    if (r < 0) {
        yaml_documents_free(documents, count);
        return r;
    }
    *ret_documents = documents;
    *ret_count = count;
    return 0;
}

void yaml_documents_free(YamlDocument **documents, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (documents[i]->owns_shared) shared_free(documents[i]->shared);
        json_decref(documents[i]->json);
        free(documents[i]->name);
        free(documents[i]);
    }
    free(documents);
}

json_t *yaml_json(const YamlDocument *document) {
    return document->json;
}

const Expansions *yaml_expansions(const YamlDocument *document) {
    return &document->shared->expansions;
}

/* Is the pointer's step (size bytes, escaped) this key? */
static bool step_is(const char *step, size_t size, const char *key) {
    for (; size > 0; step++, size--, key++) {
        char c = *step;
        if (c == '~' && size > 1) {
            c = step[1] == '1' ? '/' : '~';
            step++;
            size--;
        }
        if (*key != c) return false;
    }
    return *key == 0;
}

static const PlaceEntry *find_entry(const YamlPlace *place, const char *step, size_t size) {
    char *end;
    size_t index = strtoul(step, &end, 10);
    if (size == 0) return NULL;
    for (size_t i = 0; i < place->count; i++) {
        const PlaceEntry *entry = place->entries[i];
        if (entry->key ? step_is(step, size, entry->key) : end == step + size && index == i) return entry;
    }
    return NULL;
}

/* A map or list begins a line below its name: there the name is the better place. */
static YamlMark find_mark(const YamlDocument *document, const char *path, bool at_key) {
    const YamlPlace *place = document->root;
    YamlMark mark = place->mark;
    while (*path) {
        size_t size = strcspn(path, "/");
        const PlaceEntry *entry = find_entry(place, path, size);
        if (entry == NULL) break;
        path += size + (path[size] == '/');
        place = entry->value;
        bool use_key = entry->key && ((at_key && *path == 0) || !place->is_scalar);
        mark = use_key ? entry->key_mark : place->mark;
    }
    return mark;
}

static int set_error(const YamlDocument *document, const char *path, bool at_key, Error *error, const char *format, va_list arguments) {
    _cleanup_free_ char *text = NULL;
    check(vasprintf(&text, format, arguments) >= 0);
    YamlMark mark = find_mark(document, path, at_key);
    Error what = {0};
    (void)error_set(&what, -EINVAL, "%s", text);
    expansions_hide(&document->shared->expansions, &what);
    return error_set(error, -EINVAL, "%s:%zu:%zu: %s", document->name, mark.line, mark.column, what.text);
}

int yaml_error(const YamlDocument *document, const char *path, Error *error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int r = set_error(document, path, false, error, format, arguments);
    va_end(arguments);
    return r;
}

int yaml_error_at_key(const YamlDocument *document, const char *path, Error *error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int r = set_error(document, path, true, error, format, arguments);
    va_end(arguments);
    return r;
}

int yaml_read_file(const char *file, char **ret_text, size_t *ret_size, Error *error) {
    _cleanup_(buffer_deinit) Buffer text = {0};
    int r = yaml_scalar_read_file(file, TEXT_BYTES_MAX, &text);
    if (r == -EFBIG) return error_set(error, r, "%s: larger than 16 MB", file);
    if (r < 0) return error_set(error, r, "%s: %s", file, strerror(-r));
    *ret_size = text.size;
    (void)buffer_text(&text);
    *ret_text = buffer_take(&text);
    return 0;
}
