#include "mapping/mask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"
#include "mapping/mask_hash.h"
#include "mapping/mask_number.h"
#include "mapping/row.h"
#include "mapping/value.h"
#include "mapping/words.h"

struct CompiledMask {
    MaskKind kind;
    MaskInput input;
    DataType type;
    bool plain;      /* of hash */
    MaskKeyed keyed; /* of those that need a key */
    Buffer cell;     /* redact, fixed */
    size_t count;    /* partial, date_shift */
    MaskStep step;   /* round, range */
    double share;    /* noise */
};

/* ---- compile --------------------------------------------------------------------------------- */

/* Other masks of the same value must not tell what this one took from the key. `hash` is what
 * others can make of the key, too. */
static const char *const purposes[MASK_KIND_COUNT_] = {
    [MASK_UUID] = "sluice mask uuid", [MASK_NOISE] = "sluice mask noise", [MASK_DATE_SHIFT] = "sluice mask date_shift"};

static int take_key(const Mask *mask, const MaskKeys *keys, MaskKeyed *keyed, Error *error) {
    if (mask->info->kind == MASK_HMAC) {
        Span key = keys ? mask_keys_named(keys, mask->parameter) : (Span){0};
        if (key.size == 0)
            return error_set(error, -EINVAL, "there is no key \"%.*s\": the option mask-keys names the keys and their files",
                             (int)mask->parameter.size, mask->parameter.data);
        mask_keyed_init(keyed, key);
    } else if (mask_needs_key(mask)) {
        Span key = keys ? mask_keys_main(keys, NULL) : (Span){0};
        if (key.size == 0) return error_set(error, -EINVAL, "there is no mask key: set the option mask-key-file");
        const char *purpose = purposes[mask->info->kind];
        if (purpose)
            mask_keyed_init_for(keyed, key, purpose);
        else
            mask_keyed_init(keyed, key);
    }
    return 0;
}

static int fix_cell(CompiledMask *compiled, Span text, Error *error) {
    const char *reason;
    if (value_put(&compiled->cell, compiled->type, text, 0, &reason) == 0) return 0;
    return error_set(error, -EINVAL, "its text \"%.*s\" %s", (int)(text.size < 80 ? text.size : 80), text.data, reason);
}

static int compile_parameter(const Mask *mask, CompiledMask *compiled, Error *error) {
    Span text = mask->parameter;
    switch (mask->info->kind) {
    case MASK_REDACT: return fix_cell(compiled, data_traits[compiled->type].holds_json ? SPAN("\"REDACTED\"") : SPAN("REDACTED"), error);
    case MASK_FIXED: return fix_cell(compiled, text, error);
    case MASK_PARTIAL:
    case MASK_DATE_SHIFT: compiled->count = (size_t)mask_step_of(text).size; return 0;
    case MASK_ROUND:
    case MASK_RANGE: compiled->step = mask_step_of(text); return 0;
    case MASK_NOISE: {
        MaskStep share = mask_step_of(text);
        compiled->share = (double)share.size;
        for (unsigned i = 0; i < share.places; i++) compiled->share /= 10;
        return 0;
    }
    case MASK_HASH: compiled->plain = text.data != NULL; return 0;
    case MASK_HMAC:
    case MASK_MD5:
    case MASK_EMAIL:
    case MASK_PHONE:
    case MASK_CREDIT_CARD:
    case MASK_SSN:
    case MASK_FIRST_LETTER:
    case MASK_STARS:
    case MASK_UUID:
    case MASK_YEAR_ONLY:
    case MASK_MONTH_YEAR: return 0;
    case MASK_KIND_COUNT_: break;
    }
    unreachable();
}

int mask_compile(const Mask *mask, DataType type, const MaskKeys *keys, CompiledMask **ret_mask, Error *error) {
    check(mask_takes(mask, type));
    CompiledMask *compiled = calloc(1, sizeof *compiled);
    check(compiled);
    compiled->kind = mask->info->kind;
    compiled->input = mask->info->input;
    compiled->type = type;
    int r = compile_parameter(mask, compiled, error);
    if (r == 0) r = take_key(mask, keys, &compiled->keyed, error);
    if (r < 0) {
        mask_free(compiled);
        return r;
    }
    *ret_mask = compiled;
    return 0;
}

