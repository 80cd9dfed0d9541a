#include "config/mask_table.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "config/definition.h"

#define BIT(type) (1U << (type))
#define TEXTS (BIT(DATA_TEXT) | BIT(DATA_JSON) | BIT(DATA_JSON_TEXT))
#define NUMBERS (BIT(DATA_INTEGER) | BIT(DATA_NUMBER) | BIT(DATA_DECIMAL))
#define TIMES (BIT(DATA_TIMESTAMP) | BIT(DATA_DATE))
#define EVERY (BIT(DATA_TYPE_COUNT) - 1)

const MaskInfo mask_table[MASK_KIND_COUNT_] = {
    {"hash", MASK_HASH, MASK_OF_ANY, MASK_HAS_PLAIN, NULL, 0, 0, TEXTS, true, true,
     "HMAC-SHA-256 with the mask key, in hexadecimal digits. With `plain` it is SHA-256 without a key, which does not protect values that "
     "can be guessed.",
     "hash:plain", "`ann@example.com` -> `71d4f55f…`"},
    {"hmac", MASK_HMAC, MASK_OF_ANY, MASK_HAS_KEY, NULL, 0, 0, TEXTS, false, true,
     "HMAC-SHA-256 with the key of that name, in hexadecimal digits.", "hmac:crm", "`ann` -> 64 digits"},
    {"md5", MASK_MD5, MASK_OF_ANY, MASK_HAS_NONE, NULL, 0, 0, TEXTS, false, true,
     "MD5, in hexadecimal digits. Use it only for tables that already have MD5: it is broken, and does not protect values that can be "
     "guessed.",
     "md5", "`ann` -> `7e0d7f8a…`"},
    {"redact", MASK_REDACT, MASK_OF_ANY, MASK_HAS_NONE, NULL, 0, 0, TEXTS, false, false, "The text REDACTED.", "redact",
     "`ann` -> `REDACTED`"},
    {"email", MASK_EMAIL, MASK_OF_TEXT, MASK_HAS_NONE, NULL, 0, 0, BIT(DATA_TEXT), false, false,
     "Keeps the first and the last character before the last `@`, and all from the `@` on. The characters between are stars. If there are "
     "up to two characters before the `@`, or no `@`, all of them are stars.",
     "email", "`smith@example.com` -> `s***h@example.com`"},
    {"phone", MASK_PHONE, MASK_OF_TEXT, MASK_HAS_NONE, NULL, 0, 0, BIT(DATA_TEXT), false, false,
     "Keeps the first three digits if there are at least ten. All other characters are stars, except ASCII marks and spaces.", "phone",
     "`+49 170 1234567` -> `+49 1** *******`"},
    {"credit_card", MASK_CREDIT_CARD, MASK_OF_TEXT, MASK_HAS_NONE, NULL, 0, 0, BIT(DATA_TEXT), false, false,
     "Keeps the last four digits if there are at least twelve. All other characters are stars, except ASCII marks and spaces.",
     "credit_card", "`4111 1111 1111 1234` -> `**** **** **** 1234`"},
    {"ssn", MASK_SSN, MASK_OF_TEXT, MASK_HAS_NONE, NULL, 0, 0, BIT(DATA_TEXT), false, false,
     "Keeps the last four digits if there are exactly nine. All other characters are stars, except ASCII marks and spaces.", "ssn",
     "`123-45-6789` -> `***-**-6789`"},
    {"partial", MASK_PARTIAL, MASK_OF_TEXT, MASK_HAS_COUNT, "2", 1, 1000, BIT(DATA_TEXT), false, false,
     "Keeps the first N and the last N characters. All others are stars. If there are at most 2N characters, all of them are stars.",
     "partial:2", "`wonderful` -> `wo*****ul`"},
    {"first_letter", MASK_FIRST_LETTER, MASK_OF_TEXT, MASK_HAS_NONE, NULL, 0, 0, BIT(DATA_TEXT), false, false,
     "Keeps the first character. All others are stars. A single character is a star.", "first_letter", "`Élodie` -> `É*****`"},
    {"stars", MASK_STARS, MASK_OF_TEXT, MASK_HAS_NONE, NULL, 0, 0, BIT(DATA_TEXT), false, false, "A star for each character.", "stars",
     "`ann` -> `***`"},
    {"fixed", MASK_FIXED, MASK_OF_ANY, MASK_HAS_TEXT, "MASKED", 0, 0, EVERY, false, false, "This text, which has to fit the dataType.",
     "fixed:0", "`42` -> `0`"},
    {"uuid", MASK_UUID, MASK_OF_ANY, MASK_HAS_NONE, NULL, 0, 0, TEXTS, true, true, "A UUID (version 8) made of the value and the mask key.",
     "uuid", "`ann` -> 32 digits in five groups"},
    {"round", MASK_ROUND, MASK_OF_NUMBER, MASK_HAS_STEP, "10", 0, 0, NUMBERS, false, false,
     "The nearest multiple of N. If two multiples are equally near, it is the one that is further from 0.", "round:100",
     "`1250` -> `1300`"},
    {"range", MASK_RANGE, MASK_OF_NUMBER, MASK_HAS_STEP, "100", 0, 0, NUMBERS | BIT(DATA_TEXT), false, false,
     "The range of size N that contains the value, as `LOW-HIGH`. HIGH is not part of the range. In a column of numbers: LOW.", "range:10",
     "`42` -> `40-50`"},
    {"noise", MASK_NOISE, MASK_OF_NUMBER, MASK_HAS_SHARE, "0.1", 0, 0, NUMBERS, true, false,
     "A number that differs by at most F times the value. The value and the mask key decide the difference. Small integers may stay "
     "unchanged.",
     "noise:0.1", "`1000` -> `900` to `1100`"},
    {"date_shift", MASK_DATE_SHIFT, MASK_OF_TIME, MASK_HAS_COUNT, "30", 1, 36500, TIMES | BIT(DATA_TEXT), true, false,
     "A date that is 1 to N days earlier or later. The value and the mask key decide how many. The time of day is kept, and in a text its "
     "offset as well.",
     "date_shift:30", "`2024-02-29` -> `2024-01-30` to `2024-03-30`"},
    {"year_only", MASK_YEAR_ONLY, MASK_OF_TIME, MASK_HAS_NONE, NULL, 0, 0, TIMES | BIT(DATA_TEXT) | BIT(DATA_INTEGER), false, false,
     "The year in UTC. In a column of dates or timestamps: the first moment of the year.", "year_only",
     "`2024-02-29` -> `2024`, or `2024-01-01`"},
    {"month_year", MASK_MONTH_YEAR, MASK_OF_TIME, MASK_HAS_NONE, NULL, 0, 0, TIMES | BIT(DATA_TEXT), false, false,
     "The year and the month in UTC. In a column of dates or timestamps: the first moment of the month.", "month_year",
     "`2024-02-29` -> `2024-02`, or `2024-02-01`"},
};

