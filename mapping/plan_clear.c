#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "config/column_name.h"
#include "mapping/plan_parts.h"
#include "mapping/template_lexer.h"

#define WAY_OUT "the source \"bodyPolicy\": \"keep\""

/* A place in events, from the root. */
typedef struct ClearPlace {
    uint32_t slot;    /* of ClearSearch.paths */
    size_t each_from; /* behind so many steps is each element of an array that is exploded; SIZE_MAX: the path has no such step */
} ClearPlace;

/* What a masked column is made of. */
typedef struct ClearSecret {
    const Sink *sink;
    const Column *column;
    ClearPlace place;
} ClearSecret;

typedef struct ClearSearch {
    PathSet *paths; /* as they are declared, whatever set the plan has them in */
    ClearSecret *secrets;
    size_t secret_count, secret_room;
    const Column *headers;                  /* one that masks headers, or one of them; NULL: none does */
    const Column *metas[META_FIELD_COUNT_]; /* one that masks the field */
    const Column *by_type[COLUMN_REST + 1]; /* one that masks what such a column holds */
    const Sink *unknown_sink;               /* of a masked template, of which nobody knows what it reads; NULL: there is none */
    const Column *unknown;
} ClearSearch;

/* A step of a place; `each`: of all elements of an array. */
typedef struct ClearStep {
    Span key;
    bool is_each, is_key;
} ClearStep;

static size_t step_count(const ClearSearch *search, ClearPlace place) {
    return pathset_step_count(search->paths, place.slot) + (place.each_from != SIZE_MAX);
}

static ClearStep step_of(const ClearSearch *search, ClearPlace place, size_t at) {
    if (at == place.each_from) return (ClearStep){.is_each = true};
    if (at > place.each_from) at--;
    return (ClearStep){.key = pathset_step(search->paths, place.slot, at), .is_key = pathset_step_is_key(search->paths, place.slot, at)};
}

/* May they be one place? A step that may be an index is also the key of that text. */
static bool steps_meet(const ClearStep *a, const ClearStep *b) {
    if (a->is_each || b->is_each) return !(a->is_key || b->is_key);
    return span_equal(a->key, b->key);
}

/* Is the place of `inner` inside that of `outer`, and not the same? */
static bool encloses(const ClearSearch *search, ClearPlace outer, ClearPlace inner) {
    size_t count = step_count(search, outer);
    if (count >= step_count(search, inner)) return false;
    for (size_t i = 0; i < count; i++) {
        ClearStep x = step_of(search, outer, i), y = step_of(search, inner, i);
        if (!steps_meet(&x, &y)) return false;
    }
    return true;
}

/* -1: the text is no path: the template fails where it is evaluated, and a column is refused elsewhere. */
static int add_place(ClearSearch *search, Span path, ClearPlace *ret_place) {
    *ret_place = (ClearPlace){.each_from = SIZE_MAX};
    return pathset_add(search->paths, path, &ret_place->slot, NULL) < 0 ? -1 : 0;
}

static int place_of(ClearSearch *search, const Sink *sink, const Column *column, ClearPlace *ret_place) {
    ClearPlace array;
    if (add_place(search, span_of(column->path), ret_place) < 0) return -1;
    if (!sink->target.explode || add_place(search, span_of(sink->target.explode), &array) < 0) return 0;
    size_t count = step_count(search, array);
    if (count > step_count(search, *ret_place)) return 0;
    for (size_t i = 0; i < count; i++) {
        ClearStep x = step_of(search, array, i), y = step_of(search, *ret_place, i);
        if (x.is_key != y.is_key || !span_equal(x.key, y.key)) return 0;
    }
    ret_place->each_from = count;
    return 0;
}

/* The whole event is none: a mask of it hides nothing of what is in it, but of the event as it
 * came. */
static void add_secret(ClearSearch *search, const Sink *sink, const Column *column, ClearPlace place) {
    if (step_count(search, place) == 0) return;
    array_reserve(search->secrets, search->secret_count, search->secret_room);
    search->secrets[search->secret_count++] = (ClearSecret){.sink = sink, .column = column, .place = place};
}

