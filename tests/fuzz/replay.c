/* Driver for builds without libFuzzer: runs a target over its corpus folder, and over mutations of
 * each seed made by a fixed pseudo-random sequence, so that a run is the same everywhere. */
#include <dirent.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED_MAX ((size_t)1 << 20)
#define MUTATIONS_PER_SEED 500

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t next_random(uint64_t *state) {
    /* xorshift64, Marsaglia 2003: quality is irrelevant here, sameness is not */
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Each run gets its own exact-size allocation, so that ASan sees the first byte read too far. */
static void run(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static size_t mutate(uint8_t *data, size_t size, uint64_t *state) {
    size_t edits = 1 + next_random(state) % 4;
    for (size_t i = 0; i < edits && size > 0; i++) {
        size_t at = next_random(state) % size;
        switch (next_random(state) % 5) {
        case 0:
            data[at] ^= (uint8_t)(1U << next_random(state) % 8);
            break;
        case 1:
            data[at] = (uint8_t)next_random(state);
            break;
        case 2:
            data[at] = next_random(state) % 2 == 0 ? 0 : 0xff;
            break;
        case 3:
            size = at;
            break;
        default:
            memmove(data + at, data + at + 1, size - at - 1);
            size--;
        }
    }
    return size;
}

static void run_seed(const char *path, uint64_t *state, size_t *runs) {
    static uint8_t seed[SEED_MAX], work[SEED_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    size_t size = fread(seed, 1, sizeof seed, file);
    fclose(file);
    run(seed, size);
    ++*runs;
    for (int i = 0; i < MUTATIONS_PER_SEED; i++) {
        memcpy(work, seed, size);
        run(work, mutate(work, size, state));
        ++*runs;
    }
}

int main(int argc, char **argv) {
    uint64_t state = 0x9e3779b97f4a7c15u;
    size_t runs = 0;
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    if (dir == NULL) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[PATH_MAX];
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
            run_seed(path, &state, &runs);
        }
    }
    closedir(dir);
    printf("%zu runs\n", runs);
    return runs > 0 ? 0 : 1;
}
