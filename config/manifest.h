/*
 * Manifests: YAML 1.1 documents (libyaml) read into JSON with the place of every node, so that an
 * error can say file:line:column. Also reads the config file.
 *
 * `${ENV:NAME}` and `${FILE:path}` are replaced in scalars: FILE is relative to the folder of the
 * file that names it, and one trailing newline is dropped; a missing one is an error; `$${ENV:`
 * stands for the plain text. A plain scalar gets its type after that, a quoted one is always a
 * string. Inside [] and {} YAML itself wants the quotes.
 *
 * A stream manifest (stream_manifest.h) is translated first.
 *
 * Limits: 16 MB of text, 64 levels, 1,000,000 nodes of which 100,000 may come from aliases, 64 MB
 * of text after replacement.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"
#include "config/connection.h"
#include "config/definition.h"
#include "config/expansions.h"

/* One YAML document as JSON. Plain scalars follow the YAML core schema (null, true/false, int,
 * float), quoted ones are strings. */
typedef struct YamlDocument YamlDocument;

/* All documents of the text; `name` is for messages. Anchors are allowed, duplicate keys and tags
 * are errors. */
int yaml_parse(const char *name, const char *text, size_t size, YamlDocument ***ret_documents, size_t *ret_count, Error *error);
void yaml_documents_free(YamlDocument **documents, size_t count);
json_t *yaml_json(const YamlDocument *document); /* borrowed */
/* Of all documents of the text; borrowed. */
const Expansions *yaml_expansions(const YamlDocument *document);
/* Sets -EINVAL "name:line:column: text" for the node at `path` ("sinks/0/table", '~' and '/' of a
 * name as "~0" and "~1"; nearest parent that exists); evaluates to -EINVAL. What a variable or file
 * gave is not in it, also where `text` has it. */
int yaml_error(const YamlDocument *document, const char *path, Error *error, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The same, at the name of the field and not at its value. */
int yaml_error_at_key(const YamlDocument *document, const char *path, Error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* A whole file as text (free(), NUL-terminated); -EFBIG above the limit of 16 MB. */
int yaml_read_file(const char *file, char **ret_text, size_t *ret_size, Error *error);

/* A source with its sinks, as the API wants them. */
typedef struct ManifestSource {
    json_t *source;         /* body for POST /sources, without sinks and settings; sourceId always present */
    json_t *settings;       /* [{key,value}] or NULL */
    json_t **sinks;         /* bodies for POST …/sinks, each with sinkId, without settings */
    json_t **sink_settings; /* the same order; NULL items */
    size_t sink_count;
    json_t *connections; /* of a stream manifest: those that it declares itself, [{"name", "connection"}]; NULL: none */
    json_t *ignored;     /* of a stream manifest: names of its fields that mean nothing here; NULL: none */
} ManifestSource;

/* A document as the API takes it, of the source with that id, which the document may leave out. The
 * texts of errors have no place in a file. */
int manifest_source_parse(const json_t *document, const char *source_id, ManifestSource *ret_source, Error *error);
void manifest_source_deinit(ManifestSource *source); /* also of an all-zero one */

typedef struct Manifest {
    ManifestSource *sources;
    size_t count;
    Expansions expansions; /* for messages about what it declares */
    json_t *needed;        /* {name: true}: the connections that its sources and sinks name, without those that it declares itself */
} Manifest;

/* Where a finding of `examine` belongs. */
typedef struct ManifestPlace ManifestPlace;

/* Who reads a manifest and wants all of its errors, each as "file:line:column: text". */
typedef struct ManifestReader {
    void (*report)(void *context, const char *text);
    /* Looks at a source that is valid by itself, with its sinks in the order of the manifest; what
     * it finds it tells manifest_find. NULL: nothing. */
    void (*examine)(void *context, const Source *source, Sink *const *sinks, size_t count, ManifestPlace *place);
    void *context;
    const Connections *const
        *known; /* the connections that sources and sinks may name: lists, the last one is followed by NULL. NULL: any */
} ManifestReader;

/* Reports an error at the node of `path` of the source's document, as in yaml_error. */
void manifest_find(ManifestPlace *place, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Reads and validates (through source_from_request and sink_from_request) every document. `file`: -
 * is the standard input. `reader` NULL: the first error is in `error`; else all of them were
 * reported, and `error` has no text. */
int manifest_load(const char *file, const ManifestReader *reader, Manifest *ret_manifest, Error *error);
int manifest_parse(const char *name, const char *text, size_t size, const ManifestReader *reader, Manifest *ret_manifest, Error *error);
void manifest_deinit(Manifest *manifest);
