/* The page's files (web/verifier/), built into the program. */
#ifndef VERIFIER_PAGE_FILES_H
#define VERIFIER_PAGE_FILES_H

#include <stddef.h>

typedef struct page_file {
    const char *name;
    const unsigned char *data;
    size_t len;
} page_file;

extern const page_file page_files[];
extern const size_t page_file_count;

#endif
