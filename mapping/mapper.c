#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "mapping/form.h"
#include "mapping/headers.h"
#include "mapping/json_text.h"
#include "mapping/plan_parts.h"
#include "mapping/row.h"
#include "mapping/scanner.h"
#include "mapping/value.h"

#define SCRATCH_KEPT_BYTES (1 << 20) /* what a rare large event made larger is given back */

struct Mapper {
    size_t row_bytes_most;
    Scanner scanner;
    Form form;
    HeaderWriter header_writer;
    Buffer form_json; /* what a form body is for the scanner */
    Buffer scratch;   /* a compacted or unescaped value */
    /* Of the event at hand */
    char id[UUID_TEXT_SIZE];
    usec_t time_ms; /* that `time` says; it is made anew once a millisecond */
    char time[25];
    Buffer headers; /* the JSON object once headers_ready */
    bool headers_ready;
    unsigned body_known; /* VALUE_IS_… of the body as it stands */
    MapFailure body_failure;
};

Mapper *mapper_new(size_t row_bytes_most) {
    Mapper *mapper = calloc(1, sizeof *mapper);
    check(mapper);
    mapper->row_bytes_most = row_bytes_most;
    mapper->time_ms = INT64_MIN;
    return mapper;
}

void mapper_free(Mapper *mapper) {
    if (!mapper) return;
    scanner_deinit(&mapper->scanner);
    form_deinit(&mapper->form);
    header_writer_deinit(&mapper->header_writer);
    buffer_deinit(&mapper->form_json);
    buffer_deinit(&mapper->scratch);
    buffer_deinit(&mapper->headers);
    free(mapper);
}

/* Fills the failure with a text of UTF-8 without control characters, whatever the values in it hold. */
static __attribute__((format(printf, 4, 5), noinline)) MapError fail(MapFailure *failure, MapError error, const char *column,
                                                                     const char *format, ...) {
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
        buffer_clear(&mapper->form_json);
        if (form_read(&mapper->form, text, &mapper->form_json, &fault))
            return fail(failure, MAP_NOT_JSON, NULL, "The body is not a form at byte %zu: %s.", fault.offset, fault.what);
        text = buffer_span(&mapper->form_json);
        break;
    case BODY_OTHER:
        return fail(failure, MAP_NOT_JSON, NULL, "The body is neither JSON nor a form by its Content-Type, paths cannot be found in it.");
    }
    if (scanner_run(&mapper->scanner, plan->paths, text, &fault))
        return fail(failure, MAP_NOT_JSON, NULL, "The body is not JSON at byte %zu: %s.", fault.offset, fault.what);
    if (event->kind == BODY_JSON) mapper->body_known = VALUE_IS_TEXT | VALUE_IS_JSON;
    return MAP_OK;
}

static MapError put_checked(const PlanColumn *compiled, Span text, unsigned known, Buffer *row, MapFailure *failure) {
    const Column *column = compiled->column;
    const char *reason;
    if (value_put(row, column->data_type, text, known, &reason) == 0) return MAP_OK;
    return fail(failure, MAP_WRONG_TYPE, column->name, "Column \"%s\" of dataType %s: \"" EXCERPT_FORMAT "\" %s.", column->name,
                data_type_name(column->data_type), EXCERPT(text), reason);
}

static MapError put_null(const PlanColumn *compiled, Buffer *row, MapFailure *failure) {
    const Column *column = compiled->column;
    if (column->primary_key)
        return fail(failure, MAP_WRONG_TYPE, column->name, "Column \"%s\" is part of the primary key, which null does not fit.",
                    column->name);
    row_put_null(row);
    return MAP_OK;
}

/* A JSON value of the body, or a template's. */
static MapError put_json(Mapper *mapper, const PlanColumn *compiled, const ScanValue *value, Buffer *row, MapFailure *failure) {
    const Column *column = compiled->column;
    Span text = value->text;
    if (value->kind == SCAN_NULL) return put_null(compiled, row, failure);
    bool as_it_stands = column->data_type == DATA_TEXT || column->data_type == DATA_JSON;
    if (as_it_stands && (value->kind == SCAN_NUMBER || value->kind == SCAN_BOOLEAN)) {
        row_put_plain(row, text); /* nothing in it asks for quotes */
        return MAP_OK;
    }
    bool unquote = value->kind == SCAN_STRING && (column->raw_string || !as_it_stands);
    if (!unquote) {
        if (value->spaced) {
            buffer_clear(&mapper->scratch);
            json_compact(&mapper->scratch, text);
            text = buffer_span(&mapper->scratch);
        }
        return put_checked(compiled, text, VALUE_IS_TEXT | VALUE_IS_JSON, row, failure);
    }
    unsigned known = VALUE_IS_TEXT;
    text = (Span){text.data + 1, text.size - 2};
    if (value->escaped) {
        buffer_clear(&mapper->scratch);
        if (json_unescape(&mapper->scratch, text))
            return fail(failure, MAP_WRONG_TYPE, column->name,
                        "Column \"%s\": \"" EXCERPT_FORMAT "\" holds half a surrogate pair, which is no text.", column->name,
                        EXCERPT(text));
        text = buffer_span(&mapper->scratch);
        if (text.size && memchr(text.data, 0, text.size)) known = 0;
    }
    return put_checked(compiled, text, known, row, failure);
}

static MapError put_path(Mapper *mapper, const PlanColumn *compiled, Buffer *row, MapFailure *failure) {
    const ScanValue *value = scanner_value(&mapper->scanner, compiled->slot);
    if (value) return put_json(mapper, compiled, value, row, failure);
    if (compiled->has_default) {
        row_put_plain(row, compiled->default_cell);
        return MAP_OK;
    }
    const Column *column = compiled->column;
    return fail(failure, MAP_MISSING, column->name, "Column \"%s\": there is no value at path \"%.120s\", and no defaultValue.",
                column->name, column->path);
}

