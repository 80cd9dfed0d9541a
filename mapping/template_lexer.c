#include "mapping/template_lexer.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

typedef enum TokenKind { TOKEN_END, TOKEN_NAME, TOKEN_STRING, TOKEN_SYMBOL } TokenKind;

typedef struct Lexeme {
    TokenKind kind;
    Span text; /* a string's without its quotes, not unescaped */
    const char *at;
} Lexeme;

typedef struct Lexer {
    const char *at, *end;
    const char *cut_off; /* where a string, text block or comment starts that does not end; NULL: all do */
} Lexer;

enum { BRACKETS_MAX = 256 };

/* Open brackets, as the closing ones that they wait for. */
typedef struct Brackets {
    char closing[BRACKETS_MAX];
    size_t count;
} Brackets;

static bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name(char c) {
    return is_name_start(c) || (c >= '0' && c <= '9');
}

static bool starts_with(const Lexer *lexer, const char *text) {
    size_t size = strlen(text);
    return (size_t)(lexer->end - lexer->at) >= size && memcmp(lexer->at, text, size) == 0;
}

static void skip_line(Lexer *lexer) {
    while (lexer->at < lexer->end && *lexer->at != '\n') lexer->at++;
}

static void skip_comment(Lexer *lexer) {
    check(starts_with(lexer, "/*"));
    const char *start = lexer->at;
    lexer->at += 2;
    while (lexer->at < lexer->end && !starts_with(lexer, "*/")) lexer->at++;
    if (lexer->end - lexer->at < 2) lexer->cut_off = start;
    lexer->at = lexer->cut_off ? lexer->end : lexer->at + 2;
}

static void skip_space_and_comments(Lexer *lexer) {
    while (lexer->at < lexer->end) {
        if (strchr(" \t\r\n", *lexer->at)) {
            lexer->at++;
        } else if (*lexer->at == '#' || starts_with(lexer, "//")) {
            skip_line(lexer);
        } else if (starts_with(lexer, "/*")) {
            skip_comment(lexer);
        } else {
            return;
        }
    }
}

/* `verbatim`: a doubled quote stands for one and a backslash for itself. */
static Span read_string(Lexer *lexer, bool verbatim) {
    check(lexer->at < lexer->end && (*lexer->at == '"' || *lexer->at == '\''));
    char quote = *lexer->at++;
    const char *start = lexer->at;
    while (lexer->at < lexer->end) {
        char c = *lexer->at++;
        if (c == '\\' && !verbatim) {
            if (lexer->at < lexer->end) lexer->at++;
        } else if (c == quote) {
            if (!verbatim || lexer->at == lexer->end || *lexer->at != quote) return (Span){start, (size_t)(lexer->at - 1 - start)};
            lexer->at++;
        }
    }
    lexer->cut_off = verbatim ? start - 2 : start - 1;
    return (Span){start, (size_t)(lexer->end - start)};
}

/* ||| then lines that begin with the white space of the first one (or are empty), then ||| at the start of a line that does not. */
static void skip_text_block(Lexer *lexer) {
    check(starts_with(lexer, "|||"));
    const char *start = lexer->at;
    lexer->at += 3;
    skip_line(lexer);
    while (lexer->at < lexer->end && *lexer->at == '\n') lexer->at++;
    const char *indent = lexer->at;
    while (lexer->at < lexer->end && (*lexer->at == ' ' || *lexer->at == '\t')) lexer->at++;
    size_t indent_size = (size_t)(lexer->at - indent);
    if (indent_size == 0) {
        lexer->cut_off = start; /* not a text block */
        return;
    }

    for (;;) {
        skip_line(lexer);
        while (lexer->at < lexer->end && *lexer->at == '\n') lexer->at++;
        if (lexer->at == lexer->end) {
            lexer->cut_off = start;
            return;
        }
        if ((size_t)(lexer->end - lexer->at) >= indent_size && memcmp(lexer->at, indent, indent_size) == 0) continue;
        while (lexer->at < lexer->end && (*lexer->at == ' ' || *lexer->at == '\t')) lexer->at++;
        if (starts_with(lexer, "|||")) {
            lexer->at += 3;
        } else {
            lexer->cut_off = start;
        }
        return;
    }
}

static Lexeme next_token(Lexer *lexer) {
    for (;;) {
        skip_space_and_comments(lexer);
        if (lexer->at == lexer->end) return (Lexeme){.kind = TOKEN_END, .at = lexer->at};
        const char *start = lexer->at;
        if (is_name_start(*start)) {
            while (lexer->at < lexer->end && is_name(*lexer->at)) lexer->at++;
            return (Lexeme){.kind = TOKEN_NAME, .text = {start, (size_t)(lexer->at - start)}, .at = start};
        }
        if (*start == '"' || *start == '\'') return (Lexeme){.kind = TOKEN_STRING, .text = read_string(lexer, false), .at = start};
        if (*start == '@' && lexer->end - start >= 2 && (start[1] == '"' || start[1] == '\'')) {
            lexer->at++;
            return (Lexeme){.kind = TOKEN_STRING, .text = read_string(lexer, true), .at = start};
        }
        if (starts_with(lexer, "|||")) {
            skip_text_block(lexer);
            return (Lexeme){.kind = TOKEN_STRING, .text = {start, 0}, .at = start};
        }
        lexer->at++;
        return (Lexeme){.kind = TOKEN_SYMBOL, .text = {start, 1}, .at = start};
    }
}

