/*
 * Manifests are YAML 1.1 documents (libyaml). They are read into JSON together with the position of
 * every node, so that an error can name file:line:column. The config file is read here, too.
 *
 * `${ENV:NAME}` and `${FILE:path}` are replaced in scalars. A path is relative to the folder of the
 * file that contains it. One trailing newline of the file is removed. A missing variable or file is
 * an error. `$${ENV:` is the plain text `${ENV:`. A plain scalar gets its type after the
 * replacement. A quoted scalar is always a string. Inside [] and {}, YAML requires the quotes.
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
 * float). Quoted scalars are strings. */
typedef struct YamlDocument YamlDocument;

/* Reads all documents of the text. `name` is for messages. Anchors are allowed. Duplicate keys and
 * tags are errors. The caller frees *ret_documents with yaml_documents_free(). */
int yaml_parse(const char *name, const char *text, size_t size, YamlDocument ***ret_documents, size_t *ret_count, Error *error);
void yaml_documents_free(YamlDocument **documents, size_t count);
json_t *yaml_json(const YamlDocument *document); /* borrowed */
/* Returns the replaced values of all documents of the text; borrowed. */
const Expansions *yaml_expansions(const YamlDocument *document);
/* Sets the error "name:line:column: text" for the node at `path` and returns -EINVAL. `path` is
 * like "sinks/0/table", with '~' and '/' of a name as "~0" and "~1". If the node does not exist,
 * its nearest parent is used. Values of variables and files are removed from the text. */
int yaml_error(const YamlDocument *document, const char *path, Error *error, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Does the same, at the position of the field's name instead of its value. */
int yaml_error_at_key(const YamlDocument *document, const char *path, Error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Reads a whole file as a NUL-terminated text, free(). -EFBIG: it is larger than 16 MB. */
int yaml_read_file(const char *file, char **ret_text, size_t *ret_size, Error *error);

/* A source with its sinks, in the form of the API. All members are owned. */
typedef struct ManifestSource {
    json_t *source;         /* body for POST /sources, without sinks and settings; sourceId always present */
    json_t *settings;       /* [{key,value}] or NULL */
    json_t **sinks;         /* bodies for POST …/sinks, each with sinkId, without settings */
    json_t **sink_settings; /* the same order; NULL items */
    size_t sink_count;
    json_t *connections; /* connections that a stream manifest declares itself, [{"name", "connection"}]; NULL: none */
    json_t *ignored;     /* names of the fields of a stream manifest that have no meaning here; NULL: none */
} ManifestSource;

/* Reads a document in the form of the API. `source_id`: id of the source, which the document may
 * omit. The texts of errors name no position in a file. */
int manifest_source_parse(const json_t *document, const char *source_id, ManifestSource *ret_source, Error *error);
void manifest_source_deinit(ManifestSource *source); /* allowed for an all-zero one */

typedef struct Manifest {
    ManifestSource *sources;
    size_t count;
    Expansions expansions; /* values that no message about the manifest may show */
    json_t *needed;        /* {name: true}: connections that its sources and sinks name, except those that it declares itself */
} Manifest;

/* The source that `examine` reports about. */
typedef struct ManifestPlace ManifestPlace;

/* Callbacks of a caller that wants all errors of a manifest, each as "file:line:column: text". */
typedef struct ManifestReader {
    void (*report)(void *context, const char *text);
    /* Examines a source that is valid by itself, with its sinks in the order of the manifest. It
     * reports errors with manifest_find. NULL: no further checks. */
    void (*examine)(void *context, const Source *source, Sink *const *sinks, size_t count, ManifestPlace *place);
    void *context;
    const Connections *const
        *known; /* the connections that sources and sinks may name: lists, the last one is followed by NULL. NULL: any */
} ManifestReader;

/* Reports an error at the node of `path` of the source's document, as in yaml_error. */
void manifest_find(ManifestPlace *place, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Read every document and validate it with source_from_request and sink_from_request. A `file` of
 * "-" is the standard input. `reader` NULL: `error` has the first error. Otherwise all errors are
 * reported to the reader, and `error` has no text. */
int manifest_load(const char *file, const ManifestReader *reader, Manifest *ret_manifest, Error *error);
int manifest_parse(const char *name, const char *text, size_t size, const ManifestReader *reader, Manifest *ret_manifest, Error *error);
void manifest_deinit(Manifest *manifest);
