#include "sinks/xml_content.h"

#include <stdint.h>
#include <string.h>

#include "base/text.h"

#define DEPTH_MAX 250      /* libxml2 ends at 256 */
#define ATTRIBUTES_MAX 100 /* of one element */
#define NAME_BYTES_MAX 1000

typedef struct Scan {
    const char *at, *end;
} Scan;

static bool take(Scan *scan, Span text) {
    if (!text_begins((Span){.data = scan->at, .size = (size_t)(scan->end - scan->at)}, text)) return false;
    scan->at += text.size;
    return true;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Was there any? */
static bool take_space(Scan *scan) {
    const char *start = scan->at;
    while (scan->at < scan->end && is_space(*scan->at)) scan->at++;
    return scan->at > start;
}

static bool is_name_start(char c) {
    return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c == ':' || (unsigned char)c >= 0x80;
}

/* Empty: there is none. */
static Span take_name(Scan *scan) {
    const char *start = scan->at;
    if (scan->at < scan->end && is_name_start(*scan->at))
        while (scan->at < scan->end && (is_name_start(*scan->at) || text_is_digit(*scan->at) || *scan->at == '-' || *scan->at == '.'))
            scan->at++;
    size_t size = (size_t)(scan->at - start);
    return (Span){.data = start, .size = size <= NAME_BYTES_MAX ? size : 0};
}

static bool is_character(uint32_t c) {
    return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c < 0xd800) || (c >= 0xe000 && c <= 0xfffd) ||
           (c >= 0x10000 && c <= 0x10ffff);
}

/* No control character, and neither U+FFFE nor U+FFFF. */
static bool are_characters(Span text) {
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c < 0x20 && !is_space(text.data[i])) return false;
        if (c == 0xef && text.size - i >= 3 && (unsigned char)text.data[i + 1] == 0xbf && (unsigned char)text.data[i + 2] >= 0xbe)
            return false;
    }
    return true;
}

