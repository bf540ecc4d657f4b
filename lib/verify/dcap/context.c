#include "verify/dcap/context.h"

#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "verify/dcap/pck.h"

/* The anchor under which the bundle's root CRL stands; the first one when none fits, whose checks
 * then say what is wrong. Names alone decide unless several anchors share one. */
static const dcap_anchor *choose_anchor(const dcap_anchor *anchors, size_t count,
                                        const x509_crl *root_crl) {
    const dcap_anchor *named = NULL;
    size_t matches = 0;
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal(anchors[i].cert.subject, root_crl->issuer)) {
            named = matches++ == 0 ? &anchors[i] : named;
        }
    }
    for (size_t i = 0; matches > 1 && i < count; i++) {
        if (bytes_equal(anchors[i].cert.subject, root_crl->issuer) &&
            x509_crl_verify_signature(root_crl, anchors[i].key, NULL) == 0) {
            return &anchors[i];
        }
    }
    return named != NULL ? named : &anchors[0];
}

/* Dates, coverage, signature, and the anchor's own serial. */
static int check_root_crl(dcap_context *c, int64_t now, dcap_compat *compat, dstack_error *err) {
    if (!bytes_equal(c->root_crl.issuer, c->anchor->cert.subject)) {
        return error_set(err, DSTACK_E_DCAP_CRL_NOT_FOUND,
                         "the root CRL is not of the trust root \"%s\"", c->anchor->info.name);
    }
    int rc = dcap_crl_check(&c->root_crl, c->anchor->key, now, "root CRL", compat, err);
    if (rc == 0 && x509_crl_contains(&c->root_crl, c->anchor->cert.serial, NULL)) {
        rc = error_set(err, DSTACK_E_DCAP_CERT_REVOKED, "the trust root \"%s\" revoked itself",
                       c->anchor->info.name);
    }
    return rc;
}

/* Each list stands in the other's member. */
static void swap_lists(dcap_context *c, dcap_compat *compat) {
    dstack_bytes root = c->anchor->cert.subject;
    if (!bytes_equal(c->root_crl.issuer, root) && bytes_equal(c->pck_crl.issuer, root) &&
        dcap_waive(compat, DSTACK_COMPAT_CRL_SWAPPED)) {
        x509_crl list = c->root_crl;
        uint32_t number = c->root_crl_number;
        c->root_crl = c->pck_crl;
        c->root_crl_number = c->pck_crl_number;
        c->pck_crl = list;
        c->pck_crl_number = number;
    }
}

static int open_lists(dcap_context *c, const dcap_anchor *anchors, size_t anchor_count, int64_t now,
                      dcap_compat *compat, dstack_error *err) {
    dstack_error crl_err = {0};
    int crl_rc = dcap_crl_parse(&c->root_crl, c->parts.root_ca_crl, "root CRL", &crl_err);
    c->anchor = crl_rc == 0 ? choose_anchor(anchors, anchor_count, &c->root_crl) : &anchors[0];
    int rc = dcap_anchor_check(c->anchor, now, compat, err);
    if (rc == 0 && crl_rc != 0) {
        rc = error_set(err, (dstack_status)crl_rc, "%s", crl_err.message);
    }
    if (rc == 0) {
        rc = dcap_crl_parse(&c->pck_crl, c->parts.pck_crl, "PCK CRL", err);
    }
    if (rc == 0) {
        rc = dcap_crl_number(&c->root_crl, &c->root_crl_number, err);
    }
    if (rc == 0) {
        rc = dcap_crl_number(&c->pck_crl, &c->pck_crl_number, err);
    }
    if (rc == 0) {
        swap_lists(c, compat);
        rc = check_root_crl(c, now, compat, err);
    }
    if (rc == 0) {
        dcap_validity_add(&c->validity, c->anchor->cert.not_before, c->anchor->cert.not_after);
        dcap_validity_add_crl(&c->validity, &c->root_crl);
        dcap_validity_show(&c->validity, c->pck_crl.this_update, c->pck_crl.next_update);
    }
    return rc;
}

