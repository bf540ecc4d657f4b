#include "share.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "child.h"
#include "service/host_share.h"

#define DISK_SIZE ((off_t)128 << 20)
#define MAX_SHARE_FILES 32
#define TOOL_TIMEOUT_MS 60000

int share_tdx_variant(const char *policy, const json_t *compose, uint32_t memory_mib,
                      bool image_lite, const char **out, dstack_error *err) {
    const json_t *wish =
        json_object_get(json_object_get(compose, "requirements"), "tdx_measure_acpi_tables");
    if (json_is_boolean(wish)) {
        *out = json_is_true(wish) ? "legacy" : "lite";
    } else if (strcmp(policy, "auto") != 0) {
        *out = policy;
    } else {
        /* The kernel's hash in the measurement document holds only where the initrd's address does
         * not depend on memory: exactly 2 GiB, or 2816 MiB and more. */
        bool memory_fits = memory_mib == 2048 || memory_mib >= 2816;
        *out = memory_fits && image_lite ? "lite" : "legacy";
    }
    if (strcmp(*out, "lite") == 0 && !image_lite) {
        return error_set(err, DSTACK_E_NOT_FOUND,
                         "tdx lite attestation requested but image is missing "
                         "measurement.tdx.cbor/sha256sum.txt measurement material");
    }
    return 0;
}

static const char *share_mode_name(enum qemu_share share) {
    static const char *const names[] = {
        [QEMU_SHARE_9P] = "9p", [QEMU_SHARE_VVFAT] = "vvfat", [QEMU_SHARE_DISK] = "vhd"};
    return names[share];
}

static int add_tdx(const struct vmm_settings *settings, const struct vm_manifest *manifest,
                   const struct vm_image *image, const json_t *compose, json_t *config,
                   dstack_error *err) {
    json_t *material = NULL;
    const char *variant = NULL;
    int rc = vm_image_tdx_measurement(image, &material, err);
    if (rc == 0) {
        rc = share_tdx_variant(settings->tdx_variant, compose, manifest->memory_mib,
                               material != NULL && image->digest[0] != 0, &variant, err);
    }
    if (rc == 0 && strcmp(variant, "lite") == 0) {
        json_object_set_new(config, "tdx_attestation_variant", json_string(variant));
    }
    if (rc == 0 && material != NULL) {
        json_object_set(config, "tdx_measurement", material);
    }
    json_decref(material);
    return rc;
}

int share_vm_config(const struct vmm_settings *settings, const struct vm_manifest *manifest,
                    const struct vm_image *image, const json_t *compose, dstack_buf *out,
                    dstack_error *err) {
    DSTACK_AUTO(json)
    json_t *config = json_pack("{s:s, s:I, s:I}", "os_image_hash", image->digest, "cpu_count",
                               (json_int_t)(manifest->vcpu > 0 ? manifest->vcpu : 1), "memory_size",
                               (json_int_t)manifest->memory_mib << 20);
    if (settings->qemu_version[0] != 0) {
        json_object_set_new(config, "qemu_version", json_string(settings->qemu_version));
    }
    json_object_update_new(
        config, json_pack("{s:i, s:b, s:i, s:i, s:b, s:s, s:s}", "pci_hole64_size", 0, "hugepages",
                          0, "num_gpus", 0, "num_nvswitches", 0, "hotplug_off", 0, "image",
                          image->name, "host_share_mode", share_mode_name(settings->share)));
    if (manifest->network_count > 1) {
        json_object_set_new(config, "num_nics", json_integer((json_int_t)manifest->network_count));
    }
    if (image->ovmf_variant != NULL) {
        json_object_set_new(config, "ovmf_variant", json_string(image->ovmf_variant));
    }
    json_object_set_new(config, "spec_version", json_integer(1));
    int rc = 0;
    if (!manifest->no_tee) {
        rc = add_tdx(settings, manifest, image, compose, config, err);
    }
    return rc != 0 ? rc : json_write(config, false, out, err);
}

