#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "mapping/cell.h"
#include "mapping/field_value.h"
#include "mapping/form.h"
#include "mapping/headers.h"
#include "mapping/json_text.h"
#include "mapping/mask.h"
#include "mapping/plan_parts.h"
#include "mapping/rest.h"
#include "mapping/row.h"
#include "mapping/scanner.h"
#include "mapping/value.h"

#define SCRATCH_KEPT_BYTES (1 << 20) /* what a rare large event made larger is given back */

/* Where the row of a sink that others copy from stands in its buffer, and how many of its cells are
 * there. */
typedef struct RowNote {
    size_t start;
    uint32_t done;
} RowNote;

struct Mapper {
    size_t row_bytes_max;
    Scanner scanner;
    Form form;
    HeaderWriter header_writer;
    Buffer form_json; /* what a form body is for the scanner */
    Buffer scratch;   /* a compacted or unescaped value */
    Rest rest;        /* of sinks that infer; the one at hand: */
    const Plan *plan;
    const PlanSink *sink;
    /* Of the event at hand */
    usec_t time_ms;             /* that `time` says; it is made anew once a millisecond */
    char time[2 * BLOCK_BYTES]; /* TIME_SIZE of it */
    Buffer masked;              /* of a mask at work */
    Buffer time_text;           /* that a mask is to take */
    Buffer headers;             /* the JSON object once headers_ready */
    bool headers_ready;
    bool scratch_used;      /* a buffer of this struct may have grown */
    const char *text_end;   /* of the text that was scanned */
    Scanner element;        /* of an array that is exploded */
    int64_t element_number; /* from 0; -1: the row is of the whole event */
    unsigned body_known;    /* VALUE_IS_… of the body as it stands */
    bool is_form;           /* of the text that was scanned */
    MapFailure body_failure;
    RowNote *notes; /* by sink */
    size_t note_capacity;
    size_t *ends; /* from the row's start to the end of a cell; by PlanSink.ends_at and column, of sinks that are copied from */
    size_t end_capacity;
    MapDefault *defaults;     /* that the event at hand has used */
    uint32_t *default_of;     /* by PlanColumn.place: 1 + index of those; 0: none */
    uint32_t *default_places; /* of `defaults` */
    size_t default_count, default_capacity;
};

Mapper *mapper_new(size_t row_bytes_max) {
    check(row_bytes_max > 0);
    Mapper *mapper = calloc(1, sizeof *mapper);
    check(mapper);
    mapper->row_bytes_max = row_bytes_max;
    mapper->time_ms = INT64_MIN;
    mapper->element_number = -1;
    return mapper;
}

void mapper_free(Mapper *mapper) {
    if (!mapper) return;
    scanner_deinit(&mapper->scanner);
    scanner_deinit(&mapper->element);
    form_deinit(&mapper->form);
    header_writer_deinit(&mapper->header_writer);
    buffer_deinit(&mapper->form_json);
    buffer_deinit(&mapper->scratch);
    buffer_deinit(&mapper->masked);
    buffer_deinit(&mapper->time_text);
    buffer_deinit(&mapper->headers);
    rest_deinit(&mapper->rest);
    free(mapper->notes);
    free(mapper->ends);
    free(mapper->defaults);
    free(mapper->default_of);
    free(mapper->default_places);
    free(mapper);
}

/* Fills the failure with a text of UTF-8 without control characters, whatever the values in it
 * hold. */
static __attribute__((format(printf, 4, 5), noinline)) MapError fail(MapFailure *failure, MapError error, const char *column,
                                                                     const char *format, ...) {
    check(error != MAP_OK);
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    failure->error = error;
    failure->column = column;
    char *to = failure->message, *stop = failure->message + sizeof failure->message;
    for (const char *p = text, *end = text + strlen(text); p < end;) {
        unsigned char byte = (unsigned char)*p;
        size_t size = byte >= 0x80 ? text_utf8_size(p, end) : 1;
        bool escape = size == 0 || byte < 0x20 || byte == 0x7f;
        if ((size_t)(stop - to) <= (escape ? 4 : size)) break;
        if (escape) {
            to += snprintf(to, (size_t)(stop - to), "\\x%02x", byte);
            p++;
        } else {
            memcpy(to, p, size);
            to += size;
            p += size;
        }
    }
    check(to < stop);
    *to = 0;
    return error;
}

/* As much of a value as an error shows. */
#define EXCERPT_BYTES 80
#define EXCERPT_FORMAT "%.*s%s"
#define EXCERPT(span)                                                                                                                      \
    (int)((span).size < EXCERPT_BYTES ? (span).size : EXCERPT_BYTES), (span).data, (span).size > EXCERPT_BYTES ? "..." : ""

