#include "keys/kms_keys.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/random.h"

#define BACKOFF_FIRST_MS 500
#define BACKOFF_LAST_MS 8000

DSTACK_AUTO_DEFINE(cert, dstack_cert, dstack_cert_free)
DSTACK_AUTO_DEFINE(kms, dstack_kms, dstack_kms_free)
DSTACK_AUTO_DEFINE_CLEAR(kms_answer, dstack_app_keys, dstack_app_keys_clear)

static dstack_secret *take_secret(dstack_secret **from) {
    dstack_secret *out = *from;
    *from = NULL;
    return out;
}

/* Moves what the KMS gave; its root CA's key is the provider's id. */
static int answer_take(const dstack_kms *kms, dstack_app_keys *answer, app_keys *out,
                       dstack_buf *image_hash, dstack_error *err) {
    DSTACK_AUTO(cert) dstack_cert *root = NULL;
    int rc = dstack_cert_parse(bytes_of_buf(&answer->ca_cert), &root, err);
    if (rc != 0) {
        return rc;
    }
    buf_put_bytes(&out->provider_id, dstack_cert_spki(root));
    buf_put_bytes(&out->k256_signature, bytes_of_buf(&answer->k256_signature));
    buf_put_bytes(image_hash, bytes_of_buf(&answer->os_image_hash));
    out->provider = DSTACK_KEY_PROVIDER_KMS;
    out->ca_cert = strndup((const char *)answer->ca_cert.data, answer->ca_cert.len);
    out->gateway_app_id = strdup(answer->gateway_app_id != NULL ? answer->gateway_app_id : "");
    out->provider_url = strdup(dstack_kms_url(kms));
    out->disk_crypt_key = take_secret(&answer->disk_crypt_key);
    out->env_crypt_key = take_secret(&answer->env_crypt_key);
    out->k256_key = take_secret(&answer->k256_key);
    if (out->ca_cert == NULL || out->gateway_app_id == NULL || out->provider_url == NULL ||
        (rc = buf_check(image_hash, err)) != 0 || (rc = buf_check(&out->provider_id, err)) != 0) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    if (out->disk_crypt_key == NULL || out->k256_key == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "the KMS left keys out");
    }
    return 0;
}

static int fetch_one(const kms_keys_request *request, const char *url, app_keys *out,
                     dstack_buf *image_hash, dstack_error *err) {
    DSTACK_AUTO(kms) dstack_kms *kms = NULL;
    DSTACK_AUTO(kms_answer) dstack_app_keys answer = {0};
    dstack_kms_options options = request->options;
    options.url = url;
    int rc;
    if ((rc = dstack_kms_new(&options, &kms, err)) != 0 ||
        (rc = dstack_kms_app_keys(kms, request->vm_config, &answer, err)) != 0) {
        return rc;
    }
    return answer_take(kms, &answer, out, image_hash, err);
}

bool kms_failure_is_transient(int rc) {
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
        if (!kms_failure_is_transient(rc) || clock_monotonic_ms() + pause_ms >= until) {
            return rc;
        }
        uint8_t jitter;
        random_fill(&jitter, sizeof jitter);
        int64_t wait_ms = pause_ms + pause_ms * jitter / 512;
        nanosleep(&(struct timespec){.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000},
                  NULL);
        pause_ms = pause_ms * 2 > BACKOFF_LAST_MS ? BACKOFF_LAST_MS : pause_ms * 2;
    }
}
