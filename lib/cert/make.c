/* Making RA-TLS certificates, self-signed or by a CA. */
#include <string.h>

#include "attest/attest.h"
#include "base/buf.h"
#include "base/error.h"
#include "cert/cert.h"
#include "cert/external.h"
#include "x509/build.h"
#include "x509/pem.h"

struct dstack_ca {
    ecdsa_private *key;
    dstack_buf der;
    x509_cert x509; /* borrows der */
};

#define CUSTOM_MAX 4

/* The custom extensions of one certificate: each value is wrapped in an OCTET STRING. */
typedef struct custom_list {
    x509_extension items[CUSTOM_MAX];
    uint8_t oids[CUSTOM_MAX][CERT_OID_SIZE];
    dstack_buf values[CUSTOM_MAX];
    size_t count;
} custom_list;

static void auto_custom_list(custom_list *list) {
    for (size_t i = 0; i < CUSTOM_MAX; i++) {
        dstack_buf_clear(&list->values[i]);
    }
}

static int add(custom_list *list, cert_ext ext, dstack_bytes value, dstack_error *err) {
    size_t i = list->count++;
    int rc = x509_octet_string(value, &list->values[i], err);
    if (rc == 0) {
        cert_ext_oid(ext, list->oids[i]);
        list->items[i] = (x509_extension){.oid = bytes_of(list->oids[i], CERT_OID_SIZE),
                                          .value = bytes_of_buf(&list->values[i])};
    }
    return rc;
}

static int add_app_info(custom_list *list, const dstack_identity *identity, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    int rc = dstack_identity_encode(identity, &encoded, err);
    return rc == 0 ? add(list, CERT_EXT_APP_INFO, bytes_of_buf(&encoded), err) : rc;
}

static int add_attestation(custom_list *list, const dstack_attestation *attestation,
                           dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    DSTACK_AUTO(attestation) dstack_attestation *stripped = NULL;
    int rc = dstack_attestation_strip(attestation, &stripped, err);
    if (rc == 0) {
        rc = dstack_attestation_encode(stripped, DSTACK_ATTESTATION_AS_DECODED, &encoded, err);
    }
    return rc == 0 ? add(list, CERT_EXT_ATTESTATION, bytes_of_buf(&encoded), err) : rc;
}

static int collect(const dstack_cert_spec *spec, custom_list *list, dstack_error *err) {
    int rc = 0;
    if (spec->app_id.len != 0 && spec->app_id.len != 20) {
        return error_set(err, DSTACK_E_ARGUMENT, "app_id must be 20 bytes");
    }
    if (spec->app_id.len != 0) {
        rc = add(list, CERT_EXT_APP_ID, spec->app_id, err);
    }
    if (rc == 0 && spec->app_info != NULL) {
        rc = add_app_info(list, spec->app_info, err);
    }
    if (rc == 0 && spec->usage != NULL) {
        rc = add(list, CERT_EXT_USAGE, bytes_of_str(spec->usage), err);
    }
    if (rc == 0 && spec->attestation != NULL) {
        rc = add_attestation(list, spec->attestation, err);
    }
    return rc;
}

static int build(const dstack_cert_spec *spec, dstack_bytes spki, dstack_bytes issuer,
                 const ecdsa_private *signer, dstack_buf *pem, dstack_error *err) {
    if (spec->subject == NULL || spec->not_after == 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "a certificate needs a subject and an end");
    }
    int64_t not_before = spec->not_before == 0 ? X509_DEFAULT_NOT_BEFORE : spec->not_before;
    if (not_before >= spec->not_after) {
        return error_set(err, DSTACK_E_ARGUMENT, "not_before must be earlier than not_after");
    }
    DSTACK_AUTO(custom_list) custom_list custom = {0};
    int rc = collect(spec, &custom, err);
    if (rc != 0) {
        return rc;
    }
    unsigned eku = (spec->server_auth ? X509_EKU_SERVER_AUTH : 0u) |
                   (spec->client_auth ? X509_EKU_CLIENT_AUTH : 0u);
    unsigned ca_usage = spec->is_ca ? X509_KU_CERT_SIGN | X509_KU_CRL_SIGN : 0u;
    x509_build input = {
        .subject = {.organization = spec->org,
                    .organizational_unit = spec->unit,
                    .common_name = spec->subject},
        .issuer_der = issuer,
        .not_before = not_before,
        .not_after = spec->not_after,
        .spki = spki,
        .alt_names = spec->alt_names,
        .alt_name_count = spec->alt_name_count,
        .key_usage = (uint16_t)(X509_KU_DIGITAL_SIGNATURE | ca_usage),
        .eku = eku,
        .with_ski = spec->is_ca,
        .with_basic_constraints = spec->is_ca,
        .is_ca = spec->is_ca,
        .path_len = spec->path_len,
        .custom = custom.items,
        .custom_count = custom.count,
    };
    DSTACK_AUTO(buf) dstack_buf der = {0};
    rc = x509_cert_build(&input, signer, false, &der, err);
    return rc == 0 ? pem_append(pem, "CERTIFICATE", bytes_of_buf(&der), err) : rc;
}

