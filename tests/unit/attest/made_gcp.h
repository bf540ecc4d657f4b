/* GCP evidence of our own making: a TDX quote under made roots, and a vTPM's quote over it whose key
 * has a root, an intermediate and a certificate of its own. */
#ifndef TESTS_UNIT_ATTEST_MADE_GCP_H
#define TESTS_UNIT_ATTEST_MADE_GCP_H

#include <dstack/tpm.h>

#include "attest/attest.h"
#include "verify/dcap/made.h"

#define GCP_PCR0 "0cca9ec161b09288802e5a112255d21340ed5b797f5fe29cecccfd8f67b9f802"
#define GCP_MAX_PCRS 4

typedef struct gcp_spec {
    uint32_t indices[GCP_MAX_PCRS];
    size_t pcr_count;
    uint8_t values[GCP_MAX_PCRS][32];
    uint32_t log[6]; /* PCR of each event of the boot log */
    uint8_t log_fill[6];
    size_t log_count;
    uint8_t extra_flip; /* of the signed hash of the TDX quote */
    uint16_t bank;
    uint32_t magic;
    uint16_t type;
    bool forged;     /* signed by another key than the certificate's */
    uint8_t purpose; /* last number of the certificate's TCG purpose; 0: none */
    bool revoked, no_points;
    int64_t ak_until, crl_until;
    const char *config;
    uint32_t event_version;
} gcp_spec;

typedef struct made_gcp {
    made quote;
    dstack_buf tpm_root, tpm_ca, tpm_ca_crl;
    dstack_attestation *attestation;
} made_gcp;

void gcp_spec_init(gcp_spec *spec);
/* PCR14 as the runtime events give it, PCR2 as the log gives it. */
void gcp_spec_settle(gcp_spec *spec);
void gcp_build(const gcp_spec *spec, made_gcp *out);
void made_gcp_clear(made_gcp *m);
static inline void auto_made_gcp(made_gcp *m) {
    made_gcp_clear(m);
}
extern const uint8_t gcp_report_data[64];

#endif
