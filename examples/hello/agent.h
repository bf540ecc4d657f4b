/* What the hello app asks its guest agent on /var/run/dstack.sock. */
#ifndef HELLO_AGENT_H
#define HELLO_AGENT_H

#include <stdbool.h>
#include <stddef.h>

/* Calls one method with a JSON body; the answer (head and body) is NUL-terminated, cut at `size`. */
bool agent_call(const char *method, const char *body, char *answer, size_t size);

/* The first string after "name": within an answer, with JSON's escapes resolved. Returns where it
 * ended, or NULL when there is none or it does not fit. */
const char *agent_string(const char *answer, const char *name, char *out, size_t size);

/* The next string of an array, from where the last one ended. */
const char *agent_next_string(const char *at, char *out, size_t size);

#endif