/* Reads the body once, for the paths of all sinks. */
static MapError scan_body(Mapper *mapper, const Plan *plan, const Event *event) {
    MapFailure *failure = &mapper->body_failure;
    Span text = event->body;
    ScanFault fault;
    switch (event->kind) {
    case BODY_JSON: break;
    case BODY_FORM:
        mapper->scratch_used = true;
        buffer_clear(&mapper->form_json);
        if (form_read(&mapper->form, text, &mapper->form_json, &fault))
            return fail(failure, MAP_NOT_JSON, NULL, "The body is not a form at byte %zu: %s.", fault.offset, fault.what);
        text = buffer_span(&mapper->form_json);
        break;
    case BODY_OTHER:
        return fail(failure, MAP_NOT_JSON, NULL, "The body is neither JSON nor a form by its Content-Type, so it has no paths.");
    }
    if (scanner_run(&mapper->scanner, plan->paths, text, &fault))
        return fail(failure, MAP_NOT_JSON, NULL, "The body is not JSON at byte %zu: %s.", fault.offset, fault.what);
    mapper->text_end = text.data + text.size;
    mapper->is_form = event->kind == BODY_FORM;
    if (event->kind == BODY_JSON) mapper->body_known = VALUE_IS_TEXT | VALUE_IS_JSON;
    return MAP_OK;
}

static MapError fail_too_large(const Mapper *mapper, const Column *column, MapFailure *failure) {
    return fail(failure, MAP_ROW_TOO_LARGE, column->name, "Column \"%s\" makes the row larger than %zu bytes.", column->name,
                mapper->row_bytes_max);
}

/* A text of which it is plain before it is copied that no row has room for it. */
static bool is_hopeless(const Mapper *mapper, DataType type, Span text, unsigned known) {
    if (text.size < mapper->row_bytes_max) return false;
    switch (type) {
    case DATA_TEXT: return known || value_is_text(text);
    case DATA_JSON:
    case DATA_JSON_TEXT: return known & VALUE_IS_JSON;
    case DATA_BYTES: return true;
    case DATA_INTEGER:
    case DATA_NUMBER:
    case DATA_DECIMAL:
    case DATA_BOOLEAN:
    case DATA_TIMESTAMP:
    case DATA_UUID:
    case DATA_DATE: return false; /* value_put says first whether it fits */
    }
    unreachable();
}

/* `reason`: the rest of a sentence that begins with the value, which is left out where it must not
 * be shown. */
static MapError fail_value(const PlanColumn *compiled, Span text, const char *reason, MapFailure *failure) {
    const Column *column = compiled->column;
    if (compiled->hides)
        return fail(failure, MAP_WRONG_TYPE, column->name,
                    "Column \"%s\" of dataType %s: the value, which is not shown because the source masks values, %s.", column->name,
                    data_type_name(column->data_type), reason);
    if (compiled->format)
        return fail(failure, MAP_WRONG_TYPE, column->name, "Column \"%s\" of dataType %s, format %.80s: \"" EXCERPT_FORMAT "\" %s.",
                    column->name, data_type_name(column->data_type), column->format, EXCERPT(text), reason);
    return fail(failure, MAP_WRONG_TYPE, column->name, "Column \"%s\" of dataType %s: \"" EXCERPT_FORMAT "\" %s.", column->name,
                data_type_name(column->data_type), EXCERPT(text), reason);
}

/* A time in its format is what a text of RFC 3339 is for what comes then. */
static __attribute__((noinline)) MapError put_converted(Mapper *mapper, const PlanColumn *compiled, Span text, unsigned known, Buffer *row,
                                                        MapFailure *failure) {
    const char *reason;
    if (!compiled->mask)
        return time_format_put(compiled->format, compiled->is_date, text, row, &reason) ? MAP_OK
                                                                                        : fail_value(compiled, text, reason, failure);
    mapper->scratch_used = true;
    Span value = text;
    if (compiled->format) {
        buffer_clear(&mapper->time_text);
        if (!time_format_put(compiled->format, compiled->is_date, text, &mapper->time_text, &reason))
            return fail_value(compiled, text, reason, failure);
        value = buffer_span(&mapper->time_text);
        known = VALUE_IS_TEXT;
    }
    if (mask_put(compiled->mask, value, known, row, &mapper->masked, &reason) == 0) return MAP_OK;
    return fail_value(compiled, text, reason, failure);
}

static MapError put_checked(Mapper *mapper, const PlanColumn *compiled, Span text, unsigned known, Buffer *row, MapFailure *failure) {
    const Column *column = compiled->column;
    const char *reason;
    if (__builtin_expect(compiled->is_converted, 0)) return put_converted(mapper, compiled, text, known, row, failure);
    if (is_hopeless(mapper, compiled->put_type, text, known)) return fail_too_large(mapper, column, failure);
    if (value_put(row, compiled->put_type, text, known, &reason) == 0) return MAP_OK;
    return fail_value(compiled, text, reason, failure);
}

static MapError put_null(const PlanColumn *compiled, Buffer *row, MapFailure *failure) {
    const Column *column = compiled->column;
    if (column->primary_key)
        return fail(failure, MAP_WRONG_TYPE, column->name, "Column \"%s\" is part of the primary key, which cannot be null.", column->name);
    row_put_null(row);
    return MAP_OK;
}

/* An emptied buffer of the mapper; what it grows by is looked at when the event is done. */
static Buffer *take_scratch(Mapper *mapper) {
    mapper->scratch_used = true;
    buffer_clear(&mapper->scratch);
    return &mapper->scratch;
}

/* An object or array that may hold white space. */
static MapError put_spaced(Mapper *mapper, const PlanColumn *compiled, Span text, Buffer *row, MapFailure *failure) {
    if (text.size < mapper->row_bytes_max && compiled->keeps_json && !compiled->is_json) {
        row_put_compact(row, text);
        return MAP_OK;
    }
    Buffer *scratch = take_scratch(mapper);
    json_compact(scratch, text);
    return put_checked(mapper, compiled, buffer_span(scratch), VALUE_IS_TEXT | VALUE_IS_JSON, row, failure);
}

