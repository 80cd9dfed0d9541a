/* The pieces of definition_*.c and manifest.c that work together; internal to config/. */
#pragma once

#include "config/definition.h"
#include "config/field.h"
#include "config/field_table.h"

/* The names of the enums, ending with NULL, in their order; behind those of columns two other names
 * of types. */
extern const char *const column_type_names[];
extern const char *const data_type_names[];
extern const char *const on_invalid_names[];
extern const char *const strategy_names[];
extern const char *const schema_drift_names[];
extern const char *const body_policy_names[];
extern const char *const framing_names[];
extern const char *const error_detail_names[];

/* What is declared, and (…_state_fields) what the server decides and answers show. */
extern const FieldTable source_fields, source_state_fields, sink_fields, sink_state_fields, table_fields, column_fields;

#define FIELD_NOT_BUILT "is not supported by this build yet"
#define FIELD_BY_SERVER "is set by the server; leave it out"

/* All-zero objects with one reference. */
Source *source_new(const SourceKind *kind);
Sink *sink_new(void);
/* What is not declared, of a definition that was made from another one: settings, version, pause,
 * …. `to` is new. */
void source_copy_state(Source *to, const Source *from);
void sink_copy_state(Sink *to, const Sink *from);
/* Asserts that it is what was read: before it is stored, or shown to others. */
void source_check(const Source *source);
void sink_check(const Sink *sink);

/* The request form read into a new object. `old` (NULL: none) gives what a request may leave out
 * and the server decided once. */
int source_read(Fault *fault, const Node *body, const Source *old, Source **ret_source);
int sink_read(Fault *fault, const Node *body, bool first_rejects, const Sink *old, Sink **ret_sink);
/* Do the events of the source have what the columns of the sink, which was read from `body`, are
 * filled with? */
int sink_suits(Fault *fault, const Node *body, const Source *source, const Sink *sink);

void pause_copy(Pause *to, const Pause *from); /* `to` holds none */

/* What a request would have to say to get this definition, without what the server made of it; new
 * references. */
json_t *source_request_form(const Source *source);
json_t *sink_request_form(const Sink *sink);
