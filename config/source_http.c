#include "config/source_http.h"

#include <string.h>

#include "base/random.h"
#include "base/text.h"
#include "config/definition_parts.h"

#define SECRET_CHARACTERS 48
#define SECRET_CHARACTERS_MIN 32
#define SECRET_CHARACTERS_MAX 256
#define RATE_MAX 10000000
#define ORIGINS_MAX 100
#define ORIGIN_BYTES_MAX 300

/* The text of a wrong secret stands in no error. */
static int check_secret(Fault *fault, const Node *field) {
    const char *text = json_string_value(field->value);
    size_t length = strlen(text);
    size_t valid = strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-");
    if (length >= SECRET_CHARACTERS_MIN && length <= SECRET_CHARACTERS_MAX && valid == length) return 0;
    return fault_at(fault, field, "must be %d to %d of 0-9, A-Z, a-z, '_' and '-'", SECRET_CHARACTERS_MIN, SECRET_CHARACTERS_MAX);
}

/* As a browser writes an origin (RFC 6454): it is compared byte by byte. */
static int check_origin(Fault *fault, const Node *field) {
    const char *text = json_string_value(field->value);
    char excerpt[TEXT_EXCERPT_SIZE];
    (void)text_excerpt(span_of(text), excerpt);
    if (strcmp(text, "*") == 0) return fault_at(fault, field, "is \"*\": leave \"cors\" out to let pages of all origins send events");
    const char *host = strstr(text, "://");
    size_t scheme = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+.-");
    if (!host || scheme == 0 || text + scheme != host)
        return fault_at(fault, field, "is \"%s\": an origin is \"https://HOST\" or \"https://HOST:PORT\", in small letters", excerpt);
    host += 3;
    size_t length = *host == '[' ? strcspn(host, "]") + 1 : strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789_.-");
    const char *port = host + length;
    if (length == 0 || length > strlen(host) || (*port && *port != ':'))
        return fault_at(fault, field,
                        "is \"%s\": an origin is a scheme, a host in small letters and optionally a port, without path and slash", excerpt);
    if (*port == '\0') return 0;
    size_t digits = strspn(port + 1, "0123456789");
    if (digits == 0 || digits > 5 || port[1 + digits] != '\0')
        return fault_at(fault, field, "is \"%s\": its port is not a number", excerpt);
    bool is_default = (text_begins(span_of(text), SPAN("https:")) && strcmp(port, ":443") == 0) ||
                      (text_begins(span_of(text), SPAN("http:")) && strcmp(port, ":80") == 0);
    if (is_default) return fault_at(fault, field, "is \"%s\": a browser leaves out the default port of the scheme", excerpt);
    return 0;
}

static const FieldInfo cors_rows[] = {
    {.name = "origins",
     .type = FIELD_TEXTS,
     .offset = offsetof(HttpSource, cors_origins),
     .count_offset = offsetof(HttpSource, cors_origin_count),
     .least = 1,
     .most = ORIGINS_MAX,
     .item_max = ORIGIN_BYTES_MAX,
     .needed = "\"origins\": a list of them",
     .validate = check_origin,
     .sentence = "Origins of these pages, as browsers send them: `https://shop.example`."},
    {0},
};
static const FieldTable cors_fields = {.owners = "cors", .fields = cors_rows, .size = sizeof(HttpSource)};

static int complete_rate(Fault *fault, const Node *node, void *object) {
    (void)fault, (void)node;
    HttpSource *http = object;
    if (http->rate_burst == 0) http->rate_burst = http->rate_events;
    return 0;
}

