/*
 * Damage of LMDB's own pages. They have no checksum, and LMDB trusts them: it may return a code,
 * fail an assertion, or read where nothing is. Each of these ends in a text that names the
 * environment and says what to do. An assertion that fails ends the process with exit code 2, as a
 * disk does that cannot be written. So does a fault (SIGSEGV, SIGBUS) at an address in the map, or at
 * an instruction of LMDB. Other faults go to the handler that was there before. The environment is
 * the one that was opened last: a program has one.
 */
#pragma once

typedef struct MDB_env MDB_env;

/* Before the first transaction, and again when the map has another size. `path`: the folder of the
 * environment. */
void page_guard_begin(MDB_env *env, const char *path);
/* Before the environment is closed. */
void page_guard_end(void);
/* What to put behind the text of an error: "" unless this code of LMDB says that its pages are
 * damaged. */
const char *page_guard_advice(int code);
