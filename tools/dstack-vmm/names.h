/* Names that come from outside: each is checked by one rule before it becomes part of a path or of a
 * command line. */
#ifndef VMM_NAMES_H
#define VMM_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include <dstack/error.h>

#define VM_ID_MAX 64
#define VM_NAME_MAX 128
#define IMAGE_NAME_MAX 64

/* [A-Za-z0-9_-]{1,64} */
int vm_id_check(const char *id, dstack_error *err);
/* Letters, digits and "- _ . space @ ~ ! $ ^ ( )", at most 128, may be empty. */
int vm_name_check(const char *name, dstack_error *err);
/* Letters, digits and "_ - .", 1 to 64, no "..", no leading dot. */
int image_name_check(const char *name, dstack_error *err);
/* First three parts of "a.b.c[.d...]" as numbers up to 65535. False when it is no such version. */
bool version_tuple(const char *text, uint16_t out[3]);
/* Random UUID version 4 as text. */
void vm_id_new(char out[37]);

#endif