int dcap_context_new(dcap_context **out, const dcap_anchor *anchors, size_t anchor_count,
                     dstack_collateral *collateral, int64_t now, uint32_t compat,
                     dstack_error *err) {
    dcap_compat waived = {compat, 0};
    DSTACK_AUTO(context) dcap_context *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for verified collateral");
    }
    atomic_init(&c->references, 1);
    c->collateral = dstack_collateral_ref(collateral);
    c->validity = dcap_validity_all;
    dstack_collateral_get(collateral, &c->parts);
    int rc = open_lists(c, anchors, anchor_count, now, &waived, err);
    if (rc == 0) {
        c->compat_used = waived.used;
        *out = c;
        c = NULL;
    }
    return rc;
}

/* ---- signed texts ---- */

/* How the checks of the two texts differ. */
typedef struct text_kind {
    const char *what, *chain_what;
    dstack_status not_yet, expired, chain, signature;
} text_kind;

static const text_kind tcb_kind = {
    "TCB info",
    "TCB info issuer chain",
    DSTACK_E_DCAP_TCB_INFO_NOT_YET_VALID,
    DSTACK_E_DCAP_TCB_INFO_EXPIRED,
    DSTACK_E_DCAP_TCB_INFO_CHAIN,
    DSTACK_E_DCAP_TCB_INFO_SIGNATURE,
};
static const text_kind qe_kind = {
    "QE identity",
    "QE identity issuer chain",
    DSTACK_E_DCAP_QE_IDENTITY_NOT_YET_VALID,
    DSTACK_E_DCAP_QE_IDENTITY_EXPIRED,
    DSTACK_E_DCAP_QE_IDENTITY_CHAIN,
    DSTACK_E_DCAP_QE_IDENTITY_SIGNATURE,
};

static int check_window(const dcap_text *text, const text_kind *kind, int64_t now,
                        dstack_error *err) {
    if (now < text->issue_date) {
        return error_set(err, kind->not_yet, "%s: issued at %lld, now is %lld", kind->what,
                         (long long)text->issue_date, (long long)now);
    }
    if (now > text->next_update) {
        return error_set(err, kind->expired, "%s: nextUpdate was %lld, now is %lld", kind->what,
                         (long long)text->next_update, (long long)now);
    }
    return 0;
}

static int check_signature(const dcap_cert *signer, dstack_bytes text, dstack_bytes signature,
                           const text_kind *kind, dcap_compat *compat, dstack_error *err) {
    uint8_t raw[ECDSA_P256_RAW_SIZE + 1];
    if (signature.len == sizeof raw && signature.data[32] == 0 &&
        dcap_waive(compat, DSTACK_COMPAT_SIGNATURE_SIZE)) {
        memcpy(raw, signature.data, 32);
        memcpy(raw + 32, signature.data + 33, 32);
        signature = bytes_of(raw, ECDSA_P256_RAW_SIZE);
    }
    uint8_t digest[HASH_SHA256_SIZE];
    hash_sha256(text, digest);
    if (signature.len != ECDSA_P256_RAW_SIZE || signer->key == NULL ||
        ecdsa_verify_raw(signer->key, bytes_of(digest, sizeof digest), signature, NULL) != 0) {
        return error_set(err, kind->signature, "%s: its signature of %zu bytes does not hold",
                         kind->what, signature.len);
    }
    return 0;
}

/* The signer of a text, with the validity of its path. */
typedef struct signer {
    dcap_chain chain;
    dcap_validity validity;
} signer;

static void signer_clear(signer *s) {
    dcap_chain_clear(&s->chain);
}
DSTACK_AUTO_DEFINE_CLEAR(signer, signer, signer_clear)

static int signer_load(const dcap_context *c, signer *out, dstack_bytes pem, const text_kind *kind,
                       int64_t now, dcap_compat *compat, dstack_error *err) {
    out->validity = dcap_validity_all;
    int rc = dcap_chain_load(&out->chain, pem, c->anchor, kind->chain, kind->chain_what, err);
    if (rc == 0) {
        dcap_trust trust = {c->anchor, &c->root_crl, &c->pck_crl, now, NULL, compat};
        rc = dcap_chain_verify(&out->chain, DCAP_ROLE_SIGNER, &trust, &out->validity, err);
    }
    return rc;
}

