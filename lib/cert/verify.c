/* Judging certificates: dates, chain, claims of the issuer, evidence bound to the key. */
#include <string.h>

#include "attest/attest.h"
#include "base/error.h"
#include "base/hex.h"
#include "cert/cert.h"
#include "x509/path.h"

static inline void auto_path(x509_path *path) {
    x509_path_clear(path);
}

static int check_dates(const dstack_cert *cert, int64_t now, const char *whose, dstack_error *err) {
    if (now < cert->x509.not_before) {
        return error_set(err, DSTACK_E_X509_EXPIRED, "%s certificate is not yet valid", whose);
    }
    if (now > cert->x509.not_after) {
        return error_set(err, DSTACK_E_X509_EXPIRED, "%s certificate has expired", whose);
    }
    return 0;
}

int dstack_cert_check_client(dstack_bytes der, int64_t now, dstack_error *err) {
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    int rc = dstack_cert_parse(der, &cert, err);
    if (rc == 0) {
        rc = check_dates(cert, now, "client", err);
    }
    if (rc == 0 && cert->attestation == NULL) {
        rc = error_set(err, DSTACK_E_REFUSED, "client certificate carries no attestation");
    }
    return rc;
}

static int check_chain(const dstack_cert *cert, const dstack_cert_check *check, dstack_error *err) {
    DSTACK_AUTO(cert_list) cert_list roots = {0};
    DSTACK_AUTO(cert_list) cert_list pool = {0};
    int rc = error_prefix(err, cert_list_parse(check->root, &roots, err), "root certificate");
    if (rc == 0 && check->intermediates.len > 0) {
        rc = error_prefix(err, cert_list_parse(check->intermediates, &pool, err),
                          "intermediate certificates");
    }
    if (rc != 0) {
        return rc;
    }
    const x509_path_options options = {.now = check->now, .check_anchor_dates = true};
    size_t pool_count =
        pool.count > X509_PATH_MAX_INTERMEDIATES ? X509_PATH_MAX_INTERMEDIATES : pool.count;
    for (size_t i = 0; i < roots.count; i++) {
        DSTACK_AUTO(path) x509_path path = {0};
        rc = x509_path_verify(&cert->x509, pool.certs, pool_count, &roots.certs[i], &options, &path,
                              err);
        if (rc == 0) {
            break;
        }
    }
    return rc;
}

static int check_claims(const dstack_cert *cert, const dstack_cert_check *check,
                        dstack_error *err) {
    if (check->host != NULL && !dstack_cert_matches_host(cert, check->host)) {
        return error_set(err, DSTACK_E_REFUSED, "the certificate does not name %s", check->host);
    }
    if (check->usage != NULL && cert->usage == NULL) {
        return error_set(err, DSTACK_E_REFUSED, "the certificate lacks usage %s", check->usage);
    }
    if (check->usage != NULL && strcmp(check->usage, cert->usage) != 0) {
        return error_set(err, DSTACK_E_REFUSED, "the certificate's usage is %.32s, not %s",
                         cert->usage, check->usage);
    }
    if (check->app_id.len > 0 && !bytes_equal(check->app_id, cert->app_id)) {
        char want[41] = "", have[41] = "none";
        if (check->app_id.len == 20) {
            hex_encode(check->app_id, want);
        }
        if (cert->app_id.len == 20) {
            hex_encode(cert->app_id, have);
        }
        return error_set(err, DSTACK_E_REFUSED, "the certificate's app id is %s, not %s", have,
                         want);
    }
    return 0;
}

/* Evidence verified against the report data that the key demands. */
static int verify_bound(struct dstack_verifier *verifier, const dstack_attestation *attestation,
                        dstack_bytes spki, const dstack_attestation_options *options, int64_t now,
                        dstack_verified **out, dstack_error *err) {
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc = dstack_cert_report_data(spki, report_data, err);
    if (rc != 0) {
        return rc;
    }
    dstack_attestation_options bound = options == NULL ? (dstack_attestation_options){0} : *options;
    bound.report_data = report_data;
    bound.now = now;
    return dstack_attestation_verify(verifier, attestation, &bound, out, err);
}

int dstack_cert_verify_attestation(struct dstack_verifier *verifier, const dstack_cert *cert,
                                   const dstack_attestation_options *options, dstack_verified **out,
                                   dstack_error *err) {
    *out = NULL;
    if (cert->attestation == NULL) {
        return error_set(err, DSTACK_E_REFUSED, "the certificate carries no attestation");
    }
    return verify_bound(verifier, cert->attestation, cert->x509.spki, options,
                        options == NULL ? 0 : options->now, out, err);
}

int dstack_cert_verify(struct dstack_verifier *verifier, const dstack_cert *cert,
                       const dstack_cert_check *check, dstack_verified **out, dstack_error *err) {
    if (out != NULL) {
        *out = NULL;
    }
    if (check->root.len == 0 && (check->usage != NULL || check->app_id.len > 0)) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "usage and app id are the issuer's word and need a root");
    }
    if (check->require_attestation && verifier == NULL) {
        return error_set(err, DSTACK_E_ARGUMENT, "an attestation needs a verifier");
    }
    int rc = check_dates(cert, check->now, "the", err);
    if (rc == 0 && check->root.len > 0) {
        rc = check_chain(cert, check, err);
    }
    if (rc == 0) {
        rc = check_claims(cert, check, err);
    }
    if (rc == 0 && check->require_attestation && cert->attestation == NULL) {
        rc = error_set(err, DSTACK_E_REFUSED, "the certificate carries no attestation");
    }
    if (rc == 0 && verifier != NULL && cert->attestation != NULL) {
        dstack_verified *verified = NULL;
        rc = verify_bound(verifier, cert->attestation, cert->x509.spki, check->attestation,
                          check->now, &verified, err);
        if (rc == 0 && out != NULL) {
            *out = verified;
        } else {
            dstack_verified_free(verified);
        }
    }
    return rc;
}

int dstack_csr_verify_attestation(struct dstack_verifier *verifier, const dstack_csr *csr,
                                  const dstack_attestation_options *options, dstack_verified **out,
                                  dstack_error *err) {
    *out = NULL;
    return verify_bound(verifier, dstack_csr_attestation(csr), dstack_csr_spki(csr), options,
                        options == NULL ? 0 : options->now, out, err);
}
