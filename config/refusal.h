/* Names that people try and that are refused, with the reason. */
#pragma once

/* A name that is known but refused. */
typedef struct Refusal {
    const char *name;   /* NULL ends an array */
    const char *reason; /* follows `Field "x" ` */
} Refusal;
