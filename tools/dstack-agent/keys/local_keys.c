#include "keys/local_keys.h"

#include <dstack/cert.h>
#include <dstack/keys.h>

#include "base/cursor.h"
#include "base/error.h"
#include "crypto/ecdsa.h"
#include "evidence.h"

DSTACK_AUTO_DEFINE_CLEAR(seed_keys, dstack_seed_keys, dstack_seed_keys_clear)

static int ca_make(const dstack_secret *scalar, int64_t now, bool insecure_dev,
                   local_keys_attest *attest, void *user, app_keys *out, dstack_error *err) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(buf) dstack_buf pem = {0};
    DSTACK_AUTO(attestation) dstack_attestation *attestation = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc;
    if ((rc = ecdsa_private_from_scalar(
             &key, ECDSA_P256, bytes_of(dstack_secret_peek(scalar), dstack_secret_len(scalar)),
             err)) != 0 ||
        (rc = ecdsa_private_pem(key, &out->provider_key, err)) != 0 ||
        (rc = ecdsa_key_spki(ecdsa_private_public(key), &spki, err)) != 0 ||
        (rc = dstack_cert_report_data(bytes_of_buf(&spki), report_data, err)) != 0 ||
        (attest != NULL && (rc = attest(user, report_data, &attestation, err)) != 0)) {
        return rc;
    }
    const dstack_cert_spec spec = {
        .org = "Dstack",
        .unit = insecure_dev ? "dstack insecure-dev" : NULL,
        .subject = "App Root Cert",
        .is_ca = true,
        .path_len = 1,
        .not_after = now + DSTACK_CA_LIFETIME,
        .attestation = attestation,
    };
    if ((rc = dstack_cert_self_signed(&spec, out->provider_key, &pem, err)) != 0) {
        return rc;
    }
    out->ca_cert = buf_detach_text(&pem);
    return out->ca_cert == NULL ? error_set(err, DSTACK_E_MEMORY, "out of memory") : 0;
}

int local_keys_make(const dstack_secret *seed, int64_t now, bool insecure_dev,
                    local_keys_attest *attest, void *user, app_keys *out, dstack_error *err) {
    DSTACK_AUTO(seed_keys) dstack_seed_keys keys = {0};
    int rc = dstack_seed_keys_derive(seed, &keys, err);
    if (rc != 0) {
        return rc;
    }
    out->provider = DSTACK_KEY_PROVIDER_NONE;
    out->disk_crypt_key = keys.disk;
    keys.disk = NULL;
    out->k256_key = keys.k256;
    keys.k256 = NULL;
    return ca_make(keys.app_root, now, insecure_dev, attest, user, out, err);
}
