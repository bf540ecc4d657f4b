/* The simulated platform's certificates and collateral: the shape of Intel's, under a root of our
 * own. Calculation only; sim_keys.c stores the result. */
#ifndef SERVICE_SIM_PKI_H
#define SERVICE_SIM_PKI_H

#include <dstack/bytes.h>

#include "base/auto.h"
#include "crypto/ecdsa.h"

#define SIM_SEED_SIZE 32
#define SIM_PPID_SIZE 16

typedef struct sim_pki {
    dstack_buf root_der;
    dstack_buf pck_chain;       /* PEM: PCK leaf, PCK CA, root */
    dstack_buf collateral;      /* JSON bundle */
    ecdsa_private *attestation; /* signs quotes */
    dstack_buf qe_report;       /* 384 bytes: vouches for the attestation key */
    uint8_t qe_signature[64];   /* by the PCK key */
} sim_pki;

/* Makes the hierarchy. seed: 32 bytes, then keys, certificates and revocation lists are those of the
 * reference's mock hierarchy for it, byte for byte (valid 2020 to 2100); NULL: fresh keys, valid ten
 * years from now. TCB info and QE identity are valid for ten years in both cases. The keys of the
 * authorities are not kept: nothing is issued later. */
int sim_pki_make(const uint8_t *seed, int64_t now, sim_pki *out, dstack_error *err);
void sim_pki_clear(sim_pki *pki);
DSTACK_AUTO_DEFINE_CLEAR(sim_pki, sim_pki, sim_pki_clear)

/* The scalar that the mock hierarchy derives for a label (P-256): SHA-256("dstack-mock-p256-v1" ‖
 * seed ‖ label ‖ u32 BE counter), first valid one. */
int sim_pki_derive(const uint8_t seed[SIM_SEED_SIZE], const char *label, ecdsa_private **out,
                   dstack_error *err);

/* QE authentication data of every simulated quote: 32 zero bytes. */
extern const uint8_t sim_qe_auth_data[32];

#endif
