#include "verify/dcap/quote_build.h"

#include "base/cursor.h"
#include "crypto/hash.h"

const uint8_t quote_intel_vendor_id[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
                                           0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};

void quote_build_signed_part(uint16_t version, const uint8_t *user_data, const dstack_td_report *td,
                             const dstack_td_report_15 *td15, dstack_buf *out) {
    buf_put_u16le(out, version);
    buf_put_u16le(out, DSTACK_QUOTE_KEY_ECDSA_P256);
    buf_put_u32le(out, DSTACK_QUOTE_TEE_TDX);
    buf_put_zeros(out, 4);
    buf_put(out, quote_intel_vendor_id, sizeof quote_intel_vendor_id);
    if (user_data != NULL) {
        buf_put(out, user_data, 20);
    } else {
        buf_put_zeros(out, 20);
    }
    if (version == 5) {
        buf_put_u16le(out, td15 != NULL ? DSTACK_QUOTE_BODY_TD15 : DSTACK_QUOTE_BODY_TD10);
        buf_put_u32le(out, (uint32_t)(sizeof *td + (td15 != NULL ? sizeof *td15 : 0)));
    }
    buf_put(out, td, sizeof *td);
    if (td15 != NULL) {
        buf_put(out, td15, sizeof *td15);
    }
}

void quote_build_signature_data(const quote_build_auth *auth, dstack_buf *out) {
    uint32_t inner = (uint32_t)auth->pck_chain.len + 1;
    uint32_t outer = (uint32_t)(384 + 64 + 2 + auth->qe_auth_data.len + 6) + inner;
    buf_put_u32le(out, 64 + 64 + 6 + outer);
    buf_put(out, auth->signature, 64);
    buf_put(out, auth->attestation_key, 64);
    buf_put_u16le(out, DSTACK_QUOTE_CERT_QE_REPORT);
    buf_put_u32le(out, outer);
    buf_put(out, auth->qe_report, sizeof *auth->qe_report);
    buf_put(out, auth->qe_report_signature, 64);
    buf_put_u16le(out, (uint16_t)auth->qe_auth_data.len);
    buf_put_bytes(out, auth->qe_auth_data);
    buf_put_u16le(out, DSTACK_QUOTE_CERT_PCK_CHAIN);
    buf_put_u32le(out, inner);
    buf_put_bytes(out, auth->pck_chain);
    buf_put_u8(out, 0);
}

void quote_build_key_hash(const uint8_t attestation_key[64], dstack_bytes qe_auth_data,
                          uint8_t hash[32]) {
    dstack_bytes parts[] = {bytes_of(attestation_key, 64), qe_auth_data};
    hash_parts(HASH_SHA256, parts, 2, hash);
}