/* A string with escapes, as what it means. */
static MapError put_unescaped(Mapper *mapper, const PlanColumn *compiled, Span inner, const char *readable, Buffer *row,
                              MapFailure *failure) {
    const Column *column = compiled->column;
    if (inner.size < mapper->row_bytes_max && column->data_type == DATA_TEXT && !compiled->mask &&
        row_put_unescaped(row, inner, readable) == 0)
        return MAP_OK;
    Buffer *scratch = take_scratch(mapper);
    if (json_unescape(scratch, inner)) return fail_value(compiled, inner, "contains half a surrogate pair, which is not text", failure);
    Span text = buffer_span(scratch);
    return put_checked(mapper, compiled, text, text.size && memchr(text.data, 0, text.size) ? 0 : VALUE_IS_TEXT, row, failure);
}

/* A JSON value of the body, or a template's, in memory that can be read up to `readable`. */
static MapError put_json(Mapper *mapper, const PlanColumn *compiled, const ScanValue *value, const char *readable, Buffer *row,
                         MapFailure *failure) {
    const Column *column = compiled->column;
    Span text = value->text;
    if (value->kind == SCAN_NULL) return put_null(compiled, row, failure);
    if (value->kind == SCAN_STRING) {
        bool as_it_stands = !column->raw_string && compiled->keeps_json;
        check_debug(text.size >= 2); /* its quotes */
        if (!as_it_stands) {
            text = (Span){text.data + 1, text.size - 2};
            if (value->escaped) return put_unescaped(mapper, compiled, text, readable, row, failure);
            return put_checked(mapper, compiled, text, VALUE_IS_TEXT, row, failure);
        }
    } else if (value->spaced) {
        return put_spaced(mapper, compiled, text, row, failure);
    }
    unsigned known = VALUE_IS_TEXT | VALUE_IS_JSON | (value->kind == SCAN_NUMBER ? VALUE_IS_NUMBER : 0u);
    return put_checked(mapper, compiled, text, known, row, failure);
}

static __attribute__((noinline)) void count_default(Mapper *mapper, const PlanColumn *compiled, uint32_t uses) {
    check_debug(compiled->place < mapper->default_capacity);
    if (mapper->default_of[compiled->place] == 0) {
        mapper->default_places[mapper->default_count] = compiled->place;
        mapper->defaults[mapper->default_count++] = (MapDefault){.sink = compiled->sink, .column = compiled->number};
        mapper->default_of[compiled->place] = (uint32_t)mapper->default_count;
    }
    mapper->defaults[mapper->default_of[compiled->place] - 1].uses += uses;
}

static MapError put_path(Mapper *mapper, const PlanColumn *compiled, Buffer *row, MapFailure *failure) {
    const ScanValue *value = scanner_value(compiled->of_element ? &mapper->element : &mapper->scanner, compiled->slot);
    bool is_empty = mapper->is_form && compiled->empty_is_missing && value && value->kind == SCAN_STRING && value->text.size == 2;
    if (value && !is_empty) return put_json(mapper, compiled, value, mapper->text_end, row, failure);
    if (compiled->has_default) {
        if (compiled->default_cell.size >= mapper->row_bytes_max) return fail_too_large(mapper, compiled->column, failure);
        row_put_plain(row, compiled->default_cell);
        if (compiled->counts_default) count_default(mapper, compiled, 1);
        return MAP_OK;
    }
    const Column *column = compiled->column;
    return fail(failure, MAP_MISSING, column->name, "Column \"%s\": %s at path \"%.120s\"%s, and no defaultValue.", column->name,
                is_empty ? "the field" : "there is no value", column->path, is_empty ? " is empty" : "");
}

static MapError put_template(Mapper *mapper, const PlanColumn *compiled, const Event *event, Buffer *row, MapFailure *failure) {
    const Column *column = compiled->column;
    check(event->templates);
    const TemplateResult *result = &event->templates[compiled->template_index];
    if (result->failed && compiled->hides)
        return fail(failure, MAP_TEMPLATE, column->name,
                    "Column \"%s\": the template failed; its message is not shown because the source masks values.", column->name);
    if (result->failed)
        return fail(failure, MAP_TEMPLATE, column->name, "Column \"%s\": %.*s", column->name,
                    (int)(result->text.size < 512 ? result->text.size : 512), result->text.size ? result->text.data : "");
    ScanFault fault;
    Span text = result->text;
    if (scan_validate(text, &fault)) /* it comes from another process */
        return fail(failure, MAP_TEMPLATE, column->name, "Column \"%s\": the template's result is not JSON at byte %zu: %s.", column->name,
                    fault.offset, fault.what);
    for (; text_is_space(*text.data); text.size--) text.data++;
    while (text_is_space(text.data[text.size - 1])) text.size--;
    check(text.size > 0 && text.size <= result->text.size); /* an accepted text is more than white space */
    ScanValue value = {.text = text, .kind = (uint8_t)scan_kind(text)};
    value.escaped = value.kind == SCAN_STRING && memchr(text.data, '\\', text.size);
    value.spaced = value.kind == SCAN_OBJECT || value.kind == SCAN_ARRAY;
    return put_json(mapper, compiled, &value, value.text.data + value.text.size, row, failure);
}

