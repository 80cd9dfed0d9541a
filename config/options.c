#include "config/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "config/connection_parts.h"
#include "config/definition.h"
#include "config/field.h"
#include "config/manifest.h"
#include "config/options_table.h"
#include "config/settings_parts.h"

#define NAME_BYTES_MAX 64

void options_deinit(Options *options) {
    for (size_t i = 0; i < options_table_size; i++)
        if (option_is_text(&options_table[i])) free(*(char **)(void *)((char *)options + options_table[i].offset));
    connections_deinit(&options->list);
    *options = (Options){0};
}

/* `, did you mean "a", "b"?` */
static void append_near(Buffer *out, Span name) {
    _cleanup_free_ const char **names = calloc(options_table_size + 1, sizeof *names);
    _cleanup_(buffer_deinit) Buffer near = {0};
    check(names != NULL);
    for (size_t i = 0; i < options_table_size; i++) names[i] = options_table[i].name;
    names[options_table_size] = "connections";
    text_near(&near, name, names, options_table_size + 1);
    if (near.size > 0) buffer_printf(out, ": did you mean %s?", buffer_text(&near));
}

static void load_defaults(Options *options) {
    for (size_t i = 0; i < options_table_size; i++) {
        Error error = {0};
        check(option_set(&options_table[i], options, span_of(options_table[i].default_value), &error) == 0);
    }
}

/* ---- the config file ---- */

static int file_value(const YamlDocument *document, const Node *node, const char *path, const OptionInfo *info, Options *options,
                      Error *error) {
    char text[32];
    Span value;
    Error why = {0};
    _cleanup_(buffer_deinit) Buffer list = {0};
    if (info->type == OPTION_KEYS && json_is_object(node->value)) {
        const char *name;
        json_t *file;
        json_object_foreach((json_t *)(uintptr_t)node->value, name, file) {
            char place[4 * NAME_BYTES_MAX];
            (void)snprintf(place, sizeof place, "%s/%.*s", path, NAME_BYTES_MAX, name);
            if (!json_is_string(file) || strchr(json_string_value(file), ',') || strpbrk(name, "=,"))
                return yaml_error(document, place, error, "%s: a key must have a file whose name contains no comma", info->name);
            buffer_printf(&list, "%s%s=%s", list.size ? "," : "", name, json_string_value(file));
        }
        value = buffer_span(&list);
    } else if (json_is_string(node->value)) {
        value = (Span){json_string_value(node->value), json_string_length(node->value)};
    } else if (json_is_integer(node->value)) {
        value = (Span){text, (size_t)snprintf(text, sizeof text, "%lld", (long long)json_integer_value(node->value))};
    } else if (json_is_boolean(node->value)) {
        value = json_is_true(node->value) ? SPAN("true") : SPAN("false");
    } else {
        return yaml_error(document, path, error, "%s must have one value, not %s", info->name, json_kind(node->value));
    }
    if (option_set(info, options, value, &why) < 0) return yaml_error(document, path, error, "%s", why.text);
    return 0;
}

/* Do names of options begin with "GROUP."? */
static bool is_group(const char *name) {
    size_t size = strlen(name);
    for (size_t i = 0; i < options_table_size; i++)
        if (strncmp(options_table[i].name, name, size) == 0 && options_table[i].name[size] == '.') return true;
    return false;
}

/* In the file a name may be written in camel case, too: maskKeyFile. */
static void put_name(char *to, const char *prefix, const char *key) {
    to += sprintf(to, "%s%s", prefix, *prefix ? "." : "");
    for (; *key; key++) {
        bool upper = *key >= 'A' && *key <= 'Z';
        if (upper) *to++ = '-';
        *to++ = (char)(upper ? *key - 'A' + 'a' : *key);
    }
    *to = 0;
}

