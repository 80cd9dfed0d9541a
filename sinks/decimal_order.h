/* Compares decimal numbers of any size as text, for SQLite, which has no such type. Pure; any
 * thread. */
#pragma once

#include "base/span.h"

/*
 * Returns <0, 0 or >0, by value: "1.50" and "15e-1" are equal. Both are JSON numbers. Other texts,
 * which other programs may have written into the table, are less than all numbers, in the order of
 * their bytes.
 */
int decimal_compare(Span a, Span b);
