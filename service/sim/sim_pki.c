#include "sim/sim_pki.h"

#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "sim/sim_tcb.h"
#include "verify/dcap/quote_build.h"
#include "x509/build.h"
#include "x509/der.h"
#include "x509/pem.h"

#define MOCK_NOT_BEFORE 1577836800 /* 2020-01-01 */
#define MOCK_NOT_AFTER 4102444800  /* 2100-01-01 */
#define DAY 86400
#define TEN_YEARS ((int64_t)3653 * DAY)
#define MOCK_SERIAL 42
#define MAX_DERIVE_TRIES 16

const uint8_t sim_qe_auth_data[32];

enum role { ROOT, PCK_CA, PCK, TCB, QE_IDENTITY, ATTESTATION, ROLE_COUNT };

static const struct role_info {
    const char *label, *common_name, *fresh_name;
    bool is_ca;
} roles[ROLE_COUNT] = {
    [ROOT] = {"tdx-root", "Mock Intel SGX Root CA", "dstack simulation Root CA", true},
    [PCK_CA] = {"tdx-pck-ca", "Mock Intel SGX PCK Platform CA", "dstack simulation PCK Platform CA",
                true},
    [PCK] = {"tdx-pck", "Mock Intel SGX PCK Certificate", "dstack simulation PCK Certificate",
             false},
    [TCB] = {"tdx-tcb", "Mock Intel SGX TCB Signing", "dstack simulation TCB Signing", false},
    [QE_IDENTITY] = {"tdx-qe", "Mock Intel SGX QE Identity Signing",
                     "dstack simulation QE Identity Signing", false},
    /* The reference does not derive this one from its seed. */
    [ATTESTATION] = {"tdx-attestation-key", NULL, NULL, false},
};

/* What is made on the way to a sim_pki. */
typedef struct hierarchy {
    bool deterministic;
    int64_t not_before, not_after, now;
    uint8_t ppid[SIM_PPID_SIZE];
    ecdsa_private *keys[ROLE_COUNT];
    dstack_buf certs[ROLE_COUNT]; /* DER */
} hierarchy;

static void hierarchy_clear(hierarchy *h) {
    for (size_t i = 0; i < ROLE_COUNT; i++) {
        ecdsa_private_free(h->keys[i]);
        dstack_buf_clear(&h->certs[i]);
    }
}
DSTACK_AUTO_DEFINE_CLEAR(hierarchy, hierarchy, hierarchy_clear)

int sim_pki_derive(const uint8_t seed[SIM_SEED_SIZE], const char *label, ecdsa_private **out,
                   dstack_error *err) {
    int rc = DSTACK_E_CRYPTO;
    for (uint8_t counter = 0; counter < MAX_DERIVE_TRIES; counter++) {
        const uint8_t number[4] = {0, 0, 0, counter};
        const dstack_bytes parts[] = {bytes_of_str("dstack-mock-p256-v1"),
                                      bytes_of(seed, SIM_SEED_SIZE), bytes_of_str(label),
                                      bytes_of(number, sizeof number)};
        uint8_t scalar[HASH_SHA256_SIZE];
        hash_parts(HASH_SHA256, parts, sizeof parts / sizeof *parts, scalar);
        rc = ecdsa_private_from_scalar(out, ECDSA_P256, bytes_of(scalar, sizeof scalar), err);
        explicit_bzero(scalar, sizeof scalar);
        if (rc != DSTACK_E_CRYPTO) {
            return rc;
        }
    }
    return rc;
}

static int make_keys(hierarchy *h, const uint8_t *seed, dstack_error *err) {
    for (size_t i = 0; i < ROLE_COUNT; i++) {
        const int rc = seed != NULL ? sim_pki_derive(seed, roles[i].label, &h->keys[i], err)
                                    : ecdsa_private_generate(&h->keys[i], ECDSA_P256, err);
        if (rc != 0) {
            return rc;
        }
    }
    if (seed == NULL) {
        random_fill(h->ppid, sizeof h->ppid);
    }
    return 0;
}

