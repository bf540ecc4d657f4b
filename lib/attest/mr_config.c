/* What the host binds at launch: the 48-byte configuration id (MR_CONFIG_ID) and its document. */
#include <string.h>

#include "attest/attest.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "manifest/canonical.h"

#define DOCUMENT_MAX ((size_t)64 << 10)

static const char *const provider_names[] = {"none", "local", "kms", "tpm"};

static int check_lengths(const dstack_mr_config *config, dstack_error *err) {
    if (config->compose_hash.len != 32) {
        return error_set(err, DSTACK_E_ARGUMENT, "compose_hash must be 32 bytes");
    }
    if (config->app_id.len != 0 && config->app_id.len != 20) {
        return error_set(err, DSTACK_E_ARGUMENT, "app_id must be 20 bytes");
    }
    if ((unsigned)config->key_provider > DSTACK_KEY_PROVIDER_TPM) {
        return error_set(err, DSTACK_E_ARGUMENT, "unknown key provider");
    }
    return 0;
}

int dstack_mr_config_id(const dstack_mr_config *config, unsigned version,
                        uint8_t out[DSTACK_REGISTER_SIZE], dstack_error *err) {
    int rc = check_lengths(config, err);
    if (rc != 0) {
        return rc;
    }
    memset(out, 0, DSTACK_REGISTER_SIZE);
    out[0] = (uint8_t)version;
    if (version == 1) {
        memcpy(out + 1, config->compose_hash.data, 32);
        return 0;
    }
    if (version != 2 || config->app_id.len != 20) {
        return error_set(err, DSTACK_E_ARGUMENT, "no configuration id of version %u for this",
                         version);
    }
    uint8_t kind = (uint8_t)config->key_provider;
    hash_parts(HASH_KECCAK256,
               (const dstack_bytes[]){config->compose_hash, config->app_id, bytes_of(&kind, 1),
                                      config->key_provider_id},
               4, out + 1);
    return 0;
}

void dstack_mr_config_document_id(dstack_bytes document, uint8_t out[DSTACK_REGISTER_SIZE]) {
    static const char tag[] = "dstack-mr-config-v3:"; /* its final zero byte belongs to it */
    memset(out, 0, DSTACK_REGISTER_SIZE);
    out[0] = 3;
    hash_parts(HASH_SHA256, (const dstack_bytes[]){bytes_of(tag, sizeof tag), document}, 2,
               out + 1);
}

static void set_hex(json_t *object, const char *key, dstack_bytes value) {
    if (value.len > 0) {
        json_object_set_new(object, key, json_hex(value));
    }
}

int dstack_mr_config_document(const dstack_mr_config *config, dstack_buf *out, dstack_error *err) {
    int rc = check_lengths(config, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *object =
        json_pack("{s:i, s:s}", "version", 3, "key_provider", provider_names[config->key_provider]);
    if (object == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for the configuration document");
    }
    set_hex(object, "app_id", config->app_id);
    set_hex(object, "compose_hash", config->compose_hash);
    set_hex(object, "gpu_policy_hash", config->gpu_policy_hash);
    set_hex(object, "instance_id", config->instance_id);
    set_hex(object, "key_provider_id", config->key_provider_id);
    if (config->has_init_scripts) {
        json_t *scripts = json_array();
        for (size_t i = 0; i < config->init_script_count; i++) {
            json_array_append_new(scripts, json_hex(config->init_script_hashes[i]));
        }
        json_object_set_new(object, "init_script_hashes", scripts);
    }
    return canonical_write(object, out, err);
}

static int refuse(const char *what, dstack_error *err) {
    return error_set(err, DSTACK_E_REFUSED, "MR_CONFIG_ID document: %s differs", what);
}

/* A hex member that is present must equal the local value. */
static int compare_hex(const json_t *object, const char *key, dstack_bytes local, bool required,
                       dstack_error *err) {
    if (json_object_get(object, key) == NULL) {
        return required
                   ? error_set(err, DSTACK_E_FORMAT, "MR_CONFIG_ID document: %s is missing", key)
                   : 0;
    }
    DSTACK_AUTO(buf) dstack_buf value = {0};
    int rc = json_hex_or_empty(object, key, &value, err);
    if (rc == 0 && !bytes_equal(bytes_of_buf(&value), local)) {
        rc = refuse(key, err);
    }
    return rc;
}

static int compare_scripts(const json_t *object, const dstack_mr_config *local, dstack_error *err) {
    const json_t *scripts = json_object_get(object, "init_script_hashes");
    if (scripts == NULL) {
        return 0;
    }
    if (!json_is_array(scripts) || json_array_size(scripts) != local->init_script_count) {
        return refuse("init_script_hashes", err);
    }
    for (size_t i = 0; i < local->init_script_count; i++) {
        const char *text = json_string_value(json_array_get(scripts, i));
        uint8_t hash[32];
        if (text == NULL || hex_decode_fixed(text, hash, sizeof hash, NULL) != 0 ||
            !bytes_equal(bytes_of(hash, sizeof hash), local->init_script_hashes[i])) {
            return refuse("init_script_hashes", err);
        }
    }
    return 0;
}

static int check_keys(const json_t *object, dstack_error *err) {
    static const char *const known[] = {
        "version",         "app_id",          "compose_hash", "key_provider",
        "key_provider_id", "gpu_policy_hash", "instance_id",  "init_script_hashes"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
            found |= strcmp(key, known[i]) == 0;
        }
        if (!found) {
            return error_set(err, DSTACK_E_FORMAT, "MR_CONFIG_ID document: unknown key");
        }
    }
    return 0;
}

