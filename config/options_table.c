#include "config/options_table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "config/definition.h"
#include "config/units.h"

#define KB 1024LL
#define MB (1024 * KB)
#define GB (1024 * MB)
#define TB (1024 * GB)
#define AT(field) offsetof(Options, field)

#define TEXT(name, type, field, value, choices, reload, doc)                                                                               \
    { name, type, AT(field), value, 0, 0, choices, reload, doc }
#define FLAG(name, field, value, reload, doc)                                                                                              \
    { name, OPTION_BOOL, AT(field), value, 0, 1, NULL, reload, doc }
#define COUNT(name, field, value, least, most, reload, doc)                                                                                \
    { name, OPTION_COUNT, AT(field), value, least, most, NULL, reload, doc }
#define SIZE(name, field, value, least, most, reload, doc)                                                                                 \
    { name, OPTION_SIZE, AT(field), value, least, most, NULL, reload, doc }
#define TIME(name, field, value, least, most, reload, doc)                                                                                 \
    { name, OPTION_TIME, AT(field), value, least, most, NULL, reload, doc }
/* LIVE: read anew where it is used. Threads copy what they need when they start, so most options
 * are not. */
#define LIVE true
#define RESTART false

const OptionInfo options_table[] = {
    TEXT("data", OPTION_TEXT, data, "./data", NULL, RESTART, "The data directory."),
    TEXT("intake", OPTION_ADDRESS, intake, "0.0.0.0:7000", NULL, RESTART, "Address of the intake, as ADDR:PORT."),
    TEXT("admin", OPTION_ADDRESS, admin, "127.0.0.1:7001", NULL, RESTART, "Address of the management API, as ADDR:PORT."),
    FLAG("admin-insecure", admin_insecure, "false", RESTART, "Allow a management API without TLS that other machines can reach."),
    TEXT("public-url", OPTION_URL, public_url, "", NULL, LIVE,
         "Base URL of sources as senders see it, before /stream. Empty: derived from `intake`."),
    COUNT("project", project, "1", 1, UINT32_MAX, RESTART, "Project id in the URLs of sources."),
    TEXT("branch", OPTION_BRANCH, branch, "default", NULL, RESTART, "Branch id in the URLs of the management API: default, or a number."),
    TEXT("trusted-proxies", OPTION_NETWORKS, trusted_proxies, "", NULL, RESTART,
         "Networks (CIDR, comma-separated) whose forwarding headers are trusted."),
    COUNT("threads", threads, "0", 0, 64, RESTART, "Number of HTTP loops. 0: one per core."),
    COUNT("loaders", loaders, "4", 1, 64, RESTART,
          "Maximum number of imports that run on one connection at the same time. Each connection can always run one."),
    COUNT("limits.connections", connections, "10000", 1, 1000000, RESTART,
          "Maximum number of open intake connections. It is lower if the process may open fewer descriptors."),
    COUNT("limits.connections-an-address", connections_an_address, "1000", 1, 1000000, RESTART,
          "Maximum number of open intake connections of one address. Loopback and trusted proxies are not limited."),
    COUNT("limits.sources", sources_max, "10000", 1, 1000000, LIVE, "Maximum number of sources."),
    COUNT("limits.metrics-sinks", metrics_sinks, "1000", 0, 200000, LIVE,
          "Maximum number of sinks, and of sources that read a broker, with their own series in the metrics. The oldest have them; the "
          "others are summed."),
    SIZE("limits.event", event_bytes, "1MB", 1 * KB, 15 * MB, RESTART, "Maximum size of one event."),
    SIZE("limits.body", body_bytes, "8MB", 1 * KB, 15 * MB, RESTART, "Maximum size of a request body, before and after its decompression."),
    SIZE("limits.headers", header_bytes, "16KB", 1 * KB, 64 * KB, RESTART, "Maximum size of a request's head."),
    SIZE("limits.unfinished", unfinished_bytes, "256MB", 16 * MB, 64 * GB, RESTART,
         "Maximum size of all request bodies that are still arriving."),
    SIZE("limits.row", row_bytes, "1536KB", 1 * KB, 16 * MB, RESTART, "Maximum size of one encoded row."),
    SIZE("limits.request-rows", request_rows_bytes, "256MB", 1 * MB, 4 * GB, RESTART,
         "Maximum size of the rows of one request in all sinks."),
    SIZE("limits.in-flight", in_flight_bytes, "64MB", 1 * MB, 64 * GB, RESTART,
         "Maximum size of the rows that are not committed yet and of the events that wait for templates. Sources share it fairly; one "
         "larger "
         "request at a time is allowed in addition."),
    SIZE("limits.body-rate", body_rate_min, "16KB", 1, 1 * GB, RESTART,
         "Minimum bytes per second of a body after `timeouts.body` has passed."),
    TIME("timeouts.idle", keep_alive_idle, "75s", USEC_SECOND, USEC_HOUR, RESTART, "Time after which an idle connection is closed."),
    TIME("timeouts.head", head_timeout, "10s", 100 * USEC_MS, 10 * USEC_MINUTE, RESTART, "Maximum time for the head of a request."),
    TIME("timeouts.body", body_timeout, "30s", 100 * USEC_MS, 10 * USEC_MINUTE, RESTART, "Maximum time for a body at any rate."),
    TIME("timeouts.body-longest", body_longest, "75s", 100 * USEC_MS, USEC_HOUR, RESTART,
         "Maximum time for a body that arrives at `limits.body-rate` or faster."),
    TIME("timeouts.write", write_timeout, "30s", 100 * USEC_MS, 10 * USEC_MINUTE, RESTART,
         "Maximum time that the writing of an answer may make no progress."),
    SIZE("disk.budget", disk_budget, "0B", 0, 1024 * TB, RESTART,
         "Maximum disk space of waiting events, at least 64MB. 0: half of the file system."),
    COUNT("disk.share", disk_share_percent, "25", 1, 100, RESTART, "Maximum percentage of the disk budget for one sink."),
    SIZE("disk.log-high-mark", log_high_mark, "256MB", 16 * MB, 64 * GB, RESTART,
         "Size of the commit log above which the oldest rows are staged regardless of the conditions."),
    TIME("disk.stall-timeout", stall_timeout, "10s", 100 * USEC_MS, USEC_HOUR, RESTART,
         "Maximum time of a commit on the local disk. After it, new requests are refused until the commit has ended."),
    TIME("retention.imported", retain_imported, "24h", 0, 3650 * USEC_DAY, RESTART,
         "Time that imported files are kept. They are the first to be removed when space is short."),
    TIME("retention.failed", retain_failed, "7d", USEC_MINUTE, 3650 * USEC_DAY, RESTART,
         "Time that the import of a file is tried again, counted from its first failure."),
    TIME("retention.expired", retain_expired, "0s", 0, 3650 * USEC_DAY, RESTART, "Time that copies of expired files are kept. 0: forever."),
    TIME("retention.orphans", retain_orphans, "7d", 0, 3650 * USEC_DAY, RESTART,
         "Time that staging files unknown to the database are kept. 0: forever."),
    TIME("retention.rejects", retain_rejects, "30d", USEC_MINUTE, 3650 * USEC_DAY, RESTART, "Time that rejected events and rows are kept."),
    SIZE("retention.rejects-size", rejects_bytes, "1GB", 1 * MB, 1 * TB, RESTART,
         "Maximum size of the rejected events and rows that are kept."),
    TEXT("backup.directory", OPTION_TEXT, backup_directory, "backups", NULL, RESTART,
         "Directory of the backups, relative to the data directory unless it is absolute. Empty: no backups."),
    COUNT("backup.kept", backups_kept, "3", 1, 100, RESTART,
          "Number of latest backups that can be restored without importing a row twice."),
    COUNT("templates.stack", template_stack, "500", 10, 5000, RESTART, "Maximum number of stack frames of one template evaluation."),
    SIZE("templates.memory", template_memory, "256MB", 64 * MB, 16 * GB, RESTART, "Maximum memory of one template worker."),
    TIME("templates.wall-clock", template_wall, "1s", 10 * USEC_MS, 5 * USEC_MINUTE, RESTART,
         "Maximum processor time for the templates of one event. After ten times this without an answer they are evaluated once more, then "
         "the answer is 503."),
    COUNT("templates.workers", template_workers, "0", 0, 256, RESTART,
          "Maximum number of template workers that evaluate at the same time. 0: one per core."),
    COUNT("templates.zygotes", template_zygotes, "64", 1, 1024, RESTART, "Maximum number of template workers that are kept ready."),
    TIME("import-timeout", import_timeout, "5m", USEC_SECOND, USEC_DAY, RESTART,
         "Maximum time of an import without progress: no row is sent, and the destination does not report that it is working."),
    TIME("import-longest", import_longest, "2h", USEC_SECOND, 30 * USEC_DAY, RESTART,
         "Maximum time of one import with progress. A longer one is divided into smaller parts."),
    TIME("shutdown-deadline", shutdown_deadline, "30s", USEC_SECOND, USEC_HOUR, LIVE, "Maximum time of a shutdown."),
    TEXT("mask-key-file", OPTION_FILE, mask_key_file, "", NULL, RESTART,
         "File with the key of masks. Empty: the key of the data directory."),
    TEXT("mask-keys", OPTION_KEYS, mask_keys, "", NULL, RESTART, "Keys of the mask `hmac`, as NAME=FILE, comma-separated."),
    TEXT("log-level", OPTION_CHOICE, log_level, "info", "debug, info, warning, error", LIVE, "Minimum level of log lines."),
    TEXT("log-format", OPTION_CHOICE, log_format, "auto", "auto, json, text", RESTART,
         "Format of log lines. auto: text on a terminal, else JSON lines."),
};
const size_t options_table_size = sizeof options_table / sizeof *options_table;

