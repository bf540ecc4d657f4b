/* The edge: reads and completes image folders. */
#include <dstack/measure.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "measure/checksums.h"
#include "measure/kernel.h"
#include "measure/tdvf.h"

#define METADATA_MAX_SIZE ((size_t)1 << 20)
#define INITRD_MAX_SIZE ((size_t)1 << 30)

static int read_named(const char *dir, const char *name, size_t limit, dstack_buf *out,
                      dstack_error *err) {
    int rc = file_check_name(name, "file of the image", err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(buf) dstack_buf path = {0};
    buf_put_fmt(&path, "%s/%s", dir, name);
    const char *text = buf_text(&path);
    return text == NULL ? buf_check(&path, err) : file_read(text, limit, out, err);
}

static int write_named(const char *dir, const char *name, dstack_bytes content, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0};
    buf_put_fmt(&path, "%s/%s", dir, name);
    const char *text = buf_text(&path);
    return text == NULL ? buf_check(&path, err) : file_write_atomic(text, content, 0644, err);
}

typedef struct part {
    const char *key;
    size_t limit;
    dstack_buf *content;
} part;

/* Reads a file named in the metadata, and holds it against the checksum file when there is one. */
static int load_part(const char *dir, const json_t *metadata, dstack_bytes checksums, const part *p,
                     dstack_error *err) {
    const char *name = NULL;
    int rc = json_need_str(metadata, p->key, &name, err);
    if (rc == 0) {
        rc = read_named(dir, name, p->limit, p->content, err);
    }
    if (rc == 0 && checksums.len > 0) {
        rc = checksums_check(checksums, name, bytes_of_buf(p->content), err);
    }
    return rc;
}

static int read_metadata(const json_t *metadata, dstack_image *out, dstack_error *err) {
    const char *cmdline = NULL, *version = NULL, *constants = NULL;
    int rc;
    if ((rc = json_need_str(metadata, "cmdline", &cmdline, err)) != 0 ||
        (rc = json_str_or(metadata, "version", "", &version, err)) != 0 ||
        (rc = json_bool_or(metadata, "is_dev", false, &out->is_dev, err)) != 0 ||
        (rc = json_bool_or(metadata, "kernel_header_normalized", false,
                           &out->kernel_header_normalized, err)) != 0 ||
        (rc = json_str_or(metadata, "tdvf_constants", "", &constants, err)) != 0) {
        return rc;
    }
    out->cfv_from_file = strcmp(constants, "file") == 0;
    if (constants[0] != '\0' && !out->cfv_from_file) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "unknown tdvf_constants \"%.40s\"", constants);
    }
    if (strlen(version) >= sizeof out->version) {
        return error_set(err, DSTACK_E_LIMIT, "image version is too long");
    }
    strcpy(out->version, version);
    buf_put_str(&out->cmdline, cmdline);
    return buf_check(&out->cmdline, err);
}

static int load(const char *dir, bool checked, dstack_image *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf checksums = {0}, text = {0};
    int rc = read_named(dir, "sha256sum.txt", CHECKSUMS_MAX_SIZE, &checksums, err);
    if (!checked || rc == DSTACK_E_NOT_FOUND) {
        buf_reset(&checksums);
    } else if (rc != 0) {
        return rc;
    } else {
        uint8_t hash[32];
        hash_sha256(bytes_of_buf(&checksums), hash);
        hex_encode(bytes_of(hash, sizeof hash), out->os_image_hash);
    }
    rc = read_named(dir, "metadata.json", METADATA_MAX_SIZE, &text, err);
    if (rc == 0 && checksums.len > 0) {
        rc = checksums_check(bytes_of_buf(&checksums), "metadata.json", bytes_of_buf(&text), err);
    }
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *metadata = json_parse(bytes_of_buf(&text), METADATA_MAX_SIZE, "metadata.json", err);
    if (metadata == NULL) {
        return err != NULL ? (int)err->status : DSTACK_E_FORMAT;
    }
    rc = read_metadata(metadata, out, err);
    const part parts[] = {
        {.key = "bios", .limit = TDVF_MAX_SIZE, .content = &out->firmware},
        {.key = "kernel", .limit = KERNEL_MAX_SIZE, .content = &out->kernel},
        {.key = "initrd", .limit = INITRD_MAX_SIZE, .content = &out->initrd},
    };
    for (size_t i = 0; rc == 0 && i < sizeof parts / sizeof *parts; i++) {
        rc = load_part(dir, metadata, bytes_of_buf(&checksums), &parts[i], err);
    }
    return rc;
}

