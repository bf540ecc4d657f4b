/* The environment of the app's programs: a fixed PATH and HOME, then the decrypted variables, byte for
 * byte; no shell reads them on the way. */
#ifndef AGENT_APP_ENVIRONMENT_H
#define AGENT_APP_ENVIRONMENT_H

#include <dstack/bytes.h>

#include "base/auto.h"

typedef struct app_environment {
    dstack_buf text;   /* all KEY=value strings, each with its zero */
    const char **list; /* NULL-terminated, for execve */
} app_environment;

/* Reads `.decrypted-env.json`; an empty file is an empty environment. DSTACK_E_FORMAT for anything
 * but an object of strings. */
int app_environment_load(const char *path, app_environment *out, dstack_error *err);
/* Wipes and frees. */
void app_environment_clear(app_environment *environment);

DSTACK_AUTO_DEFINE_CLEAR(app_environment, app_environment, app_environment_clear)

#endif
