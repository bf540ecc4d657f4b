/*
 * Last step of the image's recipe: predicts what the finished files measure to and writes
 * measurement.tdx.cbor, sha256sum.txt and digest.txt, with the code that verifiers use.
 */
#include <dstack/measure.h>

#include <stdio.h>

int main(int argc, char **argv) {
    char digest[65];
    dstack_error err = {0};
    if (argc != 2) {
        fprintf(stderr, "usage: image-seal DIR\n");
        return 2;
    }
    if (dstack_measure_write(argv[1], digest, &err) != 0) {
        fprintf(stderr, "image-seal: %s\n", err.message);
        return 1;
    }
    return 0;
}