static bool is_symbol(const Lexeme *token, char symbol) {
    return token->kind == TOKEN_SYMBOL && token->text.data[0] == symbol;
}

void template_place_at(Span text, const char *at, unsigned *ret_line, unsigned *ret_column) {
    check(at >= text.data && at <= text.data + text.size);
    *ret_line = *ret_column = 1;
    for (const char *c = text.data; c < at; c++) {
        if (*c == '\n') {
            ++*ret_line;
            *ret_column = 1;
        } else if (((unsigned char)*c & 0xC0) != 0x80) {
            ++*ret_column;
        }
    }
}

static int fail(Span text, const char *at, Error *error, const char *what) {
    unsigned line, column;
    template_place_at(text, at, &line, &column);
    return error_set(error, -EINVAL, "line %u, column %u: %s", line, column, what);
}

static int refuse(Span text, const Lexeme *token, const char *prefix, Error *error) {
    char what[80];
    (void)snprintf(what, sizeof what, "%s%.*s is not allowed in a template", prefix, (int)token->text.size, token->text.data);
    return fail(text, token->at, error, what);
}

static int count_bracket(Span text, Brackets *brackets, const Lexeme *token, Error *error) {
    if (token->kind != TOKEN_SYMBOL) return 0;
    char c = token->text.data[0];
    if (c == '(' || c == '[' || c == '{') {
        if (brackets->count == BRACKETS_MAX) return fail(text, token->at, error, "brackets are nested too deep");
        brackets->closing[brackets->count++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (brackets->count == 0 || brackets->closing[brackets->count - 1] != c)
            return fail(text, token->at, error, "this bracket does not close an open one");
        brackets->count--;
    }
    return 0;
}

static bool is_one_of(Span name, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (span_equal(name, span_of(names[i]))) return true;
    return false;
}

int template_lex(Span text, TemplateStdVisit visit, void *context, Error *error) {
    static const char *const keywords[] = {"import", "importstr", "importbin"};
    static const char *const functions[] = {"extVar", "native", "trace"};
    if (text.size == 0) return 0;

    Lexer lexer = {.at = text.data, .end = text.data + text.size};
    /* The three tokens before the one that is looked at: `std.name` is (not a dot) std . name. */
    Lexeme before[3] = {{0}};
    Brackets brackets = {.count = 0};
    for (;;) {
        Lexeme token = next_token(&lexer);
        check(lexer.at <= lexer.end && brackets.count <= BRACKETS_MAX);
        bool std_before = before[0].kind == TOKEN_NAME && span_equal(before[0].text, SPAN("std")) && !is_symbol(&before[1], '.');
        if (visit && std_before && !is_symbol(&token, '.') && !is_symbol(&token, '[')) visit(context, (Span){0});
        if (lexer.cut_off) return fail(text, lexer.cut_off, error, "the text ends inside a string, a text block or a comment");
        if (token.kind == TOKEN_END) {
            if (brackets.count > 0) return fail(text, token.at, error, "the text ends inside brackets");
            return 0;
        }
        int r = count_bracket(text, &brackets, &token, error);
        if (r < 0) return r;
        if (token.kind == TOKEN_NAME && is_one_of(token.text, keywords, sizeof keywords / sizeof *keywords))
            return refuse(text, &token, "", error);

        bool of_std = before[1].kind == TOKEN_NAME && span_equal(before[1].text, SPAN("std")) && !is_symbol(&before[2], '.');
        bool is_member = (is_symbol(&before[0], '.') && token.kind == TOKEN_NAME) ||
                         (is_symbol(&before[0], '[') && token.kind == TOKEN_STRING);
        if (of_std && is_member) {
            if (is_one_of(token.text, functions, sizeof functions / sizeof *functions)) return refuse(text, &token, "std.", error);
            Lexer ahead = lexer;
            Lexeme next = next_token(&ahead);
            /* std['a' + …] names what only the evaluation knows. */
            if (visit && (token.kind == TOKEN_NAME || is_symbol(&next, ']'))) visit(context, token.text);
        }
        before[2] = before[1];
        before[1] = before[0];
        before[0] = token;
    }
}

/* `Meta (` where an expression can begin: neither a member nor the name of something that is bound
 * or declared there. */
static bool is_call(const Lexeme *before, const Lexeme *next) {
    static const char *const bind[] = {"local", "for", "function"};
    if (!is_symbol(next, '(') || is_symbol(before, ',') || is_symbol(before, '{')) return false;
    return before->kind != TOKEN_NAME || !is_one_of(before->text, bind, sizeof bind / sizeof *bind);
}

/* A string that means what stands in its quotes. */
static bool is_written(const Lexeme *token) {
    return token->kind == TOKEN_STRING && token->text.data == token->at + 1 &&
           !(token->text.size && memchr(token->text.data, '\\', token->text.size));
}

static TemplateRead read_of(TemplateFunction function, Lexer ahead) {
    Lexeme next = next_token(&ahead), name = next_token(&ahead), end = next_token(&ahead);
    TemplateRead read = {.function = function};
    if (function == TEMPLATE_BODY_TEXT || function == TEMPLATE_HEADER_TEXT || (is_symbol(&next, '(') && is_symbol(&name, ')')))
        read.is_whole = true;
    else if (is_symbol(&next, '(') && is_written(&name) && (is_symbol(&end, ')') || is_symbol(&end, ',')))
        read.name = name.text;
    else
        read.is_unknown = true;
    if (!read.is_unknown && read.name.size == 0) read.is_whole = true;
    return read;
}

void template_visit_reads(Span text, TemplateReadVisit visit, void *context) {
    static const char *const functions[] = {[TEMPLATE_BODY] = "Body",
                                            [TEMPLATE_BODY_TEXT] = "BodyStr",
                                            [TEMPLATE_HEADER] = "Header",
                                            [TEMPLATE_HEADER_TEXT] = "HeaderStr",
                                            [TEMPLATE_META] = "Meta"};
    Lexer lexer = {.at = text.data, .end = text.data + text.size};
    Lexeme before = {0}, token;
    if (text.size == 0) return;
    for (; (token = next_token(&lexer)).kind != TOKEN_END; before = token) {
        if (token.kind != TOKEN_NAME || is_symbol(&before, '.')) continue;
        for (unsigned i = 0; i < sizeof functions / sizeof *functions; i++) {
            if (!span_equal(token.text, span_of(functions[i]))) continue;
            TemplateRead read = read_of((TemplateFunction)i, lexer);
            visit(context, &read);
        }
    }
}

Span template_find_meta(Span text, unsigned fields) {
    Lexer lexer = {.at = text.data, .end = text.data + text.size};
    Lexeme before = {0}, token;
    Span found = {0};
    if (text.size == 0) return found;
    for (; (token = next_token(&lexer)).kind != TOKEN_END; before = token) {
        if (token.kind != TOKEN_NAME || !span_equal(token.text, SPAN("Meta")) || is_symbol(&before, '.')) continue;
        Lexer ahead = lexer;
        Lexeme next = next_token(&ahead), name = next_token(&ahead), end = next_token(&ahead);
        if (!is_call(&before, &next)) return (Span){0};
        bool written = is_written(&name) && is_symbol(&end, ')');
        MetaField field;
        if (found.data || (fields && !written)) continue;
        if (!fields)
            found = token.text;
        else if (!meta_field_find(name.text, &field) || !(fields & META_BIT(field)))
            found = name.text;
    }
    return found;
}

/* To libjsonnet a verbatim string stands in one line, however many line ends it holds, and the line
 * that ends a text block starts where the block's last empty lines do. Walks `text` as it counts,
 * to the start of `line` at most; returns the lines that it saw. */
static unsigned walk_lines(Span text, unsigned line, const char **ret_start) {
    unsigned lines = 1;
    *ret_start = text.data;
    if (text.size == 0) return lines;
    Lexer lexer = {.at = text.data, .end = text.data + text.size};
    const char *at = text.data;
    for (bool more = true; more;) {
        Lexeme token = next_token(&lexer);
        more = token.kind != TOKEN_END && !lexer.cut_off;
        bool verbatim = token.kind == TOKEN_STRING && *token.at == '@';
        for (const char *end = verbatim ? token.at : lexer.at; at < end; at++) {
            if (*at != '\n') continue;
            if (lines == line) return lines;
            lines++;
            *ret_start = at + 1;
        }
        bool block = token.kind == TOKEN_STRING && *token.at == '|';
        while (block && *ret_start - text.data >= 2 && (*ret_start)[-1] == '\n' && (*ret_start)[-2] == '\n') --*ret_start;
        at = lexer.at;
    }
    return lines;
}

unsigned template_line_count(Span text) {
    const char *start;
    return walk_lines(text, UINT_MAX, &start);
}

void template_place(Span text, unsigned *line, unsigned *column) {
    const char *start;
    (void)walk_lines(text, *line, &start);
    size_t left = (size_t)(text.data + text.size - start), forward = *column > 0 ? *column - 1 : 0;
    template_place_at(text, start + (forward < left ? forward : left), line, column);
}