static int file_group(const YamlDocument *document, const Node *group, const char *prefix, const char *path, Options *options,
                      Error *error) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)group->value, key, value) {
        char name[4 * NAME_BYTES_MAX + 2] = "", place[2 * NAME_BYTES_MAX + 2] = "";
        Node node = {.value = value, .parent = group, .key = key};
        if (strlen(key) <= NAME_BYTES_MAX) {
            put_name(name, prefix, key);
            (void)snprintf(place, sizeof place, "%s%s%s", path, *path ? "/" : "", key);
        }
        if (strcmp(name, "connections") == 0) continue;
        const OptionInfo *info = option_find(span_of(name));
        int r;
        if (info) {
            r = file_value(document, &node, place, info, options, error);
        } else if (json_is_object(value) && *prefix == 0 && is_group(name)) {
            r = file_group(document, &node, name, place, options, error);
        } else {
            char excerpt[TEXT_EXCERPT_SIZE];
            _cleanup_(buffer_deinit) Buffer near = {0};
            append_near(&near, span_of(name));
            r = yaml_error_at_key(document, place, error, "there is no option \"%s\"%s", text_excerpt(span_of(*name ? name : key), excerpt),
                                  buffer_text(&near));
        }
        if (r < 0) return r;
    }
    return 0;
}

static int load_document(const YamlDocument *document, const ConnectionType *const *types, Options *options, Error *error) {
    Node root = {.value = yaml_json(document)};
    if (!json_is_object(root.value)) return yaml_error(document, "", error, "the config file must be a map of options to values");
    int r = file_group(document, &root, "", "", options, error);
    if (r < 0) return r;
    Error why = {0};
    Fault fault = {.error = &why};
    Node node = node_member(&root, "connections");
    Connections connections;
    if (connections_read(&fault, &node, types, &connections) < 0)
        return fault.at_key ? yaml_error_at_key(document, fault.path, error, "%s", why.text)
                            : yaml_error(document, fault.path, error, "%s", why.text);
    connections_keep_expansions(&connections, yaml_expansions(document));
    connections_deinit(&options->list);
    options->list = connections;
    return 0;
}

static int load_file(const char *file, const ConnectionType *const *types, Options *options, Error *error) {
    _cleanup_free_ char *text = NULL;
    size_t size, count = 0;
    YamlDocument **documents = NULL;
    int r = yaml_read_file(file, &text, &size, error);
    if (r == 0) r = yaml_parse(file, text, size, &documents, &count, error);
    if (r == 0 && count > 1) r = yaml_error(documents[1], "", error, "a config file is one YAML document");
    if (r == 0 && count == 1 && !json_is_null(yaml_json(documents[0]))) r = load_document(documents[0], types, options, error);
    yaml_documents_free(documents, count);
    return r;
}

/* ---- environment and command line ---- */

static int load_environment(Options *options, Error *error) {
    for (size_t i = 0; i < options_table_size; i++) {
        const OptionInfo *info = &options_table[i];
        char name[NAME_BYTES_MAX + 8] = "SLUICE_";
        size_t used = strlen(name);
        for (const char *c = info->name; *c; c++)
            name[used++] = *c == '-' || *c == '.' ? '_' : *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
        name[used] = 0;
        const char *value = getenv(name);
        if (value == NULL || *value == 0) continue;
        /* For the client commands this variable is the server's URL. */
        if (strcmp(name, "SLUICE_ADMIN") == 0 && strstr(value, "://")) continue;
        Error why = {0};
        if (option_set(info, options, span_of(value), &why) < 0)
            return error_set(error, -EINVAL, "environment variable %s: %s", name, why.text);
    }
    return 0;
}

static int refuse_argument(Span name, Error *error) {
    char excerpt[TEXT_EXCERPT_SIZE];
    _cleanup_(buffer_deinit) Buffer near = {0};
    append_near(&near, name);
    return error_set(error, -EINVAL, "there is no option --%s%s", text_excerpt(name, excerpt), buffer_text(&near));
}