static MapError put_headers(Mapper *mapper, const PlanColumn *compiled, const Event *event, Buffer *row, MapFailure *failure) {
    if (!mapper->headers_ready) {
        mapper->scratch_used = true;
        buffer_clear(&mapper->headers);
        headers_to_json(&mapper->header_writer, event->headers, event->header_count, &mapper->headers);
        mapper->headers_ready = true;
    }
    return put_checked(mapper, compiled, buffer_span(&mapper->headers), VALUE_IS_TEXT | VALUE_IS_JSON, row, failure);
}

enum { NUMBER_BYTES = 12 };

/* `#N`, what makes the id of an event that of its element. */
static size_t put_element_number(char to[static NUMBER_BYTES], const Mapper *mapper) {
    check(mapper->element_number >= 0 && mapper->element_number < EXPLODED_ROWS_MAX);
    return (size_t)snprintf(to, NUMBER_BYTES, "#%d", (int)mapper->element_number);
}

static MapError put_id(Mapper *mapper, const PlanColumn *compiled, const Event *event, Buffer *row, MapFailure *failure) {
    char id[UUID_TEXT_SIZE + NUMBER_BYTES];
    size_t size = UUID_TEXT_SIZE;
    (void)cell_put_id(id, &event->id);
    if (mapper->element_number >= 0) size += put_element_number(id + size, mapper);
    return put_checked(mapper, compiled, (Span){id, size}, VALUE_IS_TEXT, row, failure);
}

static MapError put_bridge(Mapper *mapper, const PlanColumn *compiled, Span value, Buffer *row, MapFailure *failure) {
    char number[NUMBER_BYTES];
    Buffer *scratch = take_scratch(mapper);
    buffer_append_span(scratch, value);
    buffer_append(scratch, number, put_element_number(number, mapper));
    return put_checked(mapper, compiled, buffer_span(scratch), 0, row, failure);
}

static MapError put_meta(Mapper *mapper, const PlanColumn *compiled, const Event *event, Buffer *row, MapFailure *failure) {
    const Column *column = compiled->column;
    Span value = event->meta ? event->meta->values[column->meta_field] : (Span){0};
    if (!value.data) return put_null(compiled, row, failure);
    if (column->meta_field == META_BRIDGE && mapper->element_number >= 0) return put_bridge(mapper, compiled, value, row, failure);
    if (compiled->is_date && column->meta_field == META_TIMESTAMP && value.size > DATE_SIZE) value.size = DATE_SIZE;
    return put_checked(mapper, compiled, value, 0, row, failure);
}

/* What a column that was made takes of its field's value. */
static MapError put_field(Mapper *mapper, const PlanColumn *compiled, Buffer *row, MapFailure *failure) {
    const PlanSink *sink = mapper->sink;
    const ScanValue *value = scanner_value(&mapper->scanner, compiled->slot);
    const PlanField *field = &sink->fields->fields[compiled->field];
    if (!value || value->kind == SCAN_NULL) return put_null(compiled, row, failure);
    mapper->scratch_used = true;
    if (field->place != PATH_NONE && value->kind == SCAN_OBJECT) { /* its members are fields */
        if (field_value_is_empty_object(value) && compiled == &sink->columns[sink->fields->columns[field->column_first]])
            rest_misfit(&mapper->rest, compiled->field);
        return put_null(compiled, row, failure);
    }
    /* What most texts and times need is found while they are put. */
    if (value->kind == SCAN_STRING && field->column_count == 1) {
        Span inner = {value->text.data + 1, value->text.size - 2};
        DataType type = compiled->column->data_type;
        bool is_time = type == DATA_TIMESTAMP && !value->escaped, is_text = type == DATA_TEXT && value->escaped;
        if (is_time ? value_put_exact_time(row, inner)
                    : is_text && inner.size < mapper->row_bytes_max && row_put_unescaped(row, inner, mapper->text_end) == 0)
            return MAP_OK;
    }
    uint32_t column = rest_column(&mapper->rest, sink, compiled->field, value);
    if (column != compiled - sink->columns) return put_null(compiled, row, failure);
    return put_json(mapper, compiled, value, mapper->text_end, row, failure);
}

static MapError put_rest(Mapper *mapper, const PlanColumn *compiled, Buffer *row, MapFailure *failure) {
    const PlanSink *sink = mapper->sink;
    const Plan *plan = mapper->plan;
    if (rest_is_empty(&mapper->rest, &mapper->scanner, sink->fields)) return put_null(compiled, row, failure);
    mapper->scratch_used = true;
    Span text = rest_make(&mapper->rest, &mapper->scanner, plan, (uint32_t)(sink - plan->sinks), mapper->text_end);
    if (text.size == 0) return put_null(compiled, row, failure);
    return put_checked(mapper, compiled, text, VALUE_IS_TEXT | VALUE_IS_JSON, row, failure);
}

