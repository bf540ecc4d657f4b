#include "disk/luks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sodium.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "disk/luks_header.h"

#if DSTACK_HAVE_CRYPTSETUP
#include <libcryptsetup.h>

/* The passphrase is 256 bits of key material: stretching it would only make boots slow. */
#define PBKDF2_ITERATIONS 1000

DSTACK_AUTO_DEFINE(crypt, struct crypt_device, crypt_free)

/* Keeps the last complaint of libcryptsetup for the error message; nothing is printed. */
typedef struct complaint {
    char text[200];
} complaint;

static void complaint_keep(int level, const char *text, void *user) {
    complaint *c = user;
    if (level == CRYPT_LOG_ERROR) {
        snprintf(c->text, sizeof c->text, "%.*s", (int)strcspn(text, "\n"), text);
    }
}

static int failed(const complaint *c, int rc, const char *what, dstack_error *err) {
    dstack_status status = rc == -EPERM ? DSTACK_E_CRYPTO : DSTACK_E_IO;
    return error_set(err, status, "%s: %s%s%s", what, strerror(-rc), c->text[0] != '\0' ? ": " : "",
                     c->text);
}

static int context_new(int header_fd, struct crypt_device **out, complaint *c, dstack_error *err) {
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", header_fd);
    int rc = crypt_init(out, path);
    if (rc < 0) {
        *out = NULL;
        return failed(c, rc, "cannot use the LUKS header", err);
    }
    crypt_set_log_callback(*out, complaint_keep, c);
    return 0;
}

bool luks_supported(void) {
    return true;
}

int luks_header_format(int header_fd, const char *device, const dstack_secret *passphrase,
                       dstack_error *err) {
    complaint c = {{0}};
    DSTACK_AUTO(crypt) struct crypt_device *cd = NULL;
    int rc = context_new(header_fd, &cd, &c, err);
    if (rc != 0) {
        return rc;
    }
    const struct crypt_pbkdf_type pbkdf = {
        .type = CRYPT_KDF_PBKDF2,
        .hash = "sha256",
        .iterations = PBKDF2_ITERATIONS,
        .flags = CRYPT_PBKDF_NO_BENCHMARK,
    };
    struct crypt_params_luks2 params = {
        .pbkdf = &pbkdf,
        .data_device = device,
        .sector_size = LUKS_SECTOR_SIZE,
    };
    if ((rc = crypt_set_pbkdf_type(cd, &pbkdf)) < 0 ||
        (rc = crypt_set_data_offset(cd, LUKS_HEADER_AREA / LUKS_SECTOR_SIZE)) < 0 ||
        (rc = crypt_format(cd, CRYPT_LUKS2, LUKS_CIPHER, LUKS_CIPHER_MODE, NULL, NULL,
                           LUKS_KEY_SIZE, &params)) < 0 ||
        (rc = crypt_keyslot_set_encryption(cd, LUKS_ENCRYPTION, LUKS_KEY_SIZE)) < 0 ||
        (rc = crypt_keyslot_add_by_volume_key(cd, 0, NULL, 0,
                                              (const char *)dstack_secret_peek(passphrase),
                                              dstack_secret_len(passphrase))) < 0) {
        return failed(&c, rc, "cannot make a LUKS header", err);
    }
    return 0;
}

int luks_open(int header_fd, const char *device, const char *name, const dstack_secret *passphrase,
              dstack_error *err) {
    complaint c = {{0}};
    DSTACK_AUTO(crypt) struct crypt_device *cd = NULL;
    int rc = context_new(header_fd, &cd, &c, err);
    if (rc != 0) {
        return rc;
    }
    if ((rc = crypt_load(cd, CRYPT_LUKS2, NULL)) < 0 ||
        (rc = crypt_set_data_device(cd, device)) < 0) {
        return failed(&c, rc, "cannot use the LUKS header", err);
    }
    /* A keyslot is named and key loading into the kernel keyring is left to the library. */
    rc = crypt_activate_by_passphrase(cd, name, 0, (const char *)dstack_secret_peek(passphrase),
                                      dstack_secret_len(passphrase), CRYPT_ACTIVATE_ALLOW_DISCARDS);
    if (rc < 0) {
        return failed(&c, rc, "cannot open the encrypted data disk", err);
    }
    return 0;
}

