#include "keys/app_keys.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"

static const struct {
    dstack_key_provider provider;
    const char *member; /* in .appkeys.json */
    const char *event;  /* in the key-provider event */
} providers[] = {
    {DSTACK_KEY_PROVIDER_NONE, "None", "none"},
    {DSTACK_KEY_PROVIDER_LOCAL, "Local", "local-sgx"},
    {DSTACK_KEY_PROVIDER_KMS, "Kms", "kms"},
    {DSTACK_KEY_PROVIDER_TPM, "Tpm", "tpm"},
};

const char *app_keys_provider_name(dstack_key_provider provider) {
    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++) {
        if (providers[i].provider == provider) {
            return providers[i].event;
        }
    }
    return "none";
}

void app_keys_clear(app_keys *keys) {
    dstack_secret_free(keys->disk_crypt_key);
    dstack_secret_free(keys->env_crypt_key);
    dstack_secret_free(keys->k256_key);
    dstack_secret_free(keys->provider_key);
    dstack_buf_clear(&keys->k256_signature);
    dstack_buf_clear(&keys->provider_id);
    free(keys->gateway_app_id);
    free(keys->ca_cert);
    free(keys->provider_url);
    free(keys->temp_ca_cert);
    memset(keys, 0, sizeof *keys);
}

static int secret_read(const json_t *object, const char *key, bool needed, dstack_secret **out,
                       dstack_error *err) {
    const char *text = NULL;
    int rc =
        needed ? json_need_str(object, key, &text, err) : json_str_or(object, key, "", &text, err);
    if (rc != 0 || (!needed && text[0] == '\0')) {
        return rc;
    }
    *out = dstack_secret_new(32);
    if (*out == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    rc = hex_decode_fixed(text, dstack_secret_data(*out), 32, NULL);
    /* The decoder's own message could quote the text. */
    return rc != 0 ? error_set(err, rc, "member \"%s\" must be 64 hex digits", key) : 0;
}

static int text_read(const json_t *object, const char *key, char **out, dstack_error *err) {
    const char *text = NULL;
    int rc = json_str_or(object, key, "", &text, err);
    if (rc != 0) {
        return rc;
    }
    *out = strdup(text);
    return *out == NULL ? error_set(err, DSTACK_E_MEMORY, "out of memory") : 0;
}

static int pem_read(const json_t *object, const char *key, dstack_secret **out, dstack_error *err) {
    const char *text = NULL;
    int rc = json_need_str(object, key, &text, err);
    if (rc != 0) {
        return rc;
    }
    *out = text[0] == '\0' ? NULL : dstack_secret_copy((const uint8_t *)text, strlen(text));
    return *out == NULL ? error_set(err, DSTACK_E_FORMAT, "member \"%s\" must be PEM text", key)
                        : 0;
}

static int provider_read(const json_t *root, app_keys *out, dstack_error *err) {
    json_t *choice = NULL;
    int rc = json_need_object(root, "key_provider", &choice, err);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++) {
        const json_t *value = json_object_get(choice, providers[i].member);
        if (value == NULL || json_object_size(choice) != 1) {
            continue;
        }
        out->provider = providers[i].provider;
        if (out->provider != DSTACK_KEY_PROVIDER_KMS) {
            rc = pem_read(value, "key", &out->provider_key, err);
            return rc != 0 ? rc : json_hex_or_empty(value, "mr", &out->provider_id, err);
        }
        /* The temporary CA is for older agents: this one never asks for a certificate with it. */
        if ((rc = text_read(value, "url", &out->provider_url, err)) != 0 ||
            (rc = text_read(value, "tmp_ca_cert", &out->temp_ca_cert, err)) != 0) {
            return rc;
        }
        return json_hex_or_empty(value, "pubkey", &out->provider_id, err);
    }
    return error_set(err, DSTACK_E_FORMAT, "member \"key_provider\" must name one known provider");
}

