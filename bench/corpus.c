#include "bench/corpus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "tests/support/simdjson_peer.h"

enum { CORPUS_BYTES = 256 << 10, EVENTS_MIN = 8 };

typedef struct Shape {
    const char *name, *what;
    size_t bytes;      /* of an event, about; 0: what the fixed keys need */
    bool spaced;       /* indented, as people write it */
    bool many_tongues; /* text beyond ASCII, and escapes */
} Shape;

static const Shape shapes[] = {
    {.name = "event", .what = "tests/mapping/event.json, the same bytes each time"},
    {.name = "varied", .what = "its like with other values, lengths and keys each time"},
    {.name = "text", .what = "the same with text beyond ASCII, and escapes", .many_tongues = true},
    {.name = "spaced", .what = "the same, indented", .spaced = true},
    {.name = "4 KB", .what = "with a list of items", .bytes = 4 << 10},
    {.name = "100 KB", .what = "with a long list of items", .bytes = 100 << 10},
};

static const char *const plain_words[] = {"order",    "received", "from",    "the",      "warehouse", "a",
                                          "customer", "asked",    "for",     "delivery", "of",        "two",
                                          "replicas", "in",       "Hamburg", "before",   "noon",      "invoice"};
static const char *const foreign_words[] = {
    "Größe",      "żółty",   "café",       "Привет", "受注番号", "東京都", "😀",  "naïve",          "\\u00e9t\\u00e9",
    "\\\"so\\\"", "line\\n", "C:\\\\temp", "tab\\t", "مرحبا",    "order",  "of", "\\ud83d\\ude00", "Zürich"};

typedef struct Writer {
    Buffer *out;
    Random random;
    const Shape *shape;
    unsigned level;
} Writer;

static void line(Writer *writer) {
    if (!writer->shape->spaced) return;
    /* One line of ndjson: white space that is no newline, as many bytes as an indented text has. */
    for (unsigned i = 0; i <= 2 * writer->level; i++) buffer_append_byte(writer->out, ' ');
}

static void open_with(Writer *writer, char byte) {
    buffer_append_byte(writer->out, byte);
    writer->level++;
    line(writer);
}

static void close_with(Writer *writer, char byte) {
    writer->level--;
    line(writer);
    buffer_append_byte(writer->out, byte);
}

static void next(Writer *writer) {
    buffer_append_byte(writer->out, ',');
    line(writer);
}

static void key(Writer *writer, const char *name) {
    buffer_printf(writer->out, writer->shape->spaced ? "\"%s\": " : "\"%s\":", name);
}

static size_t below(Writer *writer, size_t limit) {
    return (size_t)random_below(&writer->random, limit);
}

static void words(Writer *writer, size_t least, size_t most) {
    size_t count = least + below(writer, most - least + 1);
    buffer_append_byte(writer->out, '"');
    for (size_t i = 0; i < count; i++) {
        if (i) buffer_append_byte(writer->out, ' ');
        bool foreign = writer->shape->many_tongues && below(writer, 3);
        buffer_append_text(writer->out, foreign ? foreign_words[below(writer, sizeof foreign_words / sizeof *foreign_words)]
                                                : plain_words[below(writer, sizeof plain_words / sizeof *plain_words)]);
    }
    buffer_append_byte(writer->out, '"');
}

static void item(Writer *writer) {
    open_with(writer, '{');
    key(writer, "sku");
    buffer_printf(writer->out, "\"SKU-%zu\"", below(writer, 10000000));
    next(writer);
    key(writer, "title");
    words(writer, 2, 8);
    next(writer);
    key(writer, "quantity");
    buffer_printf(writer->out, "%zu", below(writer, 40));
    next(writer);
    key(writer, "price");
    buffer_printf(writer->out, "%zu.%02zu", below(writer, 5000), below(writer, 100));
    next(writer);
    key(writer, "tags");
    open_with(writer, '[');
    size_t tags = 1 + below(writer, 4);
    for (size_t i = 0; i < tags; i++) {
        if (i) next(writer);
        words(writer, 1, 1);
    }
    close_with(writer, ']');
    if (below(writer, 2)) {
        next(writer);
        key(writer, "discount");
        buffer_append_text(writer->out, below(writer, 2) ? "null" : "-0.15");
    }
    close_with(writer, '}');
}

