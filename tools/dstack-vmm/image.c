#include "image.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"

#define METADATA_LIMIT (256U << 10)
#define DIGEST_FILE_LIMIT 1024U
#define MATERIAL_LIMIT (4U << 20)
#define MAX_IMAGES 1024

void vm_image_clear(struct vm_image *image) {
    free(image->dir);
    free(image->kernel);
    free(image->initrd);
    free(image->bios);
    free(image->rootfs);
    json_decref(image->metadata);
    memset(image, 0, sizeof *image);
}

static int join(const char *dir, const char *name, char **out, dstack_error *err) {
    if (asprintf(out, "%s/%s", dir, name) < 0) {
        *out = NULL;
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    return 0;
}

/* A file named by the metadata, resolved; it may not lead out of the folder. */
static int image_file(struct vm_image *image, const char *key, const char *label, char **out,
                      dstack_error *err) {
    const char *name = NULL;
    int rc = json_str_or(image->metadata, key, NULL, &name, err);
    if (rc != 0 || name == NULL) {
        return rc;
    }
    DSTACK_AUTO(str) char *path = NULL;
    rc = join(image->dir, name, &path, err);
    if (rc != 0) {
        return rc;
    }
    char resolved[PATH_MAX];
    struct stat info;
    if (realpath(path, resolved) == NULL || stat(resolved, &info) != 0) {
        return error_set(err, DSTACK_E_NOT_FOUND, "%s does not exist: %s", label, path);
    }
    size_t len = strlen(image->dir);
    if (strncmp(resolved, image->dir, len) != 0 || resolved[len] != '/') {
        return error_set(err, DSTACK_E_REFUSED, "%s escapes image directory: %s", label, path);
    }
    if (!S_ISREG(info.st_mode)) {
        return error_set(err, DSTACK_E_FORMAT, "%s is not a file: %s", label, path);
    }
    *out = strdup(resolved);
    return *out != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "no memory");
}

static int load_metadata(struct vm_image *image, dstack_error *err) {
    DSTACK_AUTO(str) char *path = NULL;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = join(image->dir, "metadata.json", &path, err);
    rc = rc != 0 ? rc : file_read(path, METADATA_LIMIT, &text, err);
    if (rc != 0) {
        return rc;
    }
    image->metadata = json_parse(bytes_of_buf(&text), METADATA_LIMIT, path, err);
    if (image->metadata == NULL || !json_is_object(image->metadata)) {
        return err != NULL && err->status != 0
                   ? err->status
                   : error_set(err, DSTACK_E_FORMAT, "%s: not an object", path);
    }
    return 0;
}

/* Without a version in the metadata it is in the folder's name: dstack-dev-1.2.3, dstack-1.2.3. */
static const char *guess_version(const char *name) {
    static const char *const prefixes[] = {"dstack-dev-", "dstack-"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) {
            return name + strlen(prefixes[i]);
        }
    }
    return "";
}

static void load_digest(struct vm_image *image) {
    DSTACK_AUTO(str) char *path = NULL;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    uint8_t digest[32];
    if (join(image->dir, "digest.txt", &path, NULL) != 0 ||
        file_read(path, DIGEST_FILE_LIMIT, &text, NULL) != 0 || buf_text(&text) == NULL) {
        return;
    }
    char *start = (char *)text.data;
    start += strspn(start, " \t\r\n");
    start[strcspn(start, " \t\r\n")] = 0;
    if (hex_decode_fixed(start, digest, sizeof digest, NULL) == 0) {
        hex_encode(bytes_of(digest, sizeof digest), image->digest);
    }
}

static int load(struct vm_image *image, dstack_error *err) {
    const json_t *m = NULL;
    int rc = load_metadata(image, err);
    m = image->metadata;
    rc = rc != 0 ? rc : image_file(image, "kernel", "Kernel", &image->kernel, err);
    rc = rc != 0 ? rc : image_file(image, "initrd", "Initrd", &image->initrd, err);
    rc = rc != 0 ? rc : image_file(image, "rootfs", "Rootfs", &image->rootfs, err);
    rc = rc != 0 ? rc : image_file(image, "bios", "Bios", &image->bios, err);
    rc = rc != 0 ? rc : json_str_or(m, "cmdline", "", &image->cmdline, err);
    rc = rc != 0 ? rc : json_str_or(m, "version", guess_version(image->name), &image->version, err);
    rc = rc != 0 ? rc : json_str_or(m, "ovmf_variant", NULL, &image->ovmf_variant, err);
    rc = rc != 0 ? rc : json_bool_or(m, "shared_ro", false, &image->shared_ro, err);
    rc = rc != 0 ? rc : json_bool_or(m, "is_dev", false, &image->is_dev, err);
    if (rc == 0 && (image->kernel == NULL || image->initrd == NULL)) {
        rc = error_set(err, DSTACK_E_FORMAT, "metadata.json names no kernel or no initrd");
    }
    if (rc == 0 && image->rootfs != NULL) {
        const char *dot = strrchr(image->rootfs, '.');
        if (dot == NULL || strcmp(dot, ".verity") != 0) {
            rc = error_set(err, DSTACK_E_UNSUPPORTED, "Unsupported rootfs type: %s",
                           dot != NULL ? dot + 1 : "");
        }
    }
    return rc;
}

