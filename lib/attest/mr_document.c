/* The version 3 configuration document as the source of an identity: on platforms without run-time
 * registers it is all that tells who runs there. */
#include <string.h>

#include "attest/attest.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"

#define DOCUMENT_MAX ((size_t)64 << 10)

static const char *const known_keys[] = {
    "version",         "app_id",          "compose_hash", "key_provider",
    "key_provider_id", "gpu_policy_hash", "instance_id",  "init_script_hashes"};

static int check_keys(const json_t *object, dstack_error *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        bool known = false;
        for (size_t i = 0; i < sizeof known_keys / sizeof *known_keys; i++) {
            known |= strcmp(key, known_keys[i]) == 0;
        }
        if (!known) {
            return error_set(err, DSTACK_E_FORMAT, "unknown field");
        }
    }
    return 0;
}

/* A hex member of exactly that size; it may be missing or empty unless it is required. */
static int read_value(const json_t *object, const char *key, size_t size, bool required,
                      dstack_value *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf value = {0};
    int rc = json_hex_or_empty(object, key, &value, err);
    if (rc == 0 && value.len != size && (required || value.len != 0)) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s must be %zu bytes", key, size);
    }
    return rc == 0 ? attest_value_set(out, bytes_of_buf(&value), key, err) : rc;
}

static int read_scripts(const json_t *object, dstack_identity *out, dstack_error *err) {
    const json_t *list = json_object_get(object, "init_script_hashes");
    if (list == NULL || json_is_null(list)) {
        return 0;
    }
    if (!json_is_array(list) || json_array_size(list) > DSTACK_INIT_SCRIPTS_MAX) {
        return error_set(err, DSTACK_E_FORMAT, "init_script_hashes must be a list of at most %d",
                         DSTACK_INIT_SCRIPTS_MAX);
    }
    out->has_init_scripts = true;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        dstack_value *hash = &out->init_scripts[i];
        if (text == NULL || hex_decode_fixed(text, hash->data, 32, NULL) != 0) {
            return error_set(err, DSTACK_E_FORMAT, "init_script_hashes must be 32 bytes each");
        }
        hash->len = 32;
        out->init_script_count++;
    }
    return 0;
}

/* key_provider_info as the guest's event would have had it. */
static int read_provider(const json_t *object, dstack_identity *out, dstack_error *err) {
    static const char *const names[][2] = {
        {"none", "none"}, {"local", "local-sgx"}, {"kms", "kms"}, {"tpm", "tpm"}};
    const char *kind = NULL, *name = NULL;
    DSTACK_AUTO(buf) dstack_buf id = {0};
    DSTACK_AUTO(buf) dstack_buf hex = {0};
    int rc = json_need_str(object, "key_provider", &kind, err);
    for (size_t i = 0; rc == 0 && i < sizeof names / sizeof *names; i++) {
        name = strcmp(kind, names[i][0]) == 0 ? names[i][1] : name;
    }
    if (rc == 0 && name == NULL) {
        rc = error_set(err, DSTACK_E_FORMAT, "unknown key_provider");
    }
    if (rc == 0) {
        rc = json_hex_or_empty(object, "key_provider_id", &id, err);
    }
    if (rc != 0) {
        return rc;
    }
    buf_put_hex(&hex, bytes_of_buf(&id));
    const int length = snprintf(out->key_provider_info, sizeof out->key_provider_info,
                                "{\"name\":\"%s\",\"id\":\"%s\"}", name, buf_text(&hex));
    return length < (int)sizeof out->key_provider_info
               ? buf_check(&hex, err)
               : error_set(err, DSTACK_E_LIMIT, "key_provider_id is too long");
}

int attest_identity_document(dstack_bytes document, dstack_identity *out, dstack_error *err) {
    DSTACK_AUTO(json)
    json_t *object = json_parse(document, DOCUMENT_MAX, "mr_config document", err);
    dstack_value policy;
    int64_t version = 0;
    if (object == NULL || !json_is_object(object)) {
        return error_set(err, DSTACK_E_FORMAT, "mr_config document is not a JSON object");
    }
    int rc = check_keys(object, err);
    if (rc == 0) {
        rc = json_need_int(object, "version", &version, err);
    }
    if (rc == 0 && version != 3) {
        rc = error_set(err, DSTACK_E_FORMAT, "mr_config version must be 3");
    }
    if (rc == 0) {
        rc = read_value(object, "compose_hash", 32, true, &out->compose_hash, err);
    }
    if (rc == 0) {
        rc = read_value(object, "app_id", 20, false, &out->app_id, err);
    }
    if (rc == 0) {
        rc = read_value(object, "instance_id", 20, false, &out->instance_id, err);
    }
    if (rc == 0) {
        rc = read_value(object, "gpu_policy_hash", 32, false, &policy, err);
    }
    if (rc == 0) {
        rc = read_provider(object, out, err);
    }
    return rc == 0 ? read_scripts(object, out, err) : rc;
}