static void put_event(Writer *writer) {
    Buffer *out = writer->out;
    size_t start = out->size;
    static const char *const priorities[] = {"low", "normal", "high", "urgent"};
    open_with(writer, '{');
    key(writer, "issue");
    open_with(writer, '{');
    key(writer, "id");
    buffer_printf(out, "%zu", below(writer, 10000000));
    next(writer);
    key(writer, "key");
    buffer_printf(out, "\"PROJ-%zu\"", below(writer, 100000));
    next(writer);
    key(writer, "fields");
    open_with(writer, '{');
    key(writer, "summary");
    words(writer, 2, 9);
    next(writer);
    key(writer, "priority");
    buffer_printf(out, "\"%s\"", priorities[below(writer, 4)]);
    next(writer);
    if (below(writer, 3)) {
        key(writer, "labels");
        open_with(writer, '[');
        size_t labels = 1 + below(writer, 4);
        for (size_t i = 0; i < labels; i++) {
            if (i) next(writer);
            words(writer, 1, 1);
        }
        close_with(writer, ']');
        next(writer);
    }
    key(writer, "created");
    buffer_printf(out, "\"2026-11-%02zuT%02zu:%02zu:%02zu.%03zuZ\"", 1 + below(writer, 30), below(writer, 24), below(writer, 60),
                  below(writer, 60), below(writer, 1000));
    close_with(writer, '}');
    close_with(writer, '}');
    next(writer);
    key(writer, "user");
    open_with(writer, '{');
    key(writer, "id");
    buffer_printf(out, "\"u-%zu\"", below(writer, 1000000));
    next(writer);
    key(writer, "name");
    words(writer, 1, 3);
    next(writer);
    key(writer, "email");
    buffer_printf(out, "\"person%zu@example.com\"", below(writer, 10000));
    close_with(writer, '}');
    next(writer);
    if (writer->shape->bytes) {
        key(writer, "items");
        open_with(writer, '[');
        item(writer);
        while (out->size - start < writer->shape->bytes) {
            next(writer);
            item(writer);
        }
        close_with(writer, ']');
        next(writer);
    }
    key(writer, "amount");
    buffer_printf(out, "%zu.%02zu", below(writer, 10000), below(writer, 100));
    next(writer);
    key(writer, "ok");
    buffer_append_text(out, below(writer, 2) ? "true" : "false");
    if (below(writer, 4)) {
        next(writer);
        key(writer, "note");
        words(writer, 1, 12);
    }
    close_with(writer, '}');
}

/* Splits the text into its lines, which must not move any more, and pads it. */
static void seal(Corpus *corpus) {
    memset(buffer_reserve(&corpus->text, SIMDJSON_PEER_PADDING), 0, SIMDJSON_PEER_PADDING);
    const char *p = corpus->text.data, *end = p + corpus->text.size;
    size_t lines = 0;
    for (const char *at = p; (at = memchr(at, '\n', (size_t)(end - at))); at++) lines++;
    corpus->events = calloc(lines + 1, sizeof *corpus->events);
    check(corpus->events);
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop) stop = end;
        Span event = {p, (size_t)(stop - p)};
        p = stop + 1;
        if (event.size == 0) continue;
        corpus->events[corpus->count++] = event;
        corpus->bytes += event.size;
        if (event.size > corpus->longest) corpus->longest = event.size;
    }
}

const char *corpus_name(size_t shape) {
    return shape < sizeof shapes / sizeof *shapes ? shapes[shape].name : NULL;
}

void corpus_make(Corpus *corpus, size_t shape, Span event) {
    check(corpus_name(shape));
    *corpus = (Corpus){.name = shapes[shape].name, .what = shapes[shape].what};
    Writer writer = {.out = &corpus->text, .random = {.state = shape}, .shape = &shapes[shape]};
    for (size_t i = 0; corpus->text.size < CORPUS_BYTES || i < EVENTS_MIN; i++) {
        if (shape == 0)
            buffer_append_span(&corpus->text, event);
        else
            put_event(&writer);
        buffer_append_byte(&corpus->text, '\n');
    }
    seal(corpus);
}

int corpus_read(Corpus *corpus, const char *path, Error *error) {
    *corpus = (Corpus){.name = path, .what = "a file"};
    FILE *file = fopen(path, "re");
    if (!file) return error_set(error, -errno, "cannot open %s", path);
    size_t got;
    do {
        got = fread(buffer_reserve(&corpus->text, 1 << 20), 1, 1 << 20, file);
        corpus->text.size += got;
    } while (got);
    bool bad = ferror(file);
    (void)fclose(file);
    if (bad) return error_set(error, -EIO, "cannot read %s", path);
    seal(corpus);
    if (corpus->count == 0) return error_set(error, -EINVAL, "%s has no event", path);
    return 0;
}

void corpus_deinit(Corpus *corpus) {
    buffer_deinit(&corpus->text);
    free(corpus->events);
}