int vm_image_load(const char *images, const char *name, struct vm_image *out, dstack_error *err) {
    dstack_error local = {0};
    err = err != NULL ? err : &local;
    memset(out, 0, sizeof *out);
    int rc = image_name_check(name, err);
    if (rc != 0) {
        return rc;
    }
    snprintf(out->name, sizeof out->name, "%s", name);
    DSTACK_AUTO(str) char *path = NULL;
    rc = join(images, name, &path, err);
    if (rc == 0) {
        out->dir = realpath(path, NULL);
        if (out->dir == NULL) {
            rc = error_set(err, DSTACK_E_NOT_FOUND, "no image %s in %s", name, images);
        }
    }
    rc = rc != 0 ? rc : load(out, err);
    if (rc != 0) {
        vm_image_clear(out);
        return error_prefix(err, rc, "Failed to load image");
    }
    load_digest(out);
    return 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void append_image(const char *images, const char *name, json_t *list) {
    DSTACK_AUTO(vm_image) struct vm_image image = {0};
    DSTACK_AUTO(buf) dstack_buf description = {0};
    if (vm_image_load(images, name, &image, NULL) != 0 ||
        json_write(image.metadata, false, &description, NULL) != 0) {
        return;
    }
    json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b}", "name", image.name, "description",
                                          buf_text(&description), "version", image.version,
                                          "is_dev", image.is_dev));
}

int vm_image_list(const char *images, json_t **out, dstack_error *err) {
    DIR *dir = opendir(images);
    if (dir == NULL) {
        return error_set_errno(err, DSTACK_E_IO, "Failed to read image directory");
    }
    char *names[MAX_IMAGES];
    size_t count = 0;
    for (struct dirent *entry; count < MAX_IMAGES && (entry = readdir(dir)) != NULL;) {
        if (image_name_check(entry->d_name, NULL) == 0 &&
            (names[count] = strdup(entry->d_name)) != NULL) {
            count++;
        }
    }
    closedir(dir);
    qsort(names, count, sizeof names[0], by_name);
    *out = json_array();
    for (size_t i = 0; i < count; i++) {
        append_image(images, names[i], *out);
        free(names[i]);
    }
    return 0;
}

bool vm_image_sim_root(const struct vm_image *image, char out[65]) {
    static const char option[] = "dstack.sim_root=";
    for (const char *p = image->cmdline; (p = strstr(p, option)) != NULL; p++) {
        const char *value = p + sizeof option - 1;
        if ((p == image->cmdline || p[-1] == ' ') && strspn(value, "0123456789abcdef") == 64) {
            memcpy(out, value, 64);
            out[64] = 0;
            return true;
        }
    }
    return false;
}

static int read_material(const struct vm_image *image, const char *name, dstack_buf *base64,
                         dstack_error *err) {
    DSTACK_AUTO(str) char *path = NULL;
    DSTACK_AUTO(buf) dstack_buf content = {0};
    int rc = join(image->dir, name, &path, err);
    rc = rc != 0 ? rc : file_read(path, MATERIAL_LIMIT, &content, err);
    if (rc == 0) {
        base64_encode(bytes_of_buf(&content), BASE64_STANDARD, base64);
        rc = buf_check(base64, err);
    }
    return rc;
}

int vm_image_tdx_measurement(const struct vm_image *image, json_t **out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf document = {0};
    DSTACK_AUTO(buf) dstack_buf sums = {0};
    *out = NULL;
    int rc = read_material(image, "measurement.tdx.cbor", &document, err);
    rc = rc != 0 ? rc : read_material(image, "sha256sum.txt", &sums, err);
    if (rc == DSTACK_E_NOT_FOUND) {
        return 0;
    }
    if (rc == 0) {
        *out = json_pack("{s:s, s:s}", "checksum_file", buf_text(&sums), "measurement",
                         buf_text(&document));
    }
    return rc;
}
