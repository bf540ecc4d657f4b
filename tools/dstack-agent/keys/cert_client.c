#include "keys/cert_client.h"

#include <stdlib.h>
#include <string.h>

#include <dstack/kms.h>

#include "base/cursor.h"
#include "base/error.h"
#include "evidence.h"
#include "x509/pem.h"

DSTACK_AUTO_DEFINE(ca, dstack_ca, dstack_ca_free)
DSTACK_AUTO_DEFINE(kms, dstack_kms, dstack_kms_free)

void cert_chain_clear(cert_chain *chain) {
    for (size_t i = 0; i < chain->count; i++) {
        free(chain->pem[i]);
    }
    memset(chain, 0, sizeof *chain);
}

int cert_chain_join(const cert_chain *chain, dstack_buf *out, dstack_error *err) {
    for (size_t i = 0; i < chain->count; i++) {
        buf_put_str(out, chain->pem[i]);
        if (out->len > 0 && out->data[out->len - 1] != '\n') {
            buf_put_u8(out, '\n');
        }
    }
    return buf_check(out, err);
}

static int chain_add(cert_chain *chain, char *pem, dstack_error *err) {
    if (pem == NULL || chain->count == CERT_CHAIN_MAX) {
        free(pem);
        return error_set(err, DSTACK_E_MEMORY, "no room for a certificate chain");
    }
    chain->pem[chain->count++] = pem;
    return 0;
}

/* The app's own CA. */
static int sign_locally(const cert_client *client, const dstack_csr_spec *asked, dstack_bytes spki,
                        const dstack_attestation *attestation, int64_t now, cert_chain *out,
                        dstack_error *err) {
    DSTACK_AUTO(ca) dstack_ca *read = NULL;
    DSTACK_AUTO(buf) dstack_buf pem = {0};
    dstack_identity identity;
    int rc = client->ca != NULL ? 0
                                : dstack_ca_new(bytes_of_str(client->keys->ca_cert),
                                                client->keys->provider_key, &read, err);
    if (rc != 0 || (asked->with_app_info && (rc = dstack_attestation_identity(
                                                 attestation, false, NULL, &identity, err)) != 0)) {
        return rc;
    }
    const dstack_cert_spec spec = {
        .org = asked->org,
        .unit = client->insecure_dev ? "dstack insecure-dev" : NULL,
        .subject = asked->subject,
        .alt_names = asked->alt_names,
        .alt_name_count = asked->alt_name_count,
        .server_auth = asked->server_auth,
        .client_auth = asked->client_auth,
        .not_before = asked->has_not_before ? (int64_t)asked->not_before : 0,
        .not_after = asked->has_not_after ? (int64_t)asked->not_after : now + DSTACK_CA_LIFETIME,
        .app_info = asked->with_app_info ? &identity : NULL,
        .usage = DSTACK_USAGE_APP_CUSTOM,
        .attestation = asked->with_quote ? attestation : NULL,
    };
    if ((rc = dstack_ca_sign(client->ca != NULL ? client->ca : read, &spec, spki, &pem, err)) !=
            0 ||
        (rc = chain_add(out, buf_detach_text(&pem), err)) != 0) {
        return rc;
    }
    return chain_add(out, strdup(client->keys->ca_cert), err);
}

static int chain_split(dstack_bytes pem, cert_chain *out, dstack_error *err) {
    pem_reader reader;
    pem_reader_init(&reader, pem);
    DSTACK_AUTO(pem_block) pem_block block = {0};
    bool found = true;
    for (;;) {
        int rc = pem_next(&reader, &block, &found, err);
        if (rc != 0 || !found) {
            return rc;
        }
        DSTACK_AUTO(buf) dstack_buf text = {0};
        if ((rc = pem_append(&text, "CERTIFICATE", bytes_of_buf(&block.der), err)) != 0 ||
            (rc = chain_add(out, buf_detach_text(&text), err)) != 0) {
            return rc;
        }
    }
}

static int sign_by_kms(const cert_client *client, const dstack_csr_spec *asked,
                       const dstack_secret *key, const dstack_attestation *attestation,
                       dstack_attestation_form form, cert_chain *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf csr = {0};
    DSTACK_AUTO(buf) dstack_buf signature = {0};
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    DSTACK_AUTO(kms) dstack_kms *kms = NULL;
    const dstack_kms_options options = {
        .url = client->keys->provider_url,
        .root_ca = bytes_of_str(client->keys->ca_cert),
    };
    int rc;
    if ((rc = dstack_csr_build(asked, key, attestation, form, &csr, &signature, err)) != 0 ||
        (rc = dstack_kms_new(&options, &kms, err)) != 0 ||
        (rc = dstack_kms_sign_cert(kms, bytes_of_buf(&csr), bytes_of_buf(&signature),
                                   client->vm_config, &chain, err)) != 0 ||
        (rc = chain_split(bytes_of_buf(&chain), out, err)) != 0) {
        return rc;
    }
    return out->count > 0 ? 0
                          : error_set(err, DSTACK_E_FORMAT, "the KMS answered with an empty chain");
}

int cert_client_sign(const cert_client *client, const dstack_csr_spec *spec,
                     const dstack_secret *key, dstack_bytes spki,
                     const dstack_attestation *attestation, dstack_attestation_form form,
                     int64_t now, cert_chain *out, dstack_error *err) {
    return client->keys->provider == DSTACK_KEY_PROVIDER_KMS
               ? sign_by_kms(client, spec, key, attestation, form, out, err)
               : sign_locally(client, spec, spki, attestation, now, out, err);
}
