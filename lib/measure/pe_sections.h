/* The sections of a PE file by name. */
#ifndef MEASURE_PE_SECTIONS_H
#define MEASURE_PE_SECTIONS_H

#include <dstack/bytes.h>
#include <stdbool.h>

#define PE_MAX_SECTIONS 128

typedef struct pe_section {
    char name[9];
    dstack_bytes content; /* as long as it is in memory; borrowed from the file */
    bool is_whole;        /* false: memory has more of it than the file, zeros */
} pe_section;

typedef struct pe_sections {
    pe_section list[PE_MAX_SECTIONS];
    size_t count;
} pe_sections;

/* In the order of the section table. DSTACK_E_FORMAT, DSTACK_E_LIMIT. */
int pe_sections_read(dstack_bytes file, pe_sections *out, dstack_error *err);
/* The first of that name (as loaders choose), or NULL. */
const pe_section *pe_sections_find(const pe_sections *sections, const char *name);

#endif
