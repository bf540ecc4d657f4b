/* Verification of a Google Cloud TDX attestation: a TDX quote, and a quote of the machine's vTPM that
 * signs its hash. */
#include <string.h>

#include "attest/verified.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "verify/tpm/tpm.h"

#define PLATFORM_GCP 1 /* of attest_tpm_platform_names */
#define PCR_FIRMWARE 0
#define PCR_BOOT 2
#define PCR_RUNTIME 14 /* the guest extends it by every runtime event */
#define UKI_EVENT 2    /* in PCR2, from 0: separator, partition table, kernel image */

DSTACK_AUTO_DEFINE_CLEAR(tpm_collateral, dstack_tpm_collateral, dstack_tpm_collateral_clear)

/* The envelope's TPM part as the TPM verifier takes it. */
typedef struct quote_view {
    dstack_tpm_pcr pcrs[DSTACK_TPM_MAX_PCRS];
    dstack_tpm_event *events;
    dstack_tpm_quote quote;
} quote_view;

static void quote_view_clear(quote_view *view) {
    free(view->events);
}
DSTACK_AUTO_DEFINE_CLEAR(quote_view, quote_view, quote_view_clear)

static int view_pcrs(const attest_tpm_quote *tpm, quote_view *out, dstack_error *err) {
    if (tpm->pcr_count > DSTACK_TPM_MAX_PCRS) {
        return error_set(err, DSTACK_E_LIMIT, "more than %d PCR values", DSTACK_TPM_MAX_PCRS);
    }
    for (size_t i = 0; i < tpm->pcr_count; i++) {
        const attest_pcr_value *from = &tpm->pcrs[i];
        if (strcmp(from->algorithm, "sha256") != 0) {
            return error_set(err, DSTACK_E_UNSUPPORTED, "PCR %u is of bank %.16s, not sha256",
                             from->index, from->algorithm);
        }
        out->pcrs[i] = (dstack_tpm_pcr){from->index, bytes_of_buf(&from->value)};
    }
    return 0;
}

static int view_events(const attest_tpm_quote *tpm, quote_view *out, dstack_error *err) {
    if (tpm->event_count > DSTACK_TPM_MAX_EVENTS) {
        return error_set(err, DSTACK_E_LIMIT, "TPM boot log of more than %d events",
                         DSTACK_TPM_MAX_EVENTS);
    }
    out->events = calloc(tpm->event_count + 1, sizeof *out->events);
    if (out->events == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a boot log");
    }
    for (size_t i = 0; i < tpm->event_count; i++) {
        const attest_tpm_event *from = &tpm->events[i];
        if (from->digest.len != DSTACK_TPM_PCR_SIZE) {
            return error_set(err, DSTACK_E_FORMAT, "digest of TPM event %zu must have 32 bytes", i);
        }
        out->events[i].pcr = from->pcr;
        memcpy(out->events[i].digest, from->digest.data, DSTACK_TPM_PCR_SIZE);
    }
    return 0;
}

static int view_quote(const attest_tpm_quote *tpm, quote_view *out, dstack_error *err) {
    if (tpm->platform != PLATFORM_GCP) {
        return error_set(err, DSTACK_E_REFUSED, "the TPM quote is of platform %s, not gcp",
                         attest_tpm_platform_names[tpm->platform]);
    }
    int rc = view_pcrs(tpm, out, err);
    rc = rc == 0 ? view_events(tpm, out, err) : rc;
    out->quote = (dstack_tpm_quote){.message = bytes_of_buf(&tpm->message),
                                    .signature = bytes_of_buf(&tpm->signature),
                                    .pcrs = out->pcrs,
                                    .pcr_count = tpm->pcr_count,
                                    .ak_cert = bytes_of_buf(&tpm->ak_cert),
                                    .events = out->events,
                                    .event_count = tpm->event_count};
    return rc;
}

/* The addresses of a path stand in the certificate that it is to prove: nothing is fetched from them
 * before the quote's signature was found to be by that certificate's key. */
static int get_collateral(const dstack_tpm_quote *quote, const dstack_attestation_options *options,
                          dstack_tpm_collateral *out, dstack_error *err) {
    if (options->tpm_collateral == NULL) {
        return 0;
    }
    int rc = tpm_check_signature(quote, err);
    return rc != 0 ? rc
                   : error_prefix(err,
                                  options->tpm_collateral(options->tpm_collateral_user,
                                                          quote->ak_cert, out, err),
                                  "collateral");
}

static int check_quote(const dstack_tpm_quote *quote, const dstack_attestation_options *options,
                       dstack_tpm_verdict *out, dstack_error *err) {
    DSTACK_AUTO(tpm_collateral) dstack_tpm_collateral collateral = {0};
    dstack_bytes chain[DSTACK_TPM_MAX_CERTS], crls[DSTACK_TPM_MAX_CERTS];
    int rc = get_collateral(quote, options, &collateral, err);
    for (size_t i = 0; i < collateral.chain_count; i++) {
        chain[i] = bytes_of_buf(&collateral.chain[i]);
    }
    for (size_t i = 0; i < collateral.crl_count; i++) {
        crls[i] = bytes_of_buf(&collateral.crls[i]);
    }
    const dstack_tpm_options how = {
        .now = options->now,
        .root = options->roots != NULL ? options->roots->gcp_tpm : (dstack_bytes){0},
        .chain = chain,
        .chain_count = collateral.chain_count,
        .crls = crls,
        .crl_count = collateral.crl_count,
        .root_crl = bytes_of_buf(&collateral.root_crl),
        .need_crls = true,
    };
    rc = rc == 0 ? dstack_tpm_verify(quote, &how, out, err) : rc;
    return error_prefix(err, rc, "failed to verify TPM quote: verification failed");
}