static const MaskInfo *find(Span name) {
    for (size_t i = 0; i < MASK_KIND_COUNT_; i++)
        if (span_equal(name, span_of(mask_table[i].name))) return &mask_table[i];
    return NULL;
}

/* What stands behind the name: ":N", "[:N]"; nothing. */
static const char *shape_of(const MaskInfo *info) {
    switch (info->parameter) {
    case MASK_HAS_NONE: return "";
    case MASK_HAS_PLAIN: return "[:plain]";
    case MASK_HAS_KEY: return ":KEYNAME";
    case MASK_HAS_COUNT:
    case MASK_HAS_STEP: return "[:N]";
    case MASK_HAS_SHARE: return "[:F]";
    case MASK_HAS_TEXT: return "[:TEXT]";
    }
    unreachable();
}

static int refuse_name(Span name, Error *error) {
    const char *names[MASK_KIND_COUNT_];
    char excerpt[TEXT_EXCERPT_SIZE];
    _cleanup_(buffer_deinit) Buffer near = {0}, all = {0};
    for (size_t i = 0; i < MASK_KIND_COUNT_; i++) {
        names[i] = mask_table[i].name;
        buffer_printf(&all, "%s%s%s", i ? ", " : "", mask_table[i].name, shape_of(&mask_table[i]));
    }
    text_near(&near, name, names, MASK_KIND_COUNT_);
    if (near.size > 0)
        return error_set(error, -EINVAL, "has no mask \"%s\": did you mean %s? There are %s", text_excerpt(name, excerpt),
                         buffer_text(&near), buffer_text(&all));
    return error_set(error, -EINVAL, "has no mask \"%s\": there are %s", text_excerpt(name, excerpt), buffer_text(&all));
}

