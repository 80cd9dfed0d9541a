/* The connections of type sqlite: what stands in the config file. */
#include "sinks/driver.h"

static const ConnectionField fields[] = {
    {.name = "path",
     .bytes_max = 4096,
     .needed = "a \"path\"",
     .local_value = "tables.db",
     .sentence = "The database file, relative to the data directory unless it is absolute."},
    {.name = "ledgerTable", .bytes_max = 127, .default_value = "_sluice_files", .sentence = "The table of imported files."},
    {.name = "positionsTable",
     .bytes_max = 127,
     .default_value = "_sluice_positions",
     .sentence = "The table of the positions of sources that read a broker."},
    {.name = "columnsTable",
     .bytes_max = 127,
     .default_value = "_sluice_columns",
     .sentence = "The table of the names of columns that were inferred."},
    {0},
};

const ConnectionType connection_type_sqlite = {
    .name = "sqlite",
    .fields = fields,
    .place = "path",
    .one_a_place = true, /* one SQLite file has one writer, and a connection is what has one */
};