static const FieldInfo rate_rows[] = {
    {.name = "events",
     .type = FIELD_COUNT,
     .offset = offsetof(HttpSource, rate_events),
     .least = 1,
     .most = RATE_MAX,
     .unit = "a second",
     .needed = "\"events\" (a second)",
     .sentence = "Average number of events per second."},
    {.name = "burst",
     .type = FIELD_COUNT,
     .offset = offsetof(HttpSource, rate_burst),
     .default_words = "as `events`",
     .least = 1,
     .most = RATE_MAX,
     .unit = "events",
     .sentence = "Number of events that may arrive at once after a quiet time."},
    {0},
};
static const FieldTable rate_fields = {.owners = "rates", .fields = rate_rows, .size = sizeof(HttpSource), .complete = complete_rate};

static const FieldInfo http_rows[] = {
    {.name = "framing",
     .type = FIELD_CHOICE,
     .offset = offsetof(HttpSource, framing),
     .default_value = "single",
     .choices = framing_names,
     .sentence = "How a body is divided into events."},
    {.name = "rate",
     .type = FIELD_OBJECT,
     .fields = &rate_fields,
     .is_optional = true,
     .default_words = "no limit",
     .sentence = "Limit on the events per second. Further events are refused with 429."},
    {.name = "cors",
     .type = FIELD_OBJECT,
     .fields = &cors_fields,
     .is_optional = true,
     .default_words = "pages of all origins",
     .sentence = "The web pages that may send events. Requests of other pages are refused with 403."},
    {.name = "discard",
     .type = FIELD_BOOL,
     .offset = offsetof(HttpSource, discard),
     .is_optional = true,
     .sentence = "What happens to events while the source has no enabled sink. With `true` they are answered with 200 and discarded. With "
                 "`false` they are refused with 503."},
    {.name = "errorDetail",
     .type = FIELD_CHOICE,
     .offset = offsetof(HttpSource, error_detail),
     .default_value = "full",
     .choices = error_detail_names,
     .sentence = "Whether error answers name sinks, columns and paths."},
    {.name = "secret",
     .type = FIELD_TEXT,
     .offset = offsetof(HttpSource, secret),
     .default_words = "random",
     .most = INT32_MAX,
     .range_words = "32..256 of `0-9 A-Z a-z _ -`",
     .is_secret = true,
     .validate = check_secret,
     .sentence = "Secret at the end of the source's URL. Operators and admins see it in `http.url`."},
    {.name = "http", .type = FIELD_OWN, .read_only = FIELD_BY_SERVER, .sentence = "`url`: where events are POSTed to."},
    {0},
};
static const FieldTable http_fields = {.owners = "sources", .fields = http_rows, .size = sizeof(HttpSource)};

static void complete(void *part, const void *old) {
    HttpSource *http = part;
    if (http->secret) return;
    if (old) {
        http->secret = text_copy(((const HttpSource *)old)->secret);
        return;
    }
    char secret[SECRET_CHARACTERS + 1];
    random_secret(secret, SECRET_CHARACTERS);
    http->secret = text_copy(secret);
}

static void describe(const Source *source, const SourcePlace *place, json_t *answer) {
    const HttpSource *http = source->part;
    size_t length = strlen(place->public_url);
    while (length > 0 && place->public_url[length - 1] == '/') length--;
    json_t *url = json_sprintf("%.*s/stream/%u/%s/%s", (int)length, place->public_url, place->project, source->source_id,
                               place->show_secret ? http->secret : "***");
    json_t *shown = json_pack("{s:o}", "url", url);
    check(shown && json_object_set_new(answer, "http", shown) == 0);
}

static bool first_sink_rejects(const void *part) {
    return ((const HttpSource *)part)->framing == FRAMING_SINGLE;
}

static Framing framing(const void *part) {
    return ((const HttpSource *)part)->framing;
}

static const char *without_sink(const void *part) {
    return ((const HttpSource *)part)->discard ? "new events are answered with 200 and discarded."
                                               : "new events are refused with 503 noEnabledSink.";
}

const SourceKind source_kind_http = {
    .name = "http",
    .fields = &http_fields,
    .complete = complete,
    .describe = describe,
    .first_sink_rejects = first_sink_rejects,
    .framing = framing,
    .without_sink = without_sink,
};
