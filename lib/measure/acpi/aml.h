/* Writing ACPI Machine Language (ACPI specification, chapter 20) from text.
 *
 * The text is AML read aloud: the same terms in the same order (operators stand before their
 * operands), integers, 'strings' and names as themselves, `{` and `}` around whatever AML encloses
 * in a package length. A method that QEMU generates is then a few lines that can be read beside
 * QEMU's source, and its bytes follow from the encoding rules alone. */
#ifndef MEASURE_ACPI_AML_H
#define MEASURE_ACPI_AML_H

#include <dstack/bytes.h>

#define AML_MAX_DEPTH 16

typedef struct aml {
    dstack_buf *out;
    struct {
        size_t start;  /* where the package length will stand */
        bool template; /* a resource template: ends with its end tag, and has its size in front */
    } open[AML_MAX_DEPTH];
    size_t depth;
    bool failed; /* malformed text or out of memory */
} aml;

/* Appends to out. Tokens are separated by blanks; a package may be opened in one call and closed in
 * a later one.
 *
 *   12 0x1f          integer in its shortest form
 *   'text'           string
 *   \_SB.PCI0 _STA   name; segments are filled up with underscores
 *   NAME:8 :32       element of a field: name and bits, or bits without a name
 *   #00ff            raw bytes
 *   Store, If, ...   a term of the table in aml_terms.c, followed by its fixed operands
 */
void aml_put(aml *a, const char *text);
/* The same with printf's directives; the expanded text is at most 1 KiB. */
void aml_putf(aml *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A term with an encoding of its own. Operands that follow it directly are, in order of `operands`:
 * n a name, b w d q a number of 1, 2, 4, 8 bytes, e a compressed EISA id, u a UUID. */
typedef struct aml_term {
    const char *word;
    uint8_t opcode[8];
    uint8_t opcode_len;
    enum { AML_PLAIN, AML_OPENS, AML_TEMPLATE } kind;
    const char *operands;
} aml_term;

/* NULL when there is none of that name. */
const aml_term *aml_term_find(const char *word, size_t len);

#endif
