/* The terms of AML that QEMU's tables use: ACPI specification, section 20.2 (grammar) and 6.4
 * (resource descriptors). */
#include <stdlib.h>
#include <string.h>

#include "measure/acpi/aml.h"

#define OP(...) {__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__})

/* In order of word, as strcmp orders. */
static const aml_term terms[] = {
    {"Acquire", OP(0x5b, 0x23), AML_PLAIN, "nw"},
    {"And", OP(0x7b), AML_PLAIN, ""},
    {"Arg0", OP(0x68), AML_PLAIN, ""},
    {"Arg1", OP(0x69), AML_PLAIN, ""},
    {"Arg2", OP(0x6a), AML_PLAIN, ""},
    {"Arg3", OP(0x6b), AML_PLAIN, ""},
    {"Arg4", OP(0x6c), AML_PLAIN, ""},
    {"Break", OP(0xa5), AML_PLAIN, ""},
    {"Buffer", OP(0x11), AML_OPENS, ""},
    {"CreateDwordField", OP(0x8a), AML_PLAIN, ""},
    {"Debug", OP(0x5b, 0x31), AML_PLAIN, ""},
    {"DerefOf", OP(0x83), AML_PLAIN, ""},
    {"Device", OP(0x5b, 0x82), AML_OPENS, "n"},
    {"DwordMemory", OP(0x87, 0x17, 0x00, 0x00, 0x0c), AML_PLAIN, "bddddd"},
    {"Eisa", OP(0x0c), AML_PLAIN, "e"},
    {"Else", OP(0xa1), AML_OPENS, ""},
    {"Field", OP(0x5b, 0x81), AML_OPENS, "nb"},
    {"If", OP(0xa0), AML_OPENS, ""},
    {"Increment", OP(0x75), AML_PLAIN, ""},
    {"Index", OP(0x88), AML_PLAIN, ""},
    {"Interrupt", OP(0x89, 0x06, 0x00), AML_PLAIN, "bbd"},
    {"Interrupt3", OP(0x89, 0x0e, 0x00), AML_PLAIN, "bbddd"},
    {"Io", OP(0x47, 0x01), AML_PLAIN, "wwbb"},
    {"Irq", OP(0x23), AML_PLAIN, "wb"},
    {"IrqNoFlags", OP(0x22), AML_PLAIN, "w"},
    {"LAnd", OP(0x90), AML_PLAIN, ""},
    {"LEqual", OP(0x93), AML_PLAIN, ""},
    {"LLess", OP(0x95), AML_PLAIN, ""},
    {"LNot", OP(0x92), AML_PLAIN, ""},
    {"LOr", OP(0x91), AML_PLAIN, ""},
    {"Local0", OP(0x60), AML_PLAIN, ""},
    {"Local1", OP(0x61), AML_PLAIN, ""},
    {"Local2", OP(0x62), AML_PLAIN, ""},
    {"Local3", OP(0x63), AML_PLAIN, ""},
    {"Local4", OP(0x64), AML_PLAIN, ""},
    {"Local5", OP(0x65), AML_PLAIN, ""},
    {"Method", OP(0x14), AML_OPENS, "nb"},
    {"Mutex", OP(0x5b, 0x01), AML_PLAIN, "nb"},
    {"Name", OP(0x08), AML_PLAIN, "n"},
    {"Notify", OP(0x86), AML_PLAIN, ""},
    {"Or", OP(0x7d), AML_PLAIN, ""},
    {"Package", OP(0x12), AML_OPENS, "b"},
    {"Processor", OP(0x5b, 0x83), AML_OPENS, "nbdb"},
    {"QwordMemory", OP(0x8a, 0x2b, 0x00, 0x00, 0x0c), AML_PLAIN, "bqqqqq"},
    {"Region", OP(0x5b, 0x80), AML_PLAIN, "nb"},
    {"Release", OP(0x5b, 0x27), AML_PLAIN, "n"},
    {"Resources", OP(0x11), AML_TEMPLATE, ""},
    {"Return", OP(0xa4), AML_PLAIN, ""},
    {"Scope", OP(0x10), AML_OPENS, "n"},
    {"ShiftLeft", OP(0x79), AML_PLAIN, ""},
    {"SizeOf", OP(0x87), AML_PLAIN, ""},
    {"Store", OP(0x70), AML_PLAIN, ""},
    {"Subtract", OP(0x74), AML_PLAIN, ""},
    {"ToBuffer", OP(0x96), AML_PLAIN, ""},
    {"ToHexString", OP(0x98), AML_PLAIN, ""},
    {"Uuid", OP(0x11, 0x13, 0x0a, 0x10), AML_PLAIN, "u"}, /* Buffer(16) */
    {"While", OP(0xa2), AML_OPENS, ""},
    {"WordBus", OP(0x88, 0x0d, 0x00, 0x02, 0x0c, 0x00), AML_PLAIN, "wwwww"},
    {"WordIo", OP(0x88, 0x0d, 0x00, 0x01, 0x0c, 0x03), AML_PLAIN, "wwwww"},
};

typedef struct key {
    const char *word;
    size_t len;
} key;

static int compare(const void *wanted, const void *entry) {
    const key *k = wanted;
    const char *word = ((const aml_term *)entry)->word;
    const int order = strncmp(k->word, word, k->len);
    return order != 0 ? order : -(word[k->len] != '\0');
}

const aml_term *aml_term_find(const char *word, size_t len) {
    const key k = {word, len};
    return bsearch(&k, terms, sizeof terms / sizeof *terms, sizeof *terms, compare);
}
