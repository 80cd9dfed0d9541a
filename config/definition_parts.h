/* The pieces of definition_*.c and manifest.c that work together; internal to config/. */
#pragma once

#include "config/definition.h"
#include "config/field.h"

/* The names of the enums, ending with NULL, in their order. */
extern const char *const column_type_names[];
extern const char *const data_type_names[];
extern const char *const on_invalid_names[];
extern const char *const strategy_names[];
extern const char *const schema_drift_names[];
extern const char *const framing_names[];
extern const char *const error_detail_names[];

/* All-zero objects with one reference. */
Source *source_new(void);
Sink *sink_new(void);

/* The request form read into a new object. `old` (NULL: none) gives what a request may leave out and the server decided once. */
int source_read(Fault *fault, const Node *body, const Source *old, Source **ret_source);
int sink_read(Fault *fault, const Node *body, bool first_of_single, const Sink *old, Sink **ret_sink);
/* The `table` member of a sink; *ret_table is unchanged when it fails. */
int table_read(Fault *fault, const Node *node, TableTarget *ret_table);

void pause_copy(Pause *to, const Pause *from); /* `to` holds none */

/* What a request would have to say to get this definition; new references. */
json_t *source_request_form(const Source *source);
json_t *sink_request_form(const Sink *sink);
