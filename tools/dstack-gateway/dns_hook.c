#include "dns_hook.h"

#include <unistd.h>

#include "base/error.h"
#include "service/run.h"

#define HOOK_MS 60000

static int call(void *user, const char *action, const char *name, const char *value,
                dstack_error *err) {
    const char *const argv[] = {user, action, name, value, NULL};
    return error_prefix(err, run_program(argv, true, NULL, HOOK_MS, err), "DNS hook");
}

static int present(void *user, const char *name, const char *value, dstack_error *err) {
    return call(user, "present", name, value, err);
}

static int cleanup(void *user, const char *name, const char *value, dstack_error *err) {
    return call(user, "cleanup", name, value, err);
}

int dns_hook_init(dstack_acme_dns01 *out, const char *program, dstack_error *err) {
    if (program[0] != '/' || access(program, X_OK) != 0) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "DNS hook \"%s\" must be the absolute path of a program", program);
    }
    *out = (dstack_acme_dns01){present, cleanup, (void *)(uintptr_t)program};
    return 0;
}
