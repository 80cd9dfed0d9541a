/*
 * Server options: one table row each (name, type, unit, default, range, reloadable, one-sentence
 * doc). The command line (--intake), the environment (SLUICE_INTAKE), the YAML config file (intake:
 * …) and --print-config all come from it. Later ones win: default < file < environment < command
 * line.
 *
 * In a name '-' and '.' become '_' in the environment (SLUICE_DISK_BUDGET). SLUICE_ADMIN is also
 * what the client commands read: one that holds "://" is a URL for them, and the server passes over
 * it. Variables that are no option are left alone, empty ones count as unset. In the file a name
 * with dots may be nested (disk: {budget: 10GB}); `connections:` stands there only.
 *
 * One thread loads and reloads; a thread that reads options at the same time needs a copy of what
 * it reads.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "config/connection.h"

#define DISK_BUDGET_MIN (64ull << 20)

typedef struct Options {
    char *data;          /* data directory */
    char *intake;        /* ADDR:PORT */
    char *admin;         /* ADDR:PORT */
    bool admin_insecure; /* allow an admin listener off loopback without TLS */
    char *public_url;    /* "" : made from intake */
    uint32_t project;
    char *branch;          /* "default" or the configured number */
    char *trusted_proxies; /* comma-separated CIDRs; "" none */
    uint32_t threads;      /* http loops; 0: cores */
    uint32_t loaders;
    uint32_t connections;
    uint32_t connections_an_address;
    usec_t keep_alive_idle, head_timeout, body_timeout, body_longest, write_timeout;
    uint64_t body_rate_min; /* bytes a second past body_timeout */
    uint64_t event_bytes, body_bytes, header_bytes, unfinished_bytes, row_bytes, request_rows_bytes, in_flight_bytes;
    uint32_t sources_max;
    uint32_t metrics_sinks;
    uint64_t disk_budget;        /* bytes; 0: half of the file system */
    uint32_t disk_share_percent; /* of one sink */
    uint64_t log_high_mark;      /* bytes in the log above which the oldest groups are staged whatever the conditions */
    usec_t retain_imported, retain_failed, retain_expired, retain_orphans, retain_rejects; /* of running time */
    uint64_t rejects_bytes;
    char *backup_directory; /* relative to the data directory unless it is absolute; "": no backups */
    uint32_t backups_kept;  /* that may be restored */
    uint32_t template_stack, template_workers;
    uint64_t template_memory;
    usec_t template_wall;
    uint32_t template_zygotes;
    usec_t import_timeout; /* an import without progress for so long is given up */
    usec_t stall_timeout;  /* a commit that takes longer: the disk hangs */
    usec_t import_longest; /* an import is given up after this, whatever its progress */
    usec_t shutdown_deadline;
    char *mask_key_file; /* "": the key of the data directory */
    char *mask_keys;     /* NAME=FILE, comma-separated; "" none */
    char *log_level;     /* debug, info, warning, error */
    char *log_format;    /* auto, json, text */
    Connections list;    /* `connections:` of the config file, and "local" */
} Options;

/* Defaults, then the file (NULL: none), then the environment, then `arguments` (NULL: none; ends
 * with NULL): "--name", "value" or "--name=value"; a boolean may stand alone. `types`: of
 * connections, ends with NULL; outlives the options. A wrong value is -EINVAL and says
 * file:line:column, or the variable, or the option, and the range. *ret_options is set on success
 * only. */
int options_load(const char *config_file, char *const *arguments, const ConnectionType *const *types, Options *ret_options, Error *error);
void options_deinit(Options *options);
/* Takes over what is reloadable from `fresh`; names in `ignored` what differs but needs a
 * restart. */
void options_reload(Options *options, const Options *fresh, Buffer *ignored);
/* The name of option `index`, NULL past the last one. *ret_flag: on the command line it may stand
 * alone. */
const char *options_name(size_t index, bool *ret_flag);
/* The effective options as YAML with their docs as comments; secrets are not options. */
void options_print(const Options *options, Buffer *out);
/* The table as Markdown rows for docs/operations.md. */
void options_document(Buffer *out);