static int make_cert(hierarchy *h, enum role role, enum role issuer, dstack_bytes sgx_extension,
                     dstack_error *err) {
    static const char *const alt_names[] = {"mock.dstack.invalid"};
    static const uint8_t serial[] = {MOCK_SERIAL};
    DSTACK_AUTO(buf) dstack_buf issuer_name = {0}, spki = {0};
    const x509_name_spec issuer_spec = {.common_name = h->deterministic ? roles[issuer].common_name
                                                                        : roles[issuer].fresh_name};
    int rc = x509_name_build(&issuer_spec, &issuer_name, err);
    if (rc != 0 || (rc = ecdsa_key_spki(ecdsa_private_public(h->keys[role]), &spki, err)) != 0) {
        return rc;
    }
    const x509_extension sgx = {.oid = sim_oid_sgx_extension(), .value = sgx_extension};
    const bool is_ca = roles[role].is_ca;
    const uint16_t ca_usage = X509_KU_DIGITAL_SIGNATURE | X509_KU_CERT_SIGN | X509_KU_CRL_SIGN;
    const x509_build build = {
        .serial = h->deterministic ? bytes_of(serial, sizeof serial) : (dstack_bytes){0},
        .subject = {.common_name =
                        h->deterministic ? roles[role].common_name : roles[role].fresh_name},
        .issuer_der = bytes_of_buf(&issuer_name),
        .not_before = h->not_before,
        .not_after = h->not_after,
        .spki = bytes_of_buf(&spki),
        .alt_names = alt_names,
        .alt_name_count = 1,
        .key_usage = is_ca ? ca_usage : X509_KU_DIGITAL_SIGNATURE,
        .nine_bit_key_usage = h->deterministic,
        .eku = is_ca ? 0 : X509_EKU_SERVER_AUTH,
        .with_ski = is_ca,
        .with_basic_constraints = is_ca,
        .is_ca = is_ca,
        .path_len = -1,
        .custom = &sgx,
        .custom_count = sgx_extension.len > 0 ? 1 : 0,
    };
    return x509_cert_build(&build, h->keys[issuer], h->deterministic, &h->certs[role], err);
}

static int make_certs(hierarchy *h, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf sgx = {0};
    const dstack_bytes none = {0};
    int rc = sim_sgx_extension(h->ppid, !h->deterministic, &sgx, err);
    if (rc != 0 || (rc = make_cert(h, ROOT, ROOT, none, err)) != 0 ||
        (rc = make_cert(h, PCK_CA, ROOT, none, err)) != 0 ||
        (rc = make_cert(h, PCK, PCK_CA, bytes_of_buf(&sgx), err)) != 0 ||
        (rc = make_cert(h, TCB, ROOT, none, err)) != 0) {
        return rc;
    }
    return make_cert(h, QE_IDENTITY, ROOT, none, err);
}

/* Hex of the issuer's revocation list, which is empty. */
static int make_crl(const hierarchy *h, enum role issuer, dstack_buf *hex, dstack_error *err) {
    x509_cert cert;
    DSTACK_AUTO(buf) dstack_buf der = {0};
    int rc = x509_cert_parse(&cert, bytes_of_buf(&h->certs[issuer]), err);
    if (rc != 0) {
        return rc;
    }
    const x509_crl_build_spec spec = {.issuer_der = cert.subject,
                                      .this_update = h->not_before,
                                      .next_update = h->not_after,
                                      .number = 1,
                                      .aki = cert.ski};
    rc = x509_crl_build(&spec, h->keys[issuer], h->deterministic, &der, err);
    buf_put_hex(hex, bytes_of_buf(&der));
    return rc != 0 ? rc : buf_check(hex, err);
}

static int put_chain(const hierarchy *h, const enum role *chain, size_t count, dstack_buf *out,
                     dstack_error *err) {
    for (size_t i = 0; i < count; i++) {
        const int rc = pem_append(out, "CERTIFICATE", bytes_of_buf(&h->certs[chain[i]]), err);
        if (rc != 0) {
            return rc;
        }
    }
    return buf_check(out, err);
}

static int sign(const hierarchy *h, enum role signer, dstack_bytes data, uint8_t raw[64],
                dstack_error *err) {
    uint8_t digest[HASH_SHA256_SIZE];
    hash_sha256(data, digest);
    return ecdsa_sign_deterministic(h->keys[signer], bytes_of(digest, sizeof digest), raw, err);
}

static int set_buf(json_t *object, const char *key, dstack_buf *text, dstack_error *err) {
    const char *value = buf_text(text);
    if (value == NULL || json_object_set_new(object, key, json_string(value)) != 0) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return 0;
}

