/* dstack-agent: what makes a guest a dstack guest. One program, so that the image holds one copy of
 * everything. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <dstack/version.h>
#include <jansson.h>
#include <sodium.h>

#include "app/app.h"
#include "boot/boot.h"
#include "memory.h"
#include "serve/serve.h"
#include "serve/simulate.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} COMMANDS[] = {
    {"boot", boot_main, "set the guest up: measure, get keys, open the disk (run once, as root)"},
    {"serve", serve_main, "serve the agent's sockets and the public port"},
    {"simulate", simulate_main, "serve the API over recorded evidence, for development"},
    {"app", app_main, "start or stop the app's containers"},
};

static void usage(FILE *out) {
    fprintf(out, "usage: dstack-agent COMMAND [ARGUMENTS]\n\n");
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++) {
        fprintf(out, "  %-10s %s\n", COMMANDS[i].name, COMMANDS[i].help);
    }
    fprintf(out, "\n  --version\n");
}

/* JSON documents of this program hold keys: their memory is wiped when it is given back. */
static void wiping_free(void *p) {
    if (p != NULL) {
        sodium_memzero(p, malloc_usable_size(p));
        free(p);
    }
}

int main(int argc, char **argv) {
    if (sodium_init() < 0) {
        fprintf(stderr, "dstack-agent: libsodium does not start\n");
        return 3;
    }
    memory_settle();
    json_set_alloc_funcs(malloc, wiping_free);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    prctl(PR_SET_DUMPABLE, 0);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("dstack-agent %s\n", DSTACK_VERSION);
        return 0;
    }
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++) {
        if (strcmp(argv[1], COMMANDS[i].name) == 0) {
            return COMMANDS[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "dstack-agent: unknown command \"%s\"\n", argv[1]);
    return 2;
}