/* Any column. */
static __attribute__((noinline)) MapError put_column(Mapper *mapper, const PlanColumn *compiled, const Event *event, Buffer *row,
                                                     MapFailure *failure) {
    switch (compiled->column->type) {
    case COLUMN_ID: return put_id(mapper, compiled, event, row, failure);
    case COLUMN_DATETIME: return put_checked(mapper, compiled, (Span){mapper->time, compiled->size}, VALUE_IS_TEXT, row, failure);
    case COLUMN_IP: return event->ip.size ? put_checked(mapper, compiled, event->ip, 0, row, failure) : put_null(compiled, row, failure);
    case COLUMN_BODY: return put_checked(mapper, compiled, event->body, mapper->body_known, row, failure);
    case COLUMN_HEADERS: return put_headers(mapper, compiled, event, row, failure);
    case COLUMN_META: return put_meta(mapper, compiled, event, row, failure);
    case COLUMN_PATH:
        if (compiled->op > PLAN_PUT_OTHER) return put_field(mapper, compiled, row, failure);
        return put_path(mapper, compiled, row, failure);
    case COLUMN_TEMPLATE: return put_template(mapper, compiled, event, row, failure);
    case COLUMN_REST: return put_rest(mapper, compiled, row, failure);
    }
    unreachable();
}

/* The same as put_common, of a column that is the only one of its field. */
static inline char *put_common_field(const Mapper *mapper, const PlanColumn *compiled, char *to, ptrdiff_t room) {
    const ScanValue *value = scanner_value(&mapper->scanner, compiled->slot);
    if (!value || value->kind == SCAN_NULL) return to;
    const char *text = value->text.data;
    size_t size = value->text.size;
    if ((ptrdiff_t)size > room) return NULL;
    switch (compiled->op) {
    case PLAN_FIELD_TEXT:
        if (value->kind != SCAN_STRING || value->escaped) return NULL;
        return cell_put_string(to, text + 1, size - 2, mapper->text_end);
    case PLAN_FIELD_INTEGER:
        if (value->kind != SCAN_NUMBER || size > 18 || *text == '-' || !value_is_plain_integer(value->text)) return NULL;
        return cell_copy(to, text, size, mapper->text_end);
    case PLAN_FIELD_DECIMAL:
        if (value->kind != SCAN_NUMBER || size > 2 * BLOCK_BYTES || !value_is_decimal(value->text)) return NULL;
        return cell_copy(to, text, size, mapper->text_end);
    case PLAN_FIELD_BOOLEAN: return value->kind == SCAN_BOOLEAN ? cell_copy(to, text, size, mapper->text_end) : NULL;
    case PLAN_FIELD_JSON:
        if (value->kind == SCAN_NUMBER || value->kind == SCAN_BOOLEAN) return cell_copy(to, text, size, mapper->text_end);
        return value->kind == SCAN_STRING && !value->escaped ? cell_put_quoted_string(to, text, size, mapper->text_end) : NULL;
    default: return NULL;
    }
}

/*
 * The columns that are common and whose cells are only copied. NULL: put_column has to do it, since
 * there is no room (`room` bytes for texts of any size, besides what PlanSink.fixed_bytes says) or
 * since this cell takes more, or it is an error.
 */
static inline char *put_common(Mapper *mapper, const PlanColumn *compiled, const Uuid *id, char *to, ptrdiff_t room) {
    if (compiled->op > PLAN_PUT_JSON) {
        if (compiled->op == PLAN_PUT_ID) return cell_put_id(to, id);
        if (compiled->op > PLAN_PUT_OTHER) return compiled->op < PLAN_PUT_REST ? put_common_field(mapper, compiled, to, room) : NULL;
        if (compiled->op != PLAN_PUT_TIME) return NULL;
        memcpy(to, mapper->time, sizeof mapper->time);
        return to + compiled->size;
    }
    const ScanValue *value = scanner_value(&mapper->scanner, compiled->slot);
    if (!value) {
        Span cell = compiled->default_cell;
        if (!compiled->has_default || (ptrdiff_t)cell.size > room) return NULL;
        if (compiled->counts_default) count_default(mapper, compiled, 1);
        return cell_copy(to, cell.data, cell.size, cell.data + cell.size + BLOCK_BYTES);
    }
    const char *text = value->text.data;
    size_t size = value->text.size;
    if ((ptrdiff_t)size > room) return NULL;
    if (value->kind == SCAN_STRING) {
        if (value->escaped) return NULL;
        if (compiled->op == PLAN_PUT_TEXT) return cell_put_string(to, text + 1, size - 2, mapper->text_end);
        return cell_put_quoted_string(to, text, size, mapper->text_end);
    }
    if (value->kind == SCAN_NUMBER || value->kind == SCAN_BOOLEAN) return cell_copy(to, text, size, mapper->text_end);
    if (value->kind == SCAN_NULL && !compiled->column->primary_key) return to;
    return NULL;
}

/* The cells of a run, each with a comma behind it. What the loop needs stands in locals: the bytes
 * that it writes could be anything. */
