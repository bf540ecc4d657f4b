/* What the commands that verify evidence share. */
#ifndef DSTACK_CMD_EVIDENCE_H
#define DSTACK_CMD_EVIDENCE_H

#include <dstack/attestation.h>
#include <dstack/attestation_policy.h>
#include <dstack/tpm.h>

#include "cli.h"
#include "cli_trust.h"

DSTACK_AUTO_DEFINE(verified, dstack_verified, dstack_verified_free)
DSTACK_AUTO_DEFINE(decision, dstack_attestation_decision, dstack_attestation_decision_free)

/* --collateral, --pccs, --kds, --root, --image, --policy, --report-data and --nonce. */
extern const struct cli_option evidence_cli_options[];

typedef struct evidence_options {
    dstack_verifier *verifier; /* NULL when --root cannot be for Intel quotes */
    cli_roots roots, tpm_root;
    dstack_platform_roots platform_roots;
    dstack_policy *policy;            /* of TCB levels alone */
    dstack_attestation_policy *whole; /* of everything: a document with "version" */
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    cli_servers from;
    dstack_tpm_fetcher *tpm_fetcher;
    cli_kds kds;
    dstack_attestation_options attestation; /* borrows the members above */
} evidence_options;

int evidence_options_read(struct cli *cli, evidence_options *out, dstack_error *err);
void evidence_options_clear(evidence_options *options);
DSTACK_AUTO_DEFINE_CLEAR(evidence_options, evidence_options, evidence_options_clear)

/* Applies the whole policy, when one was given; then the claims with their anchors and the policy's
 * rules, or the whole report with --json. */
int evidence_print(struct cli *cli, const char *title, const evidence_options *options,
                   const dstack_verified *verified, dstack_error *err);
/* The attestation of a verification request: {"attestation": hex} or {"quote", "event_log"}. */
int evidence_from_request(dstack_bytes json, dstack_attestation **out, dstack_error *err);

#endif