int share_sys_config(const struct vmm_settings *settings, const struct vm_manifest *manifest,
                     const char *vm_config, dstack_buf *out, dstack_error *err) {
    json_t *kms = json_array_size(manifest->kms_urls) > 0 ? manifest->kms_urls : settings->kms_urls;
    json_t *gateways = json_array_size(manifest->gateway_urls) > 0 ? manifest->gateway_urls
                                                                   : settings->gateway_urls;
    DSTACK_AUTO(json)
    json_t *config = json_pack("{s:{s:s}, s:s, s:O, s:s, s:O, s:n, s:s, s:s}", "collateral_urls",
                               "pccs", settings->pccs_url, "docker_registry",
                               settings->docker_registry, "gateway_urls", gateways, "host_api_url",
                               HOST_API_PORT_URL, "kms_urls", kms, "nvidia_attestation_proxy_url",
                               "pccs_url", settings->pccs_url, "vm_config", vm_config);
    int rc = config != NULL ? json_write(config, false, out, err)
                            : error_set(err, DSTACK_E_MEMORY, "no memory");
    if (rc == 0 && out->len > HOST_SHARE_SYS_CONFIG_MAX) {
        rc = error_set(err, DSTACK_E_LIMIT, ".sys-config.json: more than %u bytes",
                       HOST_SHARE_SYS_CONFIG_MAX);
    }
    return rc;
}

/* Regular files of a folder, as paths for mcopy; symbolic links and folders are left out. */
static int list_files(const char *shared, char *paths[MAX_SHARE_FILES], size_t *count, off_t *bytes,
                      dstack_error *err) {
    DIR *dir = opendir(shared);
    if (dir == NULL) {
        return error_set_errno(err, DSTACK_E_IO, "%s", shared);
    }
    int rc = 0;
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir)) != NULL;) {
        struct stat info;
        if (fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(info.st_mode)) {
            continue;
        }
        if (*count == MAX_SHARE_FILES) {
            rc = error_set(err, DSTACK_E_LIMIT, "%s holds more than %d files", shared,
                           MAX_SHARE_FILES);
        } else if ((paths[*count] = vm_path(shared, entry->d_name)) == NULL) {
            rc = error_set(err, DSTACK_E_MEMORY, "no memory");
        } else {
            ++*count;
            *bytes += info.st_size;
        }
    }
    closedir(dir);
    return rc;
}

static int create_sized(const char *path, off_t size, dstack_error *err) {
    unlink(path);
    DSTACK_AUTO(fd) int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, size) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "%s", path);
    }
    return 0;
}

static int sync_file(const char *path, dstack_error *err) {
    DSTACK_AUTO(fd) int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "%s", path);
    }
    return 0;
}

static int fill_disk(const char *image, char *const *paths, size_t count, dstack_error *err) {
    const char *mkfs[] = {"mkfs.vfat", "-F", "32", "-n", HOST_SHARE_LABEL, image, NULL};
    const char *copy[MAX_SHARE_FILES + 8] = {"mcopy", "-i", image, "-o"};
    size_t n = 4;
    for (size_t i = 0; i < count; i++) {
        copy[n++] = paths[i];
    }
    copy[n] = "::/";
    int rc = child_run(mkfs, TOOL_TIMEOUT_MS, NULL, err);
    if (rc == 0 && count > 0) {
        rc = child_run(copy, TOOL_TIMEOUT_MS, NULL, err);
    }
    return rc;
}

int share_build_disk(const char *dir, dstack_error *err) {
    DSTACK_AUTO(str) char *shared = vm_path(dir, VM_SHARED_DIR);
    DSTACK_AUTO(str) char *image = vm_path(dir, "shared.img");
    DSTACK_AUTO(str) char *fresh = vm_path(dir, "shared.img.new");
    char *paths[MAX_SHARE_FILES] = {0};
    size_t count = 0;
    off_t bytes = 0;
    if (shared == NULL || image == NULL || fresh == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    int rc = list_files(shared, paths, &count, &bytes, err);
    rc = rc != 0 ? rc : create_sized(fresh, DISK_SIZE + bytes, err);
    rc = rc != 0 ? rc : fill_disk(fresh, paths, count, err);
    rc = rc != 0 ? rc : sync_file(fresh, err);
    if (rc == 0 && rename(fresh, image) != 0) {
        rc = error_set_errno(err, DSTACK_E_IO, "%s", image);
    }
    if (rc != 0) {
        unlink(fresh);
    }
    for (size_t i = 0; i < count; i++) {
        free(paths[i]);
    }
    return rc;
}