/* A signed text with its signature and its signer's chain, under the names of the bundle. */
static int set_signed(const hierarchy *h, json_t *bundle, const char *name, enum role signer,
                      dstack_buf *text, dstack_error *err) {
    char key[64];
    uint8_t raw[64];
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    const enum role roles_of_chain[] = {signer, ROOT};
    int rc = set_buf(bundle, name, text, err);
    if (rc != 0 || (rc = sign(h, signer, bytes_of_buf(text), raw, err)) != 0 ||
        (rc = put_chain(h, roles_of_chain, 2, &chain, err)) != 0) {
        return rc;
    }
    snprintf(key, sizeof key, "%s_issuer_chain", name);
    rc = set_buf(bundle, key, &chain, err);
    snprintf(key, sizeof key, "%s_signature", name);
    if (rc == 0 && json_object_set_new(bundle, key, json_hex(bytes_of(raw, sizeof raw))) != 0) {
        rc = error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return rc;
}

static int make_collateral(const hierarchy *h, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(json) json_t *bundle = json_object();
    DSTACK_AUTO(buf) dstack_buf chain = {0}, root_crl = {0}, pck_crl = {0}, tcb = {0}, qe = {0};
    const enum role pck_crl_chain[] = {PCK_CA, ROOT};
    const int64_t from = h->now - DAY, until = h->now + TEN_YEARS;
    int rc;
    if ((rc = put_chain(h, pck_crl_chain, 2, &chain, err)) != 0 ||
        (rc = set_buf(bundle, "pck_crl_issuer_chain", &chain, err)) != 0 ||
        (rc = make_crl(h, ROOT, &root_crl, err)) != 0 ||
        (rc = set_buf(bundle, "root_ca_crl", &root_crl, err)) != 0 ||
        (rc = make_crl(h, PCK_CA, &pck_crl, err)) != 0 ||
        (rc = set_buf(bundle, "pck_crl", &pck_crl, err)) != 0 ||
        (rc = sim_tcb_info(from, until, &tcb, err)) != 0 ||
        (rc = set_signed(h, bundle, "tcb_info", TCB, &tcb, err)) != 0 ||
        (rc = sim_qe_identity(from, until, &qe, err)) != 0 ||
        (rc = set_signed(h, bundle, "qe_identity", QE_IDENTITY, &qe, err)) != 0) {
        return rc;
    }
    return json_write(bundle, true, out, err);
}

static int make_qe_report(const hierarchy *h, sim_pki *out, dstack_error *err) {
    dstack_enclave_report report;
    sim_qe_report_fill(&report);
    quote_build_key_hash(ecdsa_key_point(ecdsa_private_public(h->keys[ATTESTATION])).data + 1,
                         bytes_of(sim_qe_auth_data, sizeof sim_qe_auth_data), report.report_data);
    buf_put(&out->qe_report, &report, sizeof report);
    const int rc = buf_check(&out->qe_report, err);
    return rc != 0 ? rc : sign(h, PCK, bytes_of_buf(&out->qe_report), out->qe_signature, err);
}

int sim_pki_make(const uint8_t *seed, int64_t now, sim_pki *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    DSTACK_AUTO(hierarchy)
    hierarchy h = {
        .deterministic = seed != NULL,
        .not_before = seed != NULL ? MOCK_NOT_BEFORE : now - DAY,
        .not_after = seed != NULL ? MOCK_NOT_AFTER : now + TEN_YEARS,
        .now = now,
    };
    const enum role chain[] = {PCK, PCK_CA, ROOT};
    int rc;
    if ((rc = make_keys(&h, seed, err)) == 0 && (rc = make_certs(&h, err)) == 0 &&
        (rc = put_chain(&h, chain, 3, &out->pck_chain, err)) == 0 &&
        (rc = make_collateral(&h, &out->collateral, err)) == 0) {
        rc = make_qe_report(&h, out, err);
    }
    if (rc != 0) {
        sim_pki_clear(out);
        return rc;
    }
    out->root_der = h.certs[ROOT];
    out->attestation = h.keys[ATTESTATION];
    h.certs[ROOT] = (dstack_buf){0};
    h.keys[ATTESTATION] = NULL;
    return 0;
}

void sim_pki_clear(sim_pki *pki) {
    dstack_buf_clear(&pki->root_der);
    dstack_buf_clear(&pki->pck_chain);
    dstack_buf_clear(&pki->collateral);
    dstack_buf_clear(&pki->qe_report);
    ecdsa_private_free(pki->attestation);
    memset(pki, 0, sizeof *pki);
}
