#include "boot/share.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"

#define MOUNT_POINT "/run/dstack-host-shared"
#define POLL_MS 200

static const struct {
    const char *name;
    size_t limit;
    bool needed;
    mode_t mode; /* of the copy */
} known[SHARE_FILE_COUNT] = {
    [SHARE_COMPOSE] = {"app-compose.json", (size_t)50 << 20, true, 0644},
    [SHARE_SYS_CONFIG] = {".sys-config.json", (size_t)32 << 10, true, 0644},
    [SHARE_INSTANCE_INFO] = {".instance_info", (size_t)10 << 10, false, 0644},
    [SHARE_ENCRYPTED_ENV] = {".encrypted-env", (size_t)256 << 10, false, 0600},
    [SHARE_USER_CONFIG] = {".user-config", (size_t)50 << 20, false, 0644},
    [SHARE_SIM_ROOT] = {".sim-root.der", (size_t)16 << 10, false, 0644},
    [SHARE_SIM_COLLATERAL] = {".sim-collateral.json", (size_t)1 << 20, false, 0644},
};

const char *share_file_name(share_file file) {
    return known[file].name;
}

void share_clear(share *files) {
    for (size_t i = 0; i < SHARE_FILE_COUNT; i++) {
        dstack_buf_clear(&files->files[i]);
    }
    memset(files, 0, sizeof *files);
}

/* The size is tested on the opened descriptor while reading, so a file cannot grow past it. */
static int read_one(int dir, share_file which, share *out, dstack_error *err) {
    const char *name = known[which].name;
    DSTACK_AUTO(fd) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        return known[which].needed
                   ? error_set(err, DSTACK_E_NOT_FOUND, "the host share has no %s", name)
                   : 0;
    }
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot open %s on the host share", name);
    }
    if (!S_ISREG(info.st_mode)) {
        return error_set(err, DSTACK_E_FORMAT, "%s on the host share is no regular file", name);
    }
    dstack_buf *buf = &out->files[which];
    for (;;) {
        size_t room = known[which].limit + 1 - buf->len;
        size_t chunk = room < 65536 ? room : 65536;
        buf_reserve(buf, chunk);
        if (buf->failed) {
            return buf_check(buf, err);
        }
        ssize_t got = read(fd, buf->data + buf->len, chunk);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return error_set_errno(err, DSTACK_E_IO, "cannot read %s on the host share", name);
        }
        if (got == 0) {
            break;
        }
        buf->len += (size_t)got;
        if (buf->len > known[which].limit) {
            return error_set(err, DSTACK_E_LIMIT, "%s on the host share is larger than %zu bytes",
                             name, known[which].limit);
        }
    }
    out->present[which] = true;
    return 0;
}

int share_read(const char *path, share *out, dstack_error *err) {
    DSTACK_AUTO(fd) int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot open the host share at %s", path);
    }
    for (share_file i = 0; i < SHARE_FILE_COUNT; i++) {
        int rc = read_one(dir, i, out, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int share_write(const share *files, const char *dir, dstack_error *err) {
    int rc = file_make_dirs(dir, 0755, err);
    for (share_file i = 0; rc == 0 && i < SHARE_FILE_COUNT; i++) {
        if (!files->present[i]) {
            continue;
        }
        char path[256];
        snprintf(path, sizeof path, "%s/%s", dir, known[i].name);
        rc = file_write_atomic(path, bytes_of_buf(&files->files[i]), known[i].mode, err);
    }
    return rc;
}

/* Microsoft FAT specification 1.03: the label is at byte 71 for FAT32 (whose 16-bit FAT size is 0)
 * and at byte 43 for the older forms. */
void share_fat_label(dstack_bytes sector, char label[12]) {
    label[0] = '\0';
    if (sector.len < 512 || sector.data[510] != 0x55 || sector.data[511] != 0xaa) {
        return;
    }
    cursor c = cursor_init(sector);
    cursor_skip(&c, 22);
    bool fat32 = cursor_u16le(&c) == 0;
    c = cursor_init(sector);
    cursor_skip(&c, fat32 ? 71 : 43);
    cursor_copy(&c, label, 11);
    size_t len = 11;
    while (len > 0 && label[len - 1] == ' ') {
        len--;
    }
    label[len] = '\0';
}

static bool disk_is_share(const char *device) {
    DSTACK_AUTO(fd) int fd = open(device, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    uint8_t sector[512];
    char label[12];
    if (fd < 0 || pread(fd, sector, sizeof sector, 0) != (ssize_t)sizeof sector) {
        return false;
    }
    share_fat_label(bytes_of(sector, sizeof sector), label);
    return strcmp(label, SHARE_LABEL) == 0;
}

/* Reads every block device's first sector; udev's links may come late or not at all. */
static bool disk_find(char device[300]) {
    DIR *dir = opendir("/sys/class/block");
    bool found = false;
    for (struct dirent *entry; !found && dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(device, 300, "/dev/%s", entry->d_name);
        found = disk_is_share(device);
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return found;
}

int share_fetch(int timeout_ms, share *out, dstack_error *err) {
    int64_t until = clock_monotonic_ms() + timeout_ms;
    char device[300];
    while (!disk_find(device)) {
        if (clock_monotonic_ms() >= until) {
            return error_set(err, DSTACK_E_TIMEOUT, "no disk labelled " SHARE_LABEL " appeared");
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
    int rc = file_make_dirs(MOUNT_POINT, 0700, err);
    if (rc != 0) {
        return rc;
    }
    if (mount(device, MOUNT_POINT, "vfat", MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOEXEC,
              "iocharset=ascii") != 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot mount the host share %s", device);
    }
    rc = share_read(MOUNT_POINT, out, err);
    if (umount2(MOUNT_POINT, MNT_DETACH) == 0) {
        rmdir(MOUNT_POINT);
    }
    return rc;
}