int luks_close(const char *name, dstack_error *err) {
    int rc = crypt_deactivate(NULL, name);
    return rc < 0 ? error_set(err, DSTACK_E_IO, "cannot close %s: %s", name, strerror(-rc)) : 0;
}

#else

bool luks_supported(void) {
    return false;
}

static int unsupported(dstack_error *err) {
    return error_set(err, DSTACK_E_UNSUPPORTED, "this build has no disk encryption");
}

int luks_header_format(int header_fd, const char *device, const dstack_secret *passphrase,
                       dstack_error *err) {
    return unsupported(err);
}

int luks_open(int header_fd, const char *device, const char *name, const dstack_secret *passphrase,
              dstack_error *err) {
    return unsupported(err);
}

int luks_close(const char *name, dstack_error *err) {
    return unsupported(err);
}

#endif

int luks_header_new(int *header_fd, dstack_error *err) {
    *header_fd = memfd_create("luks-header", MFD_CLOEXEC);
    if (*header_fd < 0 || ftruncate(*header_fd, (off_t)LUKS_HEADER_AREA) != 0) {
        return error_set_errno(err, DSTACK_E_MEMORY, "cannot make a memory file");
    }
    return 0;
}

static int read_exact(int fd, uint8_t *out, size_t len, const char *path, dstack_error *err) {
    for (size_t done = 0; done < len;) {
        ssize_t got = pread(fd, out + done, len - done, (off_t)done);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return error_set_errno(err, DSTACK_E_IO, "cannot read %s", path);
        }
        if (got == 0) {
            return error_set(err, DSTACK_E_FORMAT, "%s is smaller than %zu bytes", path, len);
        }
        done += (size_t)got;
    }
    return 0;
}

static int write_range(int fd, const uint8_t *data, size_t from, size_t to, const char *path,
                       dstack_error *err) {
    while (from < to) {
        ssize_t put = pwrite(fd, data + from, to - from, (off_t)from);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return error_set_errno(err, DSTACK_E_IO, "cannot write %s", path);
        }
        from += (size_t)put;
    }
    if (fsync(fd) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot sync %s", path);
    }
    return 0;
}

int luks_header_load(const char *device, int *header_fd, dstack_error *err) {
    DSTACK_AUTO(fd) int disk = open(device, O_RDONLY | O_CLOEXEC);
    if (disk < 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot open %s", device);
    }
    DSTACK_AUTO(buf) dstack_buf area = {0};
    buf_reserve(&area, LUKS_HEADER_AREA);
    int rc = buf_check(&area, err);
    if (rc != 0 || (rc = read_exact(disk, area.data, LUKS_HEADER_AREA, device, err)) != 0) {
        return rc;
    }
    area.len = LUKS_HEADER_AREA;
    if ((rc = luks_header_check(bytes_of_buf(&area), err)) != 0 ||
        (rc = luks_header_new(header_fd, err)) != 0) {
        return rc;
    }
    return write_range(*header_fd, area.data, 0, area.len, "the memory file", err);
}

int luks_header_commit(int header_fd, const char *device, dstack_error *err) {
    DSTACK_AUTO(fd) int disk = open(device, O_WRONLY | O_CLOEXEC);
    if (disk < 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot open %s", device);
    }
    DSTACK_AUTO(buf) dstack_buf area = {0};
    buf_reserve(&area, LUKS_HEADER_AREA);
    int rc = buf_check(&area, err);
    if (rc != 0 ||
        (rc = read_exact(header_fd, area.data, LUKS_HEADER_AREA, "the memory file", err)) != 0 ||
        (rc = write_range(disk, area.data, LUKS_MARKER_SIZE, LUKS_HEADER_AREA, device, err)) != 0) {
        return rc;
    }
    return write_range(disk, area.data, 0, LUKS_MARKER_SIZE, device, err);
}

dstack_secret *luks_passphrase(const dstack_secret *disk_key) {
    size_t len = dstack_secret_len(disk_key);
    dstack_secret *hex = dstack_secret_new(2 * len + 1);
    if (hex == NULL) {
        return NULL;
    }
    sodium_bin2hex((char *)dstack_secret_data(hex), 2 * len + 1, dstack_secret_peek(disk_key), len);
    dstack_secret *out = dstack_secret_copy(dstack_secret_peek(hex), 2 * len);
    dstack_secret_free(hex);
    return out;
}