const OptionInfo *option_find(Span name) {
    for (size_t i = 0; i < options_table_size; i++)
        if (span_equal(name, span_of(options_table[i].name))) return &options_table[i];
    return NULL;
}

bool option_is_text(const OptionInfo *info) {
    return info->type < OPTION_BOOL;
}

/* ---- the kinds of text ---- */

/* Digits only, at most `most`. */
static bool number_of(Span text, uint64_t most, uint64_t *ret_number) {
    uint64_t number = 0;
    if (text.size == 0 || text.size > 19) return false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        number = number * 10 + (unsigned)(text.data[i] - '0');
    }
    *ret_number = number;
    return number <= most;
}

/* A numeric address without brackets, into 4 or 16 bytes; its bits, 0 when it is none. */
static unsigned address_bits(Span text) {
    char copy[INET6_ADDRSTRLEN];
    unsigned char bytes[16];
    if (text.size == 0 || text.size >= sizeof copy) return 0;
    memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    if (inet_pton(AF_INET, copy, bytes) == 1) return 32;
    return inet_pton(AF_INET6, copy, bytes) == 1 ? 128 : 0;
}

/* 127.0.0.1:80, [::1]:80, localhost:80 */
static bool is_address(Span text) {
    const char *colon = text.size > 0 ? memrchr(text.data, ':', text.size) : NULL;
    uint64_t port;
    if (colon == NULL) return false;
    Span host = {text.data, (size_t)(colon - text.data)};
    if (!number_of((Span){colon + 1, text.size - host.size - 1}, 65535, &port)) return false;
    if (span_equal(host, SPAN("localhost"))) return true;
    if (host.size > 2 && host.data[0] == '[' && host.data[host.size - 1] == ']')
        return address_bits((Span){host.data + 1, host.size - 2}) == 128;
    return address_bits(host) == 32;
}

