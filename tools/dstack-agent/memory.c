#include "memory.h"

#include <malloc.h>

#define LARGE_BLOCK (128 * 1024)

void memory_settle(void) {
    /* One arena per core is for programs that allocate all the time in all threads. */
    mallopt(M_ARENA_MAX, 1);
    /* Setting it stops the allocator from raising it after the first large block. */
    mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
    mallopt(M_TRIM_THRESHOLD, LARGE_BLOCK);
}