static MapError put_template(Mapper *mapper, const PlanColumn *compiled, const Event *event, Buffer *row, MapFailure *failure) {
    const Column *column = compiled->column;
    check(event->templates);
    const TemplateResult *result = &event->templates[compiled->template_index];
    if (result->failed)
        return fail(failure, MAP_TEMPLATE, column->name, "Column \"%s\": %.*s", column->name,
                    (int)(result->text.size < 512 ? result->text.size : 512), result->text.size ? result->text.data : "");
    ScanFault fault;
    if (scan_validate(result->text, &fault)) /* it comes from another process */
        return fail(failure, MAP_TEMPLATE, column->name, "Column \"%s\": the template's result is not JSON at byte %zu: %s.", column->name,
                    fault.offset, fault.what);
    ScanValue value = {.text = result->text, .kind = (uint8_t)scan_kind(result->text)};
    value.escaped = value.kind == SCAN_STRING && memchr(result->text.data, '\\', result->text.size);
    value.spaced = value.kind == SCAN_OBJECT || value.kind == SCAN_ARRAY;
    return put_json(mapper, compiled, &value, row, failure);
}

static MapError put_headers(Mapper *mapper, const PlanColumn *compiled, const Event *event, Buffer *row, MapFailure *failure) {
    if (!mapper->headers_ready) {
        buffer_clear(&mapper->headers);
        headers_to_json(&mapper->header_writer, event->headers, event->header_count, &mapper->headers);
        mapper->headers_ready = true;
    }
    return put_checked(compiled, buffer_span(&mapper->headers), VALUE_IS_TEXT | VALUE_IS_JSON, row, failure);
}

static MapError put_time(const Mapper *mapper, const PlanColumn *compiled, Buffer *row, MapFailure *failure) {
    Span text = {mapper->time, sizeof mapper->time - 1};
    DataType type = compiled->column->data_type;
    if (type == DATA_TEXT)
        row_put_plain(row, text);
    else if (type == DATA_DATE)
        row_put_plain(row, (Span){text.data, 10});
    else
        return put_checked(compiled, text, VALUE_IS_TEXT, row, failure);
    return MAP_OK;
}

static MapError put_column(Mapper *mapper, const PlanColumn *compiled, const Event *event, Buffer *row, MapFailure *failure) {
    switch (compiled->column->type) {
    case COLUMN_ID:
        if (compiled->column->data_type != DATA_TEXT)
            return put_checked(compiled, (Span){mapper->id, sizeof mapper->id}, VALUE_IS_TEXT, row, failure);
        row_put_plain(row, (Span){mapper->id, sizeof mapper->id});
        return MAP_OK;
    case COLUMN_DATETIME: return put_time(mapper, compiled, row, failure);
    case COLUMN_IP: return event->ip.size ? put_checked(compiled, event->ip, 0, row, failure) : put_null(compiled, row, failure);
    case COLUMN_BODY: return put_checked(compiled, event->body, mapper->body_known, row, failure);
    case COLUMN_HEADERS: return put_headers(mapper, compiled, event, row, failure);
    case COLUMN_PATH: return put_path(mapper, compiled, row, failure);
    case COLUMN_TEMPLATE: return put_template(mapper, compiled, event, row, failure);
    }
    unreachable();
}

static MapError put_row(Mapper *mapper, const PlanSink *sink, const Event *event, Buffer *row, MapFailure *failure) {
    if (sink->has_paths && mapper->body_failure.error) {
        *failure = mapper->body_failure;
        return failure->error;
    }
    size_t start = row->size;
    for (size_t i = 0; i < sink->column_count; i++) {
        const PlanColumn *compiled = &sink->columns[i];
        if (i > 0) row_next_cell(row);
        MapError error = put_column(mapper, compiled, event, row, failure);
        if (!error && row->size - start >= mapper->row_bytes_most)
            error = fail(failure, MAP_ROW_TOO_LARGE, compiled->column->name, "Column \"%s\" makes the row larger than %zu bytes.",
                         compiled->column->name, mapper->row_bytes_most);
        if (error) {
            row->size = start;
            return error;
        }
    }
    row_end(row);
    failure->error = MAP_OK;
    return MAP_OK;
}

static void trim(Buffer *buffer) {
    if (buffer->capacity > SCRATCH_KEPT_BYTES) buffer_deinit(buffer);
}

static void start_event(Mapper *mapper, const Event *event) {
    usec_t ms = event->received / USEC_MS;
    if (ms != mapper->time_ms) {
        clock_format_utc(event->received, mapper->time);
        mapper->time_ms = ms;
    }
    uuid_format(&event->id, mapper->id);
    mapper->headers_ready = false;
    mapper->body_known = 0;
    mapper->body_failure.error = MAP_OK;
}

size_t mapper_map(Mapper *mapper, const Plan *plan, const Event *event, Buffer *const *rows, MapFailure *failures) {
    size_t failed = 0;
    start_event(mapper, event);
    if (plan->has_paths) (void)scan_body(mapper, plan, event);
    for (size_t i = 0; i < plan->sink_count; i++)
        if (put_row(mapper, &plan->sinks[i], event, rows[i], &failures[i])) failed++;
    trim(&mapper->form_json);
    trim(&mapper->form.text);
    trim(&mapper->form.nodes);
    trim(&mapper->scratch);
    trim(&mapper->headers);
    trim(&mapper->scanner.key);
    return failed;
}
