#include "mapping/plan.h"

#include <errno.h>
#include <stdlib.h>

#include "mapping/json_text.h"
#include "mapping/plan_parts.h"
#include "mapping/value.h"

size_t plan_sink_count(const Plan *plan) {
    return plan->sink_count;
}

const Sink *plan_sink(const Plan *plan, size_t index) {
    check(index < plan->sink_count);
    return plan->sinks[index].sink;
}

unsigned plan_needs(const Plan *plan) {
    return plan->needs;
}

size_t plan_template_count(const Plan *plan) {
    return plan->template_count;
}

const char *plan_template(const Plan *plan, size_t index) {
    check(index < plan->template_count);
    return plan->templates[index];
}

Plan *plan_ref(Plan *plan) {
    check(atomic_fetch_add_explicit(&plan->references, 1, memory_order_relaxed) > 0);
    return plan;
}

void plan_unref(Plan *plan) {
    if (!plan || atomic_fetch_sub_explicit(&plan->references, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < plan->sink_count; i++) {
        PlanSink *sink = &plan->sinks[i];
        for (size_t j = 0; j < sink->column_count; j++) free((char *)(uintptr_t)sink->columns[j].default_cell.data);
        free(sink->columns);
        sink_unref(sink->sink);
    }
    pathset_free(plan->paths);
    free(plan->sinks);
    free(plan->templates);
    free(plan);
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || text_is_digit(c) || c == '_';
}

/* Does the template name this function? Comments and strings may say so too: then it is asked for in vain. */
static bool names(const char *template_text, const char *name) {
    size_t size = strlen(name);
    for (const char *at = template_text; (at = strstr(at, name)); at += size)
        if ((at == template_text || !is_word(at[-1])) && !is_word(at[size])) return true;
    return false;
}

static unsigned template_needs(const char *text) {
    return (names(text, "Body") ? PLAN_NEEDS_JSON : 0u) | (names(text, "Header") || names(text, "HeaderStr") ? PLAN_NEEDS_HEADERS : 0u) |
           (names(text, "Ip") ? PLAN_NEEDS_IP : 0u);
}

static uint32_t add_template(Plan *plan, const char *text) {
    for (size_t i = 0; i < plan->template_count; i++)
        if (strcmp(plan->templates[i], text) == 0) return (uint32_t)i;
    const char **templates = reallocarray(plan->templates, plan->template_count + 1, sizeof *templates);
    check(templates);
    plan->templates = templates;
    plan->templates[plan->template_count] = text;
    return (uint32_t)plan->template_count++;
}

/* Columns that Sluice fills have one form; a dataType that could never fit is refused here, not event by event. */
static bool type_can_fit(const Column *column) {
    DataType type = column->data_type;
    switch (column->type) {
    case COLUMN_ID:
    case COLUMN_IP: return type == DATA_TEXT || type == DATA_BYTES;
    case COLUMN_DATETIME: return type == DATA_TEXT || type == DATA_BYTES || type == DATA_TIMESTAMP || type == DATA_DATE;
    case COLUMN_HEADERS: return type == DATA_TEXT || type == DATA_BYTES || type == DATA_JSON;
    case COLUMN_BODY:
    case COLUMN_PATH:
    case COLUMN_TEMPLATE: return true;
    }
    unreachable();
}

/* A default stands for a JSON string with its text. */
static int compile_default(PlanColumn *compiled, Error *error) {
    const Column *column = compiled->column;
    Span text = span_of(column->default_value);
    const char *reason;
    Buffer quoted = {0}, cell = {0};
    int r = 0;
    if (text_check(text) < text.size) {
        r = error_set(error, -EINVAL, "defaultValue is not UTF-8");
    } else {
        bool as_json = !column->raw_string && (column->data_type == DATA_TEXT || column->data_type == DATA_JSON);
        if (as_json) json_quote(&quoted, text);
        if (value_put(&cell, column->data_type, as_json ? buffer_span(&quoted) : text, as_json ? VALUE_IS_JSON : VALUE_IS_TEXT, &reason))
            r = error_set(error, -EINVAL, "defaultValue \"%.100s\" %s", column->default_value, reason);
    }
    buffer_deinit(&quoted);
    if (r < 0) {
        buffer_deinit(&cell);
        return r;
    }
    compiled->has_default = true;
    compiled->default_cell.size = cell.size;
    compiled->default_cell.data = buffer_take(&cell);
    return 0;
}

static int compile_column(Plan *plan, PlanSink *sink, const Column *column, PlanColumn *compiled, Error *error) {
    compiled->column = column;
    if (!type_can_fit(column))
        return error_set(error, -EINVAL, "a column of type %s cannot be of dataType %s", column_type_name(column->type),
                         data_type_name(column->data_type));
    switch (column->type) {
    case COLUMN_ID:
    case COLUMN_DATETIME:
    case COLUMN_BODY: return 0;
    case COLUMN_IP: plan->needs |= PLAN_NEEDS_IP; return 0;
    case COLUMN_HEADERS: plan->needs |= PLAN_NEEDS_HEADERS; return 0;
    case COLUMN_PATH: {
        if (!column->path) return error_set(error, -EINVAL, "a column of type path needs a path");
        plan->needs |= PLAN_NEEDS_JSON;
        plan->has_paths = sink->has_paths = true;
        int r = pathset_add(plan->paths, span_of(column->path), &compiled->slot, error);
        if (r < 0) {
            (void)error_prefix(error, "path \"%.200s\"", column->path);
            return r;
        }
        return column->default_value ? compile_default(compiled, error) : 0;
    }
    case COLUMN_TEMPLATE:
        if (!column->template_text) return error_set(error, -EINVAL, "a column of type template needs a template");
        plan->needs |= template_needs(column->template_text);
        compiled->template_index = add_template(plan, column->template_text);
        return 0;
    }
    unreachable();
}

static int compile_sink(Plan *plan, const Sink *sink, PlanSink *compiled, Error *error) {
    compiled->sink = sink_ref(sink);
    compiled->columns = calloc(sink->table.column_count + 1, sizeof *compiled->columns);
    check(compiled->columns);
    compiled->column_count = sink->table.column_count;
    if (compiled->column_count == 0) return error_set(error, -EINVAL, "sink \"%s\": there is no column", sink->sink_id);
    for (size_t i = 0; i < compiled->column_count; i++) {
        const Column *column = &sink->table.columns[i];
        int r = compile_column(plan, compiled, column, &compiled->columns[i], error);
        if (r < 0) {
            (void)error_prefix(error, "sink \"%s\", column \"%s\"", sink->sink_id, column->name);
            return r;
        }
    }
    return 0;
}

int plan_compile(const Source *source, Sink *const *sinks, size_t sink_count, Plan **ret_plan, Error *error) {
    Plan *plan = calloc(1, sizeof *plan);
    check(plan);
    atomic_init(&plan->references, 1);
    plan->paths = pathset_new();
    plan->sinks = calloc(sink_count + 1, sizeof *plan->sinks);
    check(plan->sinks);
    int r = 0;
    for (size_t i = 0; i < sink_count && r == 0; i++) {
        plan->sink_count++;
        r = compile_sink(plan, sinks[i], &plan->sinks[i], error);
    }
    if (r == 0) r = pathset_seal(plan->paths, error);
    if (r < 0) {
        plan_unref(plan);
        return r;
    }
    *ret_plan = plan;
    return 0;
}