/* While the reads of a template are looked at. */
typedef struct ClearReading {
    ClearSearch *search;
    const Sink *sink;
    const Column *column;
    Error *error;
    int result;
} ClearReading;

static void add_read(void *context, const TemplateRead *read) {
    const ClearReading *reading = context;
    ClearSearch *search = reading->search;
    ClearPlace place;
    MetaField field;
    switch (read->function) {
    case TEMPLATE_BODY:
        if (read->is_unknown) {
            search->unknown_sink = reading->sink;
            search->unknown = reading->column;
        } else if (!read->is_whole && add_place(search, read->name, &place) == 0)
            add_secret(search, reading->sink, reading->column, place);
        return;
    case TEMPLATE_BODY_TEXT: return;
    case TEMPLATE_HEADER:
    case TEMPLATE_HEADER_TEXT: search->headers = reading->column; return;
    case TEMPLATE_META:
        for (unsigned i = 0; read->is_unknown && i < META_FIELD_COUNT_; i++) search->metas[i] = reading->column;
        if (meta_field_find(read->name, &field)) search->metas[field] = reading->column;
        return;
    }
    unreachable();
}

static void add_masked(ClearSearch *search, const Sink *sink, const Column *column) {
    ClearPlace place;
    search->by_type[column->type] = column;
    switch (column->type) {
    case COLUMN_PATH:
        if (column->path && place_of(search, sink, column, &place) == 0) add_secret(search, sink, column, place);
        return;
    case COLUMN_TEMPLATE: {
        ClearReading reading = {.search = search, .sink = sink, .column = column};
        if (column->template_text) template_visit_reads(span_of(column->template_text), add_read, &reading);
        return;
    }
    case COLUMN_HEADERS: search->headers = column; return;
    case COLUMN_META: search->metas[column->meta_field] = column; return;
    case COLUMN_ID:
    case COLUMN_DATETIME:
    case COLUMN_IP:
    case COLUMN_BODY:
    case COLUMN_REST: return;
    }
    unreachable();
}

static void find_secrets(ClearSearch *search, Sink *const *sinks, size_t count) {
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < sinks[i]->target.column_count; j++)
            if (sinks[i]->target.columns[j].mask) add_masked(search, sinks[i], &sinks[i]->target.columns[j]);
}

static const ClearSecret *secret_inside(const ClearSearch *search, ClearPlace outer) {
    for (size_t i = 0; i < search->secret_count; i++)
        if (encloses(search, outer, search->secrets[i].place)) return &search->secrets[i];
    return NULL;
}

/* ---- sinks that infer ------------------------------------------------------------------------ */

/*
 * How many of the place's first steps are fields to a sink that infers: keys of objects, down to
 * its depth. Events are objects, so the first step is one. What is behind these steps is part of a
 * JSON value.
 */
static size_t field_steps(const ClearSearch *search, const Inference *infer, ClearPlace place) {
    size_t count = step_count(search, place), at = 0;
    while (at < count && at < infer->depth) {
        ClearStep step = step_of(search, place, at);
        if (step.is_each || (at > 0 && !step.is_key)) break;
        at++;
    }
    return at;
}

/* Is the value at the place part of the field with that path, which the sink does not infer? */
static bool is_part_of(const ClearSearch *search, const Inference *infer, ClearPlace place, ClearPlace field) {
    size_t count = step_count(search, field);
    if (count == 0 || field.each_from != SIZE_MAX || count > field_steps(search, infer, place)) return false;
    for (size_t i = 0; i < count; i++) {
        ClearStep x = step_of(search, field, i), y = step_of(search, place, i);
        if (!span_equal(x.key, y.key)) return false;
    }
    return true;
}

/* Paths that a sink does not infer, with all that is in them. */
typedef struct ClearFields {
    struct ClearField {
        ClearPlace place;
        bool alone; /* a column without a mask says so of this very path, and of nothing in it */
    } * items;
    size_t count;
} ClearFields;

