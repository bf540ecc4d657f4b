/* Verifies an Intel SGX or TDX quote without a network.
 *
 *     cc verify_quote.c -o verify_quote $(pkg-config --cflags --libs dstack)
 *     ./verify_quote quote.bin collateral.json [pinned-root.der]
 *
 * `dstack quote collateral quote.bin` writes the collateral where there is a network. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <dstack/dstack.h>

static dstack_bytes read_file(const char *path) {
    static uint8_t room[3][1 << 20];
    static int next;
    FILE *file = fopen(path, "rb");
    if (file == NULL || next == 3) {
        perror(path);
        exit(3);
    }
    uint8_t *data = room[next++];
    size_t len = fread(data, 1, sizeof room[0], file);
    fclose(file);
    return (dstack_bytes){data, len};
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: verify_quote QUOTE COLLATERAL [ROOT]\n");
        return 2;
    }
    dstack_error err = {0};
    dstack_verifier *verifier = NULL;
    dstack_collateral *collateral = NULL;
    static dstack_quote_report report;
    dstack_bytes quote = read_file(argv[1]);
    dstack_trust_root root = {.name = "pinned root"};
    dstack_verifier_options options = {0}; /* Intel's root, no debug mode */
    if (argc == 4) {
        root.cert = read_file(argv[3]);
        options =
            (dstack_verifier_options){.roots = &root, .root_count = 1, .no_builtin_root = true};
    }
    int rc = dstack_verifier_new(&verifier, &options, &err);
    rc = rc != 0 ? rc : dstack_collateral_parse(&collateral, read_file(argv[2]), &err);
    rc = rc != 0 ? rc
                 : dstack_verifier_check_with(verifier, quote, collateral, NULL, time(NULL),
                                              &report, &err);
    if (rc == 0) {
        printf("verified under %s: %s\n", report.anchor.name,
               dstack_tcb_status_name(report.status));
    } else {
        fprintf(stderr, "refused: %s: %s\n", dstack_status_name(rc), err.message);
    }
    dstack_collateral_free(collateral);
    dstack_verifier_free(verifier);
    return rc == 0 ? 0 : 1;
}
