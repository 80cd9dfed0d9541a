/*
 * Changes of definitions. A change is checked when it is asked for (what is wrong with it is told
 * at once) and becomes a task; the changes of one source run one after another, in order of
 * arrival:
 *
 *   build       what the definitions become, from what they are now; compile the plan
 *   prepare     a loader checks or creates the tables, one after another
 *   copy        a loader copies the positions of a table that a sink leaves, if that is asked for
 *   define      the writer stores the definitions and learns what it must know, in one transaction
 *   publish     every loop runs the new plan from its next event on
 *   fence       until every event that was mapped with the old one is committed or refused
 *   close       the writer closes the open files of sinks whose table or mapping changed
 *
 * A change runs the steps that it needs, and no other: one that the loops would not notice (a
 * pause, an import condition) is stored and told to the writer, and compiles, publishes and fences
 * nothing.
 *
 * What takes something away (disable, delete) publishes and fences before it is defined, so that
 * new events are refused first. A change that fails leaves everything as it was, but for tables
 * that were made before: they stay, and its error names them. A manifest changes a source and its
 * sinks in one such course, with one transaction and one snapshot: whole or not at all. Control
 * thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "gateway/control/service.h"
#include "gateway/control/tasks.h"

typedef struct Change Change;

enum { CHANGE_NEEDS_TEMPLATES = 1 };
/* Checks and starts a change. 0 and its task (which may have ended already), or -1 and why not.
 * CHANGE_NEEDS_TEMPLATES: nothing is started; ask again when there are verdicts on the texts of
 * `*ret_needed`, which is the caller's (control_park). */
int change_start(Control *control, const ChangeRequest *request, Task **ret_task, TemplateCheck **ret_needed, Failure *failure);
/* A generation of snapshots has gone: goes on with the changes that waited for it. */
void changes_fence(Control *control);
/* Is a change of that source on its way? */
bool changes_are_pending(const Control *control, const char *source_id);
/* Frees all; their tasks stay as they are. */
void changes_free(Control *control);