/* Digits of a number such as 0.25 without signs and exponents, at most MASK_NUMBER_DIGITS_MAX. */
static bool decimal_of(Span text, double *ret_value) {
    size_t digits = 0, points = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '.') {
            if (points++ || i == 0 || i + 1 == text.size) return false;
        } else if (text.data[i] >= '0' && text.data[i] <= '9') {
            digits++;
        } else {
            return false;
        }
    }
    if (digits == 0 || digits > MASK_NUMBER_DIGITS_MAX) return false;
    double value = 0, scale = 1;
    for (size_t i = 0, behind = 0; i < text.size; i++) {
        if (text.data[i] == '.') {
            behind = 1;
            continue;
        }
        value = value * 10 + (text.data[i] - '0');
        if (behind) scale *= 10;
    }
    *ret_value = value / scale;
    return true;
}

static int check_parameter(const Mask *mask, Error *error) {
    const MaskInfo *info = mask->info;
    Span text = mask->parameter;
    double value;
    switch (info->parameter) {
    case MASK_HAS_NONE:
        if (text.data) return error_set(error, -EINVAL, "must be \"%s\": this mask has no parameter", info->name);
        return 0;
    case MASK_HAS_PLAIN:
        if (text.data && !span_equal(text, SPAN("plain")))
            return error_set(error, -EINVAL, "must be \"%s\", or \"%s:plain\"", info->name, info->name);
        return 0;
    case MASK_HAS_KEY: {
        char *name = text.size > 0 ? text_copy_span(text) : NULL;
        bool valid = name && identifier_valid(name);
        free(name);
        if (!valid) return error_set(error, -EINVAL, "must be \"%s:KEYNAME\", with a name of the option mask-keys", info->name);
        return 0;
    }
    case MASK_HAS_COUNT:
        if (!decimal_of(text, &value) || memchr(text.data, '.', text.size) || value < info->least || value > info->most)
            return error_set(error, -EINVAL, "must be \"%s:N\", where N is a whole number in %u..%u", info->name, info->least, info->most);
        return 0;
    case MASK_HAS_STEP:
        if (!decimal_of(text, &value) || value <= 0)
            return error_set(error, -EINVAL, "must be \"%s:N\", where N is a number above 0 such as 10 or 0.5, of at most %d digits",
                             info->name, MASK_NUMBER_DIGITS_MAX);
        return 0;
    case MASK_HAS_SHARE:
        if (!decimal_of(text, &value) || value <= 0 || value > 1)
            return error_set(error, -EINVAL, "must be \"%s:F\", where F is a number above 0, and at most 1, such as 0.1", info->name);
        return 0;
    case MASK_HAS_TEXT:
        if (text_check(text) < text.size) return error_set(error, -EINVAL, "has a text that is not UTF-8");
        return 0;
    }
    unreachable();
}

