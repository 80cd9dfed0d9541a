/*
 * JSON forms of Avro records, one thread: avro VECTORS NAME [SECONDS]. The vector of that name in
 * tests/unit/gateway/values/vectors.json is read again and again; bench/avro_fastavro.py does the
 * same with fastavro.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "gateway/values/avro_form.h"

static double cpu_seconds(void) {
    struct timespec now;
    check(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    double most = argc > 3 ? strtod(argv[3], NULL) : 2;
    json_t *vectors = json_load_file(argv[1], JSON_ALLOW_NUL, NULL), *vector = NULL;
    for (size_t i = 0; i < json_array_size(vectors) && !vector; i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(vectors, i), "name")), argv[2]) == 0)
            vector = json_array_get(vectors, i);
    check(vector);
    Buffer record = {0}, out = {0};
    const char *hex = json_string_value(json_object_get(vector, "hex"));
    for (size_t i = 0; hex[i]; i += 2) buffer_append_byte(&record, (char)(text_hex(hex[i]) << 4 | text_hex(hex[i + 1])));
    char *schema = json_dumps(json_object_get(vector, "schema"), JSON_ENCODE_ANY);
    AvroForm *form;
    check(avro_form_new(span_of(schema), &form, NULL) == 0);

    size_t records = 0;
    double start = cpu_seconds(), seconds = 0;
    for (; seconds < most; seconds = cpu_seconds() - start) {
        for (size_t i = 0; i < 10000; i++, records++) {
            buffer_clear(&out);
            check(avro_form_read(form, buffer_span(&record), 1 << 20, &out, NULL) == 0);
        }
    }
    (void)printf("%.0f records/s of %zu bytes, %zu of JSON: %.3f CPU-seconds a million\n", (double)records / seconds, record.size, out.size,
                 seconds / (double)records * 1e6);
    avro_form_free(form);
    buffer_deinit(&record);
    buffer_deinit(&out);
    free(schema);
    json_decref(vectors);
    return 0;
}