int dstack_image_load(const char *dir, dstack_image *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    const int rc = load(dir, true, out, err);
    if (rc != 0) {
        dstack_image_clear(out);
        return error_prefix(err, rc, "image %s", dir);
    }
    return 0;
}

void dstack_image_clear(dstack_image *image) {
    if (image != NULL) {
        dstack_buf_clear(&image->firmware);
        dstack_buf_clear(&image->kernel);
        dstack_buf_clear(&image->initrd);
        dstack_buf_clear(&image->cmdline);
        memset(image, 0, sizeof *image);
    }
}

int dstack_measure_digest(const char *dir, char out[65], dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf checksums = {0};
    const int rc = read_named(dir, "sha256sum.txt", CHECKSUMS_MAX_SIZE, &checksums, err);
    if (rc == 0) {
        uint8_t hash[32];
        hash_sha256(bytes_of_buf(&checksums), hash);
        hex_encode(bytes_of(hash, sizeof hash), out);
    }
    return rc;
}

/* Hashes a file of any size; DSTACK_E_NOT_FOUND when it is not there. */
static int hash_file(const char *dir, const char *name, uint8_t out[32], dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0};
    buf_put_fmt(&path, "%s/%s", dir, name);
    const char *text = buf_text(&path);
    DSTACK_AUTO(fd) int fd = text != NULL ? open(text, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return error_set_errno(err, DSTACK_E_NOT_FOUND, "%s/%s", dir, name);
    }
    hash_ctx ctx;
    hash_init(&ctx, HASH_SHA256);
    uint8_t block[65536];
    ssize_t got;
    while ((got = read(fd, block, sizeof block)) > 0) {
        hash_update(&ctx, bytes_of(block, (size_t)got));
    }
    if (got < 0) {
        return error_set_errno(err, DSTACK_E_IO, "%s/%s", dir, name);
    }
    hash_final(&ctx, out);
    return 0;
}

/* One line, when the file is there. */
static int put_line(const char *dir, const char *name, bool required, dstack_buf *out,
                    dstack_error *err) {
    uint8_t hash[32];
    const int rc = hash_file(dir, name, hash, err);
    if (rc == DSTACK_E_NOT_FOUND && !required) {
        return 0;
    }
    if (rc == 0) {
        buf_put_hex(out, bytes_of(hash, sizeof hash));
        buf_put_fmt(out, "  %s\n", name);
    }
    return rc;
}

int dstack_measure_write(const char *dir, char digest[65], dstack_error *err) {
    /* The order is part of the digest. */
    static const struct {
        const char *name;
        bool required;
    } listed[] = {
        {"ovmf.fd", true},
        {"bzImage", true},
        {"initramfs.cpio.gz", true},
        {"metadata.json", true},
        {"measurement.tdx.cbor", true},
        {"measurement.snp.cbor", false},
        {"measurement.gcp.cbor", false},
        {"measurement.aws.cbor", false},
        {"measurement.aws.replay.json", false},
    };
    dstack_image image = {0};
    DSTACK_AUTO(buf) dstack_buf document = {0}, checksums = {0};
    int rc = load(dir, false, &image, err);
    if (rc == 0) {
        rc = dstack_measure_document(&image, &document, err);
    }
    dstack_image_clear(&image);
    if (rc == 0) {
        rc = write_named(dir, "measurement.tdx.cbor", bytes_of_buf(&document), err);
    }
    for (size_t i = 0; rc == 0 && i < sizeof listed / sizeof *listed; i++) {
        rc = put_line(dir, listed[i].name, listed[i].required, &checksums, err);
    }
    if (rc == 0 && (rc = buf_check(&checksums, err)) == 0) {
        rc = write_named(dir, "sha256sum.txt", bytes_of_buf(&checksums), err);
    }
    char text[66];
    if (rc == 0) {
        rc = dstack_measure_digest(dir, text, err);
    }
    if (rc != 0) {
        return error_prefix(err, rc, "image %s", dir);
    }
    if (digest != NULL) {
        memcpy(digest, text, 65);
    }
    text[64] = '\n';
    return write_named(dir, "digest.txt", bytes_of(text, 65), err);
}
