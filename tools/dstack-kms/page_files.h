/* The page's files (web/kms/), built into the program. */
#ifndef KMS_PAGE_FILES_H
#define KMS_PAGE_FILES_H

#include <stddef.h>

typedef struct page_file {
    const char *name;
    const unsigned char *data;
    size_t len;
} page_file;

extern const page_file page_files[];
extern const size_t page_file_count;

#endif
