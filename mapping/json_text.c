#include "mapping/json_text.h"

#include "base/error.h"
#include "mapping/text.h"

void json_compact(Buffer *out, Span text) {
    char *to = buffer_reserve(out, text.size + 1);
    const char *p = text.data, *end = p + text.size;
    while (p < end) {
        if (text_is_space(*p)) {
            p++;
        } else if (*p != '"') {
            *to++ = *p++;
        } else {
            const char *start = p++;
            while ((p = text_skip_plain(p, end)) < end && *p != '"') p += *p == '\\' ? 2 : 1;
            check(p < end);
            p++;
            memcpy(to, start, (size_t)(p - start));
            to += p - start;
        }
    }
    out->size = (size_t)(to - out->data);
}

static unsigned hex4(const char *p) {
    return (unsigned)(text_hex(p[0]) << 12 | text_hex(p[1]) << 8 | text_hex(p[2]) << 4 | text_hex(p[3]));
}

static char *put_utf8(char *to, unsigned code) {
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

int json_unescape(Buffer *out, Span inner) {
    char *to = buffer_reserve(out, inner.size + 1); /* no escape is shorter than what it means */
    const char *p = inner.data, *end = p + inner.size;
    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((escape ? escape : end) - p);
        memcpy(to, p, plain);
        to += plain;
        p += plain;
        if (p == end) break;
        check(end - p >= 2);
        char letter = p[1];
        p += 2;
        switch (letter) {
        case 'b': *to++ = '\b'; break;
        case 'f': *to++ = '\f'; break;
        case 'n': *to++ = '\n'; break;
        case 'r': *to++ = '\r'; break;
        case 't': *to++ = '\t'; break;
        case 'u': {
            check(end - p >= 4);
            unsigned code = hex4(p);
            p += 4;
            if (code >= 0xd800 && code <= 0xdfff) {
                if (code > 0xdbff || end - p < 6 || p[0] != '\\' || p[1] != 'u') return JSON_LONE_SURROGATE;
                unsigned low = hex4(p + 2);
                if (low < 0xdc00 || low > 0xdfff) return JSON_LONE_SURROGATE;
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                p += 6;
            }
            to = put_utf8(to, code);
            break;
        }
        default: *to++ = letter; break; /* quote, backslash, slash */
        }
    }
    out->size = (size_t)(to - out->data);
    return 0;
}

void json_quote(Buffer *out, Span text) {
    static const char short_form[0x20] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    char *to = buffer_reserve(out, text.size * 6 + 2);
    *to++ = '"';
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte == '"' || byte == '\\') {
            *to++ = '\\';
            *to++ = (char)byte;
        } else if (byte >= 0x20) {
            *to++ = (char)byte;
        } else if (short_form[byte]) {
            *to++ = '\\';
            *to++ = short_form[byte];
        } else {
            memcpy(to, "\\u00", 4);
            to[4] = "0123456789abcdef"[byte >> 4];
            to[5] = "0123456789abcdef"[byte & 15];
            to += 6;
        }
    }
    *to++ = '"';
    out->size = (size_t)(to - out->data);
}
