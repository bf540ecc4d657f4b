/* Verification of a quote: PCRs, replay, key, path, revocation, expectations. */
#include <stdio.h>
#include <string.h>

#include <dstack/tpm.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/hash.h"
#include "crypto/rsa.h"
#include "verify/tpm/google_root.h"
#include "verify/tpm/tpm.h"
#include "x509/chain.h"
#include "x509/oids.h"

#define TPM_ALG_SHA256 0x000b
#define TPM_ALG_RSASSA 0x0014
#define TPM_ALG_ECDSA 0x0018

/* TCG: 2.23.133.8.1 (tcg-kp-EKCertificate) and .3 (tcg-kp-AIKCertificate). Clouds use the first for
 * what is the second. */
#define OID_TCG_EK DER_OID_BYTES(0x67, 0x81, 0x05, 0x08, 0x01)
#define OID_TCG_AIK DER_OID_BYTES(0x67, 0x81, 0x05, 0x08, 0x03)

typedef struct tpm_chain {
    x509_cert ak, root, pool[DSTACK_TPM_MAX_CERTS];
    x509_chain path;
} tpm_chain;

/* ---- PCRs ---- */

static int check_pcrs(const dstack_tpm_quote *quote, const dstack_tpm_attest *attest,
                      dstack_tpm_verdict *out, dstack_error *err) {
    hash_ctx ctx;
    uint8_t digest[32];
    bool same = quote->pcr_count == attest->pcr_count && quote->pcr_count > 0;
    for (size_t i = 0; same && i < quote->pcr_count; i++) {
        same = quote->pcrs[i].index == attest->pcrs[i];
    }
    if (!same) {
        return error_set(err, DSTACK_E_REFUSED,
                         "PCR selection mismatch: the signed selection is not that of pcr_values");
    }
    hash_init(&ctx, HASH_SHA256);
    for (size_t i = 0; i < quote->pcr_count; i++) {
        /* without this, bytes could be moved from one PCR to the next */
        if (quote->pcrs[i].value.len != DSTACK_TPM_PCR_SIZE) {
            return error_set(err, DSTACK_E_FORMAT, "PCR %u must have 32 bytes",
                             quote->pcrs[i].index);
        }
        hash_update(&ctx, quote->pcrs[i].value);
        out->pcr_mask |= UINT32_C(1) << quote->pcrs[i].index;
        memcpy(out->pcrs[quote->pcrs[i].index], quote->pcrs[i].value.data, DSTACK_TPM_PCR_SIZE);
    }
    hash_final(&ctx, digest);
    return bytes_equal(bytes_of(digest, sizeof digest), attest->pcr_digest)
               ? 0
               : error_set(err, DSTACK_E_REFUSED, "PCR digest mismatch");
}

/* A PCR without events is not judged: who needs its log asks for it in replayed_mask. */
static int check_events(const dstack_tpm_quote *quote, dstack_tpm_verdict *out, dstack_error *err) {
    uint32_t logged = 0;
    for (size_t i = 0; i < quote->event_count; i++) {
        logged |=
            quote->events[i].pcr < DSTACK_TPM_MAX_PCRS ? UINT32_C(1) << quote->events[i].pcr : 0;
    }
    for (uint32_t pcr = 0; pcr < DSTACK_TPM_MAX_PCRS; pcr++) {
        uint8_t replayed[DSTACK_TPM_PCR_SIZE];
        char want[65], have[65];
        if ((logged & out->pcr_mask & UINT32_C(1) << pcr) == 0) {
            continue;
        }
        dstack_tpm_replay(quote->events, quote->event_count, pcr, 0, replayed);
        if (memcmp(replayed, out->pcrs[pcr], sizeof replayed) != 0) {
            hex_encode(bytes_of(out->pcrs[pcr], sizeof replayed), want);
            hex_encode(bytes_of(replayed, sizeof replayed), have);
            return error_set(err, DSTACK_E_REFUSED,
                             "event log verification failed: PCR %u replay mismatch: expected %s, "
                             "got %s",
                             pcr, want, have);
        }
        out->replayed_mask |= UINT32_C(1) << pcr;
    }
    return 0;
}

/* ---- signature ---- */

/* One half of an ECDSA signature, padded on the left. */
static bool read_half(cursor *c, uint8_t out[32]) {
    const dstack_bytes half = cursor_take(c, cursor_u16be(c));
    memset(out, 0, 32);
    if (!cursor_ok(c) || half.len == 0 || half.len > 32) {
        return false;
    }
    memcpy(out + 32 - half.len, half.data, half.len);
    return true;
}

