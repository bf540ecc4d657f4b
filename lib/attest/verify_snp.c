/* Verification of an AMD SEV-SNP attestation. Nothing can be measured after launch: identity is in
 * the configuration document, whose hash the host gave as HOST_DATA and measured code compared with
 * what it found (identity checks at boot). */
#include <string.h>

#include "attest/verified.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "verify/snp/snp.h"

static int read_certs(const dstack_attestation *a, dstack_snp_certs *out, dstack_error *err) {
    dstack_bytes blobs[ATTEST_CERTS_MAX];
    for (size_t i = 0; i < a->cert_count; i++) {
        blobs[i] = bytes_of_buf(&a->certs[i]);
    }
    return dstack_snp_certs_from_blobs(blobs, a->cert_count, out, err);
}

/* What came with the evidence, and what the source adds to it. */
static int find_certs(const dstack_attestation *a, const dstack_attestation_options *options,
                      const dstack_snp_options *how, dstack_snp_certs *out, dstack_error *err) {
    bool fetch = options->snp_certs != NULL && a->cert_count == 0;
    int rc = fetch ? 0 : read_certs(a, out, err);
    if (rc == 0 && options->snp_certs != NULL &&
        (fetch || (options->snp_require_crl && out->crl.len == 0))) {
        rc = options->snp_certs(options->snp_certs_user, bytes_of_buf(&a->evidence), how, out, err);
    }
    if (rc == 0 && options->snp_require_crl && out->crl.len == 0) {
        rc = error_set(err, DSTACK_E_X509_REVOKED,
                       "amd sev-snp: no revocation list of AMD's root came, and one is required");
    }
    return rc;
}

static int check_report(const dstack_attestation *a, const dstack_attestation_options *options,
                        dstack_snp_verdict *verdict, dstack_error *err) {
    DSTACK_AUTO(snp_certs) dstack_snp_certs certs = {0};
    dstack_snp_options how = {.now = options->now};
    if (options->roots != NULL) {
        how.roots[DSTACK_SNP_MILAN] = options->roots->snp_milan;
        how.roots[DSTACK_SNP_GENOA] = options->roots->snp_genoa;
        how.roots[DSTACK_SNP_TURIN] = options->roots->snp_turin;
    }
    int rc = find_certs(a, options, &how, &certs, err);
    return rc == 0 ? dstack_snp_verify(bytes_of_buf(&a->evidence), &certs, &how, verdict, err) : rc;
}

/* HOST_DATA is the hash of the very bytes: one changed space breaks it. */
static int check_document(const dstack_attestation *a, const dstack_snp_report *report,
                          dstack_identity *identity, dstack_error *err) {
    uint8_t id[DSTACK_REGISTER_SIZE];
    char quoted[65], expected[65];
    int rc = error_prefix(err, attest_identity_document(bytes_of_str(a->mr_config), identity, err),
                          "Invalid amd sev-snp mr_config document");
    if (rc != 0) {
        return rc;
    }
    dstack_mr_config_document_id(bytes_of_str(a->mr_config), id);
    if (memcmp(id + 1, report->host_data, sizeof report->host_data) != 0) {
        hex_encode(bytes_of(report->host_data, 32), quoted);
        hex_encode(bytes_of(id + 1, 32), expected);
        rc =
            error_set(err, DSTACK_E_REFUSED,
                      "amd sev-snp HOST_DATA mismatch, quoted: %s, expected: %s", quoted, expected);
    }
    return rc;
}

static void set_hash(dstack_value *value, const dstack_bytes *parts, size_t count) {
    *value = (dstack_value){.len = HASH_SHA256_SIZE};
    hash_parts(HASH_SHA256, parts, count, value->data);
}

static void measure(const dstack_snp_report *report, dstack_identity *out) {
    const dstack_bytes parts[] = {bytes_of(report->measurement, sizeof report->measurement),
                                  bytes_of(report->host_data, sizeof report->host_data)};
    const dstack_bytes chip = bytes_of(report->chip_id, sizeof report->chip_id);
    set_hash(&out->mr_system, parts, 1);
    set_hash(&out->mr_aggregated, parts, 2);
    set_hash(&out->device_id, &chip, 1);
}

int attest_identity_snp(const dstack_snp_report *report, dstack_bytes document,
                        const json_t *vm_config, dstack_identity *out, dstack_error *err) {
    *out = (dstack_identity){0};
    int rc = attest_identity_document(document, out, err);
    measure(report, out);
    return rc == 0 ? attest_vm_config_image_hash(vm_config, &out->os_image_hash, err) : rc;
}

/* A TCB policy for Intel says which statuses pass; the names are the same here. Whatever else it
 * demands does not exist on this platform. */
static int check_policy(const dstack_snp_verdict *verdict,
                        const dstack_attestation_options *options, dstack_error *err) {
    if (options->policy == NULL) {
        return 0;
    }
    const dstack_quote_report as_quote = {.status = verdict->status,
                                          .platform_status = DSTACK_TCB_UP_TO_DATE,
                                          .qe_status = DSTACK_TCB_UP_TO_DATE,
                                          .earliest_expiration_date = verdict->valid_until,
                                          .tcb_eval_data_number = UINT32_MAX};
    return dstack_policy_decide(options->policy, &as_quote, options->now, err);
}

int verify_snp(dstack_verifier *verifier, const dstack_attestation *a,
               const dstack_attestation_options *options, dstack_verified *verified,
               dstack_error *err) {
    (void)verifier;
    dstack_snp_verdict *verdict = &verified->snp;
    const dstack_snp_report *report = &verdict->report;
    DSTACK_AUTO(json) json_t *vm_config = NULL;
    int rc = check_report(a, options, verdict, err);
    if (rc == 0) {
        rc = check_policy(verdict, options, err);
    }
    if (rc == 0) {
        rc = verify_report_data(a, verified, "amd sev-snp", options, err);
    }
    if (rc == 0) {
        rc = check_document(a, report, &verified->identity, err);
        verified->mr_config_bound = rc == 0;
    }
    if (rc == 0) {
        rc = attest_vm_config(options->vm_config, a->config, true, &vm_config, err);
    }
    if (rc == 0) {
        rc = error_prefix(err,
                          attest_identity_snp(report, bytes_of_str(a->mr_config), vm_config,
                                              &verified->identity, err),
                          "decode app info");
    }
    const dstack_image_question question = {.launch_digest = report->measurement,
                                            .host_data = report->host_data};
    return rc == 0 ? verify_image(&question, vm_config, options, verified, err) : rc;
}