static bool is_network(Span text) {
    const char *slash = text.size > 0 ? memchr(text.data, '/', text.size) : NULL;
    Span address = {text.data, slash ? (size_t)(slash - text.data) : text.size};
    unsigned bits = address_bits(address);
    uint64_t prefix;
    return bits > 0 && (slash == NULL || number_of((Span){slash + 1, text.size - address.size - 1}, bits, &prefix));
}

static bool are_networks(Span text) {
    if (text.size == 0) return true;
    for (;;) {
        const char *comma = memchr(text.data, ',', text.size);
        Span item = {text.data, comma ? (size_t)(comma - text.data) : text.size};
        if (!is_network(text_trim(item))) return false;
        if (comma == NULL) return true;
        text = (Span){comma + 1, text.size - item.size - 1};
    }
}

/* NAME=FILE, …; no name twice. */
static bool are_keys(Span text) {
    for (Span rest = text; rest.size > 0;) {
        const char *comma = memchr(rest.data, ',', rest.size);
        Span item = text_trim((Span){rest.data, comma ? (size_t)(comma - rest.data) : rest.size});
        const char *equals = item.size > 0 ? memchr(item.data, '=', item.size) : NULL;
        if (!equals || equals + 1 == item.data + item.size) return false;
        Span name = {item.data, (size_t)(equals - item.data)};
        _cleanup_free_ char *copy = name.size > 0 ? text_copy_span(name) : NULL;
        if (!copy || !identifier_valid(copy)) return false;
        for (Span before = {text.data, (size_t)(rest.data - text.data)}; before.size > 0;) {
            const char *end = memchr(before.data, ',', before.size);
            Span other = text_trim((Span){before.data, end ? (size_t)(end - before.data) : before.size});
            if (text_begins(other, name) && other.data[name.size] == '=') return false;
            before = end ? (Span){end + 1, before.size - (size_t)(end - before.data) - 1} : (Span){0};
        }
        if (!comma) return true;
        rest = (Span){comma + 1, rest.size - (size_t)(comma - rest.data) - 1};
    }
    return text.size == 0;
}