static int load_arguments(char *const *arguments, Options *options, Error *error) {
    for (size_t i = 0; arguments && arguments[i]; i++) {
        const char *argument = arguments[i];
        char excerpt[TEXT_EXCERPT_SIZE];
        if (strncmp(argument, "--", 2) != 0)
            return error_set(error, -EINVAL, "\"%s\" is not an option: they begin with --", text_excerpt(span_of(argument), excerpt));
        Span name = {argument + 2, strcspn(argument + 2, "=")};
        const char *value = name.data[name.size] == '=' ? name.data + name.size + 1 : NULL;
        const OptionInfo *info = option_find(name);
        if (info == NULL) return refuse_argument(name, error);
        const char *next = arguments[i + 1];
        if (value == NULL && info->type == OPTION_BOOL && (next == NULL || (strcmp(next, "true") != 0 && strcmp(next, "false") != 0)))
            value = "true";
        if (value == NULL && next == NULL) return error_set(error, -EINVAL, "--%s needs a value", info->name);
        if (value == NULL) value = arguments[++i];
        Error why = {0};
        if (option_set(info, options, span_of(value), &why) < 0) return error_set(error, -EINVAL, "--%s", why.text);
    }
    return 0;
}

/* ---- what options must be to each other ---- */

static bool is_loopback(const char *address) {
    return strncmp(address, "127.", 4) == 0 || strncmp(address, "localhost:", 10) == 0 || strncmp(address, "[::1]:", 6) == 0;
}

static int check_together(const Options *options, Error *error) {
    if (!options->admin_insecure && !is_loopback(options->admin))
        return error_set(
            error, -EINVAL,
            "admin %s is reachable from other machines, without TLS: use a loopback address, or set admin-insecure to allow it",
            options->admin);
    if (strcmp(options->admin, options->intake) == 0 && strcmp(strrchr(options->admin, ':'), ":0") != 0)
        return error_set(error, -EINVAL, "admin and intake must not be the same address (%s)", options->admin);
    if (options->body_longest < options->body_timeout)
        return error_set(error, -EINVAL, "timeouts.body-longest must not be less than timeouts.body");
    if (options->disk_budget > 0 && options->disk_budget < DISK_BUDGET_MIN)
        return error_set(error, -EINVAL,
                         "disk.budget must be at least 64MB, or 0 for half of the file system: the database does not fit into less");
    return 0;
}

int options_load(const char *config_file, char *const *arguments, const ConnectionType *const *types, Options *ret_options, Error *error) {
    _cleanup_(options_deinit) Options options = {0};
    Fault fault = {.error = error};
    Node none = {0};
    options_table_check();
    settings_check_table();
    definition_check_tables();
    load_defaults(&options);
    int r = connections_read(&fault, &none, types, &options.list);
    if (r == 0 && config_file) r = load_file(config_file, types, &options, error);
    if (r == 0) r = load_environment(&options, error);
    if (r == 0) r = load_arguments(arguments, &options, error);
    if (r == 0) {
        r = check_together(&options, error);
        expansions_hide(options.list.expansions, error);
    }
    if (r < 0) return r;
    *ret_options = options;
    options = (Options){0};
    return 0;
}

void options_reload(Options *options, const Options *fresh, Buffer *ignored) {
    const char *separator = ignored->size > 0 ? ", " : "";
    for (size_t i = 0; i < options_table_size; i++) {
        const OptionInfo *info = &options_table[i];
        _cleanup_(buffer_deinit) Buffer before = {0}, after = {0};
        option_format(info, options, &before);
        option_format(info, fresh, &after);
        if (span_equal(buffer_span(&before), buffer_span(&after))) continue;
        if (info->reloadable) {
            Error error = {0};
            check(option_set(info, options, buffer_span(&after), &error) == 0);
            continue;
        }
        buffer_printf(ignored, "%s%s", separator, info->name);
        separator = ", ";
    }
    if (!connections_equal(&options->list, &fresh->list)) buffer_printf(ignored, "%sconnections", separator);
}

/* ---- for people ---- */

const char *options_name(size_t index, bool *ret_flag) {
    if (index >= options_table_size) return NULL;
    *ret_flag = options_table[index].type == OPTION_BOOL;
    return options_table[index].name;
}

/* A YAML double-quoted scalar; the text holds no control characters. "${ENV:" is kept from being
 * replaced when it is read again. */
