/* From answers to a report: which steps this address has, and what each rests on. */
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/hash.h"
#include "verify/verify.h"
#include "x509/pem.h"

static void use_steps(verify_report *report, verify_mode mode) {
    report->mode = mode;
    for (int i = 0; i < VERIFY_STEPS; i++) {
        bool of_app = i <= VERIFY_IDENTITY;
        bool of_gateway = i >= VERIFY_GATEWAY_ROOT && i <= VERIFY_GATEWAY_IDENTITY;
        bool between = i == VERIFY_EVIDENCE || i == VERIFY_ROUTING;
        report->steps[i].used = (of_app && mode != VERIFY_GATEWAY) ||
                                (of_gateway && mode != VERIFY_PASSTHROUGH) ||
                                (between && mode == VERIFY_TERMINATED) || i >= VERIFY_CERTIFICATE;
    }
}

/* Evidence counts for a key only when the hardware signed that very key. */
static int check_bound(const dstack_verified *verified, const char *tag, dstack_bytes content,
                       const char *what, dstack_error *err) {
    uint8_t want[DSTACK_REPORT_DATA_SIZE];
    int rc = dstack_report_data(tag, NULL, content, want, err);
    if (rc == 0 &&
        !bytes_equal(bytes_of(want, sizeof want), dstack_verified_report_data(verified))) {
        rc = error_set(err, DSTACK_E_REFUSED, "the evidence is not for %s: report data mismatch",
                       what);
    }
    return rc;
}

static int check_dates(const dstack_cert *cert, int64_t now, dstack_error *err) {
    if (now < dstack_cert_not_before(cert)) {
        return error_set(err, DSTACK_E_X509_EXPIRED, "the certificate is not yet valid");
    }
    return now <= dstack_cert_not_after(cert)
               ? 0
               : error_set(err, DSTACK_E_X509_EXPIRED, "the certificate has expired");
}

static void tell_key(verify_report *report, verify_step_id step, const char *before,
                     dstack_bytes spki) {
    uint8_t hash[HASH_SHA256_SIZE];
    char text[65];
    hash_sha256(spki, hash);
    hex_encode(bytes_of(hash, sizeof hash), text);
    verify_evidence(report, step, "%skey sha256 %s", before, text);
}

static void tell_issuer(const verify_demands *demands, verify_report *report, verify_step_id step,
                        bool marked, const char *text) {
    verify_detail(report, step, "%s%s%s", text,
                  demands->kms_root.len > 0 ? "; certificate issued under --kms-root" : "",
                  marked ? "; its issuer runs in INSECURE development mode" : "");
    if (marked) {
        verify_caveat(report, step);
        report->insecure = true;
    }
}

static void judge_public_name(const verify_demands *demands, const verify_answers *answers,
                              verify_report *report) {
    verify_step *step = &report->steps[VERIFY_PUBLIC_NAME];
    dstack_error err = {0};
    step->optional = report->mode == VERIFY_PASSTHROUGH && demands->ca.len == 0;
    verify_evidence(report, VERIFY_PUBLIC_NAME, "%s", answers->name.host);
    if (verify_check_public_name(answers, demands->ca, demands->now, &err) != 0) {
        verify_fails(report, VERIFY_PUBLIC_NAME, &err);
        if (step->optional) {
            verify_detail(report, VERIFY_PUBLIC_NAME,
                          "no authority of this machine's trust store vouches for the name, nor "
                          "does the proof rest on one");
        }
        return;
    }
    verify_holds(report, VERIFY_PUBLIC_NAME, DSTACK_ANCHOR_POLICY);
    verify_detail(report, VERIFY_PUBLIC_NAME, "vouched for by %s; the proof does not rest on it",
                  demands->ca.len > 0 ? "the CA of --ca" : "this machine's trust store");
}

static void judge_connection(const verify_answers *answers, dstack_bytes spki, const char *whose,
                             verify_report *report) {
    char before[128];
    snprintf(before, sizeof before, "%s, ", answers->tls);
    tell_key(report, VERIFY_CONNECTION, before, spki);
    verify_holds(report, VERIFY_CONNECTION, DSTACK_ANCHOR_MEASURED);
    verify_detail(report, VERIFY_CONNECTION,
                  "the %s proved in this handshake that it holds the certificate's key", whose);
}

/* ---- passthrough ------------------------------------------------------------------------------
 */

