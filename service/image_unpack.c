#include "service/image_unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "crypto/hash.h"
#include "service/image_sums.h"

#define ENTRIES_MAX 4096
#define BLOCK ((size_t)64 << 10)

typedef struct archive reader;
DSTACK_AUTO_DEFINE(reader, reader, archive_read_free)
DSTACK_AUTO_DEFINE(dir, DIR, closedir)

/* ---- unpacking ---------------------------------------------------------------------------------- */

static int broken(reader *r, const char *what, dstack_error *err) {
    const char *text = archive_error_string(r);
    return error_set(err, DSTACK_E_FORMAT, "%s: %.200s", what, text != NULL ? text : "damaged");
}

/* Every component must be a plain name or ".". */
static bool path_is_safe(const char *path) {
    if (path[0] == '/') {
        return false;
    }
    for (const char *at = path; *at != '\0';) {
        size_t len = strcspn(at, "/");
        if (len == 2 && at[0] == '.' && at[1] == '.') {
            return false;
        }
        at += len + (at[len] == '/');
    }
    return true;
}

static const char *without_dots(const char *path) {
    while (path[0] == '.' && path[1] == '/') {
        path += 2;
        path += strspn(path, "/");
    }
    return path;
}

static int write_all(int fd, const uint8_t *data, size_t len, off_t at, dstack_error *err) {
    while (len > 0) {
        ssize_t done = pwrite(fd, data, len, at);
        if (done < 0 && errno != EINTR) {
            return error_set_errno(err, DSTACK_E_IO, "cannot write the image");
        }
        size_t n = done > 0 ? (size_t)done : 0;
        data += n;
        len -= n;
        at += (off_t)n;
    }
    return 0;
}

/* fd -1: the content is read over. *left shrinks by what the entry holds. */
static int copy_entry(reader *r, int fd, size_t *left, dstack_error *err) {
    const void *data;
    size_t len, position = 0;
    la_int64_t at;
    int got;
    while ((got = archive_read_data_block(r, &data, &len, &at)) == ARCHIVE_OK) {
        /* a sparse entry's holes count too */
        size_t end = at < 0 || (uint64_t)at > SIZE_MAX - len ? SIZE_MAX : (size_t)at + len;
        if (end < position || end - position > *left) {
            return error_set(err, DSTACK_E_LIMIT, "the unpacked image is too large");
        }
        *left -= end - position;
        position = end;
        int rc = fd >= 0 ? write_all(fd, data, len, at, err) : 0;
        if (rc != 0) {
            return rc;
        }
    }
    return got == ARCHIVE_EOF ? 0 : broken(r, "Failed to extract image archive entry", err);
}

static int take_file(reader *r, const char *name, int dir_fd, size_t *left, dstack_error *err) {
    if (file_check_name(name, "file of the image", NULL) != 0) {
        return copy_entry(r, -1, left, err);
    }
    DSTACK_AUTO(fd)
    int fd = file_open_beneath(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0644, err);
    if (fd < 0) {
        return fd;
    }
    int rc = copy_entry(r, fd, left, err);
    if (rc == 0 && fdatasync(fd) != 0) {
        rc = error_set_errno(err, DSTACK_E_IO, "cannot write the image");
    }
    return rc;
}

static int take_entry(reader *r, struct archive_entry *entry, int dir_fd, size_t *left,
                      dstack_error *err) {
    const char *path = archive_entry_pathname(entry);
    if (path == NULL || !path_is_safe(path)) {
        return error_set(err, DSTACK_E_REFUSED, "image archive contains unsafe path %.120s",
                         path != NULL ? path : "(unreadable)");
    }
    mode_t type = archive_entry_filetype(entry);
    if (type == AE_IFDIR) {
        return 0;
    }
    if (type != AE_IFREG || archive_entry_hardlink(entry) != NULL) {
        return error_set(err, DSTACK_E_REFUSED, "image archive contains unsupported entry %.120s",
                         path);
    }
    return take_file(r, without_dots(path), dir_fd, left, err);
}

