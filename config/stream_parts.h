/* The pieces of stream_*.c that work together. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/stream_manifest.h"
#include "config/stream_uri.h"

/* The objects of the manifest, and the addresses, that have fields: bits. */
enum {
    STREAM_TOP = 1,
    STREAM_SPEC = 2,
    STREAM_SOURCE = 4,
    STREAM_SOURCE_OPTIONS = 8,
    STREAM_SINK = 16,
    STREAM_SINK_OPTIONS = 32,
    STREAM_KAFKA = 64,        /* parameters of kafka:// */
    STREAM_NATS = 128,        /* of nats+jetstream:// */
    STREAM_KAFKA_DEPOT = 256, /* of dataos://, for the source, when it is read as Kafka */
    STREAM_NATS_DEPOT = 512,  /* the same, as NATS */
    STREAM_POSTGRES = 1024,   /* of postgresql:// */
    STREAM_SINK_DEPOT = 2048, /* of dataos://, for the sink */
};
#define STREAM_IN_KAFKA (STREAM_KAFKA | STREAM_KAFKA_DEPOT)
#define STREAM_IN_NATS (STREAM_NATS | STREAM_NATS_DEPOT)
#define STREAM_ADDRESSES (STREAM_IN_KAFKA | STREAM_IN_NATS | STREAM_POSTGRES | STREAM_SINK_DEPOT)

typedef enum StreamUse {
    STREAM_TAKEN,
    STREAM_IGNORED, /* without a meaning here: said to who applies it */
    STREAM_REFUSED, /* known, and an error: the sentence says why */
} StreamUse;

/* What kind of value it is. */
typedef enum StreamForm {
    STREAM_TEXT,
    STREAM_COUNT,   /* an integer of least..most */
    STREAM_SECONDS, /* a number of seconds, which may have a fraction: 1 ms to 1 min */
    STREAM_OWN,     /* by `take` */
} StreamForm;

/* Where it goes, as `field` there. */
typedef enum StreamInto {
    STREAM_NOWHERE,    /* by `take` */
    STREAM_PART,       /* `kafka` or `nats` of the source */
    STREAM_CONNECTION, /* the connection that the address declares */
    STREAM_SECRET,     /* a secret file of that */
    STREAM_FILE,       /* a file of that, which the value names */
    STREAM_TABLE,      /* `table` of the sink */
} StreamInto;

#define STREAM_POINTER_SIZE sizeof(((Fault *)0)->path)

typedef struct Stream Stream;
typedef struct StreamField StreamField;

/* A value that the manifest has. */
typedef struct StreamGiven {
    const Node *node;      /* its value, or the address that has it as a parameter */
    const char *parameter; /* NULL: none */
    const char *text;      /* with its placeholders filled in; NULL: `node` holds something else */
} StreamGiven;

struct StreamField {
    unsigned places;
    const char *name;  /* with '_' */
    const char *alias; /* another name; NULL: none */
    StreamUse use;
    StreamForm form;
    StreamInto into;
    const char *field;
    int64_t least, most;
    int (*take)(Stream *stream, const StreamField *field, const StreamGiven *given);
    const char *needed;        /* what to say behind `needs ` when its object lacks it; NULL: it may */
    const char *default_words; /* for the documents */
    const char *becomes;       /* for the documents: where it goes; NULL: as `into` and `field` say */
    const char *sentence;      /* what it is, or why it is refused, or ignored; ends with a period */
};

#define STREAM_FIELDS_MAX 128
extern const StreamField stream_fields[]; /* at most STREAM_FIELDS_MAX; ends with a name of NULL */

/* One translation. */
struct Stream {
    StreamValues values; /* first */
    Fault *fault;
    const char *name; /* of the file */
    Expansions *expansions;
    json_t *known;     /* values of placeholders by their names */
    json_t *projected; /* names that spec.use.projection has; values are true */
    bool is_nats;
    const char *place_kind;               /* "kafka" or "nats", once the source's address is read */
    json_t *source, *part, *table, *sink; /* of the translated document */
    json_t *connection, *files;           /* of the address that is read; NULL: it names a connection */
    json_t *columns;                      /* declared; borrowed from the manifest; NULL: inferred */
    json_t *keys;                         /* names, of primary_key */
    json_t *hints, *masks;                /* {path: data type}, {path: mask}; texts */
    Buffer parameters;                    /* of the postgres URI */
    StreamTranslation result;
};

/* `Field "x" TEXT` at the value, or `Field "spec.source.address" has the parameter "x", which
 * TEXT`. -EINVAL */
int stream_refuse(Stream *stream, const StreamGiven *given, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Its value, put into the document; `pointer`: of the field in it, for faults. */
void stream_set(Stream *stream, json_t *object, const char *field, json_t *take_value, const char *pointer, const StreamGiven *given);
void stream_ignore(Stream *stream, const char *format, ...) __attribute__((format(printf, 2, 3)));
int stream_text(Stream *stream, const StreamGiven *given, const char **ret_text);
int stream_bool(Stream *stream, const StreamGiven *given, bool *ret_value);
/* A part of the translated document (`to`) comes from a part of the manifest (`from`): pointers. */
void stream_add_origin(Stream *stream, const char *to, const char *from);
/* The way to the node, as a Fault has it. Returns `out`. */
const char *stream_pointer_of(const Node *node, char out[static STREAM_POINTER_SIZE]);
const StreamField *stream_find_field(unsigned place, const char *name); /* NULL: there is none */
/* Percent-encodes all but the characters that RFC 3986 calls unreserved. */
void stream_put_encoded(Buffer *out, const char *text);
/* A secret file of the connection that is read; `parameter`: what messages show of it. */
void stream_set_secret(Stream *stream, const char *field, const char *parameter, const char *value);
/* The parameters of an address; `prefix`: its name in what is ignored. */
int stream_read_parameters(Stream *stream, unsigned place, const char *prefix, const Node *address, const StreamUri *uri);

/* ---- stream_address.c ---- */

int stream_read_source_address(Stream *stream, const Node *source);
int stream_read_sink_address(Stream *stream, const Node *sink);

/* ---- stream_columns.c: once all options are read ---- */

int stream_complete_columns(Stream *stream, const Node *sink_options, const Node *source_options); /* of `columns` */
int stream_infer_columns(Stream *stream, const Node *sink_options, const Node *source_options);
