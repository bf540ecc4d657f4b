/* The loaded keys, as the quoting code sees them. */
#ifndef SERVICE_SIM_KEYS_H
#define SERVICE_SIM_KEYS_H

#include <dstack/quote.h>

#include "crypto/ecdsa.h"
#include "sim/sim_server.h"

struct sim_keys {
    ecdsa_private *attestation;
    dstack_enclave_report qe_report;
    uint8_t qe_signature[64];
    dstack_buf pck_chain; /* PEM */
    dstack_buf root;      /* DER */
    dstack_buf collateral;
};

#endif