static void put_quoted(Buffer *out, const char *text) {
    buffer_append_byte(out, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') buffer_append_byte(out, '\\');
        if (strncmp(text, "${ENV:", 6) == 0 || strncmp(text, "${FILE:", 7) == 0) buffer_append_byte(out, '$');
        buffer_append_byte(out, *text);
    }
    buffer_append_byte(out, '"');
}

/* What a variable or file gave is shown as its name, which reads as the same again. */
static void put_value(const Connection *connection, Buffer *out, const char *text) {
    _cleanup_(buffer_deinit) Buffer named = {0};
    if (expansions_name(connection->expansions, text, &named))
        buffer_printf(out, "\"%s\"", buffer_text(&named));
    else
        put_quoted(out, text);
    buffer_append_byte(out, '\n');
}

static void put_member(const Connection *connection, Buffer *out, const char *name, const char *text) {
    if (text == NULL) return;
    buffer_printf(out, "    %s: ", name);
    put_value(connection, out, text);
}

static void put_map(const Connection *connection, Buffer *out, const char *name, const char *text) {
    if (text == NULL) return;
    Span entry, value;
    buffer_printf(out, "    %s:\n", name);
    while (connection_next(&text, &entry, &value)) {
        _cleanup_free_ char *key = text_copy_span(entry), *of = text_copy_span(value);
        buffer_append_text(out, "      ");
        put_quoted(out, key);
        buffer_append_text(out, ": ");
        put_value(connection, out, of);
    }
}

static void print_connections(const Connections *connections, Buffer *out) {
    buffer_append_text(out, "\n# Destinations, by name. (only in the config file; needs a restart)\nconnections:\n");
    for (size_t i = 0; i < connections->count; i++) {
        const Connection *connection = &connections->items[i];
        buffer_printf(out, "  \"%s\":\n", connection->name);
        put_member(connection, out, "type", connection->type->name);
        for (const ConnectionField *field = connection->type->fields; field->name; field++)
            (field->is_map ? put_map : put_member)(connection, out, field->name, connection_value(connection, field->name));
    }
}

void options_print(const Options *options, Buffer *out) {
    for (size_t i = 0; i < options_table_size; i++) {
        const OptionInfo *info = &options_table[i];
        _cleanup_(buffer_deinit) Buffer value = {0}, range = {0};
        option_format(info, options, &value);
        option_format_range(info, &range);
        buffer_printf(out, "%s# %s (default %s%s%s%s)\n%s: ", i > 0 ? "\n" : "", info->doc,
                      *info->default_value ? info->default_value : "empty", range.size > 0 ? "; " : "", buffer_text(&range),
                      info->reloadable ? "; reloadable" : "; needs a restart", info->name);
        if (option_is_text(info)) {
            put_quoted(out, buffer_text(&value));
        } else {
            buffer_append_span(out, buffer_span(&value));
        }
        buffer_append_byte(out, '\n');
    }
    print_connections(&options->list, out);
}

void options_document(Buffer *out) {
    static const char *const types[] = {
        [OPTION_TEXT] = "text",    [OPTION_FILE] = "file",         [OPTION_KEYS] = "NAME=FILE, …", [OPTION_ADDRESS] = "ADDR:PORT",
        [OPTION_URL] = "URL",      [OPTION_NETWORKS] = "networks", [OPTION_BRANCH] = "branch",     [OPTION_CHOICE] = "choice",
        [OPTION_BOOL] = "boolean", [OPTION_COUNT] = "number",      [OPTION_SIZE] = "size",         [OPTION_TIME] = "time"};
    buffer_append_text(out, "| option | type | default | range | reload | meaning |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < options_table_size; i++) {
        const OptionInfo *info = &options_table[i];
        _cleanup_(buffer_deinit) Buffer range = {0};
        option_format_range(info, &range);
        buffer_printf(out, "| `%s` | %s | %s | %s | %s | %s |\n", info->name, types[info->type], info->default_value, buffer_text(&range),
                      info->reloadable ? "SIGHUP" : "restart", info->doc);
    }
}