static MapError put_run(Mapper *mapper, const PlanSink *sink, const PlanRun *run, const Event *event, Buffer *row, size_t start,
                        RowNote *note, MapFailure *failure) {
    const size_t fixed = sink->fixed_bytes, most = mapper->row_bytes_max;
    size_t *ends = note ? mapper->ends + sink->ends_at : NULL;
    char *to = buffer_reserve(row, fixed);
    char *row_start = row->data + start, *texts_end = row->data + row->capacity - fixed;
    const PlanColumn *compiled = sink->columns + run->first;
    check_debug(run->count <= sink->column_count && run->first <= sink->column_count - run->count);
    for (const PlanColumn *stop = compiled + run->count; compiled < stop; compiled++) {
        char *next = put_common(mapper, compiled, &event->id, to, texts_end - to);
        if (__builtin_expect(!next, 0)) {
            row->size = (size_t)(to - row->data);
            MapError error = put_column(mapper, compiled, event, row, failure);
            if (error) return error;
            next = buffer_reserve(row, fixed);
            row_start = row->data + start;
            texts_end = row->data + row->capacity - fixed;
        }
        check_debug(next >= row_start && next < row->data + row->capacity); /* with room for the comma */
        to = next;
        size_t size = (size_t)(to - row_start);
        if (__builtin_expect(size >= most, 0)) return fail_too_large(mapper, compiled->column, failure);
        *to++ = ',';
        if (ends) {
            size_t at = (size_t)(compiled - sink->columns);
            ends[at] = size;
            note->done = (uint32_t)at + 1;
        }
    }
    row->size = (size_t)(to - row->data);
    check(row->size <= row->capacity); /* PlanSink.fixed_bytes was room enough */
    return MAP_OK;
}

/* What the cells of a run that was copied are of defaults. */
static __attribute__((noinline)) void copy_defaults(Mapper *mapper, const Plan *plan, const PlanSink *sink, const PlanRun *run) {
    for (uint32_t i = 0; i < run->count; i++) {
        uint32_t index = mapper->default_of[plan->sinks[run->from].columns[run->from_first + i].place];
        if (index > 0) count_default(mapper, &sink->columns[run->first + i], mapper->defaults[index - 1].uses);
    }
}

/* The cells of a run from where they are already. False: they are not there, or make the row too
 * large; put_run says at which column. */
static bool copy_run(const Mapper *mapper, const Plan *plan, const PlanSink *sink, const PlanRun *run, Buffer *const *rows, Buffer *row,
                     size_t start, RowNote *note) {
    const RowNote *source = &mapper->notes[run->from];
    if (source->done < run->from_first + run->count) return false;
    const size_t *ends = mapper->ends + plan->sinks[run->from].ends_at + run->from_first;
    size_t begin = run->from_first ? ends[-1] + 1 : 0, size = ends[run->count - 1] - begin;
    check_debug(run->from < plan->sink_count && ends[run->count - 1] >= begin);
    check_debug(source->start + begin + size < rows[run->from]->capacity);
    size_t end = row->size - start + size;
    if (end >= mapper->row_bytes_max) return false;
    char *to = buffer_reserve(row, size + 1);
    memcpy(to, rows[run->from]->data + source->start + begin, size);
    to[size] = ',';
    row->size += size + 1;
    if (note) {
        note->done = run->first + run->count;
        mapper->ends[sink->ends_at + note->done - 1] = end;
    }
    return true;
}

/* The row of a sink that infers. */
static __attribute__((noinline)) MapError begin_fields(Mapper *mapper, const Plan *plan, const PlanSink *sink, MapFailure *failure) {
    const ScanValue *body = scanner_value(&mapper->scanner, sink->fields->root_slot);
    if (!body || body->kind != SCAN_OBJECT)
        return fail(failure, MAP_WRONG_TYPE, NULL,
                    "The body is not a JSON object, but columns are inferred from the members of an object.");
    rest_begin_row(&mapper->rest, sink->fields);
    mapper->plan = plan;
    mapper->sink = sink;
    return MAP_OK;
}

/* ---- an array, of which each element gives a row ---- */

static __attribute__((noinline)) void say_element(MapFailure *failure, int64_t number) {
    char text[sizeof failure->message];
    memcpy(text, failure->message, sizeof text);
    int size = snprintf(failure->message, sizeof failure->message, "Element %lld: ", (long long)number);
    check(size > 0);
    size_t room = sizeof failure->message - (size_t)size - 1, left = strlen(text);
    if (left > room)
        for (left = room; left > 0 && ((unsigned char)text[left] & 0xc0) == 0x80;) left--; /* no half of a character */
    memcpy(failure->message + size, text, left);
    failure->message[(size_t)size + left] = 0;
}

/* Does the value say so? A string by what it means, a number or boolean as it stands. */
static bool is_deletion(Mapper *mapper, const PlanSink *sink) {
    const PlanDelete *on = sink->delete_on;
    if (!on || !on->by_path) return false;
    const ScanValue *value = scanner_value(on->of_element ? &mapper->element : &mapper->scanner, on->slot);
    if (!value || value->kind == SCAN_NULL || value->kind == SCAN_OBJECT || value->kind == SCAN_ARRAY) return false;
    if (value->kind != SCAN_STRING) return span_equal(value->text, on->equals);
    Span inner = {value->text.data + 1, value->text.size - 2};
    if (!value->escaped) return span_equal(inner, on->equals);
    Buffer *scratch = take_scratch(mapper);
    return json_unescape(scratch, inner) == 0 && span_equal(buffer_span(scratch), on->equals);
}

static bool is_of_deletion(const PlanSink *sink, const Column *column) {
    const char *newer_by = sink->sink->target.table.newer_by;
    return column->primary_key || (newer_by && strcmp(column->name, newer_by) == 0);
}

/* A row by its columns one by one, of an element or of a deletion, which has values for its key
 * only. */
