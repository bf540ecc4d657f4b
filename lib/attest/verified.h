/* A verified attestation as a struct. */
#ifndef ATTEST_VERIFIED_H
#define ATTEST_VERIFIED_H

#include <dstack/nitro.h>
#include <dstack/snp.h>
#include <dstack/tpm.h>
#include <dstack/verifier.h>

#include "attest/attest.h"

#define VERIFIED_CLAIMS_MAX 32

typedef struct verified_claim {
    const char *name; /* static */
    char *value;
    dstack_anchor anchor;
} verified_claim;

struct dstack_verified {
    dstack_tee_variant variant;
    /* The platform's own verdict; one of them is filled. */
    dstack_quote_report quote;
    dstack_snp_verdict snp;
    dstack_nitro_verdict nitro;
    dstack_tpm_verdict tpm; /* GCP, beside the quote */
    uint8_t gcp_uki[DSTACK_TPM_PCR_SIZE];
    bool has_gcp_uki;
    dstack_identity identity;
    dstack_anchor image_anchor;
    bool image_checked; /* the registers were held against an image or its document */
    bool mr_config_bound;
    verified_claim claims[VERIFIED_CLAIMS_MAX];
    size_t claim_count;
};

DSTACK_AUTO_DEFINE(verified, dstack_verified, dstack_verified_free)

/* Fills the list of claims from the other members; DSTACK_E_MEMORY. */
int verified_list_claims(dstack_verified *verified, dstack_error *err);

/* The root that the platform's verdict rests on. */
const dstack_anchor_info *verified_anchor(const dstack_verified *verified);

/* One function per platform: fills everything but the list of claims. */
int verify_tdx(dstack_verifier *verifier, const dstack_attestation *a,
               const dstack_attestation_options *options, dstack_verified *verified,
               dstack_error *err);
int verify_gcp_tdx(dstack_verifier *verifier, const dstack_attestation *a,
                   const dstack_attestation_options *options, dstack_verified *verified,
                   dstack_error *err);
int verify_snp(dstack_verifier *verifier, const dstack_attestation *a,
               const dstack_attestation_options *options, dstack_verified *verified,
               dstack_error *err);
int verify_nitro(dstack_verifier *verifier, const dstack_attestation *a,
                 const dstack_attestation_options *options, dstack_verified *verified,
                 dstack_error *err);
int verify_nitro_tpm(dstack_verifier *verifier, const dstack_attestation *a,
                     const dstack_attestation_options *options, dstack_verified *verified,
                     dstack_error *err);

/* The stated report data is the signed one, the expected one, and its payload's. */
int verify_report_data(const dstack_attestation *a, const dstack_verified *verified,
                       const char *platform, const dstack_attestation_options *options,
                       dstack_error *err);
/* The image claim: as stated, or as the caller's check decides. `asked` holds what the platform
 * measured; the rest is filled here. */
int verify_image(const dstack_image_question *asked, const json_t *vm_config,
                 const dstack_attestation_options *options, dstack_verified *verified,
                 dstack_error *err);

/* What evidence that begins as a TDX quote has in common: the quote, report data and event lists;
 * then, when the identity is known, its key provider and the launch-time binding. */
int verify_tdx_evidence(dstack_verifier *verifier, const dstack_attestation *a,
                        const dstack_attestation_options *options, dstack_verified *verified,
                        dstack_error *err);
int verify_tdx_binding(const dstack_attestation *a, const dstack_attestation_options *options,
                       dstack_verified *verified, dstack_error *err);

/* The kind of key provider that the guest's event names; DSTACK_E_FORMAT. */
int verify_provider_kind(const char *name, dstack_key_provider *out);

/* The two event lists of an envelope judged against the signed registers: both agree; replays hold;
 * trusted claims are there once and of their length (verify_claims alone looks at those). */
int verify_claims(const dstack_event_log *runtime, dstack_error *err);
int verify_events(const dstack_attestation *attestation, const dstack_td_report *td,
                  dstack_error *err);

#endif