int image_unpack(int archive_fd, int dir_fd, size_t limit, dstack_error *err) {
    DSTACK_AUTO(reader) reader *r = archive_read_new();
    if (r == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    /* Nothing but what images are made of: fewer decoders face the network. */
    archive_read_support_filter_gzip(r);
    archive_read_support_format_tar(r);
    if (archive_read_open_fd(r, archive_fd, BLOCK) != ARCHIVE_OK) {
        return broken(r, "Failed to read image archive entry", err);
    }
    size_t left = limit, count = 0;
    for (;;) {
        struct archive_entry *entry;
        int got = archive_read_next_header(r, &entry);
        if (got == ARCHIVE_EOF) {
            return 0;
        }
        if (got != ARCHIVE_OK) {
            return broken(r, "Failed to read image archive entry", err);
        }
        if (++count > ENTRIES_MAX) {
            return error_set(err, DSTACK_E_LIMIT, "image archive has more than %d entries",
                             ENTRIES_MAX);
        }
        int rc = take_entry(r, entry, dir_fd, &left, err);
        if (rc != 0) {
            return rc;
        }
    }
}

/* ---- checking ----------------------------------------------------------------------------------- */

static int hash_file(int dir_fd, const char *name, uint8_t out[32], dstack_error *err) {
    DSTACK_AUTO(fd) int fd = file_open_beneath(dir_fd, name, O_RDONLY, 0, err);
    if (fd < 0) {
        return error_prefix(err, fd, "Checksum verification failed: %s", name);
    }
    DSTACK_AUTO(str) char *block = malloc(BLOCK);
    hash_ctx ctx;
    hash_init(&ctx, HASH_SHA256);
    ssize_t got = -1;
    while (block != NULL && (got = read(fd, block, BLOCK)) > 0) {
        hash_update(&ctx, bytes_of(block, (size_t)got));
    }
    hash_final(&ctx, out);
    return got == 0 ? 0 : error_set(err, DSTACK_E_IO, "cannot read %s of the image", name);
}

static int read_sums(int dir_fd, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(fd) int fd = file_open_beneath(dir_fd, IMAGE_SUMS_FILE, O_RDONLY, 0, err);
    if (fd < 0) {
        return error_prefix(err, fd, "Failed to read " IMAGE_SUMS_FILE);
    }
    uint8_t block[4096];
    ssize_t got;
    while ((got = read(fd, block, sizeof block)) > 0) {
        if (out->len + (size_t)got > IMAGE_SUMS_SIZE_MAX) {
            return error_set(err, DSTACK_E_LIMIT, IMAGE_SUMS_FILE " is too long");
        }
        buf_put(out, block, (size_t)got);
    }
    return got < 0 ? error_set_errno(err, DSTACK_E_IO, "Failed to read " IMAGE_SUMS_FILE)
                   : buf_check(out, err);
}

static int remove_unlisted(int dir_fd, const image_sums *sums, dstack_error *err) {
    DSTACK_AUTO(dir) DIR *dir = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (dir == NULL) {
        return error_set_errno(err, DSTACK_E_IO, "cannot list the image");
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, IMAGE_SUMS_FILE) != 0 &&
            !image_sums_has(sums, entry->d_name) && unlinkat(dir_fd, entry->d_name, 0) != 0) {
            return error_set_errno(err, DSTACK_E_IO, "cannot remove %s", entry->d_name);
        }
    }
    return 0;
}

int image_settle(int dir_fd, const char *hash, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    uint8_t digest[32], wanted[32];
    DSTACK_AUTO(str) char *memory = malloc(sizeof(image_sums));
    image_sums *sums = (image_sums *)(void *)memory;
    int rc = sums != NULL ? read_sums(dir_fd, &text, err)
                          : error_set(err, DSTACK_E_MEMORY, "out of memory");
    rc = rc != 0 ? rc : image_sums_parse(bytes_of_buf(&text), sums, err);
    for (size_t i = 0; rc == 0 && i < sums->count; i++) {
        const image_sum *item = &sums->items[i];
        rc = hash_file(dir_fd, item->name, digest, err);
        if (rc == 0 && memcmp(digest, item->digest, sizeof digest) != 0) {
            rc = error_set(err, DSTACK_E_REFUSED,
                           "Checksum verification failed: %s is not the file that is listed",
                           item->name);
        }
    }
    rc = rc != 0 ? rc : remove_unlisted(dir_fd, sums, err);
    rc = rc != 0 ? rc : hex_decode_fixed(hash, wanted, sizeof wanted, err);
    if (rc != 0) {
        return rc;
    }
    hash_sha256(bytes_of_buf(&text), digest);
    if (memcmp(digest, wanted, sizeof digest) != 0) {
        return error_set(err, DSTACK_E_REFUSED,
                         "os_image_hash does not match sha256(sha256sum.txt)");
    }
    return image_sums_has(sums, "metadata.json")
               ? 0
               : error_set(err, DSTACK_E_NOT_FOUND,
                           "metadata.json not found in the extracted archive");
}
