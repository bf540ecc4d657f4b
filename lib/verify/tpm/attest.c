/* TPMS_ATTEST as bytes, big endian. */
#include <dstack/tpm.h>

#include "base/cursor.h"
#include "base/error.h"

#define TPM_GENERATED_VALUE 0xff544347U
#define TPM_ST_ATTEST_QUOTE 0x8018
#define TPM_ALG_SHA256 0x000b
#define MAX_SELECTIONS 16

static dstack_bytes sized(cursor *c) {
    return cursor_take(c, cursor_u16be(c));
}

static int read_selection(cursor *c, dstack_tpm_attest *out, dstack_error *err) {
    const uint16_t bank = cursor_u16be(c);
    const dstack_bytes bitmap = cursor_take(c, cursor_u8(c));
    if (cursor_ok(c) && bank != TPM_ALG_SHA256) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "unsupported PCR bank hash_alg 0x%04x; only SHA-256 (0x000b) is supported",
                         bank);
    }
    for (size_t bit = 0; bit < 8 * bitmap.len; bit++) {
        if ((bitmap.data[bit / 8] >> bit % 8 & 1) == 0) {
            continue;
        }
        if (bit >= DSTACK_TPM_MAX_PCRS || out->pcr_count == DSTACK_TPM_MAX_PCRS) {
            return error_set(err, DSTACK_E_FORMAT, "TPMS_ATTEST selects PCR %zu", bit);
        }
        out->pcrs[out->pcr_count++] = (uint8_t)bit;
    }
    return 0;
}

int dstack_tpm_attest_parse(dstack_tpm_attest *out, dstack_bytes message, dstack_error *err) {
    *out = (dstack_tpm_attest){0};
    cursor c = cursor_init(message);
    const uint32_t magic = cursor_u32be(&c);
    const uint16_t type = cursor_u16be(&c);
    if (cursor_ok(&c) && magic != TPM_GENERATED_VALUE) {
        return error_set(err, DSTACK_E_FORMAT,
                         "failed to parse TPMS_ATTEST: invalid magic number: 0x%08x", magic);
    }
    if (cursor_ok(&c) && type != TPM_ST_ATTEST_QUOTE) {
        return error_set(err, DSTACK_E_FORMAT,
                         "failed to parse TPMS_ATTEST: invalid attest type: 0x%04x", type);
    }
    out->signer = sized(&c);
    out->extra_data = sized(&c);
    out->clock = cursor_u64be(&c);
    out->reset_count = cursor_u32be(&c);
    out->restart_count = cursor_u32be(&c);
    const uint8_t safe = cursor_u8(&c);
    out->safe = safe == 1;
    out->firmware_version = cursor_u64be(&c);
    const uint32_t selections = cursor_u32be(&c);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < selections && i < MAX_SELECTIONS && cursor_ok(&c); i++) {
        rc = read_selection(&c, out, err);
    }
    out->pcr_digest = sized(&c);
    if (rc == 0 && (!cursor_done(&c) || selections > MAX_SELECTIONS || safe > 1)) {
        rc = error_set(err, DSTACK_E_FORMAT,
                       "failed to parse TPMS_ATTEST: it is cut off or bytes follow it");
    }
    return rc;
}