static int chain_pem_of(const verify_answers *answers, dstack_buf *out, dstack_error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < answers->chain_count; i++) {
        rc = pem_append(out, "CERTIFICATE", bytes_of_buf(&answers->chain[i]), err);
    }
    return rc;
}

static bool judge_own_certificate(const verify_demands *demands, const verify_answers *answers,
                                  const dstack_cert *leaf, verify_report *report) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf pem = {0};
    bool marked = false;
    tell_key(report, VERIFY_CERTIFICATE, "", dstack_cert_spki(leaf));
    int rc = check_bound(report->app, "ratls-cert", dstack_cert_spki(leaf),
                         "this certificate's key", &err);
    rc = rc != 0 ? rc : check_dates(leaf, demands->now, &err);
    rc = rc != 0 ? rc : chain_pem_of(answers, &pem, &err);
    rc = rc != 0 ? rc
                 : verify_check_issuer(demands, bytes_of_buf(&pem),
                                       dstack_verified_identity(report->app), &marked, &err);
    if (rc != 0) {
        verify_fails(report, VERIFY_CERTIFICATE, &err);
        return false;
    }
    verify_holds(report, VERIFY_CERTIFICATE, DSTACK_ANCHOR_MEASURED);
    tell_issuer(demands, report, VERIFY_CERTIFICATE, marked,
                "its key is in the hardware's signed report; evidence at most as old as the "
                "certificate");
    return true;
}

static void judge_passthrough(const verify_demands *demands, const verify_answers *answers,
                              const dstack_cert *leaf, verify_report *report) {
    if (verify_judge_party(demands, dstack_cert_attestation(leaf), VERIFY_ROOT, report,
                           &report->app) &&
        verify_judge_app(demands, &answers->name, report) &&
        judge_own_certificate(demands, answers, leaf, report)) {
        judge_connection(answers, dstack_cert_spki(leaf), "app", report);
    }
}

/* ---- behind a gateway -------------------------------------------------------------------------
 */

/* The gateway, from its hardware to the key of this connection. */
static bool judge_gateway_side(const verify_demands *demands, const verify_answers *answers,
                               const dstack_cert *leaf, verify_report *report) {
    dstack_error err = answers->acme_error;
    DSTACK_AUTO(dstack_attestation) dstack_attestation *attestation = NULL;
    size_t keys = 0;
    tell_key(report, VERIFY_CERTIFICATE, "", dstack_cert_spki(leaf));
    int rc = err.status != 0
                 ? (int)err.status
                 : verify_parse_acme_info(bytes_of_buf(&answers->acme_info), dstack_cert_spki(leaf),
                                          &attestation, &keys, &err);
    if (rc != 0) {
        verify_fails(report, VERIFY_CERTIFICATE, &err);
        return false;
    }
    if (!verify_judge_party(demands, attestation, VERIFY_GATEWAY_ROOT, report, &report->gateway) ||
        !verify_judge_gateway(demands, report)) {
        return false;
    }
    if (check_bound(report->gateway, "zt-cert", dstack_cert_spki(leaf), "this connection's key",
                    &err) != 0) {
        verify_fails(report, VERIFY_CERTIFICATE, &err);
        return false;
    }
    verify_holds(report, VERIFY_CERTIFICATE, DSTACK_ANCHOR_MEASURED);
    verify_detail(report, VERIFY_CERTIFICATE, "its key was born in the attested gateway");
    return true;
}

static int check_fresh(const verify_demands *demands, const verify_answers *answers,
                       dstack_bytes chain_pem, bool *marked, verify_report *report,
                       dstack_error *err) {
    DSTACK_AUTO(dstack_cert) dstack_cert *leaf = NULL;
    uint8_t content[VERIFY_NONCE_SIZE + HASH_SHA256_SIZE];
    int rc = error_prefix(err, dstack_cert_parse(chain_pem, &leaf, err), "the app's certificate");
    if (rc != 0) {
        return rc;
    }
    tell_key(report, VERIFY_EVIDENCE, "", dstack_cert_spki(leaf));
    memcpy(content, answers->nonce, VERIFY_NONCE_SIZE);
    hash_sha256(dstack_cert_spki(leaf), content + VERIFY_NONCE_SIZE);
    rc = check_bound(report->app, "dstack-evidence", bytes_of(content, sizeof content),
                     "our nonce and the certificate beside it", err);
    rc = rc != 0 ? rc : check_dates(leaf, demands->now, err);
    return rc != 0 ? rc
                   : verify_check_issuer(demands, chain_pem, dstack_verified_identity(report->app),
                                         marked, err);
}

