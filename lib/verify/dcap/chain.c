#include "verify/dcap/chain.h"

#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "verify/dcap/pck.h"
#include "x509/constraints.h"
#include "x509/pem.h"

static int add_cert(dcap_chain *chain, pem_block *block, dstack_error *err) {
    if (chain->count == DCAP_MAX_CHAIN) {
        return error_set(err, DSTACK_E_LIMIT, "more than %d certificates", DCAP_MAX_CHAIN);
    }
    if (chain->count == chain->cap) {
        size_t cap = chain->cap == 0 ? 3 : DCAP_MAX_CHAIN; /* three is what chains have */
        dcap_cert *grown = reallocarray(chain->certs, cap, sizeof *grown);
        if (grown == NULL) {
            return error_set(err, DSTACK_E_MEMORY, "no memory for a certificate chain");
        }
        chain->certs = grown;
        chain->cap = cap;
    }
    dcap_cert *cert = &chain->certs[chain->count++];
    cert->der = block->der;
    cert->key = NULL;
    block->der = (dstack_buf){0};
    int rc = x509_cert_parse(&cert->x509, bytes_of_buf(&cert->der), err);
    if (rc == 0 && cert->x509.not_before > cert->x509.not_after) {
        rc = error_set(err, DSTACK_E_FORMAT, "its validity ends before it begins");
    }
    if (rc == 0 && cert->x509.unknown_critical) {
        rc = error_set(err, DSTACK_E_FORMAT, "it has an unknown critical extension");
    }
    return rc;
}

/* Moves past the next block when it is the anchor, letter for letter; decoding it would cost more
 * than all else that is read of a chain. */
static bool pass_anchor(pem_reader *reader, const dcap_anchor *anchor) {
    static const char begin[] = "-----BEGIN ";
    const dstack_bytes rest = reader->rest;
    const uint8_t *at = anchor == NULL || rest.len == 0
                            ? NULL
                            : memmem(rest.data, rest.len, begin, sizeof begin - 1);
    size_t left = at == NULL ? 0 : rest.len - (size_t)(at - rest.data);
    if (at == NULL || left < anchor->pem.len ||
        memcmp(at, anchor->pem.data, anchor->pem.len) != 0) {
        return false;
    }
    reader->rest = bytes_of(at + anchor->pem.len, left - anchor->pem.len);
    return true;
}

int dcap_chain_load(dcap_chain *out, dstack_bytes pem, const dcap_anchor *anchor,
                    dstack_status leaf_status, const char *what, dstack_error *err) {
    *out = (dcap_chain){0};
    pem_reader reader;
    pem_block block = {0};
    bool found = true;
    int rc = 0;
    pem_reader_init(&reader, pem);
    while (rc == 0 && found) {
        while (out->count > 0 && pass_anchor(&reader, anchor)) {
        }
        rc = pem_next(&reader, &block, &found, err);
        if (rc != 0) {
            rc = dcap_reclass(err, leaf_status, what);
        } else if (found && add_cert(out, &block, err) != 0) {
            rc = dcap_reclass(err, out->count == 1 ? leaf_status : DSTACK_E_DCAP_CERT_FORMAT, what);
        }
    }
    pem_block_clear(&block);
    if (rc == 0 && out->count == 0) {
        rc = error_set(err, leaf_status, "%s: there is no certificate", what);
    }
    return rc;
}

void dcap_chain_clear(dcap_chain *chain) {
    for (size_t i = 0; i < chain->count; i++) {
        ecdsa_key_free(chain->certs[i].key);
        dstack_buf_clear(&chain->certs[i].der);
    }
    free(chain->certs);
    *chain = (dcap_chain){0};
}

/* ---- paths ---- */

typedef struct path_search {
    dcap_chain *chain;
    const dcap_trust *trust;
    size_t path[DCAP_MAX_INTERMEDIATES + 1]; /* indices, leaf first */
    size_t length;
    unsigned signatures; /* checked so far */
    dcap_validity validity;
    dstack_error *err;
} path_search;

static int refuse(path_search *s, const x509_cert *cert, dstack_status status, const char *why) {
    char name[128];
    return error_set(s->err, status, "certificate \"%s\" %s",
                     x509_name_text(cert->subject, name, sizeof name), why);
}

/* The rules that need no other certificate. The newest element of the path is the one judged. */
static int check_alone(path_search *s, const x509_cert *cert) {
    bool is_leaf = s->length == 1;
    int rc = dcap_cert_check_dates(cert, s->trust->now, s->err);
    if (rc != 0) {
        return rc;
    }
    if (is_leaf && cert->is_ca) {
        return refuse(s, cert, DSTACK_E_DCAP_CERT_CONSTRAINTS, "is a CA where a leaf must stand");
    }
    if (!is_leaf) {
        if (!cert->is_ca) {
            return refuse(s, cert, DSTACK_E_DCAP_CERT_CONSTRAINTS, "issued another, but is no CA");
        }
        if (cert->has_path_len && cert->path_len < s->length - 2) {
            return refuse(s, cert, DSTACK_E_DCAP_CERT_CONSTRAINTS,
                          "has more CAs below it than its path length allows");
        }
        if (cert->has_key_usage && (cert->key_usage & X509_KU_CERT_SIGN) == 0 &&
            !dcap_waive(s->trust->compat, DSTACK_COMPAT_KEY_USAGE)) {
            return refuse(s, cert, DSTACK_E_DCAP_CERT_USAGE, "may not sign certificates");
        }
    }
    if (cert->has_eku && (cert->eku & X509_EKU_SERVER_AUTH) == 0) {
        return refuse(s, cert, DSTACK_E_DCAP_CERT_USAGE,
                      "has an extended key usage without serverAuth");
    }
    return 0;
}