static bool is_url(Span text) {
    if (text.size == 0) return true;
    bool http = text.size > 7 && memcmp(text.data, "http://", 7) == 0, https = text.size > 8 && memcmp(text.data, "https://", 8) == 0;
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] <= ' ' || text.data[i] > '~' || strchr("\"'<>?#\\", text.data[i])) return false;
    return http || https;
}

static bool is_choice(const char *choices, Span text) {
    for (const char *at = choices; *at;) {
        size_t size = strcspn(at, ",");
        if (span_equal(text, (Span){at, size})) return true;
        at += size;
        at += strspn(at, ", ");
    }
    return false;
}

/* What is wrong with the text, NULL: nothing. */
static const char *text_problem(const OptionInfo *info, Span text) {
    uint64_t number;
    switch (info->type) {
    case OPTION_TEXT: return text.size > 0 ? NULL : "must not be empty";
    case OPTION_FILE: return NULL;
    case OPTION_KEYS:
        return are_keys(text) ? NULL : "must be NAME=FILE, separated by commas, where the names differ and are of a-z, 0-9, '-' and '_'";
    case OPTION_ADDRESS: return is_address(text) ? NULL : "must be ADDR:PORT, such as 127.0.0.1:7000 or [::1]:7000";
    case OPTION_URL: return is_url(text) ? NULL : "must be a URL that begins with http:// or https://";
    case OPTION_NETWORKS: return are_networks(text) ? NULL : "must be networks such as 10.0.0.0/8, separated by commas";
    case OPTION_BRANCH:
        return span_equal(text, SPAN("default")) || number_of(text, INT64_MAX, &number) ? NULL : "must be \"default\" or a number";
    case OPTION_CHOICE: return is_choice(info->choices, text) ? NULL : "must be one of";
    default: unreachable();
    }
}

/* ---- set and format ---- */

static void *field_of(const OptionInfo *info, Options *options) {
    return (char *)options + info->offset;
}

static const void *value_of(const OptionInfo *info, const Options *options) {
    return (const char *)options + info->offset;
}

static int set_text(const OptionInfo *info, char **field, Span text, Error *error) {
    if (text.size > 4096 || !text_is_plain(text))
        return error_set(error, -EINVAL, "%s must be at most 4096 bytes without control characters", info->name);
    const char *problem = text_problem(info, text);
    if (problem)
        return error_set(error, -EINVAL, "%s %s%s%s", info->name, problem, info->choices ? " " : "", info->choices ? info->choices : "");
    while (info->type == OPTION_URL && text.size > 0 && text.data[text.size - 1] == '/') text.size--;
    free(*field);
    *field = strndup(text.size > 0 ? text.data : "", text.size);
    check(*field != NULL);
    return 0;
}

