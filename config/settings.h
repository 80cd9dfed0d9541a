/*
 * The settings registry of sources and sinks: one row per setting; parser, API, documentation and
 * defaults come from it. A sink's value overrides its source's, which overrides the default.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef enum SettingId {
    SETTING_SYNC_WAIT,
    SETTING_UPLOAD_COUNT,
    SETTING_UPLOAD_SIZE,
    SETTING_UPLOAD_INTERVAL,
    SETTING_IMPORT_COUNT,
    SETTING_IMPORT_SIZE,
    SETTING_IMPORT_INTERVAL,
    SETTING_COUNT_
} SettingId;

typedef enum SettingType {
    SETTING_BOOL,
    SETTING_NUMBER,
    SETTING_SIZE,
    SETTING_TIME
} SettingType; /* int64: 0/1, rows, bytes, microseconds */

typedef struct SettingInfo {
    const char *key; /* "storage.level.target.import.trigger.count" */
    SettingType type;
    int64_t default_value, least, most;
    bool is_import_condition; /* a change imports all waiting files at once */
    const char *description;  /* one sentence */
} SettingInfo;

const SettingInfo *settings_info(SettingId id);
/* -1 when there is no such key. */
int settings_find(const char *key);

/* What one source or sink overrides. All-zero: nothing. */
typedef struct Settings {
    bool set[SETTING_COUNT_];
    int64_t value[SETTING_COUNT_];
    bool declared[SETTING_COUNT_]; /* a manifest set it, and nobody since: with a manifest that leaves it out it is the default again */
} Settings;

/* The value in force; either may be NULL. */
int64_t settings_effective(SettingId id, const Settings *source, const Settings *sink);

/* Applies [{"key","value"}, …] (value null resets). -EINVAL names key, bounds and what would be
 * right; *settings is unchanged then. */
int settings_apply(Settings *settings, const json_t *items, Error *error);
/* The settings that a manifest declares (`items` as above, NULL: none), in place of what is there.
 * What they leave out is reset if a manifest had set it, or if `resets`; what was set otherwise
 * stays. */
int settings_declare(Settings *settings, const json_t *items, bool resets, Error *error);
/* [{"key","value"}, …]: what is set, and not by a manifest; new reference. */
json_t *settings_kept(const Settings *settings);
/* The API's items for one owner:
 * [{key,type,description,value,defaultValue,overwritten,protected,validation}, …]; new
 * reference. */
json_t *settings_to_json(const Settings *source, const Settings *sink, bool of_sink);
/* {key: value, …} of what is overridden, for the catalog; new reference. */
json_t *settings_store(const Settings *settings);
/* [key, …] of those that a manifest has set, for the catalog; NULL: none. */
json_t *settings_store_declared(const Settings *settings);
/* `declared`: as above; NULL: none. */
int settings_load(Settings *settings, const json_t *stored, const json_t *declared, Error *error);
/* Whoever set them. */
bool settings_equal(const Settings *a, const Settings *b);
/* Were they set by the same? */
bool settings_declared_equal(const Settings *a, const Settings *b);