static MapError put_slowly(Mapper *mapper, const PlanSink *sink, const Event *event, bool deletes, Buffer *row, MapFailure *failure) {
    size_t start = row->size;
    for (const PlanColumn *compiled = sink->columns, *stop = compiled + sink->column_count; compiled < stop; compiled++) {
        MapError error = MAP_OK;
        if (!deletes || is_of_deletion(sink, compiled->column))
            error = put_column(mapper, compiled, event, row, failure);
        else
            row_put_null(row);
        if (error) return error;
        if (row->size - start >= mapper->row_bytes_max) return fail_too_large(mapper, compiled->column, failure);
        row_next_cell(row);
    }
    if (!sink->delete_on)
        row->data[row->size - 1] = '\n';
    else if (deletes)
        buffer_append_span(row, SPAN("d\n"));
    else
        row_end(row);
    return MAP_OK;
}

static __attribute__((noinline)) MapError put_deletion(Mapper *mapper, const PlanSink *sink, const Event *event, Buffer *row,
                                                       MapFailure *failure) {
    size_t start = row->size;
    MapError error = put_slowly(mapper, sink, event, true, row, failure);
    if (error) row->size = start;
    failure->rows = error == MAP_OK;
    return failure->error = error;
}

static MapError put_elements(Mapper *mapper, const PlanSink *sink, const Event *event, Span array, Buffer *row, MapFailure *failure) {
    const char *p = array.data + 1, *end = array.data + array.size - 1; /* its brackets */
    const size_t start = row->size, most = mapper->row_bytes_max > EXPLODED_BYTES_MAX ? mapper->row_bytes_max : EXPLODED_BYTES_MAX;
    for (int64_t number = 0;; number++) {
        while (p < end && (text_is_space(*p) || *p == ',')) p++;
        if (p == end) return MAP_OK;
        if (number == EXPLODED_ROWS_MAX)
            return fail(failure, MAP_ROW_TOO_LARGE, NULL, "The array at path \"%.120s\" has more than %d elements.",
                        sink->sink->target.explode, EXPLODED_ROWS_MAX);
        const char *stop = scan_value_end(p, end);
        ScanFault fault;
        check(stop > p && stop <= end);
        check(scanner_run(&mapper->element, sink->explode->elements, (Span){p, (size_t)(stop - p)}, &fault) == 0); /* as part of the body */
        p = stop;
        mapper->element_number = number;
        MapError error = put_slowly(mapper, sink, event, is_deletion(mapper, sink), row, failure);
        mapper->element_number = -1;
        if (error) {
            say_element(failure, number);
            return error;
        }
        if (row->size - start > most)
            return fail(failure, MAP_ROW_TOO_LARGE, NULL, "The rows of the elements at path \"%.120s\" have more than %zu bytes together.",
                        sink->sink->target.explode, most);
        failure->rows++;
    }
}

static __attribute__((noinline)) MapError explode(Mapper *mapper, const PlanSink *sink, const Event *event, Buffer *row,
                                                  MapFailure *failure) {
    const ScanValue *value = scanner_value(&mapper->scanner, sink->explode->slot);
    const char *path = sink->sink->target.explode;
    size_t start = row->size;
    failure->rows = 0;
    if (!value) return fail(failure, MAP_MISSING, NULL, "There is no array at path \"%.120s\", which the mapping explodes.", path);
    if (value->kind != SCAN_ARRAY)
        return fail(failure, MAP_WRONG_TYPE, NULL, "The value at path \"%.120s\", which the mapping explodes, is not an array.", path);
    MapError error = put_elements(mapper, sink, event, value->text, row, failure);
    if (error) {
        row->size = start;
        failure->rows = 0;
    }
    return failure->error = error;
}

/* The rows of an event in a sink that explodes or deletes. False: it is one row like those of other
 * sinks, with one more cell. */
static __attribute__((noinline)) bool put_special(Mapper *mapper, const PlanSink *sink, const Event *event, Buffer *row,
                                                  MapFailure *failure) {
    if (sink->delete_on && event->is_tombstone && sink->sink->target.table.delete_on.tombstone)
        (void)put_deletion(mapper, sink, event, row, failure);
    else if (mapper->body_failure.error)
        return false; /* it is told there */
    else if (sink->explode)
        (void)explode(mapper, sink, event, row, failure);
    else if (is_deletion(mapper, sink))
        (void)put_deletion(mapper, sink, event, row, failure);
    else
        return false;
    return true;
}

static MapError put_row(Mapper *mapper, const Plan *plan, size_t index, const Event *event, Buffer *const *rows, MapFailure *failure) {
    const PlanSink *sink = &plan->sinks[index];
    Buffer *row = rows[index];
    size_t start = row->size;
    RowNote *note = sink->is_copied ? &mapper->notes[index] : NULL;
    if (note) *note = (RowNote){.start = start};
    if (__builtin_expect(sink->is_special, 0) && put_special(mapper, sink, event, row, failure)) return failure->error;
    if (sink->has_paths && mapper->body_failure.error) {
        *failure = mapper->body_failure;
        return failure->error;
    }
    if (__builtin_expect(sink->fields != NULL, 0) && begin_fields(mapper, plan, sink, failure)) {
        failure->rows = 0;
        return failure->error;
    }
    for (uint32_t i = 0; i < sink->run_count; i++) {
        const PlanRun *run = &sink->runs[i];
        if (run->from != PLAN_OWN && copy_run(mapper, plan, sink, run, rows, row, start, note)) {
            if (__builtin_expect(mapper->default_count > 0, 0)) copy_defaults(mapper, plan, sink, run);
            continue;
        }
        MapError error = put_run(mapper, sink, run, event, row, start, note, failure);
        if (error) {
            if (sink->fields) mapper->rest.found_count = mapper->rest.found_before;
            row->size = start; /* what is behind it stays, for sinks that copy cells from there */
            failure->rows = 0;
            return error;
        }
    }
    check(row->size > start); /* each cell has its comma, also an empty one */
    check_debug(row->data[row->size - 1] == ',');
    if (__builtin_expect(sink->is_special, 0))
        row_end(row); /* behind the last cell, which is empty */
    else
        row->data[row->size - 1] = '\n';
    failure->error = MAP_OK;
    failure->rows = 1;
    return MAP_OK;
}

