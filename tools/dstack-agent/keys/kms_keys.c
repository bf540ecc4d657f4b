#include "keys/kms_keys.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/random.h"
#include "evidence.h"

#define CLIENT_CERT_LIFETIME ((int64_t)86400)
#define BACKOFF_FIRST_MS 500
#define BACKOFF_LAST_MS 8000

DSTACK_AUTO_DEFINE(ca, dstack_ca, dstack_ca_free)
DSTACK_AUTO_DEFINE(cert, dstack_cert, dstack_cert_free)

static int key_read(const json_t *answer, const char *key, dstack_secret **out,
                    dstack_error *err) {
    const char *text = NULL;
    int rc = json_need_str(answer, key, &text, err);
    if (rc != 0) {
        return rc;
    }
    *out = dstack_secret_new(32);
    if (*out == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    /* The decoder's message could quote the key. */
    rc = hex_decode_fixed(text, dstack_secret_data(*out), 32, NULL);
    return rc != 0 ? error_set(err, rc, "member \"%s\" must be 32 bytes in hex", key) : 0;
}

int kms_keys_parse(const json_t *answer, app_keys *out, dstack_buf *image_hash,
                   dstack_error *err) {
    const char *ca = NULL, *gateway = NULL;
    int rc;
    if ((rc = key_read(answer, "disk_crypt_key", &out->disk_crypt_key, err)) != 0 ||
        (rc = key_read(answer, "env_crypt_key", &out->env_crypt_key, err)) != 0 ||
        (rc = key_read(answer, "k256_key", &out->k256_key, err)) != 0 ||
        (rc = json_hex_or_empty(answer, "k256_signature", &out->k256_signature, err)) != 0 ||
        (rc = json_hex_or_empty(answer, "os_image_hash", image_hash, err)) != 0 ||
        (rc = json_need_str(answer, "ca_cert", &ca, err)) != 0 ||
        (rc = json_str_or(answer, "gateway_app_id", "", &gateway, err)) != 0) {
        return error_prefix(err, rc, "GetAppKey");
    }
    if (out->k256_signature.len != 65 || image_hash->len > 32) {
        return error_set(err, DSTACK_E_FORMAT, "GetAppKey: a member has the wrong length");
    }
    out->ca_cert = strdup(ca);
    out->gateway_app_id = strdup(gateway);
    return out->ca_cert == NULL || out->gateway_app_id == NULL
               ? error_set(err, DSTACK_E_MEMORY, "out of memory")
               : 0;
}

/* What GetTempCaCert gives: a CA whose key is public knowledge. It only carries the evidence. */
typedef struct temp_ca {
    json_t *answer;
    const char *cert, *root;
    dstack_secret *key;
} temp_ca;

static void temp_ca_clear(temp_ca *t) {
    json_decref(t->answer);
    dstack_secret_free(t->key);
}
DSTACK_AUTO_DEFINE_CLEAR(temp_ca, temp_ca, temp_ca_clear)

static int temp_ca_get(const char *url, temp_ca *out, dstack_error *err) {
    const kms_call call = {.url = url};
    const char *key = NULL;
    int rc;
    if ((rc = kms_call_run(&call, "GetTempCaCert", NULL, &out->answer, err)) != 0 ||
        (rc = json_need_str(out->answer, "temp_ca_cert", &out->cert, err)) != 0 ||
        (rc = json_need_str(out->answer, "temp_ca_key", &key, err)) != 0 ||
        (rc = json_need_str(out->answer, "ca_cert", &out->root, err)) != 0) {
        return rc;
    }
    out->key = key[0] == '\0' ? NULL : dstack_secret_copy((const uint8_t *)key, strlen(key));
    return out->key != NULL ? 0 : error_set(err, DSTACK_E_FORMAT, "GetTempCaCert: no key");
}

/* A client certificate that carries this guest's evidence, bound to a fresh key. */
static int client_cert_make(const kms_keys_request *request, const temp_ca *temp,
                            dstack_secret **key, dstack_buf *pem, dstack_error *err) {
    DSTACK_AUTO(ca) dstack_ca *ca = NULL;
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(attestation) dstack_attestation *attestation = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc;
    if ((rc = dstack_ca_new(bytes_of_str(temp->cert), temp->key, &ca, err)) != 0 ||
        (rc = dstack_cert_key_new(key, err)) != 0 ||
        (rc = dstack_cert_key_public(*key, &spki, err)) != 0 ||
        (rc = dstack_cert_report_data(bytes_of_buf(&spki), report_data, err)) != 0 ||
        (rc = request->attest(request->user, report_data, &attestation, err)) != 0) {
        return rc;
    }
    const dstack_cert_spec spec = {
        .unit = request->insecure_dev ? "dstack insecure-dev" : NULL,
        .subject = "RA-TLS TEMP Cert",
        .client_auth = true,
        .not_after = clock_unix() + CLIENT_CERT_LIFETIME,
        .attestation = attestation,
    };
    rc = dstack_ca_sign(ca, &spec, bytes_of_buf(&spki), pem, err);
    if (rc == 0) {
        buf_put_str(pem, temp->cert);
        rc = buf_check(pem, err);
    }
    return rc;
}

static int provider_fill(const char *url, temp_ca *temp, app_keys *out, dstack_error *err) {
    DSTACK_AUTO(cert) dstack_cert *root = NULL;
    int rc = dstack_cert_parse(bytes_of_str(out->ca_cert), &root, err);
    if (rc != 0) {
        return rc;
    }
    /* The keys must come from the very CA that the connection was held to. */
    DSTACK_AUTO(cert) dstack_cert *asked = NULL;
    if ((rc = dstack_cert_parse(bytes_of_str(temp->root), &asked, err)) != 0) {
        return rc;
    }
    dstack_bytes id = dstack_cert_spki(root), want = dstack_cert_spki(asked);
    if (id.len != want.len || memcmp(id.data, want.data, id.len) != 0) {
        return error_set(err, DSTACK_E_REFUSED, "the KMS names two different root keys");
    }
    buf_put_bytes(&out->provider_id, id);
    out->provider = DSTACK_KEY_PROVIDER_KMS;
    out->provider_url = kms_call_base(url);
    out->temp_ca_cert = strdup(temp->cert);
    out->provider_key = temp->key;
    temp->key = NULL;
    return out->provider_url == NULL || out->temp_ca_cert == NULL
               ? error_set(err, DSTACK_E_MEMORY, "out of memory")
               : buf_check(&out->provider_id, err);
}

static int fetch_one(const kms_keys_request *request, const char *url, app_keys *out,
                     dstack_buf *image_hash, dstack_error *err) {
    DSTACK_AUTO(temp_ca) temp_ca temp = {0};
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    DSTACK_AUTO(json) json_t *answer = NULL;
    int rc;
    if ((rc = temp_ca_get(url, &temp, err)) != 0 ||
        (rc = client_cert_make(request, &temp, &key, &chain, err)) != 0) {
        return rc;
    }
    kms_trust trust = request->trust;
    trust.root = bytes_of_str(temp.root);
    const kms_call call = {
        .url = url,
        .trust = &trust,
        .client_chain = bytes_of_buf(&chain),
        .client_key = key,
    };
    DSTACK_AUTO(json)
    json_t *body = json_pack("{s:i,s:s}", "api_version", 1, "vm_config", request->vm_config);
    if (body == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    if ((rc = kms_call_run(&call, "GetAppKey", body, &answer, err)) != 0 ||
        (rc = kms_keys_parse(answer, out, image_hash, err)) != 0) {
        return rc;
    }
    return provider_fill(url, &temp, out, err);
}

static bool worth_retrying(int rc) {
    return rc == DSTACK_E_NETWORK || rc == DSTACK_E_TIMEOUT;
}

static int fetch_round(const kms_keys_request *request, app_keys *out, dstack_buf *image_hash,
                       dstack_error *err) {
    int first = error_set(err, DSTACK_E_NOT_FOUND, "no KMS URL is configured");
    for (size_t i = 0; i < request->url_count; i++) {
        dstack_error one = {0};
        int rc = fetch_one(request, request->urls[i], out, image_hash, &one);
        if (rc == 0) {
            return 0;
        }
        app_keys_clear(out);
        buf_reset(image_hash);
        if (i == 0) {
            first = error_set(err, rc, "%s", one.message);
        }
    }
    return first;
}

int kms_keys_fetch(const kms_keys_request *request, app_keys *out, dstack_buf *image_hash,
                   dstack_error *err) {
    int64_t until = clock_monotonic_ms() + request->retry_ms;
    int64_t pause_ms = BACKOFF_FIRST_MS;
    for (;;) {
        int rc = fetch_round(request, out, image_hash, err);
        if (!worth_retrying(rc) || clock_monotonic_ms() + pause_ms >= until) {
            return rc;
        }
        uint8_t jitter;
        random_fill(&jitter, sizeof jitter);
        int64_t wait_ms = pause_ms + pause_ms * jitter / 512;
        nanosleep(&(struct timespec){.tv_sec = wait_ms / 1000,
                                     .tv_nsec = wait_ms % 1000 * 1000000},
                  NULL);
        pause_ms = pause_ms * 2 > BACKOFF_LAST_MS ? BACKOFF_LAST_MS : pause_ms * 2;
    }
}
