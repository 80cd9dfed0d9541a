/* The commands of the program but for serve, which is in app/: the table of one each. */
#pragma once

#include "gateway/commands/arguments.h"

extern const Command command_apply, command_check, command_infer, command_map, command_get, command_status, command_connections,
    command_flush, command_pause, command_resume, command_seek, command_skip, command_rejects, command_verify, command_dump, command_backup,
    command_restore, command_import, command_where;