void mask_free(CompiledMask *mask) {
    if (!mask) return;
    buffer_deinit(&mask->cell);
    explicit_bzero(mask, sizeof *mask);
    free(mask);
}

/* ---- digests --------------------------------------------------------------------------------- */

static void put_hex(char *to, const unsigned char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        *to++ = "0123456789abcdef"[bytes[i] >> 4];
        *to++ = "0123456789abcdef"[bytes[i] & 15];
    }
}

/* A short text that needs no quotes; in JSON it is a string. */
static void put_word(const CompiledMask *mask, Span word, Buffer *row) {
    if (mask->type == DATA_TEXT) {
        row_put_plain(row, word);
        return;
    }
    char quoted[72];
    check(data_traits[mask->type].holds_json && word.size + 2 <= sizeof quoted);
    quoted[0] = quoted[word.size + 1] = '"';
    memcpy(quoted + 1, word.data, word.size);
    row_put_quoted(row, (Span){quoted, word.size + 2});
}

static void put_digest(const CompiledMask *mask, Span text, Buffer *row) {
    unsigned char digest[MASK_SHA256_SIZE];
    size_t size = sizeof digest;
    char hex[2 * MASK_SHA256_SIZE];
    if (mask->kind == MASK_MD5) {
        mask_md5(text, digest);
        size = MASK_MD5_SIZE;
    } else if (mask->plain) {
        mask_sha256(text, digest);
    } else {
        mask_hmac(&mask->keyed, text, digest);
    }
    put_hex(hex, digest, size);
    put_word(mask, (Span){hex, 2 * size}, row);
}

static void put_uuid(const CompiledMask *mask, Span text, Buffer *row) {
    unsigned char digest[MASK_SHA256_SIZE];
    Uuid id;
    char word[UUID_TEXT_SIZE + 1];
    mask_hmac(&mask->keyed, text, digest);
    memcpy(id.bytes, digest, sizeof id.bytes);
    id.bytes[6] = (unsigned char)(0x80 | (id.bytes[6] & 0x0f)); /* version 8: made as its maker likes (RFC 9562) */
    id.bytes[8] = (unsigned char)(0x80 | (id.bytes[8] & 0x3f));
    uuid_format(&id, word);
    put_word(mask, (Span){word, UUID_TEXT_SIZE}, row);
}

static uint64_t random_of(const CompiledMask *mask, Span text) {
    unsigned char digest[MASK_SHA256_SIZE];
    uint64_t random = 0;
    mask_hmac(&mask->keyed, text, digest);
    for (size_t i = 0; i < sizeof random; i++) random = random << 8 | digest[i];
    return random;
}

/* ---- characters ------------------------------------------------------------------------------ */

/* Size of the character at `at`, of UTF-8. */
static size_t character_size(const char *at, const char *end) {
    size_t size = (unsigned char)*at >= 0x80 ? text_utf8_size(at, end) : 1;
    check_debug(size > 0);
    return size > 0 ? size : 1;
}

static void put_stars(Buffer *out, size_t count) {
    if (count == 0) return;
    memset(buffer_reserve(out, count), '*', count);
    out->size += count;
}

/* The first and the last characters, and stars between them. */
static void put_middle(Buffer *out, Span text, size_t first, size_t last) {
    size_t count = text_characters(text);
    if (count <= first + last) {
        put_stars(out, count);
        return;
    }
    const char *head = text.data, *end = text.data + text.size, *tail = end;
    for (size_t i = 0; i < first; i++) head += character_size(head, end);
    for (size_t i = 0; i < last; i++) do
            tail--;
        while (((unsigned char)*tail & 0xc0) == 0x80);
    buffer_append(out, text.data, (size_t)(head - text.data));
    put_stars(out, count - first - last);
    buffer_append(out, tail, (size_t)(end - tail));
}

static void put_email(Buffer *out, Span text) {
    const char *at = text.size > 0 ? memrchr(text.data, '@', text.size) : NULL;
    size_t size = at ? (size_t)(at - text.data) : text.size;
    Span local = {text.data, size};
    if (!at) {
        put_middle(out, text, 0, 0);
        return;
    }
    put_middle(out, local, 1, 1);
    buffer_append(out, at, text.size - size);
}