static int check_ecdsa(cursor *c, const x509_cert *ak, dstack_bytes message, dstack_error *err) {
    uint8_t raw[64], digest[32];
    DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
    int rc = ecdsa_key_from_spki(&key, ak->spki, err);
    if (rc == 0 && ecdsa_key_curve(key) != ECDSA_P256) {
        rc = error_set(err, DSTACK_E_UNSUPPORTED, "the attestation key is not on P-256");
    }
    if (rc == 0 && (!read_half(c, raw) || !read_half(c, raw + 32))) {
        rc = error_set(err, DSTACK_E_FORMAT, "TPMT_SIGNATURE is malformed");
    }
    if (rc == 0) {
        hash_sha256(message, digest);
        rc = ecdsa_verify_raw(key, bytes_of(digest, sizeof digest), bytes_of(raw, sizeof raw), err);
    }
    return rc;
}

/* Some producers leave bytes of the TPM's answer behind the structure: they are not looked at. */
static int check_signature(const dstack_tpm_quote *quote, const x509_cert *ak, dstack_error *err) {
    cursor c = cursor_init(quote->signature);
    const uint16_t scheme = cursor_u16be(&c), hash = cursor_u16be(&c);
    int rc = 0;
    if (!cursor_ok(&c)) {
        rc = error_set(err, DSTACK_E_FORMAT, "TPMT_SIGNATURE is cut off");
    } else if (hash != TPM_ALG_SHA256) {
        rc = error_set(err, DSTACK_E_UNSUPPORTED, "unsupported hash algorithm: 0x%04x", hash);
    } else if (scheme == TPM_ALG_ECDSA) {
        rc = check_ecdsa(&c, ak, quote->message, err);
    } else if (scheme == TPM_ALG_RSASSA) {
        const dstack_bytes signature = cursor_take(&c, cursor_u16be(&c));
        rc = rsa_verify(ak->spki, RSA_PKCS1_SHA256, quote->message, signature, err);
    } else {
        rc = error_set(err, DSTACK_E_UNSUPPORTED,
                       "expected RSASSA (0x0014) or ECDSA (0x0018), got 0x%04x", scheme);
    }
    return error_prefix(err, rc, "signature verification failed");
}

int tpm_check_signature(const dstack_tpm_quote *quote, dstack_error *err) {
    x509_cert ak;
    int rc = error_prefix(err, x509_cert_parse(&ak, quote->ak_cert, err), "AK");
    return rc == 0 ? check_signature(quote, &ak, err) : rc;
}

/* ---- path ---- */

/* A list of an issuer that is not on the path is nobody's here. *judged: bit i is set for
 * certificate i of the path when the list is its issuer's. */
static int check_crl(dstack_bytes der, const tpm_chain *chain, int64_t now, unsigned *judged,
                     dstack_error *err) {
    x509_crl crl;
    int rc = x509_crl_parse_bare(&crl, der, err);
    for (size_t i = 0; rc == 0 && i + 1 < chain->path.count; i++) {
        const x509_cert *cert = chain->path.certs[i], *issuer = chain->path.certs[i + 1];
        if (!bytes_equal(crl.issuer, issuer->subject)) {
            continue;
        }
        *judged |= 1U << i;
        rc = x509_chain_check_crl(&crl, issuer, now, err);
        if (rc == 0 && x509_crl_contains(&crl, cert->serial, NULL)) {
            rc = error_set(err, DSTACK_E_X509_REVOKED, "a certificate of the path is revoked");
        }
    }
    return error_prefix(err, rc, "CRL");
}

static int check_root_crl(dstack_bytes der, const x509_cert *root, int64_t now, dstack_error *err) {
    x509_crl crl;
    int rc = x509_crl_parse_bare(&crl, der, err);
    rc = rc == 0 ? x509_chain_check_crl(&crl, root, now, err) : rc;
    if (rc == 0 && x509_crl_contains(&crl, root->serial, NULL)) {
        rc = error_set(err, DSTACK_E_X509_REVOKED, "the root is revoked");
    }
    return error_prefix(err, rc, "root CRL");
}

