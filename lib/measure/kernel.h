/* What OVMF measures of a directly booted Linux kernel. */
#ifndef MEASURE_KERNEL_H
#define MEASURE_KERNEL_H

#include <dstack/bytes.h>

#include "crypto/hash.h"

#define KERNEL_MAX_SIZE ((size_t)256 << 20)

/* xloadflags bits that say an initrd may lie above 4 GiB... the reference tool tests another bit
 * than QEMU does (Linux boot protocol: XLF_CAN_BE_LOADED_ABOVE_4G is bit 1). */
#define KERNEL_XLF_ABOVE_4G 0x02U
#define KERNEL_XLF_REFERENCE 0x40U

/* Where QEMU puts the initrd: hw/i386/x86-common.c, x86_load_linux. */
int kernel_initrd_address(dstack_bytes kernel, uint64_t initrd_size, uint64_t memory_size,
                          unsigned xlf_bit, uint32_t *out, dstack_error *err);

/* Authenticode digest of a PE file (Windows Authenticode Portable Executable Signature Format, as
 * EDK2 computes it). out takes hash_size(algorithm) bytes. */
int kernel_authenticode(dstack_bytes pe, hash_algorithm algorithm, uint8_t *out, dstack_error *err);

/* The same of a kernel whose header fields are filled as QEMU up to 10.1 does before it hands the file
 * to the firmware. */
int kernel_authenticode_patched(dstack_bytes kernel, uint64_t initrd_size, uint64_t memory_size,
                                unsigned xlf_bit, hash_algorithm algorithm, uint8_t *out,
                                dstack_error *err);

#endif
