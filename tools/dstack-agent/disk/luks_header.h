/* The LUKS2 header of the data disk, held to the one shape that this guest makes.
 *
 * The host owns the disk, so the header is hostile input: whatever decides about the cipher, the
 * key derivation, where the data lies or which features are on has one accepted value. Layout:
 * LUKS2 On-Disk Format Specification 1.1. */
#ifndef AGENT_DISK_LUKS_HEADER_H
#define AGENT_DISK_LUKS_HEADER_H

#include <dstack/bytes.h>

/* Everything in front of the data: two header copies and the keyslot area. */
#define LUKS_HEADER_AREA ((size_t)16 << 20)
/* Bytes that hold the marker by which a formatted disk is recognised. */
#define LUKS_MARKER_SIZE 4096
#define LUKS_CIPHER "aes"
#define LUKS_CIPHER_MODE "xts-plain64"
#define LUKS_ENCRYPTION "aes-xts-plain64"
#define LUKS_KEY_SIZE 64
#define LUKS_SECTOR_SIZE 512

typedef enum luks_presence {
    LUKS_ABSENT,  /* the first 4096 bytes are zero: nothing was ever committed here */
    LUKS_PRESENT, /* starts with the magic */
    LUKS_FOREIGN, /* something else */
} luks_presence;

/* What the first LUKS_MARKER_SIZE bytes of a disk say. */
luks_presence luks_header_presence(dstack_bytes start);

/* Checks both header copies in `area` (the first LUKS_HEADER_AREA bytes of the disk, or at least
 * twice the header size). DSTACK_E_FORMAT when it is no LUKS2 header, DSTACK_E_REFUSED when it is
 * one that this guest would never have made; the message names the member. */
int luks_header_check(dstack_bytes area, dstack_error *err);

#endif
