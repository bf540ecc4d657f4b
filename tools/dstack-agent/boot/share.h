/* What the host hands over: a read-only FAT disk labelled DSTACKSHR with a few files. Nothing here
 * is trusted; each file counts only as far as something measured or verified speaks for it. */
#ifndef AGENT_BOOT_SHARE_H
#define AGENT_BOOT_SHARE_H

#include <dstack/bytes.h>

#include "base/auto.h"

#define SHARE_LABEL "DSTACKSHR"

typedef enum share_file {
    SHARE_COMPOSE,
    SHARE_SYS_CONFIG,
    SHARE_INSTANCE_INFO,
    SHARE_ENCRYPTED_ENV,
    SHARE_USER_CONFIG,
    SHARE_SIM_ROOT,       /* certificate of a simulated platform, in simulated guests alone */
    SHARE_SIM_COLLATERAL, /* its collateral bundle */
    SHARE_FILE_COUNT,
} share_file;

typedef struct share {
    dstack_buf files[SHARE_FILE_COUNT];
    bool present[SHARE_FILE_COUNT];
} share;

const char *share_file_name(share_file file);

/* Reads the known files out of a folder, each within its limit, no symbolic links; others are not
 * looked at. A missing needed file is DSTACK_E_NOT_FOUND, a larger one DSTACK_E_LIMIT. */
int share_read(const char *dir, share *out, dstack_error *err);
/* Writes what was read to another folder: the copy is what everything later works on. */
int share_write(const share *files, const char *dir, dstack_error *err);
/* Finds the disk by its label, mounts it read-only, reads it and unmounts it. Waits up to
 * timeout_ms for the disk to appear. Needs root. */
int share_fetch(int timeout_ms, share *out, dstack_error *err);
/* The label in a FAT boot sector (512 bytes), without trailing blanks; "" when it is none. */
void share_fat_label(dstack_bytes sector, char label[12]);
void share_clear(share *files);

DSTACK_AUTO_DEFINE_CLEAR(share, share, share_clear)

#endif
