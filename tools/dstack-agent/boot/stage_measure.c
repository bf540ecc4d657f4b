/* The stages that fix who this guest is and measure it into RTMR3. */
#include "boot/boot.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "boot/runtime_log.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "paths.h"

int boot_emit(boot *b, const char *name, dstack_bytes payload, dstack_error *err) {
    return runtime_log_emit(AGENT_EVENT_DIR, b->tee, name, payload, err);
}

int boot_identity(const dstack_manifest_fields *app, const instance_info *kept,
                  const uint8_t fresh[20], uint8_t app_id[20], uint8_t seed[20],
                  uint8_t instance_id[20], size_t *instance_id_len, dstack_error *err) {
    memcpy(app_id, kept->has_app_id ? kept->app_id : app->default_app_id, APP_ID_SIZE);
    /* Without a key provider the disk does not survive, so neither does the instance. */
    bool keep = kept->has_seed && app->key_provider != DSTACK_KEY_PROVIDER_NONE;
    memcpy(seed, keep ? kept->seed : fresh, 20);
    *instance_id_len = 0;
    if (app->no_instance_id) {
        return 0;
    }
    *instance_id_len = INSTANCE_ID_SIZE;
    return dstack_instance_id(bytes_of(seed, 20), bytes_of(app_id, APP_ID_SIZE), (dstack_bytes){0},
                              instance_id, err);
}

int stage_identity(void *context, dstack_error *err) {
    boot *b = context;
    instance_info kept = {0};
    if (b->share.present[SHARE_INSTANCE_INFO]) {
        int rc =
            instance_info_parse(bytes_of_buf(&b->share.files[SHARE_INSTANCE_INFO]), &kept, err);
        if (rc != 0) {
            return rc;
        }
    }
    uint8_t fresh[20];
    random_fill(fresh, sizeof fresh);
    for (size_t i = 0; i < b->app->init_script_count; i++) {
        hash_sha256(bytes_of_str(b->app->init_scripts[i]), b->init_hashes[i]);
    }
    return boot_identity(b->app, &kept, fresh, b->app_id, b->seed, b->instance_id,
                         &b->instance_id_len, err);
}

int stage_measure(void *context, dstack_error *err) {
    boot *b = context;
    int rc = runtime_log_set_version(AGENT_EVENT_DIR, b->app->event_log_version, err);
    if (rc != 0) {
        return rc;
    }
    /* The order is part of what relying parties replay. */
    const dstack_bytes none = {0};
    if ((rc = boot_emit(b, "system-preparing", none, err)) != 0 ||
        (rc = boot_emit(b, "app-id", bytes_of(b->app_id, sizeof b->app_id), err)) != 0 ||
        (rc = boot_emit(b, "compose-hash", bytes_of(b->app->compose_hash, 32), err)) != 0) {
        return rc;
    }
    for (size_t i = 0; i < b->app->init_script_count; i++) {
        if ((rc = boot_emit(b, "init-script-hash", bytes_of(b->init_hashes[i], 32), err)) != 0) {
            return rc;
        }
    }
    if ((rc = boot_emit(b, "gpu-policy-hash", bytes_of(b->app->gpu_policy_hash, 32), err)) != 0 ||
        (rc = boot_emit(b, "instance-id", bytes_of(b->instance_id, b->instance_id_len), err)) !=
            0) {
        return rc;
    }
    return boot_emit(b, "boot-mr-done", none, err);
}

/* What the host bound at launch must be what this guest found. */
int stage_binding(void *context, dstack_error *err) {
    boot *b = context;
    dstack_tee_info info;
    int rc = dstack_tee_info_get(b->tee, &info, err);
    if (rc != 0) {
        return rc;
    }
    dstack_bytes scripts[DSTACK_INIT_SCRIPTS_MAX];
    for (size_t i = 0; i < b->app->init_script_count; i++) {
        scripts[i] = bytes_of(b->init_hashes[i], 32);
    }
    dstack_bytes provider_id = bytes_of_buf(&b->keys.provider_id);
    const dstack_mr_config local = {
        .app_id = bytes_of(b->app_id, sizeof b->app_id),
        .compose_hash = bytes_of(b->app->compose_hash, 32),
        .gpu_policy_hash = bytes_of(b->app->gpu_policy_hash, 32),
        .instance_id = bytes_of(b->instance_id, b->instance_id_len),
        .key_provider = b->keys.provider,
        .key_provider_id = provider_id,
        .init_script_hashes = scripts,
        .init_script_count = b->app->init_script_count,
        .has_init_scripts = true,
    };
    dstack_bytes document = {0};
    if (b->config.mr_config != NULL) {
        document = bytes_of_str(b->config.mr_config);
    }
    bool bound = false;
    if ((rc = dstack_mr_config_check(info.mr_config_id, document, &local, &bound, err)) != 0) {
        return rc;
    }
    dstack_bytes pinned = b->app->key_provider_id;
    if (pinned.len > 0 &&
        (pinned.len != provider_id.len || memcmp(pinned.data, provider_id.data, pinned.len) != 0)) {
        return error_set(err, DSTACK_E_REFUSED,
                         "the key provider is not the one that the manifest pins");
    }
    return 0;
}
