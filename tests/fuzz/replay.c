/* Runs a fuzz target over its corpus: replay-TARGET FILE... A file of name *.txt has an input a
 * line, any other is one input. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "mapping/words.h"
#include "tests/fuzz/fuzz.h"

static size_t inputs;

/* From memory of its own size, so that a read beyond it is seen. */
static void run(Span input) {
    uint8_t *copy = malloc(input.size ? input.size : 1);
    check(copy);
    if (input.size) memcpy(copy, input.data, input.size);
    (void)LLVMFuzzerTestOneInput(copy, input.size);
    free(copy);
    inputs++;
}

/* \n, \r, \t, \\ and \xNN; everything else stands for itself. */
static bool unescape(Buffer *out, Span line) {
    for (size_t i = 0; i < line.size; i++) {
        char c = line.data[i];
        if (c != '\\') {
            buffer_append_byte(out, c);
            continue;
        }
        if (++i == line.size) return false;
        switch (line.data[i]) {
        case 'n': buffer_append_byte(out, '\n'); break;
        case 'r': buffer_append_byte(out, '\r'); break;
        case 't': buffer_append_byte(out, '\t'); break;
        case '\\': buffer_append_byte(out, '\\'); break;
        case 'x': {
            int high = line.size - i > 2 ? text_hex(line.data[i + 1]) : -1, low = high < 0 ? -1 : text_hex(line.data[i + 2]);
            if (low < 0) return false;
            buffer_append_byte(out, (char)(high << 4 | low));
            i += 2;
            break;
        }
        default: return false;
        }
    }
    return true;
}

static int run_lines(const char *path, Span text) {
    Buffer input = {0};
    for (size_t line = 1; text.size; line++) {
        Span escaped = fuzz_part(&text, '\n');
        if (escaped.size && *escaped.data == '#') continue;
        buffer_clear(&input);
        if (!unescape(&input, escaped)) {
            (void)fprintf(stderr, "%s:%zu: not an escaped input\n", path, line);
            buffer_deinit(&input);
            return -1;
        }
        run(buffer_span(&input));
    }
    buffer_deinit(&input);
    return 0;
}

static int run_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return -1;
    }
    Buffer bytes = {0};
    for (size_t got = 1; got > 0; bytes.size += got) got = fread(buffer_reserve(&bytes, 1 << 16), 1, 1 << 16, file);
    (void)fclose(file);
    size_t size = strlen(path);
    int r = 0;
    if (size > 4 && strcmp(path + size - 4, ".txt") == 0)
        r = run_lines(path, buffer_span(&bytes));
    else
        run(buffer_span(&bytes));
    buffer_deinit(&bytes);
    return r;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (run_file(argv[i]) < 0) return 1;
    (void)printf("%zu inputs\n", inputs);
    return inputs > 0 ? 0 : 1;
}