/* Behind `&`. */
static bool take_reference(Scan *scan) {
    static const char *const names[] = {"lt;", "gt;", "amp;", "quot;", "apos;"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (take(scan, span_of(names[i]))) return true;
    if (!take(scan, SPAN("#"))) return false;
    bool is_hex = take(scan, SPAN("x"));
    uint32_t code = 0;
    int digits = 0;
    for (; scan->at < scan->end && *scan->at != ';'; scan->at++, digits++) {
        int digit = text_hex(*scan->at);
        if (digit < 0 || (!is_hex && digit > 9) || digits == 8) return false;
        code = code * (is_hex ? 16 : 10) + (uint32_t)digit;
    }
    return digits > 0 && is_character(code) && take(scan, SPAN(";"));
}

/* Up to and with `mark`; what is before it is in *ret_text. */
static bool take_until(Scan *scan, Span mark, Span *ret_text) {
    size_t left = scan->at < scan->end ? (size_t)(scan->end - scan->at) : 0;
    const char *found = memmem(scan->at, left, mark.data, mark.size);
    if (!found) return false;
    *ret_text = (Span){.data = scan->at, .size = (size_t)(found - scan->at)};
    scan->at = found + mark.size;
    return true;
}

/* Behind `<!--`. */
static bool take_comment(Scan *scan) {
    Span text;
    return take_until(scan, SPAN("--"), &text) && take(scan, SPAN(">")) && are_characters(text);
}

static bool take_cdata(Scan *scan) {
    Span text;
    return take_until(scan, SPAN("]]>"), &text) && are_characters(text);
}

/* Behind `<?`. */
static bool take_instruction(Scan *scan) {
    Span name = take_name(scan), text;
    if (name.size == 0 || span_equal_nocase(name, SPAN("xml"))) return false;
    bool has_space = take_space(scan);
    return take_until(scan, SPAN("?>"), &text) && (has_space || text.size == 0) && are_characters(text);
}

static bool take_value(Scan *scan) {
    if (scan->at == scan->end || (*scan->at != '"' && *scan->at != '\'')) return false;
    char quote = *scan->at++;
    const char *start = scan->at;
    while (scan->at < scan->end && *scan->at != quote) {
        char c = *scan->at++;
        if (c == '<' || (c == '&' && !take_reference(scan))) return false;
    }
    if (scan->at == scan->end) return false;
    scan->at++;
    return are_characters((Span){.data = start, .size = (size_t)(scan->at - start)});
}

/* Behind a name; ends before `>` or `/>`. */
static bool take_attributes(Scan *scan) {
    Span names[ATTRIBUTES_MAX];
    for (size_t count = 0; take_space(scan) && scan->at < scan->end && *scan->at != '>' && *scan->at != '/'; count++) {
        if (count == ATTRIBUTES_MAX) return false;
        names[count] = take_name(scan);
        for (size_t i = 0; i < count; i++)
            if (span_equal(names[i], names[count])) return false;
        (void)take_space(scan);
        if (names[count].size == 0 || !take(scan, SPAN("="))) return false;
        (void)take_space(scan);
        if (!take_value(scan)) return false;
    }
    return true;
}

/* Of a declaration: ` NAME="VALUE"`, where the value is one of two, in any case. */
static bool take_setting(Scan *scan, const char *name, Span value, Span other) {
    Scan start = *scan;
    (void)take_space(scan);
    if (!take(scan, span_of(name))) {
        *scan = start;
        return true; /* it may be missing */
    }
    (void)take_space(scan);
    if (start.at == scan->at || !take(scan, SPAN("="))) return false;
    (void)take_space(scan);
    if (scan->at == scan->end || (*scan->at != '"' && *scan->at != '\'')) return false;
    const char quote[] = {*scan->at++};
    Span text;
    return take_until(scan, (Span){quote, 1}, &text) && (span_equal_nocase(text, value) || span_equal_nocase(text, other));
}

/* Behind `<?xml`. */
static bool take_declaration(Scan *scan) {
    if (scan->at == scan->end || !is_space(*scan->at)) return false;
    if (!take_setting(scan, "version", SPAN("1.0"), SPAN("1.0"))) return false;
    if (!take_setting(scan, "encoding", SPAN("UTF-8"), SPAN("UTF8"))) return false;
    if (!take_setting(scan, "standalone", SPAN("yes"), SPAN("no"))) return false;
    (void)take_space(scan);
    return take(scan, SPAN("?>"));
}

bool xml_is_content(Span text) {
    Span open[DEPTH_MAX];
    size_t depth = 0;
    Scan scan = {.at = text.data, .end = text.data + text.size};
    if (text_begins(text, SPAN("<?xml ")) && take(&scan, SPAN("<?xml")) && !take_declaration(&scan)) return false;
    while (scan.at < scan.end) {
        if (take(&scan, SPAN("<!--"))) {
            if (!take_comment(&scan)) return false;
        } else if (take(&scan, SPAN("<![CDATA["))) {
            if (!take_cdata(&scan)) return false;
        } else if (take(&scan, SPAN("<?"))) {
            if (!take_instruction(&scan)) return false;
        } else if (take(&scan, SPAN("</"))) {
            Span name = take_name(&scan);
            (void)take_space(&scan);
            if (depth == 0 || !span_equal(open[--depth], name) || !take(&scan, SPAN(">"))) return false;
        } else if (take(&scan, SPAN("<"))) {
            Span name = take_name(&scan);
            if (name.size == 0 || depth == DEPTH_MAX || !take_attributes(&scan)) return false;
            if (!take(&scan, SPAN("/>"))) {
                open[depth++] = name;
                if (!take(&scan, SPAN(">"))) return false;
            }
        } else if (take(&scan, SPAN("&"))) {
            if (!take_reference(&scan)) return false;
        } else {
            const char *start = scan.at;
            while (scan.at < scan.end && *scan.at != '<' && *scan.at != '&') scan.at++;
            const Span data = {.data = start, .size = (size_t)(scan.at - start)};
            if (!are_characters(data) || memmem(data.data, data.size, "]]>", 3)) return false;
        }
    }
    return depth == 0;
}