static int compare_document(dstack_bytes document, const dstack_mr_config *local,
                            dstack_error *err) {
    DSTACK_AUTO(json)
    json_t *object = json_parse(document, DOCUMENT_MAX, "MR_CONFIG_ID document", err);
    if (object == NULL) {
        return DSTACK_E_FORMAT;
    }
    int64_t version = 0;
    const char *provider = NULL;
    int rc = check_keys(object, err);
    if (rc == 0) {
        rc = json_need_int(object, "version", &version, err);
    }
    if (rc == 0 && version != 3) {
        rc = error_set(err, DSTACK_E_REFUSED, "MR_CONFIG_ID document: version must be 3");
    }
    if (rc == 0) {
        rc = compare_hex(object, "compose_hash", local->compose_hash, true, err);
    }
    if (rc == 0) {
        rc = compare_hex(object, "app_id", local->app_id, false, err);
    }
    if (rc == 0) {
        rc = compare_hex(object, "gpu_policy_hash", local->gpu_policy_hash, false, err);
    }
    if (rc == 0) {
        rc = compare_hex(object, "instance_id", local->instance_id, false, err);
    }
    if (rc == 0) {
        rc = compare_hex(object, "key_provider_id", local->key_provider_id, false, err);
    }
    if (rc == 0) {
        rc = compare_scripts(object, local, err);
    }
    if (rc == 0) {
        rc = json_need_str(object, "key_provider", &provider, err);
    }
    if (rc == 0 && strcmp(provider, provider_names[local->key_provider]) != 0) {
        rc = refuse("key_provider", err);
    }
    return rc;
}

int dstack_mr_config_check(const uint8_t id[DSTACK_REGISTER_SIZE], dstack_bytes document,
                           const dstack_mr_config *local, bool *bound, dstack_error *err) {
    *bound = false;
    if (bytes_are_zero(bytes_of(id, DSTACK_REGISTER_SIZE))) {
        return 0;
    }
    uint8_t expected[DSTACK_REGISTER_SIZE];
    int rc = check_lengths(local, err);
    if (rc == 0 && (id[0] == 1 || id[0] == 2)) {
        rc = dstack_mr_config_id(local, id[0], expected, err);
    } else if (rc == 0 && id[0] == 3) {
        if (document.len == 0) {
            return error_set(err, DSTACK_E_REFUSED, "MR_CONFIG_ID of version 3 needs its document");
        }
        dstack_mr_config_document_id(document, expected);
        rc = compare_document(document, local, err);
    } else if (rc == 0) {
        rc = error_set(err, DSTACK_E_REFUSED, "MR_CONFIG_ID has the unknown version %u", id[0]);
    }
    if (rc == 0 && memcmp(expected, id, sizeof expected) != 0) {
        rc = error_set(err, DSTACK_E_REFUSED,
                       "MR_CONFIG_ID does not agree with the manifest, app id and key provider");
    }
    *bound = rc == 0;
    return rc;
}