static void list_fields(ClearSearch *search, const Sink *sink, ClearFields *fields) {
    const Inference *infer = sink->target.infer;
    fields->items = calloc(infer->exclude_count + sink->target.column_count + 1, sizeof *fields->items);
    check(fields->items);
    for (size_t i = 0; i < infer->exclude_count; i++)
        if (add_place(search, span_of(infer->exclude[i]), &fields->items[fields->count].place) == 0) fields->count++;
    for (size_t i = 0; i < sink->target.column_count; i++) {
        const Column *column = &sink->target.columns[i];
        if (column->type != COLUMN_PATH || column->inferred != COLUMN_DECLARED || !column->path) continue;
        if (add_place(search, span_of(column->path), &fields->items[fields->count].place) < 0) continue;
        fields->items[fields->count++].alone = !column->mask;
    }
}

/* Is the value in nothing that the sink infers? */
static bool is_left_out(const ClearSearch *search, const Inference *infer, const ClearFields *fields, ClearPlace secret) {
    if (step_of(search, secret, 0).is_each) return true; /* the event is an array, which has no fields */
    for (size_t i = 0; i < fields->count; i++) {
        const struct ClearField *field = &fields->items[i];
        if (field->alone && step_count(search, field->place) != step_count(search, secret)) continue;
        if (is_part_of(search, infer, secret, field->place)) return true;
    }
    return false;
}

/* What would have to be excluded. */
static void put_field(const ClearSearch *search, const Inference *infer, ClearPlace secret, Buffer *out) {
    for (size_t i = 0, count = field_steps(search, infer, secret); i < count; i++) field_path_append(out, step_of(search, secret, i).key);
}

static int refuse_inference(ClearSearch *search, const Sink *sink, Error *error) {
    const ClearSecret *secret = NULL;
    ClearFields fields = {0};
    list_fields(search, sink, &fields);
    for (size_t i = 0; i < search->secret_count && !secret; i++)
        if (!is_left_out(search, sink->target.infer, &fields, search->secrets[i].place)) secret = &search->secrets[i];
    free(fields.items);
    if (secret) {
        _cleanup_(buffer_deinit) Buffer field = {0};
        put_field(search, sink->target.infer, secret->place, &field);
        return error_set(error, -EINVAL,
                         "sink \"%s\": its columns are inferred to a depth of %u, and would store unmasked what column \"%s\" of sink "
                         "\"%s\" masks: let \"infer\" exclude \"%.200s\", declare a column for that path with a mask, or give " WAY_OUT,
                         sink->sink_id, sink->target.infer->depth, secret->column->name, secret->sink->sink_id, buffer_text(&field));
    }
    if (search->unknown)
        return error_set(
            error, -EINVAL,
            "sink \"%s\": its columns are inferred, and column \"%s\" of sink \"%s\" masks what a template reads by a path that is "
            "not written out: write the paths out as in Body('a.b'), or give " WAY_OUT,
            sink->sink_id, search->unknown->name, search->unknown_sink->sink_id);
    return 0;
}

/* ---- columns --------------------------------------------------------------------------------- */

static int refuse(ClearReading *reading, const char *what) {
    reading->result = error_set(reading->error, -EINVAL, "sink \"%s\", column \"%s\": %s: give it a mask, or " WAY_OUT,
                                reading->sink->sink_id, reading->column->name, what);
    return reading->result;
}

