/*
 * While the writer waits for a disk it lends its memory: then another thread may read it. The only
 * exception from "everything of the writer belongs to its thread".
 */
#pragma once

#include <stdbool.h>

typedef struct Lending Lending;

Lending *lending_new(void);
void lending_free(Lending *lending);
void lending_begin(Lending *lending); /* the writer's thread: it touches nothing until the end */
void lending_end(Lending *lending);   /* waits for who reads */
/* Any thread: may the memory be read until lending_release? That is called in either case. */
bool lending_hold(Lending *lending);
void lending_release(Lending *lending);
