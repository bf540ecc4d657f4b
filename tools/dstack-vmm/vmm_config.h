/* From the configuration file to settings. */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include "service/config.h"
#include "settings.h"

extern const config_key vmm_config_keys[];
extern const size_t vmm_config_key_count;

/* Fills settings from a configuration that stays alive as long as they do; finds QEMU and what it
 * can do. self: this program's path. */
int vmm_settings_fill(const service_config *config, bool insecure_dev, const char *self,
                      struct vmm_settings *out, dstack_error *err);
void vmm_settings_clear(struct vmm_settings *settings);
/* The checks of --check-config. */
int vmm_config_check(const service_config *config, bool insecure_dev, dstack_error *err);
/* Version of "QEMU emulator version 10.0.2 (Debian ...)"; "" when the line names none. */
void qemu_version_parse(const char *line, char out[32]);

#endif