static void look_at_read(void *context, const TemplateRead *read) {
    ClearReading *reading = context;
    const ClearSearch *search = reading->search;
    bool any = search->secret_count > 0 || search->unknown, any_meta = false;
    ClearPlace place;
    if (reading->result < 0) return;
    switch (read->function) {
    case TEMPLATE_BODY:
    case TEMPLATE_BODY_TEXT:
        if (!any) return;
        if (read->is_unknown) {
            (void)refuse(reading,
                         "its template reads the event by a path that is not written out as in Body('a.b'), and values are masked");
        } else if (read->is_whole || (add_place(reading->search, read->name, &place) == 0 && step_count(search, place) == 0)) {
            (void)refuse(reading, "its template reads the whole event, and values of the event are masked");
        } else if (add_place(reading->search, read->name, &place) == 0 && secret_inside(search, place)) {
            (void)refuse(reading, "its template reads a value that contains a masked value");
        }
        return;
    case TEMPLATE_HEADER:
    case TEMPLATE_HEADER_TEXT:
        if (search->headers && (read->is_whole || read->is_unknown))
            (void)refuse(reading, "its template reads all headers, or one whose name is not written out, and headers are masked");
        return;
    case TEMPLATE_META:
        for (unsigned i = 0; i < META_FIELD_COUNT_; i++) any_meta = any_meta || search->metas[i];
        if (any_meta && read->is_unknown)
            (void)refuse(reading, "its template reads a meta field whose name is not written out, and meta fields are masked");
        return;
    }
    unreachable();
}

static int refuse_path(ClearReading *reading) {
    ClearPlace place;
    const Column *column = reading->column;
    if (!column->path || place_of(reading->search, reading->sink, column, &place) < 0) return 0;
    if (step_count(reading->search, place) == 0)
        return refuse(reading, "it would contain the whole event, and values of the event are masked");
    /* A field around one that is left out is an object whose members are fields: the column holds
     * what is no object. */
    if (column->inferred != COLUMN_DECLARED || !secret_inside(reading->search, place)) return 0;
    reading->result = error_set(
        reading->error, -EINVAL,
        "sink \"%s\", column \"%s\": the value at path \"%.200s\" contains a masked value: give it a mask, or " WAY_OUT,
        reading->sink->sink_id, column->name, column->path);
    return reading->result;
}

/* Columns that each sink has that infers. */
static const Column *masks_the_same(const ClearSearch *search, const Column *base) {
    return base->type == COLUMN_META ? search->metas[base->meta_field] : search->by_type[base->type];
}

static int refuse_column(ClearReading *reading) {
    const Column *column = reading->column;
    if (column->mask) return 0;
    if (column->inferred == COLUMN_BASE) {
        const Column *masking = column->type == COLUMN_REST ? NULL : masks_the_same(reading->search, column);
        if (!masking) return 0;
        return error_set(reading->error, -EINVAL,
                         "sink \"%s\": each sink whose columns are inferred has the column \"%s\", which would store unmasked what column "
                         "\"%s\" masks: remove that mask, or give " WAY_OUT,
                         reading->sink->sink_id, column->name, masking->name);
    }
    switch (column->type) {
    case COLUMN_BODY: return refuse(reading, "it would contain the whole event, and values of the event are masked");
    case COLUMN_PATH: return refuse_path(reading);
    case COLUMN_HEADERS: return reading->search->headers ? refuse(reading, "it would contain all headers, and headers are masked") : 0;
    case COLUMN_TEMPLATE:
        if (column->template_text) template_visit_reads(span_of(column->template_text), look_at_read, reading);
        return reading->result;
    case COLUMN_META:
    case COLUMN_ID:
    case COLUMN_DATETIME:
    case COLUMN_IP:
    case COLUMN_REST: return 0;
    }
    unreachable();
}

static int refuse_sink(ClearSearch *search, const Sink *sink, Error *error) {
    int r = sink->target.infer ? refuse_inference(search, sink, error) : 0;
    for (size_t i = 0; i < sink->target.column_count && r == 0; i++) {
        ClearReading reading = {.search = search, .sink = sink, .column = &sink->target.columns[i], .error = error};
        r = refuse_column(&reading);
    }
    return r;
}

int plan_refuse_clear(Sink *const *sinks, size_t count, const PlanMasks *masks, Error *error) {
    ClearSearch search = {.paths = pathset_new()};
    int r = 0;
    find_secrets(&search, sinks, count);
    find_secrets(&search, masks->disabled, masks->disabled_count);
    for (size_t i = 0; i < count && r == 0; i++) r = refuse_sink(&search, sinks[i], error);
    pathset_free(search.paths);
    free(search.secrets);
    return r;
}
