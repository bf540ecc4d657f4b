/* The vm_config text: which one counts, and what identity needs of it. */
#include <string.h>

#include "attest/attest.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"

#define VM_CONFIG_MAX ((size_t)1 << 20)

static json_t *parse(const char *text, dstack_error *err) {
    json_t *value = json_parse(bytes_of_str(text), VM_CONFIG_MAX, "vm_config", err);
    if (value != NULL && !json_is_object(value)) {
        error_set(err, DSTACK_E_FORMAT, "vm_config must be a JSON object");
        json_decref(value);
        value = NULL;
    }
    return value;
}

int attest_vm_config(const char *external, const char *config, bool unwrap, json_t **out,
                     dstack_error *err) {
    const char *text = external != NULL && *external != '\0' ? external : config;
    DSTACK_AUTO(json) json_t *value = parse(text == NULL || *text == '\0' ? "{}" : text, err);
    if (value == NULL) {
        return DSTACK_E_FORMAT;
    }
    const char *inner = json_string_value(json_object_get(value, "vm_config"));
    if (unwrap && inner != NULL) {
        json_t *unwrapped = parse(inner, err);
        if (unwrapped == NULL) {
            return DSTACK_E_FORMAT;
        }
        json_decref(value);
        value = unwrapped;
    }
    *out = value;
    value = NULL;
    return 0;
}

int attest_value_set(dstack_value *value, dstack_bytes bytes, const char *what, dstack_error *err) {
    *value = (dstack_value){0};
    if (bytes.len > sizeof value->data) {
        return error_set(err, DSTACK_E_FORMAT, "%s of %zu bytes, at most %zu are possible", what,
                         bytes.len, sizeof value->data);
    }
    value->len = bytes.len;
    if (bytes.len > 0) {
        memcpy(value->data, bytes.data, bytes.len);
    }
    return 0;
}

int attest_vm_config_image_hash(const json_t *vm_config, dstack_value *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf hash = {0};
    int rc = json_hex_or_empty(vm_config, "os_image_hash", &hash, err);
    return rc == 0 ? attest_value_set(out, bytes_of_buf(&hash), "os_image_hash", err)
                   : error_prefix(err, rc, "vm_config");
}
