#include "launch.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "service/host_share.h"
#include "share.h"

#define LAUNCH_LIMIT (1U << 20)

static int read_compose(const char *dir, dstack_buf *text, json_t **compose, dstack_error *err) {
    DSTACK_AUTO(str) char *path = vm_path(dir, VM_SHARED_DIR "/" HOST_SHARE_APP_COMPOSE);
    dstack_error local = {0};
    if (path == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    int rc = file_read(path, HOST_SHARE_APP_COMPOSE_MAX, text, err);
    if (rc == 0) {
        *compose =
            json_parse(bytes_of_buf(text), HOST_SHARE_APP_COMPOSE_MAX, "app-compose.json", &local);
        rc = *compose != NULL ? 0 : error_set(err, local.status, "%s", local.message);
    }
    return rc != 0 ? error_prefix(err, rc, "Failed to read compose file") : 0;
}

/* MR_CONFIG_ID version 1: 01, the compose hash, zeros. */
static void mr_config_v1(const dstack_buf *compose, uint8_t out[48]) {
    memset(out, 0, 48);
    out[0] = 1;
    hash_sha256(bytes_of_buf(compose), out + 1);
}

static int prepare_mr_config(const struct vmm_settings *settings,
                             const struct vm_manifest *manifest, const dstack_buf *text,
                             const json_t *compose, uint8_t out[48], bool *given,
                             dstack_error *err) {
    const char *pinned = json_string_value(json_object_get(compose, "key_provider_id"));
    *given = false;
    if (manifest->no_tee) {
        return 0;
    }
    if (pinned != NULL && pinned[0] != 0) {
        return error_set(
            err, DSTACK_E_UNSUPPORTED,
            settings->use_mrconfigid
                ? "key_provider_id needs an MrConfig document, which this VMM cannot "
                  "make yet"
                : "key provider ID requires MrConfigV3, but use_mrconfigid is disabled");
    }
    if (settings->use_mrconfigid) {
        mr_config_v1(text, out);
        *given = true;
    }
    return 0;
}

static int write_shared(const char *dir, const char *name, dstack_bytes content,
                        dstack_error *err) {
    DSTACK_AUTO(str) char *shared = vm_path(dir, VM_SHARED_DIR);
    DSTACK_AUTO(str) char *path = shared != NULL ? vm_path(shared, name) : NULL;
    if (path == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    return file_write_atomic(path, content, 0600, err);
}

/* The root certificate goes into the share; the guest accepts it by the hash that its measured
 * command line pins, so a mismatch is told here, where the operator looks. */
static int share_sim_root(const struct vmm_settings *settings, const char *dir,
                          const struct vm_image *image, dstack_error *err) {
    char pinned[65];
    if (!vm_image_sim_root(image, pinned)) {
        return error_set(err, DSTACK_E_REFUSED,
                         "image %s pins no simulation root: it is not of the simulated flavour",
                         image->name);
    }
    DSTACK_AUTO(str) char *path = vm_path(settings->simulator_keys, "root.der");
    DSTACK_AUTO(str) char *collateral_path = vm_path(settings->simulator_keys, "collateral.json");
    DSTACK_AUTO(buf) dstack_buf der = {0};
    DSTACK_AUTO(buf) dstack_buf collateral = {0};
    if (path == NULL || collateral_path == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    int rc = file_read(path, HOST_SHARE_SIM_ROOT_MAX, &der, err);
    rc = rc != 0 ? rc : file_read(collateral_path, HOST_SHARE_SIM_COLLATERAL_MAX, &collateral, err);
    if (rc != 0) {
        return error_prefix(err, rc, "simulated TEE keys");
    }
    uint8_t digest[32];
    char hex[65];
    hash_sha256(bytes_of_buf(&der), digest);
    hex_encode(bytes_of(digest, sizeof digest), hex);
    if (strcmp(hex, pinned) != 0) {
        return error_set(err, DSTACK_E_REFUSED,
                         "image %s pins the simulation root %.16s..., this VMM has %.16s...",
                         image->name, pinned, hex);
    }
    rc = write_shared(dir, HOST_SHARE_SIM_ROOT, bytes_of_buf(&der), err);
    return rc != 0 ? rc
                   : write_shared(dir, HOST_SHARE_SIM_COLLATERAL, bytes_of_buf(&collateral), err);
}

static void describe(const struct vmm_settings *settings, const char *dir,
                     const struct vm_manifest *manifest, const struct vm_image *image,
                     struct qemu_launch *l) {
    *l = (struct qemu_launch){.qemu = settings->qemu,
                              .accel = settings->accel,
                              .cpu = strcmp(settings->accel, "kvm") == 0 ? "host" : "max",
                              .work_dir = dir,
                              .vm_id = manifest->id,
                              .mac_prefix = settings->mac_prefix,
                              .bios = image->bios,
                              .kernel = image->kernel,
                              .initrd = image->initrd,
                              .rootfs = image->rootfs,
                              .cmdline = image->cmdline,
                              .data_format = "raw",
                              .ports = manifest->ports,
                              .port_count = manifest->port_count,
                              .sys_vendor = settings->sys_vendor,
                              .product_name = settings->product_name,
                              .share = settings->share,
                              .share_ro = image->shared_ro,
                              .vcpu = manifest->vcpu,
                              .memory_mib = manifest->memory_mib,
                              .pic = strncmp(settings->qemu_version, "8.", 2) == 0,
                              .no_reboot = true,
                              .serial_fd = LAUNCH_FD_SERIAL,
                              .qmp_fd = LAUNCH_FD_QMP,
                              .tee_fd = -1,
                              .host_fd = -1,
                              .guest_fd = -1};
    l->tee = manifest->no_tee                  ? QEMU_TEE_NONE
             : manifest->simulated_tee[0] != 0 ? QEMU_TEE_SIMULATED
                                               : QEMU_TEE_TDX;
    /* On real TDX the extra device would change the measured tables: there the host is reached by
     * vsock. */
    if (l->tee == QEMU_TEE_TDX) {
        l->vsock_cid = settings->vsock_cid;
        l->quote_port = settings->quote_port;
    } else {
        l->host_fd = LAUNCH_FD_HOST;
        l->guest_fd = LAUNCH_FD_GUEST;
        l->tee_fd = l->tee == QEMU_TEE_SIMULATED ? LAUNCH_FD_TEE : -1;
    }
    /* The bridge helper is a program that QEMU starts, with privileges. */
    l->sandbox = true;
    l->nic_count = manifest->network_count > 0 ? manifest->network_count : 1;
    for (size_t i = 0; i < l->nic_count; i++) {
        const char *mode =
            manifest->network_count > 0 ? manifest->networks[i].mode : settings->default_network;
        const char *own = manifest->network_count > 0 ? manifest->networks[i].bridge : "";
        l->nics[i] =
            (struct qemu_nic){NULL, settings->net, settings->dhcp_start, settings->net_restrict};
        if (strcmp(mode, "bridge") == 0) {
            l->nics[i].bridge = own[0] != 0 ? own : settings->bridge;
            l->sandbox = false;
        }
    }
}

static json_t *argv_to_json(const struct qemu_argv *argv) {
    json_t *list = json_array();
    for (size_t i = 0; i < argv->count; i++) {
        json_array_append_new(list, json_string(argv->items[i]));
    }
    return list;
}

static int add_argv(json_t *json, const char *key, const struct qemu_launch *launch,
                    dstack_error *err) {
    struct qemu_argv argv;
    int rc = qemu_argv_build(launch, &argv, err);
    if (rc == 0) {
        json_object_set_new(json, key, argv_to_json(&argv));
        qemu_argv_clear(&argv);
    }
    return rc;
}

static int write_launch(const struct vmm_settings *settings, const char *dir,
                        const struct vm_manifest *manifest, const struct vm_image *image,
                        const char *vm_config, const uint8_t *mr_config_id, dstack_error *err) {
    struct qemu_launch l;
    DSTACK_AUTO(buf) dstack_buf mr = {0};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(str) char *path = vm_path(dir, VM_LAUNCH_FILE);
    DSTACK_AUTO(json)
    json_t *json = json_pack("{s:s, s:s, s:I, s:I}", "image_dir", image->dir, "vm_config",
                             vm_config, "log_max_bytes", (json_int_t)settings->log_max_bytes,
                             "log_max_backups", (json_int_t)settings->log_max_backups);
    describe(settings, dir, manifest, image, &l);
    if (mr_config_id != NULL) {
        json_object_set_new(json, "mr_config_id", json_hex(bytes_of(mr_config_id, 48)));
        base64_encode(bytes_of(mr_config_id, 48), BASE64_STANDARD, &mr);
        l.mr_config_id = buf_text(&mr);
    }
    json_object_set_new(json, "host_port", json_boolean(l.host_fd >= 0));
    int rc = add_argv(json, "qemu", &l, err);
    if (rc == 0 && l.tee == QEMU_TEE_SIMULATED) {
        json_object_set_new(json, "simulator_keys", json_string(settings->simulator_keys));
        l.probe = true;
        rc = add_argv(json, "probe", &l, err);
    }
    rc = rc != 0 ? rc : json_write(json, true, &text, err);
    return rc != 0 ? rc : file_write_atomic(path, bytes_of_buf(&text), 0600, err);
}

int launch_prepare(const struct vmm_settings *settings, const char *dir,
                   const struct vm_manifest *manifest, dstack_error *err) {
    DSTACK_AUTO(vm_image) struct vm_image image = {0};
    DSTACK_AUTO(buf) dstack_buf compose_text = {0};
    DSTACK_AUTO(buf) dstack_buf vm_config = {0};
    DSTACK_AUTO(buf) dstack_buf sys_config = {0};
    DSTACK_AUTO(json) json_t *compose = NULL;
    uint8_t mr_config_id[48];
    bool has_mr = false;
    int rc = vm_image_load(settings->image_path, manifest->image, &image, err);
    rc = rc != 0 ? rc : read_compose(dir, &compose_text, &compose, err);
    rc = rc != 0 ? rc
                 : prepare_mr_config(settings, manifest, &compose_text, compose, mr_config_id,
                                     &has_mr, err);
    rc = rc != 0 ? rc : share_vm_config(settings, manifest, &image, compose, &vm_config, err);
    rc =
        rc != 0 ? rc : share_sys_config(settings, manifest, buf_text(&vm_config), &sys_config, err);
    rc = rc != 0 ? rc : write_shared(dir, HOST_SHARE_SYS_CONFIG, bytes_of_buf(&sys_config), err);
    if (rc == 0 && manifest->simulated_tee[0] != 0) {
        rc = share_sim_root(settings, dir, &image, err);
    }
    if (rc == 0 && settings->share == QEMU_SHARE_DISK) {
        rc = share_build_disk(dir, err);
    }
    return rc != 0 ? rc
                   : write_launch(settings, dir, manifest, &image, buf_text(&vm_config),
                                  has_mr ? mr_config_id : NULL, err);
}

void launch_clear(struct launch *launch) {
    free(launch->qemu);
    free(launch->probe);
    json_decref(launch->json);
    memset(launch, 0, sizeof *launch);
}

static int read_argv(const json_t *json, const char *key, bool required, char ***out,
                     dstack_error *err) {
    const json_t *list = json_object_get(json, key);
    if (list == NULL && !required) {
        return 0;
    }
    size_t count = json_array_size(list);
    if (count == 0 || count > QEMU_MAX_ARGS) {
        return error_set(err, DSTACK_E_FORMAT, "launch.json: %s", key);
    }
    *out = calloc(count + 1, sizeof **out);
    for (size_t i = 0; *out != NULL && i < count; i++) {
        (*out)[i] = (char *)json_string_value(json_array_get(list, i));
        if ((*out)[i] == NULL) {
            return error_set(err, DSTACK_E_FORMAT, "launch.json: %s", key);
        }
    }
    return *out != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "no memory");
}

int launch_read(const char *dir, struct launch *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    DSTACK_AUTO(str) char *path = vm_path(dir, VM_LAUNCH_FILE);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int64_t max_bytes = 0, backups = 0;
    dstack_error local = {0};
    if (path == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    int rc = file_read(path, LAUNCH_LIMIT, &text, err);
    if (rc != 0) {
        return rc;
    }
    const json_t *j = out->json = json_parse(bytes_of_buf(&text), LAUNCH_LIMIT, path, &local);
    rc = j != NULL ? 0 : error_set(err, local.status, "%s", local.message);
    rc = rc != 0 ? rc : read_argv(j, "qemu", true, &out->qemu, err);
    rc = rc != 0 ? rc : read_argv(j, "probe", false, &out->probe, err);
    rc = rc != 0 ? rc : json_need_str(j, "image_dir", &out->image_dir, err);
    rc = rc != 0 ? rc : json_need_str(j, "vm_config", &out->vm_config, err);
    rc = rc != 0 ? rc : json_str_or(j, "simulator_keys", NULL, &out->simulator_keys, err);
    rc = rc != 0 ? rc : json_int_or(j, "log_max_bytes", 0, &max_bytes, err);
    rc = rc != 0 ? rc : json_int_or(j, "log_max_backups", 0, &backups, err);
    rc = rc != 0 ? rc : json_bool_or(j, "host_port", false, &out->has_host_port, err);
    if (rc == 0 && json_object_get(j, "mr_config_id") != NULL) {
        out->has_mr_config_id = true;
        rc = json_need_hex(j, "mr_config_id", out->mr_config_id, sizeof out->mr_config_id, err);
    }
    out->log_max_bytes = (uint64_t)max_bytes;
    out->log_max_backups = (uint32_t)backups;
    if (rc != 0) {
        launch_clear(out);
    }
    return rc;
}