static const ecdsa_key *cert_key(dcap_cert *cert) {
    if (cert->key == NULL) {
        (void)x509_cert_key(&cert->x509, &cert->key, NULL);
    }
    return cert->key;
}

static bool is_known_ca(const dcap_trust *trust, const x509_cert *cert) {
    return trust->known_ca != NULL && bytes_equal(bytes_of_buf(&trust->known_ca->der), cert->der);
}

static int check_revoked(path_search *s, const x509_cert *cert, bool is_leaf,
                         const x509_cert *issuer, const ecdsa_key *issuer_key) {
    bool by_anchor = issuer == &s->trust->anchor->cert;
    const x509_crl *crl = by_anchor ? s->trust->root_crl : s->trust->pck_crl;
    if (!dcap_crl_covers(crl, cert, is_leaf)) {
        return refuse(s, cert, DSTACK_E_DCAP_CRL_NOT_FOUND, "is covered by no revocation list");
    }
    if (!by_anchor) {
        int rc = 0;
        if (issuer->has_key_usage && (issuer->key_usage & X509_KU_CRL_SIGN) == 0) {
            return refuse(s, issuer, DSTACK_E_DCAP_CRL_ISSUER_USAGE,
                          "may not sign revocation lists");
        }
        s->signatures++;
        rc = dcap_crl_check(crl, is_known_ca(s->trust, issuer) ? NULL : issuer_key, s->trust->now,
                            "PCK CRL", s->trust->compat, s->err);
        if (rc != 0) {
            return rc;
        }
        dcap_validity_add_crl(&s->validity, crl);
    }
    if (x509_crl_contains(crl, cert->serial, NULL)) {
        return refuse(s, cert, DSTACK_E_DCAP_CERT_REVOKED, "is revoked");
    }
    return 0;
}

static bool is_signed_by(const x509_cert *cert, const ecdsa_key *key) {
    return cert->signature_algorithm == X509_SIG_ECDSA_SHA256 && key != NULL &&
           ecdsa_key_curve(key) == ECDSA_P256 && x509_cert_verify_signature(cert, key, NULL) == 0;
}

/* Whether the first `count` certificates of the path bear names that a CA above them allows. */
static int check_constraints(const path_search *s, const x509_cert *ca, size_t count) {
    const x509_cert *below[DCAP_MAX_INTERMEDIATES + 1];
    if (!ca->has_name_constraints) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        below[i] = &s->chain->certs[s->path[i]].x509;
    }
    return x509_constraints_check(ca, below, count, s->err) == 0
               ? 0
               : dcap_reclass(s->err, DSTACK_E_DCAP_CERT_CONSTRAINTS, "certificate chain");
}

/* Signatures and revocation from the anchor down to the leaf. */
static int check_down(path_search *s) {
    const x509_cert *issuer = &s->trust->anchor->cert;
    const ecdsa_key *key = s->trust->anchor->key;
    s->validity = dcap_validity_all;
    for (size_t i = s->length; i > 0; i--) {
        dcap_cert *cert = &s->chain->certs[s->path[i - 1]];
        if (++s->signatures > DCAP_MAX_SIGNATURE_CHECKS) {
            return error_set(s->err, DSTACK_E_DCAP_CERT_UNKNOWN_ISSUER,
                             "the chain needs more than %d signature checks",
                             DCAP_MAX_SIGNATURE_CHECKS);
        }
        bool known = issuer == &s->trust->anchor->cert && is_known_ca(s->trust, &cert->x509);
        if (!known && !is_signed_by(&cert->x509, key)) {
            return refuse(s, &cert->x509, DSTACK_E_DCAP_CERT_SIGNATURE,
                          "is not signed by its issuer with ECDSA P-256 and SHA-256");
        }
        int rc = check_constraints(s, issuer, i);
        rc = rc != 0 ? rc : check_revoked(s, &cert->x509, i == 1, issuer, key);
        if (rc != 0) {
            return rc;
        }
        dcap_validity_add(&s->validity, cert->x509.not_before, cert->x509.not_after);
        issuer = &cert->x509;
        key = known ? s->trust->known_ca->key : cert_key(cert);
    }
    if (key == NULL || ecdsa_key_curve(key) != ECDSA_P256) {
        return refuse(s, issuer, DSTACK_E_DCAP_CERT_SIGNATURE, "does not hold a P-256 key");
    }
    return 0;
}