/* The app, from its hardware to its answer to our nonce. */
static bool judge_app_side(const verify_demands *demands, const verify_answers *answers,
                           verify_report *report) {
    dstack_error err = answers->evidence_error;
    DSTACK_AUTO(dstack_attestation) dstack_attestation *attestation = NULL;
    DSTACK_AUTO(buf) dstack_buf chain_pem = {0};
    int rc = err.status != 0 ? (int)err.status
                             : verify_parse_evidence(bytes_of_buf(&answers->evidence), &attestation,
                                                     &chain_pem, &err);
    if (rc != 0) {
        verify_fails(report, VERIFY_EVIDENCE, &err);
        return false;
    }
    if (!verify_judge_party(demands, attestation, VERIFY_ROOT, report, &report->app) ||
        !verify_judge_app(demands, &answers->name, report)) {
        return false;
    }
    bool marked = false;
    if (check_fresh(demands, answers, bytes_of_buf(&chain_pem), &marked, report, &err) != 0) {
        verify_fails(report, VERIFY_EVIDENCE, &err);
        return false;
    }
    verify_holds(report, VERIFY_EVIDENCE, DSTACK_ANCHOR_MEASURED);
    tell_issuer(demands, report, VERIFY_EVIDENCE, marked, "made for the nonce of this very call");
    return true;
}

/* The guest's answer came through the same attested gateway, by the same name. */
static bool judge_routing(const verify_answers *answers, const dstack_cert *leaf,
                          verify_report *report) {
    dstack_error err = {0};
    DSTACK_AUTO(dstack_cert) dstack_cert *other = NULL;
    int rc = dstack_cert_parse(bytes_of_buf(&answers->evidence_leaf), &other, &err);
    if (rc == 0 && !bytes_equal(dstack_cert_spki(other), dstack_cert_spki(leaf))) {
        rc = error_set(&err, DSTACK_E_REFUSED,
                       "the app's evidence came over a connection of another key than this one");
    }
    verify_evidence(report, VERIFY_ROUTING, "%s.%s", answers->name.id, answers->name.base);
    if (rc != 0) {
        verify_fails(report, VERIFY_ROUTING, &err);
        return false;
    }
    verify_holds(report, VERIFY_ROUTING, DSTACK_ANCHOR_MEASURED);
    verify_detail(report, VERIFY_ROUTING,
                  "an attested gateway routes this name to this app id; past it, the way is the "
                  "gateway's word");
    return true;
}

static void judge_terminated(const verify_demands *demands, const verify_answers *answers,
                             const dstack_cert *leaf, verify_report *report) {
    bool app = report->mode == VERIFY_GATEWAY || judge_app_side(demands, answers, report);
    bool gateway = judge_gateway_side(demands, answers, leaf, report);
    if (app && gateway &&
        (report->mode == VERIFY_GATEWAY || judge_routing(answers, leaf, report))) {
        judge_connection(answers, dstack_cert_spki(leaf), "gateway", report);
    }
}

void verify_judge(const verify_demands *demands, const verify_answers *answers,
                  verify_report *report) {
    *report = (verify_report){0};
    dstack_error err = {0};
    DSTACK_AUTO(dstack_cert) dstack_cert *leaf = NULL;
    int rc = answers->chain_count == 0
                 ? error_set(&err, DSTACK_E_REFUSED, "the server showed no certificate")
                 : dstack_cert_parse(bytes_of_buf(&answers->chain[0]), &leaf, &err);
    bool own = rc == 0 && dstack_cert_attestation(leaf) != NULL;
    use_steps(report, own                                      ? VERIFY_PASSTHROUGH
                      : verify_name_is_gateway(&answers->name) ? VERIFY_GATEWAY
                                                               : VERIFY_TERMINATED);
    if (rc == 0 && !own && *answers->name.id == '\0') {
        rc = error_set(&err, DSTACK_E_REFUSED,
                       "no evidence: the certificate carries none, and %s is not of the form "
                       "<app id>[-<port>].<base> that a gateway serves",
                       answers->name.host);
    }
    if (answers->chain_count > 0) {
        judge_public_name(demands, answers, report);
    }
    if (rc != 0) {
        verify_fails(report, VERIFY_CERTIFICATE, &err);
    } else if (own) {
        judge_passthrough(demands, answers, leaf, report);
    } else {
        judge_terminated(demands, answers, leaf, report);
    }
}
