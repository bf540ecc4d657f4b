#include "memory.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define LARGE_BLOCK (128 * 1024)

void memory_settle(void) {
    /* One arena per core is for programs that allocate all the time in all threads. */
    mallopt(M_ARENA_MAX, 1);
    /* Setting it stops the allocator from raising it after the first large block. */
    mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
    mallopt(M_TRIM_THRESHOLD, LARGE_BLOCK);
}

/* A mapping of smaps(5), line by line. */
typedef struct mapping {
    uintptr_t from, to;
    bool file_readonly; /* a file's, and not writable */
} mapping;

void memory_forget_start(void) {
    FILE *maps = fopen("/proc/self/smaps", "re");
    char line[512], access[8], path[256];
    mapping m = {0};
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        uintptr_t from, to;
        unsigned long changed;
        path[0] = '\0';
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s %*s %*s %*s %255s", &from, &to, access,
                   path) >= 3) {
            m = (mapping){from, to, path[0] == '/' && access[1] == '-'};
        } else if (sscanf(line, "Anonymous: %lu", &changed) == 1 && changed == 0 &&
                   m.file_readonly) {
            /* Nothing in it differs from the file: relocated tables, read-only too by now, do. */
            madvise((void *)m.from, m.to - m.from, MADV_DONTNEED);
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
    malloc_trim(0);
}
