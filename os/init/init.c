/* PID 1 of the initramfs. Everything it depends on is measured: itself, the modules, the command
 * line. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW_ROOT "/root"
#define SCRATCH "/scratch"
#define DEVICE_TIMEOUT_MS 120000 /* an emulated machine on a busy host is slow */

/*
 * Directories that the guest may write: each is a tmpfs overlay over the verified root, gone at
 * power off. What must last goes to the encrypted data disk.
 */
static const char *const WRITABLE[] = {"etc", "var", "usr", "home", "root", "opt", "mnt", "srv"};

static void console_write(const char *prefix, const char *format, va_list args) {
    char text[512];
    char line[600];
    vsnprintf(text, sizeof text, format, args);
    int len = snprintf(line, sizeof line, "%s%s\n", prefix, text);
    int fd = open("/dev/console", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && len > 0 && write(fd, line, (size_t)len) < 0) {
        /* Nowhere else to say it. */
    }
    if (fd >= 0) {
        close(fd);
    }
}

void init_log(const char *format, ...) {
    va_list args;
    va_start(args, format);
    console_write("init: ", format, args);
    va_end(args);
}

noreturn void init_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    console_write("init: boot stopped: ", format, args);
    va_end(args);
    exit(1);
}

static void mount_or_fail(const char *source, const char *target, const char *type,
                          unsigned long flags, const char *options) {
    if (mount(source, target, type, flags, options) < 0) {
        init_fail("cannot mount %s on %s: %s", type ? type : source, target, strerror(errno));
    }
}

static void directory_make(const char *path, mode_t mode) {
    if (mkdir(path, mode) < 0 && errno != EEXIST) {
        init_fail("cannot make directory %s: %s", path, strerror(errno));
    }
}

static void cmdline_read(char *text, size_t size) {
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, size - 1);
    if (len < 0) {
        init_fail("cannot read /proc/cmdline: %s", strerror(errno));
    }
    if ((size_t)len == size - 1) {
        init_fail("the kernel command line is longer than %zu bytes", size - 2);
    }
    close(fd);
    text[len] = '\0';
}

static void overlay_mount(const char *name) {
    char lower[64];
    char upper[64];
    char work[64];
    char options[256];
    struct stat status;
    snprintf(lower, sizeof lower, NEW_ROOT "/%s", name);
    snprintf(upper, sizeof upper, SCRATCH "/%s", name);
    snprintf(work, sizeof work, SCRATCH "/%s.work", name);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work);
    if (stat(lower, &status) < 0) {
        init_fail("the root file system has no /%s", name);
    }
    directory_make(upper, status.st_mode & 07777);
    directory_make(work, 0700);
    mount_or_fail("overlay", lower, "overlay", 0, options);
}

static void root_switch(void) {
    static const char *const MOVED[] = {"/dev", "/proc", "/sys"};
    for (size_t i = 0; i < sizeof MOVED / sizeof *MOVED; i++) {
        char target[64];
        snprintf(target, sizeof target, NEW_ROOT "%s", MOVED[i]);
        mount_or_fail(MOVED[i], target, NULL, MS_MOVE, NULL);
    }
    if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
        chdir("/") < 0) {
        init_fail("cannot switch to the root file system: %s", strerror(errno));
    }
}

int main(void) {
    umask(022);
    directory_make("/dev", 0755);
    mount_or_fail("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
    directory_make("/proc", 0555);
    mount_or_fail("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    directory_make("/sys", 0555);
    mount_or_fail("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);

    char cmdline[4096];
    struct root_spec spec;
    cmdline_read(cmdline, sizeof cmdline);
    const char *problem = root_spec_parse(cmdline, &spec);
    if (problem) {
        init_fail("%s", problem);
    }

    modules_load("/modules/order");

    char device[128];
    char verified[128];
    root_device_find(&spec, DEVICE_TIMEOUT_MS, device, sizeof device);
    verity_open(device, &spec, verified, sizeof verified);
    directory_make(NEW_ROOT, 0755);
    mount_or_fail(verified, NEW_ROOT, "erofs", MS_RDONLY | MS_NODEV, NULL);

    /* The tmpfs is mounted below the new root's reach: only the overlays still refer to it. */
    directory_make(SCRATCH, 0700);
    mount_or_fail("tmpfs", SCRATCH, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700");
    for (size_t i = 0; i < sizeof WRITABLE / sizeof *WRITABLE; i++) {
        overlay_mount(WRITABLE[i]);
    }

    init_log("root %s verified against %.16s..., starting systemd", device, spec.hash);
    root_switch();
    char *const argv[] = {"/sbin/init", NULL};
    char *const envp[] = {"HOME=/", "TERM=linux", "PATH=/usr/sbin:/usr/bin", NULL};
    execve(argv[0], argv, envp);
    init_fail("cannot start /sbin/init: %s", strerror(errno));
}
