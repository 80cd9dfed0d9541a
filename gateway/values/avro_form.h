/*
 * The JSON form of Avro records: an AvroForm is compiled from the schema that wrote them (Apache
 * Avro 1.11 and 1.12; JSON), and each record in Avro's binary encoding becomes one JSON text.
 *
 *     null, boolean, int, long    null, true or false, numbers, exact
 *     float, double               the shortest number that is read as the same one; "NaN", "Infinity", "-Infinity"
 *     string, enum                a string
 *     bytes, fixed                a string of base64 (RFC 4648)
 *     array, map, record          an array, an object, an object
 *     union                       its value, without the name of its type
 *     decimal                     a number with all digits of its scale: 12.50
 *     date                        "2006-01-02"
 *     time-millis, -micros        "15:04:05.000", "15:04:05.000000"
 *     timestamp-millis, -micros,  "2006-01-02T15:04:05.000Z", with 3, 6 or 9 digits; local-timestamp-… the same: the Z is then not meant,
 *       -nanos                    but a timestamp without an offset fits no column
 *     uuid                        a string, of fixed(16) too
 *
 * A date or time that RFC 3339 has no text for (a year 10000, a negative time of day) stays its
 * number. A logical type that is unknown or does not go with its type counts as absent, as Avro
 * says; so does a decimal whose precision is over AVRO_DECIMAL_DIGITS_MAX.
 *
 * libavro reads schema and records. It trusts them: it takes memory of any length that a record
 * names, writes before it when that is -1, loses it when the record ends early, and keeps one error
 * text for the whole process. So it gets memory of ours, no more than the record is long, and works
 * for one thread at a time: calls for different forms wait for each other. What is read is bounded
 * by the length of its JSON form and by its depth, so that an array of a billion nulls, which take
 * no bytes, ends soon.
 *
 * A form belongs to one thread at a time.
 */
#pragma once

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"

typedef struct AvroForm AvroForm;

#define AVRO_SCHEMA_BYTES_MAX (1 << 20)
#define AVRO_SCHEMA_PARTS_MAX 20000 /* objects and arrays in its JSON */
#define AVRO_FORM_DEPTH_MAX 128     /* of the JSON form, as the scanner takes it; and of types in types */

/* Compiles a schema, which is JSON. -EINVAL: it is not an Avro schema, is too large, or has parts
 * that libavro does not support; the text has the reason. */
int avro_form_new(Span schema, AvroForm **ret_form, Error *error);
void avro_form_free(AvroForm *form);          /* NULL-safe */
size_t avro_form_bytes(const AvroForm *form); /* approximate size in memory */

/* Appends the JSON form of `record`, at most `json_bytes_max` bytes. -EBADMSG: the record is not of
 * this schema, or has further bytes behind its end. -EFBIG: its JSON form is longer or deeper. The
 * text names the field. Then `out` is unchanged. */
int avro_form_read(AvroForm *form, Span record, size_t json_bytes_max, Buffer *out, Error *error);