/* Who sent something else finds the reason in the Content-Type. */
static __attribute__((noinline)) void say_it_was_a_form(MapFailure *failure) {
    static const char note[] = " (the body was read as a form)";
    size_t size = strlen(failure->message), most = sizeof failure->message - sizeof note - 1;
    const char *stop = size > 0 && failure->message[size - 1] == '.' ? "." : "";
    size -= strlen(stop);
    if (size > most) size = most;
    while (size > 0 && ((unsigned char)failure->message[size] & 0xc0) == 0x80) size--; /* no half of a character */
    (void)snprintf(failure->message + size, sizeof failure->message - size, "%s%s", note, stop);
}

static void trim(Buffer *buffer) {
    if (buffer->capacity > SCRATCH_KEPT_BYTES) buffer_deinit(buffer);
}

static void trim_all(Mapper *mapper) {
    trim(&mapper->form_json);
    trim(&mapper->form.text);
    trim(&mapper->form.nodes);
    trim(&mapper->scratch);
    trim(&mapper->masked);
    trim(&mapper->headers);
    rest_trim(&mapper->rest, &mapper->scanner, SCRATCH_KEPT_BYTES);
    mapper->scratch_used = false;
}

static __attribute__((noinline)) void make_notes(Mapper *mapper, const Plan *plan) {
    if (mapper->note_capacity < plan->sink_count) {
        free(mapper->notes);
        mapper->notes = calloc(plan->sink_count, sizeof *mapper->notes);
        mapper->note_capacity = plan->sink_count;
    }
    if (mapper->end_capacity < plan->ends_count) {
        free(mapper->ends);
        mapper->ends = calloc(plan->ends_count, sizeof *mapper->ends);
        mapper->end_capacity = plan->ends_count;
    }
    check(mapper->notes && mapper->ends && mapper->note_capacity >= plan->sink_count && mapper->end_capacity >= plan->ends_count);
}

static __attribute__((noinline)) void begin_defaults(Mapper *mapper, const Plan *plan) {
    for (size_t i = 0; i < mapper->default_count; i++) mapper->default_of[mapper->default_places[i]] = 0; /* of the last event's plan */
    mapper->default_count = 0;
    if (mapper->default_capacity >= plan->ends_count) return;
    free(mapper->defaults);
    free(mapper->default_of);
    free(mapper->default_places);
    mapper->default_places = calloc(plan->ends_count, sizeof *mapper->default_places);
    mapper->default_capacity = plan->ends_count;
    mapper->defaults = calloc(mapper->default_capacity, sizeof *mapper->defaults);
    mapper->default_of = calloc(mapper->default_capacity, sizeof *mapper->default_of);
    check(mapper->defaults && mapper->default_of && mapper->default_places);
}

static void start_event(Mapper *mapper, const Plan *plan, const Event *event) {
    usec_t ms = event->received / USEC_MS;
    if (ms != mapper->time_ms) {
        clock_format_utc(event->received, mapper->time);
        mapper->time_ms = ms;
    }
    mapper->headers_ready = false;
    if (__builtin_expect(plan->has_defaults || mapper->default_count > 0, 0)) begin_defaults(mapper, plan);
    if (mapper->rest.found_count > 0 || mapper->rest.arena.used_bytes > 0) rest_begin_event(&mapper->rest);
    mapper->body_known = 0;
    mapper->body_failure.error = MAP_OK;
    if (mapper->note_capacity < plan->sink_count || mapper->end_capacity < plan->ends_count) make_notes(mapper, plan);
}

size_t mapper_map(Mapper *mapper, const Plan *plan, const Event *event, Buffer *const *rows, MapFailure *failures) {
    size_t failed = 0;
    start_event(mapper, plan, event);
    if (plan->has_paths) (void)scan_body(mapper, plan, event);
    for (size_t i = 0; i < plan->sink_count; i++)
        if (put_row(mapper, plan, i, event, rows, &failures[i])) failed++;
    if (failed && event->kind == BODY_FORM)
        for (size_t i = 0; i < plan->sink_count; i++)
            if (failures[i].error != MAP_OK && failures[i].error != MAP_ROW_TOO_LARGE) say_it_was_a_form(&failures[i]);
    if (mapper->scratch_used) trim_all(mapper);
    return failed;
}

const MapDefault *mapper_defaults(const Mapper *mapper, size_t *ret_count) {
    *ret_count = mapper->default_count;
    return mapper->defaults;
}

const MapDiscovery *mapper_discoveries(const Mapper *mapper, size_t *ret_count) {
    *ret_count = mapper->rest.found_count;
    return mapper->rest.found;
}
