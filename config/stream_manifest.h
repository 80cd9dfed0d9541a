/*
 * Stream manifests of the Nilus form (`type: nilus`, `spec.type: stream`): translated into a source
 * with one sink in Sluice's own form, as config/manifest.h reads it. What is read there, and what
 * becomes of it, is one table (stream_fields.c), from which the documents are made, too.
 *
 * A broker or database that an address names by its URI becomes a connection, which the gateway has
 * to be given before the source (see config/declared.h); its secrets and files stand in that alone.
 * Placeholders `{NAME}` are filled in here, on the client.
 */
#pragma once

#include <jansson.h>

#include "base/buffer.h"
#include "config/expansions.h"
#include "config/field.h"

/* Where a field of the source came from: pointers, as of a Fault. */
typedef struct StreamOrigin {
    char *to;   /* in the source: "kafka/batchSize" */
    char *from; /* in the manifest: "spec/source/options/batch_size" */
} StreamOrigin;

typedef struct StreamTranslation {
    json_t *source;      /* a document of `kind: source` */
    json_t *connections; /* [{"name", "connection": {"type", …, "files": {…}}}], what an address says itself; may be empty */
    json_t *ignored;     /* names of fields that have no meaning here: "spec.compute" */
    StreamOrigin *origins;
    size_t origin_count;
} StreamTranslation;

/* Is the document meant to be one? */
bool stream_manifest_is(const json_t *document);
/* `name`: of the file, in whose folder the paths of files begin. The values of secrets are added to
 * `expansions`. */
int stream_manifest_translate(Fault *fault, const Node *root, const char *name, Expansions *expansions, StreamTranslation *ret_translation);
/* A fault of the translated source: it is said of the field that the manifest (`root`) has, and its
 * path becomes that in the manifest. */
void stream_translation_locate(const StreamTranslation *translation, const Node *root, Fault *fault);
void stream_translation_deinit(StreamTranslation *translation);

/* The table as Markdown. */
void stream_manifest_document(Buffer *out);
/* Asserts what the rows promise. */
void stream_manifest_check_table(void);
