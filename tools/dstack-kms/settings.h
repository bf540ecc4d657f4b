/* The KMS's configuration keys, and the rules that bind several of them. */
#ifndef KMS_SETTINGS_H
#define KMS_SETTINGS_H

#include "service/daemon.h"

extern const daemon_description kms_description;

/* Bits of daemon_options.flags_given, in the order of kms_description.flags. */
enum { KMS_FLAG_PRINT_IDENTITY = 1 };

/* Settings that weaken the release of keys: DSTACK_E_INSECURE unless --insecure-dev was given. */
int kms_settings_check(const service_config *config, bool insecure_dev, dstack_error *err);

#endif