/* The TPM's quote is about this TDX quote and no other. */
static int check_bound(const dstack_attestation *a, const dstack_tpm_quote *quote,
                       const dstack_tpm_verdict *verdict, dstack_error *err) {
    const uint32_t needed =
        UINT32_C(1) << PCR_FIRMWARE | UINT32_C(1) << PCR_BOOT | UINT32_C(1) << PCR_RUNTIME;
    uint8_t hash[HASH_SHA256_SIZE];
    dstack_tpm_attest attest;
    int rc = dstack_tpm_attest_parse(&attest, quote->message, err);
    hash_sha256(bytes_of_buf(&a->evidence), hash);
    if (rc == 0 && !bytes_equal(attest.extra_data, bytes_of(hash, sizeof hash))) {
        rc = error_set(err, DSTACK_E_REFUSED, "tpm qualified_data mismatch");
    }
    if (rc == 0 && (verdict->pcr_mask & needed) != needed) {
        rc = error_set(err, DSTACK_E_REFUSED, "the TPM quote lacks PCR0, PCR2 or PCR14");
    }
    return rc;
}

static int check_runtime(const dstack_attestation *a, const dstack_tpm_verdict *verdict,
                         dstack_error *err) {
    uint8_t replayed[DSTACK_TPM_PCR_SIZE];
    char q[2 * DSTACK_TPM_PCR_SIZE + 1], r[2 * DSTACK_TPM_PCR_SIZE + 1];
    int rc = attest_replay_pcr14(a->runtime, NULL, replayed, err);
    if (rc == 0 && memcmp(replayed, verdict->pcrs[PCR_RUNTIME], sizeof replayed) != 0) {
        hex_encode(bytes_of(verdict->pcrs[PCR_RUNTIME], sizeof replayed), q);
        hex_encode(bytes_of(replayed, sizeof replayed), r);
        rc = error_set(err, DSTACK_E_REFUSED, "PCR14 mismatch, quoted: %s, replayed: %s", q, r);
    }
    return rc;
}

/* The log counts only where it replays to the quoted register. */
static void find_uki(const dstack_tpm_quote *quote, dstack_verified *verified) {
    size_t seen = 0;
    for (size_t i = 0; i < quote->event_count; i++) {
        if (quote->events[i].pcr != PCR_BOOT || seen++ != UKI_EVENT) {
            continue;
        }
        verified->has_gcp_uki = (verified->tpm.replayed_mask >> PCR_BOOT & 1) != 0;
        memcpy(verified->gcp_uki, quote->events[i].digest, sizeof verified->gcp_uki);
    }
}

static int check_tpm(const dstack_attestation *a, const dstack_attestation_options *options,
                     dstack_verified *verified, dstack_error *err) {
    DSTACK_AUTO(quote_view) quote_view view = {0};
    if (a->tpm == NULL) {
        return error_set(err, DSTACK_E_REFUSED, "the attestation has no TPM quote");
    }
    int rc = error_prefix(err, view_quote(a->tpm, &view, err),
                          "failed to verify TPM quote: verification failed");
    rc = rc == 0 ? check_quote(&view.quote, options, &verified->tpm, err) : rc;
    rc = rc == 0 ? check_bound(a, &view.quote, &verified->tpm, err) : rc;
    rc = rc == 0 ? check_runtime(a, &verified->tpm, err) : rc;
    if (rc == 0) {
        find_uki(&view.quote, verified);
    }
    return rc;
}

int verify_gcp_tdx(dstack_verifier *verifier, const dstack_attestation *a,
                   const dstack_attestation_options *options, dstack_verified *verified,
                   dstack_error *err) {
    DSTACK_AUTO(json) json_t *vm_config = NULL;
    const dstack_tpm_verdict *tpm = &verified->tpm;
    int rc = verify_tdx_evidence(verifier, a, options, verified, err);
    rc = rc == 0 ? check_tpm(a, options, verified, err) : rc;
    rc = rc == 0 ? attest_vm_config(options->vm_config, a->config, true, &vm_config, err) : rc;
    const attest_gcp_input input = {
        .pcr0 = bytes_of(tpm->pcrs[PCR_FIRMWARE], DSTACK_TPM_PCR_SIZE),
        .pcr2 = bytes_of(tpm->pcrs[PCR_BOOT], DSTACK_TPM_PCR_SIZE),
        .runtime = a->runtime,
        .vm_config = vm_config,
        .boot_time = options->boot_time,
        .device = bytes_of(verified->quote.pck.ppid, sizeof verified->quote.pck.ppid),
    };
    if (rc == 0) {
        rc = error_prefix(err, attest_identity_gcp(&input, &verified->identity, err),
                          "decode app info");
    }
    rc = rc == 0 ? verify_tdx_binding(a, options, verified, err) : rc;
    const dstack_image_question question = {
        .gcp_pcr0 = tpm->pcrs[PCR_FIRMWARE],
        .gcp_uki = verified->has_gcp_uki ? verified->gcp_uki : NULL,
    };
    return rc == 0 ? verify_image(&question, vm_config, options, verified, err) : rc;
}