int dcap_context_load_texts(dcap_context *c, int64_t now, uint32_t compat, dstack_error *err) {
    dcap_compat waived = {compat, c->compat_used};
    DSTACK_AUTO(signer) signer tcb_signer = {0}, qe_own = {0};
    signer *qe_signer = &tcb_signer; /* nearly always the same chain */
    int rc = dcap_tcb_info_parse_as(&c->tcb, c->parts.tcb_info, &waived, err);
    if (rc == 0) {
        rc = check_window(&c->tcb.text, &tcb_kind, now, err);
    }
    if (rc == 0) {
        rc = signer_load(c, &tcb_signer, c->parts.tcb_info_issuer_chain, &tcb_kind, now, &waived,
                         err);
    }
    if (rc == 0) {
        rc = check_signature(&tcb_signer.chain.certs[0], c->parts.tcb_info,
                             c->parts.tcb_info_signature, &tcb_kind, &waived, err);
    }
    if (rc == 0) {
        rc = dcap_qe_identity_parse(&c->qe, c->parts.qe_identity, err);
    }
    if (rc == 0) {
        rc = check_window(&c->qe.text, &qe_kind, now, err);
    }
    if (rc == 0 &&
        !bytes_equal(c->parts.tcb_info_issuer_chain, c->parts.qe_identity_issuer_chain)) {
        qe_signer = &qe_own;
        rc = signer_load(c, qe_signer, c->parts.qe_identity_issuer_chain, &qe_kind, now, &waived,
                         err);
    }
    if (rc == 0) {
        rc = check_signature(&qe_signer->chain.certs[0], c->parts.qe_identity,
                             c->parts.qe_identity_signature, &qe_kind, &waived, err);
    }
    if (rc != 0) {
        return rc;
    }
    c->compat_used = waived.used;
    c->qe_validity = qe_signer->validity;
    dcap_validity_add(&c->qe_validity, c->qe.text.issue_date, c->qe.text.next_update);
    dcap_validity_add(&c->qe_validity, c->anchor->cert.not_before, c->anchor->cert.not_after);
    dcap_validity_add(&c->validity, c->tcb.text.issue_date, c->tcb.text.next_update);
    dcap_validity_merge(&c->validity, &tcb_signer.validity);
    dcap_validity_merge(&c->validity, &c->qe_validity);
    return 0;
}

int dcap_context_check_pck_list(const dcap_context *c, int64_t now, uint32_t compat,
                                dstack_error *err) {
    dcap_compat waived = {compat, 0};
    DSTACK_AUTO(dcap_chain) dcap_chain chain = {0};
    static const char what[] = "PCK CRL issuer chain";
    int rc = dcap_chain_load(&chain, c->parts.pck_crl_issuer_chain, c->anchor,
                             DSTACK_E_DCAP_CRL_NOT_FOUND, what, err);
    if (rc != 0) {
        return rc;
    }
    dcap_cert *ca = &chain.certs[0];
    if (!bytes_equal(ca->x509.subject, c->pck_crl.issuer)) {
        return error_set(err, DSTACK_E_DCAP_CRL_NOT_FOUND, "%s: it is not of the list's issuer",
                         what);
    }
    rc = dcap_chain_verify_ca(&chain, c->anchor, &c->root_crl, now, &waived, err);
    return rc != 0 ? rc : dcap_crl_check(&c->pck_crl, ca->key, now, "PCK CRL", &waived, err);
}

dcap_context *dcap_context_ref(dcap_context *context) {
    atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void dcap_context_free(dcap_context *context) {
    if (context != NULL &&
        atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) == 1) {
        dcap_tcb_info_clear(&context->tcb);
        dcap_qe_identity_clear(&context->qe);
        dcap_known_ca_free(atomic_load(&context->known_ca));
        dstack_collateral_free(context->collateral);
        free(context);
    }
}

