/* What predicting an image's registers costs, against hashing its measured files once.
 *
 *   bench_measure IMAGE_DIR [ROUNDS]
 *
 * CPU time of this process, one thread, everything cold: the folder is read, its checksums are
 * checked and all registers are computed in each round. Rounds are interleaved; the lowest counts. */
#include <dstack/measure.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "base/file.h"
#include "crypto/hash.h"

#define FILE_LIMIT ((size_t)1 << 30)

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(int rc, const dstack_error *err) {
    if (rc != 0) {
        fprintf(stderr, "%s\n", err->message);
        exit(1);
    }
}

static double hash_files(const char *dir, hash_algorithm algorithm) {
    static const char *const names[] = {"ovmf.fd", "bzImage", "initramfs.cpio.gz"};
    dstack_error err = {0};
    const double start = now();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[4096];
        uint8_t digest[64];
        hash_ctx ctx;
        DSTACK_AUTO(buf) dstack_buf content = {0};
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        must(file_read(path, FILE_LIMIT, &content, &err), &err);
        hash_init(&ctx, algorithm);
        hash_update(&ctx, bytes_of_buf(&content));
        hash_final(&ctx, digest);
    }
    return now() - start;
}

static double measure(const char *dir) {
    dstack_error err = {0};
    dstack_image image;
    dstack_vm_shape shape;
    dstack_measurements m;
    const double start = now();
    dstack_vm_shape_init(&shape);
    must(dstack_image_load(dir, &image, &err), &err);
    must(dstack_measure_tdx(&image, &shape, &m, &err), &err);
    dstack_image_clear(&image);
    return now() - start;
}

static double generate(uint32_t cpus) {
    dstack_error err = {0};
    dstack_vm_shape shape;
    dstack_acpi acpi;
    dstack_vm_shape_init(&shape);
    shape.cpu_count = cpus;
    const double start = now();
    must(dstack_acpi_generate(&shape, &acpi, &err), &err);
    dstack_acpi_clear(&acpi);
    return now() - start;
}

static void lower(double *lowest, double value) {
    if (*lowest == 0 || value < *lowest) {
        *lowest = value;
    }
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: bench_measure IMAGE_DIR [ROUNDS]\n");
        return 2;
    }
    double sha256 = 0, sha384 = 0, all = 0, one = 0, many = 0;
    for (int rounds = argc > 2 ? atoi(argv[2]) : 10; rounds > 0; rounds--) {
        lower(&sha256, hash_files(argv[1], HASH_SHA256));
        lower(&sha384, hash_files(argv[1], HASH_SHA384));
        lower(&all, measure(argv[1]));
        lower(&one, generate(1));
        lower(&many, generate(256));
    }
    printf("files hashed once, SHA-256   %8.2f ms\n", sha256 * 1e3);
    printf("files hashed once, SHA-384   %8.2f ms\n", sha384 * 1e3);
    printf("loaded, checked and measured %8.2f ms, %.2f times SHA-384\n", all * 1e3, all / sha384);
    printf("ACPI tables, 1 CPU           %8.0f us\n", one * 1e6);
    printf("ACPI tables, 256 CPUs        %8.0f us\n", many * 1e6);
    return 0;
}