static bool is_mark(char c) {
    return (c >= ' ' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

/* Digits with places from..to (counted from 0) are shown, and marks; anything else is a star a
 * character. */
static void put_digits(Buffer *out, Span text, size_t from, size_t to) {
    const char *p = text.data, *end = p + text.size;
    size_t digit = 0;
    buffer_reserve(out, text.size);
    for (size_t size; p < end; p += size) {
        size = character_size(p, end);
        bool is_digit = text_is_digit(*p);
        bool shown = is_digit ? digit >= from && digit < to : is_mark(*p);
        digit += is_digit;
        buffer_append_byte(out, shown ? *p : '*');
    }
}

static size_t count_digits(Span text) {
    size_t count = 0;
    for (size_t i = 0; i < text.size; i++) count += text_is_digit(text.data[i]);
    return count;
}

static int put_text(const CompiledMask *mask, Span text, unsigned known, Buffer *row, Buffer *out, const char **ret_reason) {
    *ret_reason = "is not UTF-8 text without NUL";
    if (!(known & (VALUE_IS_TEXT | VALUE_IS_JSON)) && !value_is_text(text)) return MASK_DOES_NOT_FIT;
    size_t digits;
    buffer_clear(out);
    switch (mask->kind) {
    case MASK_EMAIL: put_email(out, text); break;
    case MASK_PHONE: put_digits(out, text, 0, count_digits(text) >= 10 ? 3 : 0); break;
    case MASK_CREDIT_CARD:
        digits = count_digits(text);
        put_digits(out, text, digits >= 12 ? digits - 4 : digits, digits);
        break;
    case MASK_SSN:
        digits = count_digits(text);
        put_digits(out, text, digits == 9 ? digits - 4 : digits, digits);
        break;
    case MASK_PARTIAL: put_middle(out, text, mask->count, mask->count); break;
    case MASK_FIRST_LETTER: put_middle(out, text, 1, 0); break;
    case MASK_STARS: put_stars(out, text_characters(text)); break;
    default: unreachable();
    }
    row_put(row, buffer_span(out));
    return 0;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static int put_number(const CompiledMask *mask, Span text, unsigned known, Buffer *row, Buffer *out, const char **ret_reason) {
    bool is_integer = mask->type == DATA_INTEGER;
    buffer_clear(out);
    if (value_put(out, is_integer ? DATA_INTEGER : mask->type == DATA_NUMBER ? DATA_NUMBER : DATA_DECIMAL, text, known, ret_reason))
        return MASK_DOES_NOT_FIT;
    size_t size = out->size;
    buffer_reserve(out, 256); /* what is appended is shorter: it does not move the number */
    Span number = {out->data, size};
    int r;
    switch (mask->kind) {
    case MASK_ROUND: r = mask_multiple(out, number, mask->step, MASK_MULTIPLE_NEAREST, is_integer); break;
    case MASK_RANGE:
        r = mask->type == DATA_TEXT ? mask_range(out, number, mask->step)
                                    : mask_multiple(out, number, mask->step, MASK_MULTIPLE_BELOW, is_integer);
        break;
    case MASK_NOISE: r = mask_noise(out, number, mask->share, random_of(mask, number), is_integer); break;
    default: unreachable();
    }
    check(out->data == number.data);
    *ret_reason = "has more digits than this mask supports";
    if (r) return MASK_DOES_NOT_FIT;
    Span masked = {out->data + size, out->size - size};
    return mask->type == DATA_TEXT ? (row_put_plain(row, masked), 0) : value_put(row, mask->type, masked, 0, ret_reason);
}

/* ---- dates ----------------------------------------------------------------------------------- */

enum { DATE_TEXT_SIZE = 10 };

static int number_at(const char *text, size_t size) {
    int number = 0;
    for (size_t i = 0; i < size; i++) number = number * 10 + (text[i] - '0');
    return number;
}

/* Days from 1970-01-01, and back (proleptic Gregorian; years count from March). */
static int days_of(int year, int month, int day) {
    year -= month <= 2;
    int era = year / 400, of_era = year - era * 400; /* no year is below 0 */
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void put_days(char date[static DATE_TEXT_SIZE], int days) {
    days += 719468;
    int era = days / 146097, of_era = days - era * 146097;
    int year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
    int day = of_year - (153 * month + 2) / 5 + 1;
    month += month < 10 ? 3 : -9;
    year += era * 400 + (month <= 2);
    char text[32];
    check(year >= 1 && year <= 9999);
    (void)snprintf(text, sizeof text, "%04d-%02d-%02d", year, month, day);
    memcpy(date, text, DATE_TEXT_SIZE);
}

static void shift(const CompiledMask *mask, Span value, char date[static DATE_TEXT_SIZE]) {
    static const int first = -719162, last = 2932896; /* 0001-01-01 and 9999-12-31 */
    uint64_t random = random_of(mask, value);
    int by = (int)((random >> 1) % mask->count) + 1;
    int days = days_of(number_at(date, 4), number_at(date + 5, 2), number_at(date + 8, 2));
    if (random & 1 ? days - by >= first : days + by > last) by = -by;
    put_days(date, days + by);
}

/* A time as it is written, with another date: its time of day and its offset stay. Equal instants
 * move by the same days. */
static int shift_text(const CompiledMask *mask, Span text, Buffer *row, Buffer *out) {
    size_t size = out->size;
    buffer_append_span(out, text);
    shift(mask, (Span){out->data, size}, out->data + size);
    row_put_plain(row, (Span){out->data + size, text.size});
    return 0;
}

static int put_time(const CompiledMask *mask, Span text, Buffer *row, Buffer *out, const char **ret_reason) {
    bool is_date = mask->type == DATA_DATE || (mask->type != DATA_TIMESTAMP && text.size == DATE_TEXT_SIZE);
    buffer_clear(out);
    if (value_put(out, is_date ? DATA_DATE : DATA_TIMESTAMP, text, 0, ret_reason)) return MASK_DOES_NOT_FIT;
    bool shows_time = mask->type == DATA_TIMESTAMP || mask->type == DATA_DATE;
    size_t size = out->size;
    switch (mask->kind) {
    case MASK_DATE_SHIFT:
        if (mask->type == DATA_TEXT && !is_date) return shift_text(mask, text, row, out);
        shift(mask, buffer_span(out), out->data);
        break;
    case MASK_YEAR_ONLY:
        if (shows_time)
            memcpy(out->data + 4, "-01-01", 6);
        else
            size = 4;
        break;
    case MASK_MONTH_YEAR:
        if (shows_time)
            memcpy(out->data + 7, "-01", 3);
        else
            size = 7;
        break;
    default: unreachable();
    }
    if (mask->kind != MASK_DATE_SHIFT && mask->type == DATA_TIMESTAMP) memcpy(out->data + DATE_TEXT_SIZE, "T00:00:00.000000Z", 17);
    if (mask->type == DATA_INTEGER) { /* 0042 is no integer */
        char year[16];
        int digits = snprintf(year, sizeof year, "%d", number_at(out->data, 4));
        row_put_plain(row, (Span){year, (size_t)digits});
        return 0;
    }
    row_put_plain(row, (Span){out->data, size});
    return 0;
}

int mask_put(const CompiledMask *mask, Span text, unsigned known, Buffer *row, Buffer *scratch, const char **ret_reason) {
    if (!text.data) text.data = "";
    check_debug(text.size == 0 || scratch->capacity == 0 || text.data < scratch->data || text.data >= scratch->data + scratch->capacity);
    switch (mask->input) {
    case MASK_OF_TEXT: return put_text(mask, text, known, row, scratch, ret_reason);
    case MASK_OF_NUMBER: return put_number(mask, text, known, row, scratch, ret_reason);
    case MASK_OF_TIME: return put_time(mask, text, row, scratch, ret_reason);
    case MASK_OF_ANY: break;
    }
    if (mask->kind == MASK_UUID)
        put_uuid(mask, text, row);
    else if (mask->kind == MASK_REDACT || mask->kind == MASK_FIXED)
        row_put_plain(row, buffer_span(&mask->cell));
    else
        put_digest(mask, text, row);
    return 0;
}