int mask_parse(Span text, Mask *ret_mask, Error *error) {
    const char *colon = text.size > 0 ? memchr(text.data, ':', text.size) : NULL;
    Span name = {text.data, colon ? (size_t)(colon - text.data) : text.size};
    Mask mask = {.info = find(name)};
    if (!mask.info) return refuse_name(name, error);
    if (colon)
        mask.parameter = (Span){colon + 1, text.size - name.size - 1};
    else if (mask.info->default_parameter)
        mask.parameter = span_of(mask.info->default_parameter);
    int r = check_parameter(&mask, error);
    if (r == 0) *ret_mask = mask;
    return r;
}

bool mask_takes(const Mask *mask, DataType type) {
    check(type < DATA_TYPE_COUNT);
    return mask->info->types & BIT(type);
}

static void put_types(const MaskInfo *info, const char *mark, Buffer *out) {
    bool first = true;
    for (unsigned type = 0; type < DATA_TYPE_COUNT; type++) {
        if (!(info->types & BIT(type))) continue;
        buffer_printf(out, "%s%s%s%s", first ? "" : ", ", mark, data_type_name((DataType)type), mark);
        first = false;
    }
}

int mask_check_type(const Mask *mask, DataType type, Error *error) {
    if (!mask_takes(mask, type)) {
        _cleanup_(buffer_deinit) Buffer types = {0};
        put_types(mask->info, "\"", &types);
        return error_set(error, -EINVAL, "is \"%s\", which is for columns of dataType %s, not \"%s\"", mask->info->name,
                         buffer_text(&types), data_type_name(type));
    }
    if (mask->info->parameter == MASK_HAS_STEP && type == DATA_INTEGER && memchr(mask->parameter.data, '.', mask->parameter.size))
        return error_set(error, -EINVAL, "must have a whole number, such as \"%s:10\", where the dataType is \"%s\"", mask->info->name,
                         data_type_name(type));
    return 0;
}

bool mask_needs_key(const Mask *mask) {
    return mask->info->needs_key && !(mask->info->parameter == MASK_HAS_PLAIN && mask->parameter.data);
}

bool sink_needs_mask_key(const Sink *sink) {
    for (size_t i = 0; i < sink->target.column_count; i++) {
        const char *text = sink->target.columns[i].mask;
        Mask mask;
        if (text && mask_parse(span_of(text), &mask, NULL) == 0 && mask_needs_key(&mask)) return true;
    }
    return false;
}

void mask_table_check(void) {
    for (size_t i = 0; i < MASK_KIND_COUNT_; i++) {
        const MaskInfo *info = &mask_table[i];
        Mask mask;
        Error error = {0};
        check(info->kind == i && find(span_of(info->name)) == info && info->types != 0 && info->sentence && info->gives);
        check(mask_parse(span_of(info->example), &mask, &error) == 0 && mask.info == info);
        if (info->default_parameter) check(mask_parse(span_of(info->name), &mask, &error) == 0);
        size_t size = strlen(info->sentence);
        check(size > 0 && info->sentence[size - 1] == '.');
    }
}

void mask_document(Buffer *out) {
    buffer_append_text(out, "| mask | result | example | dataTypes | key | allowed in a primary key |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < MASK_KIND_COUNT_; i++) {
        const MaskInfo *info = &mask_table[i];
        buffer_printf(out, "| `%s%s` | %s", info->name, shape_of(info), info->sentence);
        if (info->parameter == MASK_HAS_COUNT) buffer_printf(out, " N is %u..%u.", info->least, info->most);
        if (info->parameter == MASK_HAS_SHARE) buffer_append_text(out, " F is above 0, and at most 1.");
        if (info->default_parameter) buffer_printf(out, " Without a parameter: `%s`.", info->default_parameter);
        buffer_printf(out, " | `%s`: %s | ", info->example, info->gives);
        if (info->types == EVERY)
            buffer_append_text(out, "all");
        else
            put_types(info, "`", out);
        buffer_printf(out, " | %s | %s |\n",
                      info->needs_key                   ? "the mask key"
                      : info->parameter == MASK_HAS_KEY ? "its own"
                                                        : "",
                      info->may_be_key ? "yes" : "");
    }
}
