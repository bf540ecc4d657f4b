#include "boot/sys_config.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"

void sys_config_clear(sys_config *config) {
    json_decref(config->root);
    memset(config, 0, sizeof *config);
}

static int urls_read(const json_t *root, const char *key, const char **urls, size_t *count,
                     dstack_error *err) {
    const json_t *list = json_object_get(root, key);
    if (list == NULL || json_is_null(list)) {
        return 0;
    }
    if (!json_is_array(list) || json_array_size(list) > SYS_CONFIG_URLS_MAX) {
        return error_set(err, DSTACK_E_FORMAT, "member \"%s\" must be a list of at most %d URLs",
                         key, SYS_CONFIG_URLS_MAX);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *url = json_string_value(json_array_get(list, i));
        if (url == NULL) {
            return error_set(err, DSTACK_E_FORMAT, "member \"%s\" must hold strings", key);
        }
        urls[(*count)++] = url;
    }
    return 0;
}

/* An absent or empty text is NULL. */
static int text_read(const json_t *root, const char *key, const char **out, dstack_error *err) {
    int rc = json_str_or(root, key, NULL, out, err);
    if (*out != NULL && (*out)[0] == '\0') {
        *out = NULL;
    }
    return rc;
}

static int collateral_read(sys_config *config, dstack_error *err) {
    const json_t *urls = json_object_get(config->root, "collateral_urls");
    if (urls == NULL || json_is_null(urls)) {
        return text_read(config->root, "pccs_url", &config->pccs_url, err);
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)urls, key, value) {
        if (strcmp(key, "pccs") != 0 && strcmp(key, "amd_kds") != 0) {
            return error_set(err, DSTACK_E_FORMAT, "collateral_urls has an unknown member");
        }
    }
    int rc = text_read(urls, "pccs", &config->pccs_url, err);
    return rc != 0 || config->pccs_url != NULL
               ? rc
               : text_read(config->root, "pccs_url", &config->pccs_url, err);
}

static int vm_config_read(sys_config *config, dstack_error *err) {
    int rc = json_need_str(config->root, "vm_config", &config->vm_config, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *vm = json_parse(bytes_of_str(config->vm_config), SYS_CONFIG_MAX, "vm_config", err);
    if (!json_is_object(vm)) {
        return error_set(err, DSTACK_E_FORMAT, "vm_config must be the text of a JSON object");
    }
    const char *variant = json_string_value(json_object_get(vm, "tdx_attestation_variant"));
    config->tdx_lite = variant != NULL ? strcmp(variant, "lite") == 0
                                       : json_object_get(vm, "tdx_measurement") != NULL;
    return 0;
}

int sys_config_parse(dstack_bytes text, sys_config *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    out->root = json_parse(text, SYS_CONFIG_MAX, ".sys-config.json", err);
    if (!json_is_object(out->root)) {
        return out->root == NULL
                   ? DSTACK_E_FORMAT
                   : error_set(err, DSTACK_E_FORMAT, ".sys-config.json must be an object");
    }
    const char *old =
        json_object_get(out->root, "gateway_urls") == NULL ? "tproxy_urls" : "gateway_urls";
    int rc;
    if ((rc = urls_read(out->root, "kms_urls", out->kms_urls, &out->kms_url_count, err)) != 0 ||
        (rc = urls_read(out->root, old, out->gateway_urls, &out->gateway_url_count, err)) != 0 ||
        (rc = text_read(out->root, "docker_registry", &out->docker_registry, err)) != 0 ||
        (rc = text_read(out->root, "host_api_url", &out->host_api_url, err)) != 0 ||
        (rc = text_read(out->root, "mr_config", &out->mr_config, err)) != 0 ||
        (rc = collateral_read(out, err)) != 0) {
        return error_prefix(err, rc, ".sys-config.json");
    }
    rc = vm_config_read(out, err);
    return rc != 0 ? error_prefix(err, rc, ".sys-config.json") : 0;
}

static int id_read(const json_t *root, const char *key, uint8_t out[20], bool *present,
                   dstack_error *err) {
    const char *text = NULL;
    int rc = text_read(root, key, &text, err);
    if (rc != 0 || text == NULL) {
        return rc;
    }
    *present = true;
    rc = hex_decode_fixed(text, out, 20, err);
    return rc != 0 ? error_prefix(err, rc, ".instance_info member \"%s\"", key) : 0;
}

int instance_info_parse(dstack_bytes text, instance_info *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    DSTACK_AUTO(json) json_t *root = json_parse(text, INSTANCE_INFO_MAX, ".instance_info", err);
    if (root == NULL || !json_is_object(root)) {
        return root == NULL ? DSTACK_E_FORMAT
                            : error_set(err, DSTACK_E_FORMAT, ".instance_info must be an object");
    }
    int rc = id_read(root, "instance_id_seed", out->seed, &out->has_seed, err);
    return rc != 0 ? rc : id_read(root, "app_id", out->app_id, &out->has_app_id, err);
}

int instance_info_write(dstack_bytes seed, dstack_bytes instance_id, dstack_bytes app_id,
                        dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(json) json_t *root = json_object();
    if (json_object_set_new(root, "instance_id_seed", json_hex(seed)) != 0 ||
        json_object_set_new(root, "instance_id", json_hex(instance_id)) != 0 ||
        json_object_set_new(root, "app_id", json_hex(app_id)) != 0) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return json_write(root, false, out, err);
}
