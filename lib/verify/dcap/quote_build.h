/* Assembling quotes: what a quoting enclave writes. Used by the simulated platform and by tests;
 * signatures are the caller's business, between the two steps. */
#ifndef VERIFY_DCAP_QUOTE_BUILD_H
#define VERIFY_DCAP_QUOTE_BUILD_H

#include <dstack/quote.h>

#include "base/buf.h"

/* Intel's QE vendor id, 939a7233-f79c-4ca9-940a-0db3957f0607, as its 16 bytes. */
extern const uint8_t quote_intel_vendor_id[16];

/* Offsets in a version 4 TDX quote with 32 bytes of QE authentication data. */
enum {
    QUOTE_V4_SIGNED_SIZE = 632,
    QUOTE_V4_SIGNATURE_AT = 636,
    QUOTE_V4_KEY_AT = 700,
    QUOTE_V4_QE_REPORT_AT = 770,
    QUOTE_V4_QE_SIGNATURE_AT = 1154,
    QUOTE_V4_QE_AUTH_AT = 1220,
    QUOTE_V4_CERT_DATA_AT = 1258,
    QUOTE_QE_AUTH_SIZE = 32,
};

/* Step 1: appends header and TD report, the bytes that the attestation key signs (632 for version
 * 4; 638 for version 5; 702 with a TD 1.5 part, which needs version 5). user_data: 20 bytes or NULL
 * for zeros. td15: NULL for TDX 1.0. */
void quote_build_signed_part(uint16_t version, const uint8_t *user_data, const dstack_td_report *td,
                             const dstack_td_report_15 *td15, dstack_buf *out);

/* The signature data that follows. All pointers are to bytes of the sizes given. */
typedef struct quote_build_auth {
    const uint8_t *signature;       /* 64: r, s over the signed part by the attestation key */
    const uint8_t *attestation_key; /* 64: x, y */
    const dstack_enclave_report *qe_report; /* report_data[0..32] = quote_build_key_hash */
    const uint8_t *qe_report_signature;     /* 64: r, s over the QE report by the PCK leaf's key */
    dstack_bytes qe_auth_data;              /* 32 bytes, or verifiers refuse */
    dstack_bytes pck_chain;                 /* PEM: leaf, PCK CA, root */
} quote_build_auth;

/* Step 2: appends length, signatures, certification data type 6 around type 5, and one zero byte
 * after the chain as Intel's quoting library writes it. */
void quote_build_signature_data(const quote_build_auth *auth, dstack_buf *out);

/* SHA-256(attestation key ‖ QE authentication data): what binds the key to the QE report. */
void quote_build_key_hash(const uint8_t attestation_key[64], dstack_bytes qe_auth_data,
                          uint8_t hash[32]);

#endif