int cert_self_signed_by(const dstack_cert_spec *spec, const ecdsa_private *key, dstack_buf *pem,
                        dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    int rc = ecdsa_key_spki(ecdsa_private_public(key), &spki, err);
    return rc == 0 ? build(spec, bytes_of_buf(&spki), (dstack_bytes){0}, key, pem, err) : rc;
}

int dstack_cert_self_signed(const dstack_cert_spec *spec, const dstack_secret *key, dstack_buf *pem,
                            dstack_error *err) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *signer = NULL;
    int rc = cert_key_load(key, &signer, err);
    return rc == 0 ? cert_self_signed_by(spec, signer, pem, err) : rc;
}

int cert_ca_of_key(dstack_bytes cert, ecdsa_private **key, dstack_ca **out, dstack_error *err) {
    *out = NULL;
    DSTACK_AUTO(cert_list) cert_list list = {0};
    DSTACK_AUTO(ca) dstack_ca *ca = calloc(1, sizeof *ca);
    if (ca == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a CA");
    }
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    int rc = cert_list_parse(cert, &list, err);
    if (rc == 0) {
        rc = ecdsa_key_spki(ecdsa_private_public(*key), &spki, err);
    }
    if (rc == 0 && !bytes_equal(bytes_of_buf(&spki), list.certs[0].spki)) {
        rc = error_set(err, DSTACK_E_ARGUMENT, "CA certificate does not match private key");
    }
    if (rc == 0 && !(list.certs[0].is_ca && list.certs[0].key_usage & X509_KU_CERT_SIGN)) {
        rc = error_set(err, DSTACK_E_REFUSED, "the certificate is not one of a CA");
    }
    if (rc == 0) {
        buf_put_bytes(&ca->der, bytes_of_buf(&list.der[0]));
        rc = buf_check(&ca->der, err);
    }
    if (rc == 0) {
        rc = x509_cert_parse(&ca->x509, bytes_of_buf(&ca->der), err);
    }
    if (rc == 0) {
        ca->key = *key;
        *key = NULL;
        *out = ca;
        ca = NULL;
    }
    return rc;
}

int dstack_ca_new(dstack_bytes cert, const dstack_secret *key, dstack_ca **out, dstack_error *err) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *loaded = NULL;
    *out = NULL;
    int rc = cert_key_load(key, &loaded, err);
    return rc == 0 ? cert_ca_of_key(cert, &loaded, out, err) : rc;
}

void dstack_ca_free(dstack_ca *ca) {
    if (ca != NULL) {
        ecdsa_private_free(ca->key);
        dstack_buf_clear(&ca->der);
        free(ca);
    }
}

int dstack_ca_certificate(const dstack_ca *ca, dstack_buf *pem, dstack_error *err) {
    return pem_append(pem, "CERTIFICATE", bytes_of_buf(&ca->der), err);
}

int dstack_ca_sign(const dstack_ca *ca, const dstack_cert_spec *spec, dstack_bytes spki,
                   dstack_buf *pem, dstack_error *err) {
    DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
    int rc = ecdsa_key_from_spki(&key, spki, err);
    return rc == 0 ? build(spec, spki, ca->x509.subject, ca->key, pem, err)
                   : error_prefix(err, rc, "public key to certify");
}
