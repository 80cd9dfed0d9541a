/* Settings read with the place of an error; internal to config/. */
#pragma once

#include "config/field.h"
#include "config/settings.h"

/* Asserts what the rows of the table promise: keys that differ, a sentence, a default in its
 * range. */
void settings_check_table(void);
/* Is each value one that settings_apply takes? For check(). */
bool settings_hold(const Settings *settings);

/* One key to one value (JSON null resets). The key's own node is for errors about the key, `value`
 * for those about the value. */
int settings_apply_one(Fault *fault, Settings *settings, const char *key, const Node *key_node, const Node *value);
/* The list form [{key,value}, …]; *settings is unchanged when it fails. */
int settings_apply_list(Fault *fault, Settings *settings, const Node *items);
/* Both forms: the list, or {key: value, …}. */
int settings_apply_any(Fault *fault, Settings *settings, const Node *node);
