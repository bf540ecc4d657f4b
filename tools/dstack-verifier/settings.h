/* The verifier's configuration keys, and the rules that bind several of them. */
#ifndef VERIFIER_SETTINGS_H
#define VERIFIER_SETTINGS_H

#include "engine.h"
#include "service/daemon.h"

extern const daemon_description verifier_description;

int verifier_settings_check(const service_config *config, bool insecure_dev, dstack_error *err);
/* The engine's part. The result borrows from the configuration. */
void verifier_settings_engine(const service_config *config, engine_options *out);

#endif
