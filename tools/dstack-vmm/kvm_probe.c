#include "kvm_probe.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "child.h"

#define FIRMWARE_SIZE 65536
#define RESET_VECTOR 0xfff0
#define TIMEOUT_MS 5000
/* isa-debug-exit ends QEMU with (value << 1) | 1. */
#define EXIT_VALUE 0x2a
#define EXIT_STATUS ((EXIT_VALUE << 1) | 1)

static bool write_firmware(int fd) {
    static const uint8_t code[] = {0xb0, EXIT_VALUE, /* mov al, value */
                                   0xe6, 0xf4,       /* out 0xf4, al */
                                   0xf4,             /* hlt */
                                   0xeb, 0xfd};      /* jmp to the hlt */
    uint8_t firmware[FIRMWARE_SIZE];
    memset(firmware, 0xf4, sizeof firmware);
    memcpy(firmware + RESET_VECTOR, code, sizeof code);
    return write(fd, firmware, sizeof firmware) == (ssize_t)sizeof firmware;
}

bool kvm_works(const char *qemu) {
    char path[] = "/tmp/dstack-kvm-XXXXXX";
    if (access("/dev/kvm", R_OK | W_OK) != 0) {
        return false;
    }
    DSTACK_AUTO(fd) int fd = mkostemp(path, O_CLOEXEC);
    const char *argv[] = {qemu,    "-accel",      "kvm",      "-cpu",
                          "host",  "-machine",    "q35",      "-m",
                          "64M",   "-nodefaults", "-display", "none",
                          "-bios", path,          "-device",  "isa-debug-exit,iobase=0xf4,iosize=1",
                          NULL};
    int status = 0;
    bool works = fd >= 0 && write_firmware(fd) &&
                 child_status(argv, TIMEOUT_MS, &status, NULL) == 0 && status == EXIT_STATUS;
    if (fd >= 0) {
        unlink(path);
    }
    return works;
}
