/* The order of decimal numbers as text, of any size: what SQLite, which has no such type, needs to
 * compare them. Pure; any thread. */
#pragma once

#include "base/span.h"

/*
 * <0, 0, >0, by value: "1.50" and "15e-1" are equal. Both are numbers as JSON has them. Other
 * texts, which somebody else may have put into a table, come before all numbers, in the order of
 * their bytes.
 */
int decimal_compare(Span a, Span b);