/* ---- platforms ---- */

/* Keeps the CA of a verified PCK path for the next platforms; a second thread's is dropped. */
static void keep_ca(dcap_context *context, dcap_chain *chain) {
    dcap_known_ca *none = NULL;
    if (atomic_load_explicit(&context->known_ca, memory_order_acquire) != NULL) {
        return;
    }
    dcap_known_ca *ca = dcap_chain_take_ca(chain);
    if (!atomic_compare_exchange_strong(&context->known_ca, &none, ca)) {
        dcap_known_ca_free(ca);
    }
}

int dcap_platform_new(dcap_platform **out, dcap_context *context, dstack_bytes chain_pem,
                      int64_t now, uint32_t compat, ecdsa_tables *tables, dstack_error *err) {
    dcap_compat waived = {compat, 0};
    DSTACK_AUTO(dcap_chain) dcap_chain chain = {0};
    DSTACK_AUTO(platform) dcap_platform *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a verified platform");
    }
    atomic_init(&p->references, 1);
    p->validity = dcap_validity_all;
    int rc = dcap_chain_load(&chain, chain_pem, context->anchor, DSTACK_E_DCAP_PCK_CHAIN_FORMAT,
                             "PCK chain", err);
    if (rc == 0) {
        dcap_trust trust = {context->anchor,
                            &context->root_crl,
                            &context->pck_crl,
                            now,
                            atomic_load_explicit(&context->known_ca, memory_order_acquire),
                            &waived};
        rc = dcap_chain_verify(&chain, DCAP_ROLE_PCK, &trust, &p->validity, err);
    }
    if (rc == 0) {
        rc = dcap_pck_parse(&p->pck, &chain.certs[0].x509, err);
    }
    if (rc == 0) {
        p->compat_used = waived.used;
        p->context = dcap_context_ref(context);
        p->key = chain.certs[0].key;
        chain.certs[0].key = NULL;
        p->tables = tables;
        ecdsa_key_expect_reuse(p->key, tables);
        keep_ca(context, &chain);
        *out = p;
        p = NULL;
    }
    return rc;
}

const ecdsa_key *dcap_platform_attestation_key(const dcap_platform *platform, dstack_bytes point) {
    for (size_t i = 0; i < DCAP_ATTESTATION_KEYS; i++) {
        const ecdsa_key *key =
            atomic_load_explicit(&platform->attestation_keys[i], memory_order_acquire);
        if (key != NULL && memcmp(ecdsa_key_point(key).data + 1, point.data, point.len) == 0) {
            return key;
        }
    }
    return NULL;
}

void dcap_platform_keep_key(dcap_platform *platform, dstack_bytes point) {
    size_t at = 0;
    while (at < DCAP_ATTESTATION_KEYS && atomic_load(&platform->attestation_keys[at]) != NULL) {
        at++;
    }
    ecdsa_key *none = NULL;
    DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
    if (at == DCAP_ATTESTATION_KEYS || ecdsa_key_compact(&key, ECDSA_P256, point, NULL) != 0) {
        return;
    }
    ecdsa_key_expect_reuse(key, platform->tables);
    if (atomic_compare_exchange_strong(&platform->attestation_keys[at], &none, key)) {
        key = NULL;
    }
}

dcap_platform *dcap_platform_ref(dcap_platform *platform) {
    atomic_fetch_add_explicit(&platform->references, 1, memory_order_relaxed);
    return platform;
}

void dcap_platform_free(dcap_platform *platform) {
    if (platform != NULL &&
        atomic_fetch_sub_explicit(&platform->references, 1, memory_order_acq_rel) == 1) {
        ecdsa_key_free(platform->key);
        for (size_t i = 0; i < DCAP_ATTESTATION_KEYS; i++) {
            ecdsa_key_free(atomic_load(&platform->attestation_keys[i]));
        }
        dcap_context_free(platform->context);
        free(platform);
    }
}
