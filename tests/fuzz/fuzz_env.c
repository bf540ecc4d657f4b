/* The plaintext of an encrypted environment, and the environment file of the command line. */
#include <stdlib.h>

#include "manifest/env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const allowed[] = {"FOO", "A", "B"};
    DSTACK_AUTO(env) dstack_env *env = NULL;
    DSTACK_AUTO(env) dstack_env *file = NULL;
    size_t skipped = 0;
    if (env_parse_document(bytes_of(data, size), allowed, 3, &env, &skipped, NULL) == 0) {
        DSTACK_AUTO(secret) dstack_secret *script = NULL;
        DSTACK_AUTO(secret) dstack_secret *json = NULL;
        if (dstack_env_to_script(env, &script, NULL) != 0 ||
            dstack_env_to_json(env, &json, NULL) != 0) {
            abort();
        }
    }
    (void)dstack_env_parse_file(bytes_of(data, size), &file, NULL);
    return 0;
}
