#include "mapping/plan.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/keyed_hash.h"
#include "config/source_bridge.h"
#include "config/source_kafka.h"
#include "mapping/cell.h"
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

bool plan_drops_bodies(const Plan *plan) {
    return plan->drops_bodies;
}

bool plan_has_defaults(const Plan *plan) {
    return plan->has_defaults;
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
    if (!plan) return;
    unsigned references = atomic_fetch_sub_explicit(&plan->references, 1, memory_order_acq_rel);
    check(references > 0);
    if (references != 1) return;
    for (size_t i = 0; i < plan->sink_count; i++) {
        PlanSink *sink = &plan->sinks[i];
        for (size_t j = 0; j < sink->column_count; j++) {
            free((char *)(uintptr_t)sink->columns[j].default_cell.data);
            mask_free(sink->columns[j].mask);
            time_format_free(sink->columns[j].format);
        }
        free(sink->columns);
        free(sink->runs);
        plan_fields_free(sink->fields);
        if (sink->explode) pathset_free(sink->explode->elements);
        free(sink->explode);
        free(sink->delete_on);
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

/* Does the template name this function? Comments and strings may say so too: then it is asked for
 * in vain. */
static bool names(const char *template_text, const char *name) {
    size_t size = strlen(name);
    for (const char *at = template_text; (at = strstr(at, name)); at += size)
        if ((at == template_text || !is_word(at[-1])) && !is_word(at[size])) return true;
    return false;
}

static unsigned template_needs(const char *text) {
    return (names(text, "Body") ? PLAN_NEEDS_JSON : 0u) | (names(text, "Header") || names(text, "HeaderStr") ? PLAN_NEEDS_HEADERS : 0u) |
           (names(text, "Ip") ? PLAN_NEEDS_IP : 0u) | (names(text, "Meta") ? PLAN_NEEDS_META : 0u);
}

/*
 * Finds what is equal among all columns of a plan in a time that does not grow with their number:
 * numbers from 1 by hash, 0 is free. One of templates and one of columns; each is twice as large as
 * it can become full.
 */
typedef struct Lookup {
    uint32_t *numbers;
    uint64_t mask;
} Lookup;

/* While a plan is made. */
typedef struct Compile {
    Plan *plan;
    const Source *source;
    const PlanMasks *masks;
    Lookup templates, columns;
} Compile;

static void lookup_init(Lookup *lookup, size_t most) {
    uint64_t size = 16;
    while (size < most * 2) size *= 2;
    *lookup = (Lookup){.numbers = calloc(size, sizeof *lookup->numbers), .mask = size - 1};
    check(lookup->numbers);
}

static uint64_t hash_bytes(const void *data, size_t size) {
    return keyed_hash(hash_key_of_process(), data, size);
}

static uint32_t add_template(Compile *compile, const char *text) {
    Plan *plan = compile->plan;
    const Lookup *lookup = &compile->templates;
    uint64_t at = hash_bytes(text, strlen(text)) & lookup->mask;
    for (; lookup->numbers[at]; at = (at + 1) & lookup->mask)
        if (strcmp(plan->templates[lookup->numbers[at] - 1], text) == 0) return lookup->numbers[at] - 1;
    check(2 * plan->template_count < lookup->mask); /* at most half full: the search above ends */
    plan->templates[plan->template_count++] = text;
    lookup->numbers[at] = (uint32_t)plan->template_count;
    return (uint32_t)plan->template_count - 1;
}

/* A field that is missing is NULL. */
static int compile_missing(PlanColumn *compiled) {
    Buffer cell = {0};
    buffer_reserve(&cell, BLOCK_BYTES);
    compiled->has_default = true;
    compiled->default_cell.data = buffer_take(&cell);
    check(compiled->default_cell.data);
    return 0;
}

static int put_default(const PlanColumn *compiled, Span text, unsigned known, Buffer *cell, const char **ret_reason) {
    _cleanup_(buffer_deinit) Buffer scratch = {0};
    _cleanup_(buffer_deinit) Buffer time = {0};
    if (compiled->format) {
        if (!time_format_put(compiled->format, compiled->is_date, text, &time, ret_reason)) return VALUE_DOES_NOT_FIT;
        text = buffer_span(&time);
        known = VALUE_IS_TEXT;
    }
    if (compiled->mask) return mask_put(compiled->mask, text, known, cell, &scratch, ret_reason);
    return value_put(cell, compiled->put_type, text, known, ret_reason);
}

/* A default is what the event would have there: a JSON string with its text, a number, a boolean,
 * or null. */
static int compile_default(PlanColumn *compiled, Error *error) {
    const Column *column = compiled->column;
    Span text = span_of(column->default_value);
    const char *reason;
    Buffer quoted = {0}, cell = {0};
    int r = 0;
    if (column->default_kind == SCALAR_NULL) return compile_missing(compiled);
    if (text_check(text) < text.size) {
        r = error_set(error, -EINVAL, "defaultValue is not UTF-8");
    } else {
        bool is_literal = column->default_kind == SCALAR_LITERAL;
        bool is_quoted = !is_literal && !column->raw_string && compiled->keeps_json;
        if (is_quoted) json_quote(&quoted, text);
        unsigned known = is_literal || is_quoted ? VALUE_IS_TEXT | VALUE_IS_JSON : VALUE_IS_TEXT;
        if (put_default(compiled, is_quoted ? buffer_span(&quoted) : text, known, &cell, &reason))
            r = error_set(error, -EINVAL, "defaultValue \"%.100s\" %s", column->default_value, reason);
    }
    buffer_deinit(&quoted);
    if (r < 0) {
        buffer_deinit(&cell);
        return r;
    }
    compiled->has_default = true;
    buffer_reserve(&cell, BLOCK_BYTES); /* it is copied in blocks */
    check(cell.size > 0);               /* an empty cell would be NULL */
    compiled->default_cell.size = cell.size;
    compiled->default_cell.data = buffer_take(&cell);
    return 0;
}

/* Can a text of the type be empty? */
static bool takes_empty(const Column *column) {
    const DataTraits *traits = &data_traits[column->data_type];
    return traits->holds_any || (traits->holds_json && !column->raw_string);
}

/* PLAN_PUT_OTHER and PLAN_PUT_TYPED are right for any data type; the rest are short cuts where the
 * cell is a mere copy. */
static PlanOp op_of(const Column *column) {
    const DataTraits *traits = &data_traits[column->data_type];
    bool is_text = column->data_type == DATA_TEXT;
    if (column->mask) return PLAN_PUT_OTHER;
    switch (column->type) {
    case COLUMN_ID: return is_text ? PLAN_PUT_ID : PLAN_PUT_OTHER;
    case COLUMN_DATETIME: return is_text || traits->is_date ? PLAN_PUT_TIME : PLAN_PUT_OTHER;
    case COLUMN_REST: return PLAN_PUT_REST;
    case COLUMN_PATH:
        if (column->inferred != COLUMN_DECLARED) return PLAN_FIELD_OTHER; /* plan_fields.c may find a short cut */
        if (is_text && column->raw_string) return PLAN_PUT_TEXT;
        return traits->keeps_json && !traits->is_json && !column->raw_string ? PLAN_PUT_JSON : PLAN_PUT_TYPED;
    case COLUMN_IP:
    case COLUMN_BODY:
    case COLUMN_HEADERS:
    case COLUMN_META:
    case COLUMN_TEMPLATE: return PLAN_PUT_OTHER;
    }
    unreachable();
}

static int compile_meta(const Source *source, Plan *plan, const Column *column, Error *error) {
    plan->needs |= PLAN_NEEDS_META;
    if (source_meta_fields(source) & META_BIT(column->meta_field)) return 0;
    _cleanup_(buffer_deinit) Buffer words = {0};
    source_meta_words(source, &words);
    return error_set(error, -EINVAL, "its meta field is \"%s\", but %s", meta_field_name(column->meta_field), buffer_text(&words));
}

/* A slot of the element that the sink explodes, where the path begins with that of the array, else
 * of the event. */
static int add_path(Compile *compile, PlanSink *sink, Span path, bool *ret_of_element, uint32_t *ret_slot, Error *error) {
    Plan *plan = compile->plan;
    int r = 0;
    *ret_of_element = false;
    plan->needs |= PLAN_NEEDS_JSON;
    plan->has_paths = sink->has_paths = true;
    if (sink->explode)
        r = pathset_add_below(sink->explode->elements, span_of(sink->sink->target.explode), path, ret_of_element, ret_slot, error);
    if (r == 0 && !*ret_of_element) r = pathset_add(plan->paths, path, ret_slot, error);
    return r;
}

static int compile_delete(Compile *compile, PlanSink *sink, Error *error) {
    const DeleteOn *on = &sink->sink->target.table.delete_on;
    const char *id = sink->sink->sink_id;
    if (!sink_target_deletes(&sink->sink->target)) return 0;
    sink->delete_on = calloc(1, sizeof *sink->delete_on);
    check(sink->delete_on);
    PlanDelete *compiled = sink->delete_on;
    if (on->tombstone && source_without_tombstones(compile->source))
        return error_set(error, -EINVAL, "sink \"%s\", deleteOn: tombstone is true, %s", id, source_without_tombstones(compile->source));
    if (!on->path) return 0;
    const char *wrong = source_paths_wrong(compile->source);
    if (wrong) return error_set(error, -EINVAL, "sink \"%s\", deleteOn: it has a path, %s", id, wrong);
    compiled->by_path = true;
    compiled->equals = span_of(on->equals);
    int r = add_path(compile, sink, span_of(on->path), &compiled->of_element, &compiled->slot, error);
    if (r < 0) (void)error_prefix(error, "sink \"%s\", deleteOn, path \"%.200s\"", id, on->path);
    return r;
}

/* Several nodes must mask alike what they read together, and what is a key. */
static int compile_mask(const Compile *compile, const Column *column, PlanColumn *compiled, Error *error) {
    Mask mask;
    bool shared = false;
    check(mask_parse(span_of(column->mask), &mask, NULL) == 0 && mask_takes(&mask, column->data_type));
    int r = mask_compile(&mask, column->data_type, compile->masks->keys, &compiled->mask, error);
    if (r == 0 && mask_needs_key(&mask)) {
        (void)mask_keys_main(compile->masks->keys, &shared);
        if (!shared && source_bridge(compile->source))
            r = error_set(
                error, -EINVAL,
                "it needs the option mask-key-file: sources of type \"%s\" may be read by several nodes, which must mask in the same way",
                source_kind_name(compile->source));
        else if (!shared && column->primary_key)
            r = error_set(error, -EINVAL,
                          "it needs the option mask-key-file: a primary key must be masked in the same way by all nodes that write it");
    }
    if (r < 0) (void)error_prefix(error, "mask \"%.100s\"", column->mask);
    return r;
}

static int compile_column(Compile *compile, PlanSink *sink, const Column *column, PlanColumn *compiled, Error *error) {
    Plan *plan = compile->plan;
    compiled->column = column;
    if (!column_type_fits(column))
        return error_set(error, -EINVAL, "a column of type %s cannot be of dataType %s", column_type_name(column->type),
                         data_type_name(column->data_type));
    compiled->op = op_of(column);
    compiled->keeps_json = data_traits[column->data_type].keeps_json && !column->mask; /* masks take what a string means */
    bool is_made = column->inferred != COLUMN_DECLARED;
    compiled->put_type = is_made && column->data_type == DATA_JSON ? DATA_JSON_TEXT : column->data_type;
    compiled->is_json = data_traits[compiled->put_type].is_json;
    compiled->is_date = data_traits[column->data_type].is_date;
    compiled->hides = plan->drops_bodies || column->mask;
    compiled->is_converted = column->mask || column->format;
    int r = column->mask ? compile_mask(compile, column, compiled, error) : 0;
    if (r == 0 && column->format) {
        r = time_format_compile(span_of(column->format), &compiled->format, error);
        if (r < 0) (void)error_prefix(error, "format \"%.100s\"", column->format);
    }
    if (r < 0) return r;
    switch (column->type) {
    case COLUMN_ID:
    case COLUMN_BODY: return 0;
    case COLUMN_REST:
        if (!sink->sink->target.infer || column != &sink->sink->target.columns[sink->column_count - 1])
            return error_set(error, -EINVAL,
                             "a column of type rest is allowed only as the last column of a table whose columns are inferred");
        return 0;
    case COLUMN_DATETIME: compiled->size = compiled->is_date ? DATE_SIZE : TIME_SIZE; return 0;
    case COLUMN_IP: plan->needs |= PLAN_NEEDS_IP; return 0;
    case COLUMN_HEADERS: plan->needs |= PLAN_NEEDS_HEADERS; return 0;
    case COLUMN_META: return compile_meta(compile->source, plan, column, error);
    case COLUMN_PATH: {
        if (!column->path) return error_set(error, -EINVAL, "a column of type path needs a path");
        const char *wrong = source_paths_wrong(compile->source);
        if (wrong) return error_set(error, -EINVAL, "its type is \"path\", %s", wrong);
        r = add_path(compile, sink, span_of(column->path), &compiled->of_element, &compiled->slot, error);
        if (r < 0) {
            (void)error_prefix(error, "path \"%.200s\"", column->path);
            return r;
        }
        /* A masked field is declared so that it has its mask; it may be missing as the others. */
        compiled->empty_is_missing = !takes_empty(column);
        bool may_be_missing = column->inferred != COLUMN_DECLARED || column->optional ||
                              (column->mask && sink->sink->target.infer && !column->primary_key);
        if (may_be_missing && !column->default_value) return compile_missing(compiled);
        return column->default_value ? compile_default(compiled, error) : 0;
    }
    case COLUMN_TEMPLATE:
        if (!column->template_text) return error_set(error, -EINVAL, "a column of type template needs a template");
        plan->needs |= template_needs(column->template_text);
        compiled->template_index = add_template(compile, column->template_text);
        return 0;
    }
    unreachable();
}

static int compile_explode(Compile *compile, PlanSink *sink, Error *error) {
    Plan *plan = compile->plan;
    const char *path = sink->sink->target.explode, *wrong = source_paths_wrong(compile->source);
    if (!path) return 0;
    if (wrong) return error_set(error, -EINVAL, "sink \"%s\": explode needs a path, %s", sink->sink->sink_id, wrong);
    sink->explode = calloc(1, sizeof *sink->explode);
    check(sink->explode);
    sink->explode->elements = pathset_new();
    plan->needs |= PLAN_NEEDS_JSON;
    plan->has_paths = sink->has_paths = true;
    int r = pathset_add(plan->paths, span_of(path), &sink->explode->slot, error);
    if (r < 0) (void)error_prefix(error, "sink \"%s\", explode, path \"%.200s\"", sink->sink->sink_id, path);
    return r;
}

static size_t fixed_bytes(const PlanColumn *compiled) {
    switch (compiled->op) {
    case PLAN_PUT_ID: return UUID_TEXT_SIZE;
    case PLAN_PUT_TIME: return compiled->size;
    default: return 0;
    }
}

static int compile_sink(Compile *compile, const Sink *sink, PlanSink *compiled, Error *error) {
    Plan *plan = compile->plan;
    compiled->sink = sink_ref(sink);
    compiled->columns = calloc(sink->target.column_count + 1, sizeof *compiled->columns);
    check(compiled->columns && sink->target.column_count < UINT32_MAX);
    compiled->column_count = (uint32_t)sink->target.column_count;
    compiled->ends_at = plan->ends_count;
    compiled->fixed_bytes = compiled->column_count + 2 * CELL_ROOM; /* what ends a cell, and blocks beyond the last */
    plan->ends_count += compiled->column_count;
    if (compiled->column_count == 0) return error_set(error, -EINVAL, "sink \"%s\": there is no column", sink->sink_id);
    if (sink->target.infer) {
        const char *wrong = source_paths_wrong(compile->source);
        if (wrong) return error_set(error, -EINVAL, "sink \"%s\": its columns are inferred, %s", sink->sink_id, wrong);
        if (sink->target.columns[compiled->column_count - 1].type != COLUMN_REST)
            return error_set(error, -EINVAL, "sink \"%s\": its columns are inferred, and its last one is not of type rest", sink->sink_id);
        compiled->fields = calloc(1, sizeof *compiled->fields);
        check(compiled->fields);
        plan->needs |= PLAN_NEEDS_JSON;
        plan->has_paths = compiled->has_paths = true;
    }
    int exploded = compile_explode(compile, compiled, error);
    if (exploded < 0) return exploded;
    int deletes = compile_delete(compile, compiled, error);
    if (deletes < 0) return deletes;
    compiled->is_special = compiled->explode || compiled->delete_on;
    for (uint32_t i = 0; i < compiled->column_count; i++) {
        const Column *column = &sink->target.columns[i];
        int r = compile_column(compile, compiled, column, &compiled->columns[i], error);
        if (r < 0) {
            (void)error_prefix(error, "sink \"%s\", column \"%s\"", sink->sink_id, column->name);
            return r;
        }
        compiled->fixed_bytes += fixed_bytes(&compiled->columns[i]);
        compiled->columns[i].sink = (uint32_t)(compiled - plan->sinks);
        compiled->columns[i].number = i;
        compiled->columns[i].place = (uint32_t)compiled->ends_at + i;
        compiled->columns[i].counts_default = compiled->columns[i].has_default && column->inferred == COLUMN_DECLARED;
        plan->has_defaults = plan->has_defaults || compiled->columns[i].counts_default;
    }
    return compiled->explode ? pathset_seal(compiled->explode->elements, error) : 0;
}

/* -- runs: equal cells of several sinks are made once -- */

typedef struct ColumnPlace {
    uint32_t sink, column;
} ColumnPlace;

/* Of masks too: the keys of a plan are the same everywhere. */
static bool same_text(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* All that a cell depends on, except for the event. */
static bool same_cell(const PlanColumn *a, const PlanColumn *b) {
    const Column *x = a->column, *y = b->column;
    return x->type == y->type && x->data_type == y->data_type && x->raw_string == y->raw_string && x->primary_key == y->primary_key &&
           x->meta_field == y->meta_field && a->slot == b->slot && a->template_index == b->template_index &&
           a->has_default == b->has_default && span_equal(a->default_cell, b->default_cell) && same_text(x->mask, y->mask) &&
           same_text(x->format, y->format);
}

static uint64_t hash_cell(const PlanColumn *compiled) {
    const Column *column = compiled->column;
    uint32_t fields[] = {column->type,   column->data_type,        column->raw_string,    column->primary_key,
                         compiled->slot, compiled->template_index, compiled->has_default, column->meta_field};
    const HashKey *key = hash_key_of_process();
    uint64_t hash = keyed_hash_join(key, hash_bytes(fields, sizeof fields),
                                    hash_bytes(compiled->default_cell.data, compiled->default_cell.size));
    if (column->format) hash = keyed_hash_join(key, hash, hash_bytes(column->format, strlen(column->format)));
    return column->mask ? keyed_hash_join(key, hash, hash_bytes(column->mask, strlen(column->mask))) : hash;
}

/* The place that first had this cell, which may be this one. `all` lists every place of the
 * plan. */
static ColumnPlace first_place(const Compile *compile, const ColumnPlace *all, uint32_t number) {
    const PlanSink *sinks = compile->plan->sinks;
    const Lookup *lookup = &compile->columns;
    check(number < compile->plan->ends_count && 2 * (uint64_t)number < lookup->mask);
    const PlanColumn *compiled = &sinks[all[number].sink].columns[all[number].column];
    if (compiled->op > PLAN_PUT_OTHER) return all[number]; /* what it does not take, this sink's rest has */
    uint64_t at = hash_cell(compiled) & lookup->mask;
    for (; lookup->numbers[at]; at = (at + 1) & lookup->mask) {
        ColumnPlace place = all[lookup->numbers[at] - 1];
        if (same_cell(&sinks[place.sink].columns[place.column], compiled)) return place;
    }
    lookup->numbers[at] = number + 1;
    return all[number];
}

/* A single id or time is made in no more time than it is found. */
static bool worth_a_copy(const PlanSink *sink, const PlanRun *run) {
    return run->count > 1 || fixed_bytes(&sink->columns[run->first]) == 0;
}

/* Ends the run; runs that are made here become one. */
static void add_run(Plan *plan, PlanSink *sink, PlanRun run) {
    check(run.count > 0 && sink->run_count < sink->column_count);
    if (run.from != PLAN_OWN && !worth_a_copy(sink, &run)) run.from = PLAN_OWN;
    PlanRun *last = sink->run_count ? &sink->runs[sink->run_count - 1] : NULL;
    if (run.from != PLAN_OWN)
        plan->sinks[run.from].is_copied = true;
    else if (last && last->from == PLAN_OWN) {
        last->count += run.count;
        return;
    }
    sink->runs[sink->run_count++] = run;
}

static void find_runs(Compile *compile) {
    Plan *plan = compile->plan;
    ColumnPlace *all = calloc(plan->ends_count + 1, sizeof *all);
    check(all);
    uint32_t number = 0;
    for (uint32_t i = 0; i < plan->sink_count; i++) {
        PlanSink *sink = &plan->sinks[i];
        sink->runs = calloc(sink->column_count, sizeof *sink->runs);
        check(sink->runs);
        PlanRun run = {0};
        for (uint32_t j = 0; j < sink->column_count; j++, number++) {
            all[number] = (ColumnPlace){i, j};
            ColumnPlace first = sink->explode ? all[number] : first_place(compile, all, number);
            uint32_t from = first.sink == i && first.column == j ? PLAN_OWN : first.sink;
            if (run.count && run.from == from && (from == PLAN_OWN || run.from_first + run.count == first.column)) {
                run.count++;
                continue;
            }
            if (run.count) add_run(plan, sink, run);
            run = (PlanRun){.first = j, .count = 1, .from = from, .from_first = first.column};
        }
        add_run(plan, sink, run);
    }
    check(number == plan->ends_count);
    free(all);
}

/* -- what the mapper relies on without looking -- */

static void check_column(const Plan *plan, const PlanSink *sink, const PlanColumn *compiled) {
    const Column *column = compiled->column;
    check(compiled->op <= PLAN_PUT_REST && column_type_fits(column));
    check((compiled->op == PLAN_PUT_REST) == (column->type == COLUMN_REST));
    bool is_field = compiled->op > PLAN_PUT_OTHER && compiled->op < PLAN_PUT_REST;
    check(is_field == column_is_inferred(column));
    check(!is_field || (sink->fields && compiled->field < sink->fields->field_count));
    check(compiled->op != PLAN_PUT_ID || column->type == COLUMN_ID);
    check((compiled->mask != NULL) == (column->mask != NULL) && (!compiled->mask || (compiled->op == PLAN_PUT_OTHER && compiled->hides)));
    check(compiled->op != PLAN_PUT_TIME || compiled->size == TIME_SIZE || compiled->size == DATE_SIZE);
    check(column->type != COLUMN_PATH || compiled->slot < (compiled->of_element ? sink->explode->elements : plan->paths)->slot_count);
    check(column->type != COLUMN_TEMPLATE || compiled->template_index < plan->template_count);
    check(compiled->has_default == (compiled->default_cell.data != NULL));
}

/* The runs are the sink's columns in their order, and copy only what stands in the rows by then. */
static void check_runs(const Plan *plan, uint32_t number) {
    const PlanSink *sink = &plan->sinks[number];
    uint32_t next = 0;
    for (uint32_t i = 0; i < sink->run_count; i++) {
        const PlanRun *run = &sink->runs[i];
        check(run->first == next && run->count > 0 && run->count <= sink->column_count - next);
        next += run->count;
        if (run->from == PLAN_OWN) continue;
        check(run->from <= number && plan->sinks[run->from].is_copied && !sink->explode && !plan->sinks[run->from].explode);
        uint32_t there = run->from == number ? run->first : plan->sinks[run->from].column_count;
        check(run->from_first < there && run->count <= there - run->from_first);
    }
    check(next == sink->column_count);
}

static void check_plan(const Plan *plan) {
    size_t ends = 0;
    bool has_paths = false;
    for (uint32_t i = 0; i < plan->sink_count; i++) {
        const PlanSink *sink = &plan->sinks[i];
        check(sink->column_count == sink->sink->target.column_count && sink->ends_at == ends);
        size_t fixed = sink->column_count + 2 * CELL_ROOM;
        for (uint32_t j = 0; j < sink->column_count; j++) {
            check(sink->columns[j].column == &sink->sink->target.columns[j]);
            check_column(plan, sink, &sink->columns[j]);
            fixed += fixed_bytes(&sink->columns[j]);
        }
        check(sink->fixed_bytes == fixed);
        check_runs(plan, i);
        ends += sink->column_count;
        has_paths = has_paths || sink->has_paths;
    }
    check(ends == plan->ends_count && has_paths == plan->has_paths);
    check(!has_paths || (plan->needs & PLAN_NEEDS_JSON));
}

static bool any_masks(Sink *const *sinks, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (sink_masks(sinks[i])) return true;
    return false;
}

int plan_compile(const Source *source, Sink *const *sinks, size_t sink_count, Plan **ret_plan, Error *error) {
    return plan_compile_masked(source, sinks, sink_count, &(PlanMasks){0}, ret_plan, error);
}

int plan_compile_masked(const Source *source, Sink *const *sinks, size_t sink_count, const PlanMasks *masks, Plan **ret_plan,
                        Error *error) {
    Plan *plan = calloc(1, sizeof *plan);
    check(plan && sink_count < UINT32_MAX);
    atomic_init(&plan->references, 1);
    plan->paths = pathset_new();
    plan->sinks = calloc(sink_count + 1, sizeof *plan->sinks);
    size_t columns = 0;
    for (size_t i = 0; i < sink_count; i++) columns += sinks[i]->target.column_count;
    plan->templates = calloc(columns + 1, sizeof *plan->templates);
    check(plan->sinks && plan->templates && columns < UINT32_MAX);
    plan->drops_bodies = source->body_policy == BODY_POLICY_DROP &&
                         (any_masks(masks->disabled, masks->disabled_count) || any_masks(sinks, sink_count));
    Compile compile = {.plan = plan, .source = source, .masks = masks};
    lookup_init(&compile.templates, columns);
    lookup_init(&compile.columns, columns);
    int r = 0;
    for (size_t i = 0; i < sink_count && r == 0; i++) {
        plan->sink_count++;
        r = compile_sink(&compile, sinks[i], &plan->sinks[i], error);
    }
    if (r == 0 && plan->drops_bodies && !masks->in_force) r = plan_refuse_clear(sinks, sink_count, masks, error);
    if (r == 0) r = plan_fields_add(plan, error);
    if (r == 0) r = pathset_seal(plan->paths, error);
    if (r == 0) {
        plan_fields_finish(plan);
        find_runs(&compile);
        check_plan(plan);
    }
    free(compile.templates.numbers);
    free(compile.columns.numbers);
    if (r < 0) {
        plan_unref(plan);
        return r;
    }
    *ret_plan = plan;
    return 0;
}
