/* A verified attestation as a struct. */
#ifndef ATTEST_VERIFIED_H
#define ATTEST_VERIFIED_H

#include <dstack/verifier.h>

#include "attest/attest.h"

#define VERIFIED_CLAIMS_MAX 24

typedef struct verified_claim {
    const char *name; /* static */
    char *value;
    dstack_anchor anchor;
} verified_claim;

struct dstack_verified {
    dstack_tee_variant variant;
    dstack_quote_report quote;
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

/* The two event lists of an envelope judged against the signed registers: both agree; replays hold;
 * trusted claims are there once and of their length. */
int verify_events(const dstack_attestation *attestation, const dstack_td_report *td,
                  dstack_error *err);

#endif
