/* Writing a new manifest. */
#include <string.h>

#include "base/error.h"
#include "manifest/canonical.h"
#include "manifest/manifest.h"

static void set_flag(json_t *object, const char *key, bool value) {
    json_object_set_new(object, key, json_boolean(value));
}

int dstack_manifest_build(const dstack_manifest_new *fields, dstack_buf *out, dstack_error *err) {
    static const char *const providers[] = {"none", "local", "kms", "tpm"};
    if (fields->name == NULL || *fields->name == '\0' ||
        (unsigned)fields->key_provider > DSTACK_KEY_PROVIDER_TPM) {
        return error_set(err, DSTACK_E_ARGUMENT, "a manifest needs a name and a key provider");
    }
    const dstack_bytes *compose = &fields->docker_compose_file;
    DSTACK_AUTO(json) json_t *object = json_object();
    json_t *text = json_stringn(compose->len == 0 ? "" : (const char *)compose->data, compose->len);
    json_t *name = json_string(fields->name);
    json_t *envs = json_array();
    bool valid = text != NULL && name != NULL;
    for (size_t i = 0; i < fields->allowed_env_count; i++) {
        valid &= json_array_append_new(envs, json_string(fields->allowed_envs[i])) == 0;
    }
    json_object_set_new(object, "allowed_envs", envs);
    json_object_set_new(object, "docker_compose_file", text);
    json_object_set_new(object, "name", name);
    json_object_set_new(object, "manifest_version", json_integer(2));
    json_object_set_new(object, "runner", json_string("docker-compose"));
    json_object_set_new(object, "key_provider", json_string(providers[fields->key_provider]));
    set_flag(object, "kms_enabled", fields->key_provider == DSTACK_KEY_PROVIDER_KMS);
    set_flag(object, "local_key_provider_enabled",
             fields->key_provider == DSTACK_KEY_PROVIDER_LOCAL);
    set_flag(object, "gateway_enabled", fields->gateway_enabled);
    set_flag(object, "public_logs", fields->public_logs);
    set_flag(object, "public_sysinfo", fields->public_sysinfo);
    set_flag(object, "public_tcbinfo", !fields->no_tcbinfo);
    set_flag(object, "no_instance_id", fields->no_instance_id);
    set_flag(object, "secure_time", !fields->no_secure_time);
    if (fields->pre_launch_script != NULL) {
        valid &= json_object_set_new(object, "pre_launch_script",
                                     json_string(fields->pre_launch_script)) == 0;
    }
    if (fields->storage_fs != NULL) {
        json_object_set_new(object, "storage_fs", json_string(fields->storage_fs));
    }
    return valid ? canonical_write(object, out, err)
                 : error_set(err, DSTACK_E_FORMAT, "a text of the new manifest is not UTF-8");
}
