/* The files of the agent's pages (web/agent/), built into the program. */
#ifndef AGENT_PAGE_FILES_H
#define AGENT_PAGE_FILES_H

#include <stddef.h>

typedef struct page_file_content {
    const char *name;
    const unsigned char *data;
    size_t len;
} page_file_content;

extern const page_file_content agent_page_files[];
extern const size_t agent_page_file_count;

#endif
