#include "gateway/commands/screen.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

void screen_print(const char *text) {
    if (!text) return;
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        bool c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0; /* U+0080..9F in UTF-8 */
        (void)putchar(*at < 0x20 || *at == 0x7f || c1 ? '?' : *at);
        if (c1) at++;
    }
}

const char *screen_text(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

void screen_print_json(const json_t *value) {
    _cleanup_free_ char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY);
    (void)printf("%s\n", text ? text : "");
}

void screen_connection_state(const json_t *connection) {
    const json_t *paused = json_object_get(connection, "paused"), *failing = json_object_get(connection, "failing");
    const char *separator = "";
    if (json_is_object(paused)) {
        (void)printf("paused since %s by ", screen_text(paused, "at"));
        screen_print(screen_text(paused, "by"));
        separator = "; ";
    }
    if (json_is_true(failing)) {
        (void)printf("%sunreachable: ", separator);
        screen_print(screen_text(connection, "lastError"));
        separator = "; ";
    }
    if (!separator[0]) (void)printf("%s", !failing ? "unknown" : json_is_null(failing) ? "-" : "ok");
}