int app_keys_parse(dstack_bytes text, app_keys *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    DSTACK_AUTO(json) json_t *root = json_parse(text, APP_KEYS_MAX, "the app keys", NULL);
    if (!json_is_object(root)) {
        return error_set(err, DSTACK_E_FORMAT, "the app keys are not a JSON object");
    }
    int rc;
    if ((rc = secret_read(root, "disk_crypt_key", true, &out->disk_crypt_key, err)) != 0 ||
        (rc = secret_read(root, "env_crypt_key", false, &out->env_crypt_key, err)) != 0 ||
        (rc = secret_read(root, "k256_key", true, &out->k256_key, err)) != 0 ||
        (rc = json_hex_or_empty(root, "k256_signature", &out->k256_signature, err)) != 0 ||
        (rc = text_read(root, "gateway_app_id", &out->gateway_app_id, err)) != 0 ||
        (rc = text_read(root, "ca_cert", &out->ca_cert, err)) != 0 ||
        (rc = provider_read(root, out, err)) != 0) {
        return error_prefix(err, rc, "app keys");
    }
    return 0;
}

static json_t *secret_hex(const dstack_secret *secret) {
    char hex[129] = "";
    size_t len = dstack_secret_len(secret);
    if (len > 0 && len <= 64) {
        sodium_bin2hex(hex, sizeof hex, dstack_secret_peek(secret), len);
    }
    json_t *out = json_string(hex);
    sodium_memzero(hex, sizeof hex);
    return out;
}

static json_t *secret_text(const dstack_secret *secret) {
    return json_stringn((const char *)dstack_secret_peek(secret), dstack_secret_len(secret));
}

static json_t *text_of(const char *text) {
    return json_string(text != NULL ? text : "");
}

static json_t *provider_json(const app_keys *keys) {
    json_t *inner = json_object();
    const char *member = NULL;
    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++) {
        if (providers[i].provider == keys->provider) {
            member = providers[i].member;
        }
    }
    if (keys->provider == DSTACK_KEY_PROVIDER_KMS) {
        json_object_set_new(inner, "url", text_of(keys->provider_url));
        json_object_set_new(inner, "pubkey", json_hex(bytes_of_buf(&keys->provider_id)));
        json_object_set_new(inner, "tmp_ca_key", json_string(""));
        json_object_set_new(inner, "tmp_ca_cert", text_of(keys->temp_ca_cert));
    } else {
        json_object_set_new(inner, "key", secret_text(keys->provider_key));
    }
    if (keys->provider == DSTACK_KEY_PROVIDER_LOCAL) {
        json_object_set_new(inner, "mr", json_hex(bytes_of_buf(&keys->provider_id)));
    }
    json_t *outer = json_object();
    json_object_set_new(outer, member, inner);
    return outer;
}

int app_keys_write(const app_keys *keys, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(json) json_t *root = json_object();
    json_object_set_new(root, "disk_crypt_key", secret_hex(keys->disk_crypt_key));
    json_object_set_new(root, "env_crypt_key", secret_hex(keys->env_crypt_key));
    json_object_set_new(root, "k256_key", secret_hex(keys->k256_key));
    json_object_set_new(root, "k256_signature", json_hex(bytes_of_buf(&keys->k256_signature)));
    json_object_set_new(root, "gateway_app_id", text_of(keys->gateway_app_id));
    json_object_set_new(root, "ca_cert", text_of(keys->ca_cert));
    json_object_set_new(root, "key_provider", provider_json(keys));
    if (json_object_size(root) != 7) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return json_write(root, false, out, err);
}

int app_keys_load(const char *path, app_keys *out, dstack_error *err) {
    DSTACK_AUTO(wiped) dstack_buf text = {0};
    buf_reserve(&text, APP_KEYS_MAX + 65536);
    int rc = file_read(path, APP_KEYS_MAX, &text, err);
    return rc != 0 ? rc : app_keys_parse(bytes_of_buf(&text), out, err);
}

int app_keys_save(const app_keys *keys, const char *path, dstack_error *err) {
    DSTACK_AUTO(wiped) dstack_buf text = {0};
    buf_reserve(&text, APP_KEYS_MAX);
    int rc = app_keys_write(keys, &text, err);
    return rc != 0 ? rc : file_write_atomic(path, bytes_of_buf(&text), 0600, err);
}