/* RFC 5280, section 4.2.1.13: who names where its revocation is told wants to be looked up. */
static int check_revocation(const dstack_tpm_options *options, const tpm_chain *chain,
                            dstack_error *err) {
    const x509_cert *root = chain->path.certs[chain->path.count - 1];
    unsigned judged = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < options->crl_count; i++) {
        rc = check_crl(options->crls[i], chain, options->now, &judged, err);
    }
    for (size_t i = 0; rc == 0 && options->need_crls && i + 1 < chain->path.count; i++) {
        if ((judged >> i & 1) == 0 &&
            x509_cert_extension(chain->path.certs[i], OID_CRL_POINTS) != NULL) {
            rc =
                error_set(err, DSTACK_E_X509_PATH,
                          "no revocation list for certificate %zu of the path, which names one", i);
        }
    }
    if (rc == 0 && options->need_crls && options->root_crl.len == 0 &&
        x509_cert_extension(root, OID_CRL_POINTS) != NULL) {
        rc = error_set(err, DSTACK_E_X509_PATH, "no revocation list for the root, which names one");
    }
    return rc;
}

static int check_path(const dstack_tpm_quote *quote, const dstack_tpm_options *options,
                      tpm_chain *chain, dstack_error *err) {
    const dstack_bytes purposes[] = {OID_TCG_EK, OID_TCG_AIK};
    const x509_chain_options how = {.now = options->now, .purposes = purposes, .purpose_count = 2};
    if (options->chain_count > DSTACK_TPM_MAX_CERTS || options->crl_count > DSTACK_TPM_MAX_CERTS) {
        return error_set(err, DSTACK_E_LIMIT, "too many certificates or lists");
    }
    const dstack_bytes root =
        options->root.len > 0 ? options->root : bytes_of(tpm_google_root, sizeof tpm_google_root);
    int rc = error_prefix(err, x509_cert_parse(&chain->root, root, err), "root");
    rc = rc == 0 ? error_prefix(err, x509_cert_parse(&chain->ak, quote->ak_cert, err), "AK") : rc;
    for (size_t i = 0; rc == 0 && i < options->chain_count; i++) {
        rc = error_prefix(err, x509_cert_parse(&chain->pool[i], options->chain[i], err),
                          "intermediate");
    }
    rc = rc == 0 ? x509_chain_verify(&chain->ak, chain->pool, options->chain_count, &chain->root,
                                     &how, &chain->path, err)
                 : rc;
    rc = rc == 0 ? check_revocation(options, chain, err) : rc;
    if (rc == 0 && options->root_crl.len > 0) {
        rc = check_root_crl(options->root_crl, &chain->root, options->now, err);
    }
    return error_prefix(err, rc, "AK certificate chain verification error");
}

void dstack_tpm_collateral_clear(dstack_tpm_collateral *collateral) {
    if (collateral == NULL) {
        return;
    }
    for (size_t i = 0; i < DSTACK_TPM_MAX_CERTS; i++) {
        dstack_buf_clear(&collateral->chain[i]);
        dstack_buf_clear(&collateral->crls[i]);
    }
    dstack_buf_clear(&collateral->root_crl);
    *collateral = (dstack_tpm_collateral){0};
}

int dstack_tpm_verify(const dstack_tpm_quote *quote, const dstack_tpm_options *options,
                      dstack_tpm_verdict *out, dstack_error *err) {
    *out = (dstack_tpm_verdict){0};
    dstack_tpm_attest attest;
    tpm_chain chain = {0};
    int rc = dstack_tpm_attest_parse(&attest, quote->message, err);
    rc = rc == 0 ? check_pcrs(quote, &attest, out, err) : rc;
    rc = rc == 0 ? check_events(quote, out, err) : rc;
    rc = rc == 0 ? check_path(quote, options, &chain, err) : rc;
    rc = rc == 0 ? check_signature(quote, &chain.ak, err) : rc;
    if (rc == 0 && options->extra_data != NULL &&
        !bytes_equal(*options->extra_data, attest.extra_data)) {
        rc = error_set(err, DSTACK_E_REFUSED, "tpm qualified_data mismatch");
    }
    if (rc == 0) {
        out->reset_count = attest.reset_count;
        out->restart_count = attest.restart_count;
        out->safe = attest.safe;
        out->valid_until = chain.path.valid_until;
        hash_sha256(chain.ak.spki, out->ak_spki_sha256);
        out->anchor.builtin = options->root.len == 0;
        snprintf(out->anchor.name, sizeof out->anchor.name, "%s",
                 out->anchor.builtin ? "google-ek-ak-root" : "pinned-tpm-root");
        hash_sha256(chain.root.der, out->anchor.cert_sha256);
        hash_sha384(chain.root.spki, out->anchor.key_id);
    }
    return rc;
}
