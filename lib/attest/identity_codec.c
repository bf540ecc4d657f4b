/* Identity as certificates carry it (a MessagePack array) and as JSON. */
#include <string.h>

#include "attest/attest.h"
#include "attest/msgpack.h"
#include "base/error.h"
#include "base/json.h"

#define IDENTITY_MAX_SIZE 4096

int dstack_identity_encode(const dstack_identity *identity, dstack_buf *out, dstack_error *err) {
    const dstack_value *values[] = {
        &identity->app_id,        &identity->compose_hash, &identity->instance_id,
        &identity->device_id,     &identity->mr_system,    &identity->mr_aggregated,
        &identity->os_image_hash,
    };
    msgpack_put_array(out, 9);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        msgpack_put_bin(out, attest_value(values[i]));
    }
    msgpack_put_bin(out, bytes_of_str(identity->key_provider_info));
    if (identity->has_init_scripts) {
        msgpack_put_array(out, identity->init_script_count);
        for (size_t i = 0; i < identity->init_script_count; i++) {
            msgpack_put_bin(out, attest_value(&identity->init_scripts[i]));
        }
    } else {
        msgpack_put_nil(out);
    }
    return buf_check(out, err);
}

static int read_value(cursor *c, dstack_value *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf bytes = {0};
    msgpack_bytes(c, &bytes);
    int rc = buf_check(&bytes, err);
    return rc == 0 ? attest_value_set(out, bytes_of_buf(&bytes), "app info field", err) : rc;
}

static int read_provider(cursor *c, dstack_identity *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf info = {0};
    msgpack_bytes(c, &info);
    int rc = buf_check(&info, err);
    if (rc == 0 && (info.len >= sizeof out->key_provider_info ||
                    (info.len > 0 && memchr(info.data, 0, info.len) != NULL))) {
        rc = error_set(err, DSTACK_E_FORMAT, "app info: key provider is not a short text");
    }
    if (rc == 0 && info.len > 0) {
        memcpy(out->key_provider_info, info.data, info.len);
    }
    return rc;
}

static int read_scripts(cursor *c, dstack_identity *out, dstack_error *err) {
    if (msgpack_nil(c)) {
        return 0;
    }
    size_t count = msgpack_array(c);
    if (count > DSTACK_INIT_SCRIPTS_MAX) {
        return error_set(err, DSTACK_E_FORMAT, "app info: more than %d init scripts",
                         DSTACK_INIT_SCRIPTS_MAX);
    }
    int rc = 0;
    out->has_init_scripts = true;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = read_value(c, &out->init_scripts[out->init_script_count++], err);
        if (rc == 0 && cursor_ok(c) && out->init_scripts[i].len != 32) {
            rc = error_set(err, DSTACK_E_FORMAT, "app info: an init script hash is not 32 bytes");
        }
    }
    return rc;
}

int dstack_identity_decode(dstack_bytes encoded, dstack_identity *out, bool *present,
                           dstack_error *err) {
    *out = (dstack_identity){0};
    *present = false;
    if (encoded.len > IDENTITY_MAX_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "app info of %zu bytes, at most %d are read",
                         encoded.len, IDENTITY_MAX_SIZE);
    }
    cursor c = cursor_init(encoded);
    if (msgpack_nil(&c)) {
        return cursor_done(&c) ? 0 : error_set(err, DSTACK_E_FORMAT, "app info: trailing bytes");
    }
    dstack_value *values[] = {
        &out->app_id,    &out->compose_hash,  &out->instance_id,   &out->device_id,
        &out->mr_system, &out->mr_aggregated, &out->os_image_hash,
    };
    size_t count = msgpack_array(&c);
    int rc = 0;
    if (!cursor_ok(&c) || count < 8 || count > 9) {
        rc = error_set(err, DSTACK_E_FORMAT, "app info must be an array of 8 or 9");
    }
    for (size_t i = 0; rc == 0 && i < sizeof values / sizeof *values; i++) {
        rc = read_value(&c, values[i], err);
    }
    if (rc == 0) {
        rc = read_provider(&c, out, err);
    }
    if (rc == 0 && count == 9) {
        rc = read_scripts(&c, out, err);
    }
    if (rc == 0 && !cursor_done(&c)) {
        rc = error_set(err, DSTACK_E_FORMAT, "app info is malformed or cut short");
    }
    *present = rc == 0;
    return rc;
}

json_t *attest_value_json(const dstack_value *value) {
    return json_hex(attest_value(value));
}

json_t *attest_identity_json(const dstack_identity *identity) {
    json_t *scripts = identity->has_init_scripts ? json_array() : json_null();
    for (size_t i = 0; i < identity->init_script_count; i++) {
        json_array_append_new(scripts, attest_value_json(&identity->init_scripts[i]));
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "app_id",
                     attest_value_json(&identity->app_id), "compose_hash",
                     attest_value_json(&identity->compose_hash), "instance_id",
                     attest_value_json(&identity->instance_id), "device_id",
                     attest_value_json(&identity->device_id), "mr_system",
                     attest_value_json(&identity->mr_system), "mr_aggregated",
                     attest_value_json(&identity->mr_aggregated), "os_image_hash",
                     attest_value_json(&identity->os_image_hash), "key_provider_info",
                     json_hex(bytes_of_str(identity->key_provider_info)), "init_script_hashes",
                     scripts);
}

int dstack_identity_to_json(const dstack_identity *identity, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(json) json_t *object = attest_identity_json(identity);
    if (object == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for the identity's JSON");
    }
    return json_write(object, false, out, err);
}