static int parse_number(const OptionInfo *info, Span text, int64_t *ret_value) {
    uint64_t number = 0;
    int r = 0;
    switch (info->type) {
    case OPTION_BOOL:
        if (!span_equal(text, SPAN("true")) && !span_equal(text, SPAN("false"))) return -EINVAL;
        number = text.size == 4;
        break;
    case OPTION_COUNT:
        if (!number_of(text, INT64_MAX, &number)) return -EINVAL;
        break;
    case OPTION_SIZE: r = units_parse_size(text, &number); break;
    case OPTION_TIME: return units_parse_time(text, ret_value);
    default: unreachable();
    }
    if (r < 0) return r;
    if (number > INT64_MAX) return -ERANGE;
    *ret_value = (int64_t)number;
    return 0;
}

static int refuse_number(const OptionInfo *info, Span text, Error *error) {
    static const char *const wanted[] = {[OPTION_BOOL] = "true or false",
                                         [OPTION_COUNT] = "a whole number",
                                         [OPTION_SIZE] = "a size such as 8MB",
                                         [OPTION_TIME] = "a length of time such as 30s"};
    char excerpt[TEXT_EXCERPT_SIZE];
    _cleanup_(buffer_deinit) Buffer range = {0};
    if (info->type != OPTION_BOOL) option_format_range(info, &range);
    return error_set(error, -EINVAL, "%s must be %s%s%s, not \"%s\"", info->name, wanted[info->type], range.size > 0 ? " in " : "",
                     buffer_text(&range), text_excerpt(text, excerpt));
}

int option_set(const OptionInfo *info, Options *options, Span text, Error *error) {
    void *field = field_of(info, options);
    if (option_is_text(info)) return set_text(info, field, text, error);
    int64_t value = 0;
    int r = parse_number(info, text, &value);
    if (r < 0 || value < info->least || value > info->most) return refuse_number(info, text, error);
    switch (info->type) {
    case OPTION_BOOL: *(bool *)field = value != 0; return 0;
    case OPTION_COUNT: *(uint32_t *)field = (uint32_t)value; return 0;
    case OPTION_SIZE: *(uint64_t *)field = (uint64_t)value; return 0;
    case OPTION_TIME: *(usec_t *)field = value; return 0;
    default: unreachable();
    }
}

void option_format(const OptionInfo *info, const Options *options, Buffer *out) {
    const void *value = value_of(info, options);
    switch (info->type) {
    case OPTION_BOOL: buffer_append_text(out, *(const bool *)value ? "true" : "false"); return;
    case OPTION_COUNT: buffer_printf(out, "%u", *(const uint32_t *)value); return;
    case OPTION_SIZE: units_format_size(out, *(const uint64_t *)value); return;
    case OPTION_TIME: units_format_time(out, *(const usec_t *)value); return;
    default: buffer_append_text(out, *(char *const *)value); return;
    }
}

void option_format_range(const OptionInfo *info, Buffer *out) {
    switch (info->type) {
    case OPTION_BOOL: buffer_append_text(out, "true, false"); return;
    case OPTION_COUNT: buffer_printf(out, "%lld..%lld", (long long)info->least, (long long)info->most); return;
    case OPTION_SIZE:
        units_format_size(out, (uint64_t)info->least);
        buffer_append_text(out, "..");
        units_format_size(out, (uint64_t)info->most);
        return;
    case OPTION_TIME:
        units_format_time(out, info->least);
        buffer_append_text(out, "..");
        units_format_time(out, info->most);
        return;
    default: buffer_append_text(out, info->choices ? info->choices : ""); return;
    }
}

void options_table_check(void) {
    Options options = {0};
    for (size_t i = 0; i < options_table_size; i++) {
        const OptionInfo *info = &options_table[i];
        size_t sentence = strlen(info->doc);
        Error error = {0};
        check(sentence > 1 && info->doc[sentence - 1] == '.');
        check(option_find(span_of(info->name)) == info);
        check(info->least <= info->most && (info->type == OPTION_CHOICE) == (info->choices != NULL));
        check(option_set(info, &options, span_of(info->default_value), &error) == 0);
    }
    options_deinit(&options);
}
