/* Why a guest stopped before it could tell its host: what its first program wrote on the console. */
#ifndef DSTACK_CONSOLE_REASON_H
#define DSTACK_CONSOLE_REASON_H

#include <stdbool.h>
#include <stddef.h>

/* The text behind "init: " in the last such line, as printable ASCII; false when there is none. */
bool console_reason(const char *console, char *out, size_t size);

#endif