static bool on_path(const path_search *s, size_t index) {
    for (size_t i = 0; i < s->length; i++) {
        if (s->path[i] == index) {
            return true;
        }
    }
    return false;
}

/* Extends the path by certs[index] and goes on to the anchor; depth is bounded by the path's size.
 */
static int extend(path_search *s, size_t index) {
    const x509_cert *cert = &s->chain->certs[index].x509;
    s->path[s->length++] = index;
    int rc = check_alone(s, cert);
    if (rc == 0 && bytes_equal(cert->issuer, s->trust->anchor->cert.subject)) {
        rc = check_down(s);
    } else if (rc == 0) {
        rc =
            refuse(s, cert, DSTACK_E_DCAP_CERT_UNKNOWN_ISSUER, "has an issuer that is not at hand");
        for (size_t i = 1; rc != 0 && i < s->chain->count; i++) {
            if (s->length <= DCAP_MAX_INTERMEDIATES && s->signatures <= DCAP_MAX_SIGNATURE_CHECKS &&
                !on_path(s, i) && bytes_equal(s->chain->certs[i].x509.subject, cert->issuer)) {
                rc = extend(s, i);
            }
        }
    }
    if (rc != 0) {
        s->length--;
    }
    return rc;
}

static int check_names(const path_search *s, dcap_role role) {
    const x509_cert *leaf = &s->chain->certs[0].x509;
    if (role == DCAP_ROLE_SIGNER) {
        bool right = s->length == 1 && dcap_name_contains(leaf->subject, "SGX TCB Signing");
        return right ? 0
                     : dcap_cert_bad_name(leaf, "Intel's TCB signing certificate under the root",
                                          s->err);
    }
    if (s->length != 2 || !dcap_name_contains(leaf->subject, "SGX PCK Certificate")) {
        return dcap_cert_bad_name(leaf, "Intel's PCK certificates under a PCK CA", s->err);
    }
    const x509_cert *ca = &s->chain->certs[s->path[1]].x509;
    bool right = dcap_name_contains(ca->subject, "SGX PCK Processor CA") ||
                 dcap_name_contains(ca->subject, "SGX PCK Platform CA");
    return right ? 0 : dcap_cert_bad_name(ca, "Intel's PCK CAs", s->err);
}

int dcap_chain_verify(dcap_chain *chain, dcap_role role, const dcap_trust *trust,
                      dcap_validity *validity, dstack_error *err) {
    path_search search = {.chain = chain, .trust = trust, .err = err};
    int rc = extend(&search, 0);
    if (rc == 0 && trust->anchor->enforce_names) {
        rc = check_names(&search, role);
        rc = rc != 0 && dcap_waive(trust->compat, DSTACK_COMPAT_CERTIFICATE_NAMES) ? 0 : rc;
    }
    if (rc == 0) {
        dcap_validity_merge(validity, &search.validity);
        chain->ca = search.length == 2 ? search.path[1] : 0;
    }
    return rc;
}

int dcap_chain_verify_ca(dcap_chain *chain, const dcap_anchor *anchor, const x509_crl *root_crl,
                         int64_t now, dcap_compat *compat, dstack_error *err) {
    const dcap_trust trust = {anchor, root_crl, NULL, now, NULL, compat};
    path_search s = {.chain = chain, .trust = &trust, .err = err, .length = 2};
    dcap_cert *ca = &chain->certs[0];
    int rc = check_alone(&s, &ca->x509);
    if (rc == 0 && (!bytes_equal(ca->x509.issuer, anchor->cert.subject) ||
                    !is_signed_by(&ca->x509, anchor->key))) {
        rc = refuse(&s, &ca->x509, DSTACK_E_DCAP_CERT_SIGNATURE,
                    "is not signed by the trust root with ECDSA P-256 and SHA-256");
    }
    rc = rc != 0 ? rc : check_constraints(&s, &anchor->cert, 1);
    if (rc == 0) {
        rc = check_revoked(&s, &ca->x509, false, &anchor->cert, anchor->key);
    }
    if (rc == 0 && ca->x509.has_key_usage && (ca->x509.key_usage & X509_KU_CRL_SIGN) == 0) {
        rc = refuse(&s, &ca->x509, DSTACK_E_DCAP_CRL_ISSUER_USAGE, "may not sign revocation lists");
    }
    if (rc == 0 && cert_key(ca) == NULL) {
        rc = refuse(&s, &ca->x509, DSTACK_E_DCAP_CERT_SIGNATURE, "does not hold a P-256 key");
    }
    return rc;
}

void dcap_known_ca_free(dcap_known_ca *ca) {
    if (ca != NULL) {
        ecdsa_key_free(ca->key);
        dstack_buf_clear(&ca->der);
        free(ca);
    }
}

dcap_known_ca *dcap_chain_take_ca(dcap_chain *chain) {
    dcap_known_ca *ca = chain->ca == 0 ? NULL : calloc(1, sizeof *ca);
    if (ca != NULL) {
        dcap_cert *cert = &chain->certs[chain->ca];
        ca->der = cert->der;
        ca->key = cert->key;
        cert->der = (dstack_buf){0};
        cert->key = NULL;
    }
    return ca;
}
