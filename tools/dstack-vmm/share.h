/* What the host hands to a guest: the files of <vm>/shared/ and the FAT disk made of them. */
#ifndef VMM_SHARE_H
#define VMM_SHARE_H

#include "image.h"
#include "settings.h"
#include "vm.h"

/* vm_config: what a verifier needs to know to predict this machine's registers (JSON text). */
int share_vm_config(const struct vmm_settings *settings, const struct vm_manifest *manifest,
                    const struct vm_image *image, const json_t *compose, dstack_buf *out,
                    dstack_error *err);

/* The text of .sys-config.json. */
int share_sys_config(const struct vmm_settings *settings, const struct vm_manifest *manifest,
                     const char *vm_config, dstack_buf *out, dstack_error *err);

/* Builds <dir>/shared.img from the regular files of <dir>/shared: a FAT32 file system labelled
 * DSTACKSHR over the whole disk. The old image stays in place until the new one is complete. */
int share_build_disk(const char *dir, dstack_error *err);

/* TDX variant by policy, memory and material: "legacy" or "lite". */
int share_tdx_variant(const char *policy, const json_t *compose, uint32_t memory_mib,
                      bool image_lite, const char **out, dstack_error *err);

#endif
