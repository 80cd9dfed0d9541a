/*
 * PostgreSQL: does the text of a cell fit a column, so that the server neither changes nor refuses
 * it? The checks are CellChecks (checked_rows.h) with a PostgresValueType as their context. A check
 * may refuse spellings that the server would take, and where the server refuses what a check let
 * through, the row is searched for: the checks make refused rows cheap, and keep values from being
 * rounded or cut. Pure; any thread.
 */
#pragma once

#include <stddef.h>

#include "base/buffer.h"
#include "base/span.h"

typedef struct PostgresValueType {
    /* What stands in the brackets of numeric(10,2), varchar(20), timestamp(3); -1: nothing. */
    int precision, scale;
    const Span *labels; /* of an enum */
    size_t label_count;
} PostgresValueType;

/* Whole numbers as digits. */
const char *postgres_check_smallint(const void *type, Span text, Buffer *changed);
const char *postgres_check_integer(const void *type, Span text, Buffer *changed);
/* The same, for a type of binary digits: is it one of its numbers? */
const char *postgres_check_whole_real(const void *type, Span text, Buffer *changed);
const char *postgres_check_whole_double(const void *type, Span text, Buffer *changed);
/* JSON numbers: does the text that the server shows equal them? */
const char *postgres_check_real(const void *type, Span text, Buffer *changed);
/* JSON numbers for numeric(precision, scale). */
const char *postgres_check_numeric(const void *type, Span text, Buffer *changed);
/* At most `precision` characters. */
const char *postgres_check_length(const void *type, Span text, Buffer *changed);
/* `precision` digits of a second, in times as mapping writes them. */
const char *postgres_check_seconds(const void *type, Span text, Buffer *changed);

/* Texts of any kind. */
const char *postgres_check_label(const void *type, Span text, Buffer *changed);
const char *postgres_check_uuid(const void *type, Span text, Buffer *changed);
/* An IPv4 or IPv6 address, as inet_pton(3) reads them, with "/bits" or without. */
const char *postgres_check_inet(const void *type, Span text, Buffer *changed);
/* The same; the bits behind those of the network are 0. */
const char *postgres_check_cidr(const void *type, Span text, Buffer *changed);
const char *postgres_check_macaddr(const void *type, Span text, Buffer *changed);
/* HH:MM[:SS[.digits]], up to 24:00. */
const char *postgres_check_time(const void *type, Span text, Buffer *changed);
/* "P1DT2H" of ISO 8601, or "1 day 02:00:00", with the units from the longest to the shortest. */
const char *postgres_check_interval(const void *type, Span text, Buffer *changed);
const char *postgres_check_xml(const void *type, Span text, Buffer *changed); /* xml_content.h */
/* JSON that is an array of strings and nulls; changed to the text of an array. Its elements have at
 * most `precision` characters, if there is one. */
const char *postgres_check_array(const void *type, Span text, Buffer *changed);
