/* Reading JSON member by member, for texts whose rules a tree cannot keep: a member that is known
 * may not come twice while unknown ones may, an integer is one by its spelling, nesting ends at 32.
 * (A tree parser has dropped all of that when it hands over.) Strings are views of the input, or of
 * `texts` where escapes had to be decoded.
 *
 * The first problem sticks: every later read gives zeros and ends every loop, so a reader tests
 * once at the end. */
#ifndef VERIFY_DCAP_JSON_IN_H
#define VERIFY_DCAP_JSON_IN_H

#include "base/cursor.h"

#define JSON_IN_MAX_DEPTH 32

typedef struct json_in {
    cursor c;
    dstack_buf *texts; /* decoded strings; given room for the whole input at first use */
    unsigned depth;
    bool fresh;        /* nothing read yet in the innermost container */
    const char *fault; /* what is wrong, or NULL */
} json_in;

/* texts outlives everything read. */
json_in json_in_init(dstack_bytes text, dstack_buf *texts);
/* True when the value ends here: only white space may follow. Sets the fault otherwise. */
bool json_in_end(json_in *in);
/* Records a problem at the present position, keeping an earlier one. */
void json_in_fail(json_in *in, const char *fault);
static inline bool json_in_ok(const json_in *in) {
    return in->fault == NULL;
}

/* The known members of one object: at most 32 names; bit i of required for names[i]. */
typedef struct json_members {
    const char *const *names;
    unsigned count;
    uint32_t required;
    uint32_t seen;
    bool closed; /* an unknown member is a fault */
} json_members;

/* Enters an object. */
void json_in_object(json_in *in);
/* The index of the next known member, its value next to be read; unknown ones are skipped. -1 at
 * the end of the object (a required one that did not come is a fault) and after a fault. */
int json_in_member(json_in *in, json_members *members);
/* Enters an array; json_in_item is true while a value is next. */
void json_in_array(json_in *in);
bool json_in_item(json_in *in);

/* Values. */
uint64_t json_in_uint(json_in *in, uint64_t max);
dstack_bytes json_in_string(json_in *in);
bool json_in_bool(json_in *in);
/* Reads null when it is next. */
bool json_in_null(json_in *in);
void json_in_skip(json_in *in);
/* Skips a value and gives its exact text. */
dstack_bytes json_in_text(json_in *in);

#endif
