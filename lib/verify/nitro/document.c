/* The attestation document as bytes: COSE_Sign1 around a CBOR map. */
#include <dstack/nitro.h>

#include "base/cbor_any.h"
#include "base/error.h"

#define TAG_COSE_SIGN1 18
#define ES384 34 /* the value of -35 as CBOR holds negative numbers */
#define HEADER_ALG 1
#define HEADER_CRIT 2

static int malformed(dstack_error *err, const char *what) {
    return error_set(err, DSTACK_E_FORMAT, "attestation document: %s", what);
}

/* ---- protected header ---- */

/* crit may list nothing but the algorithm, which is understood here. */
static bool read_crit(cursor *c) {
    const cbor_any list = cbor_any_take(c, CBOR_ANY_ARRAY);
    bool known = true;
    for (uint64_t n = 0; cbor_any_next(c, list, &n);) {
        const cbor_any item = cbor_any_read(c);
        known &= (item.kind == CBOR_ANY_UINT && item.value == HEADER_ALG) ||
                 (item.kind == CBOR_ANY_TEXT && bytes_equal_str(item.bytes, "alg"));
    }
    return known;
}

static int read_header(dstack_bytes header, dstack_error *err) {
    cursor c = cursor_init(header);
    const cbor_any map = cbor_any_take(&c, CBOR_ANY_MAP);
    unsigned algorithms = 0, crits = 0;
    bool es384 = false, crit_known = true;
    for (uint64_t n = 0; cbor_any_next(&c, map, &n);) {
        const cbor_any key = cbor_any_read(&c);
        if (key.kind == CBOR_ANY_UINT && key.value == HEADER_ALG) {
            const cbor_any value = cbor_any_read(&c);
            es384 = value.kind == CBOR_ANY_NEGATIVE && value.value == ES384;
            algorithms++;
        } else if (key.kind == CBOR_ANY_UINT && key.value == HEADER_CRIT) {
            crit_known = read_crit(&c);
            crits++;
        } else {
            cbor_any_skip(&c);
        }
    }
    if (!cursor_done(&c) || crits > 1 || algorithms > 1) {
        return malformed(err, "the protected header is not one map");
    }
    if (!crit_known) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "unsupported COSE critical headers");
    }
    if (!es384) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "unsupported COSE algorithm: -35 (ES384) expected");
    }
    return 0;
}

/* ---- payload ---- */

static void read_pcrs(cursor *c, dstack_nitro_document *out) {
    const cbor_any map = cbor_any_take(c, CBOR_ANY_MAP);
    for (uint64_t n = 0; cbor_any_next(c, map, &n);) {
        const cbor_any index = cbor_any_take(c, CBOR_ANY_UINT);
        const cbor_any value = cbor_any_take(c, CBOR_ANY_BYTES);
        if (index.value >= DSTACK_NITRO_MAX_PCRS || value.bytes.len != DSTACK_NITRO_PCR_SIZE ||
            (out->pcr_mask >> index.value & 1) != 0) {
            c->failed = true;
            return;
        }
        out->pcr_mask |= UINT32_C(1) << index.value;
        out->pcrs[index.value] = value.bytes;
    }
}

static void read_bundle(cursor *c, dstack_nitro_document *out) {
    const cbor_any list = cbor_any_take(c, CBOR_ANY_ARRAY);
    for (uint64_t n = 0; cbor_any_next(c, list, &n);) {
        if (out->cabundle_count == DSTACK_NITRO_MAX_CERTS) {
            c->failed = true;
            return;
        }
        out->cabundle[out->cabundle_count++] = cbor_any_take(c, CBOR_ANY_BYTES).bytes;
    }
}

static void read_optional(cursor *c, dstack_bytes *value, bool *present) {
    const cbor_any item = cbor_any_read(c);
    *present = item.kind == CBOR_ANY_BYTES;
    *value = item.bytes;
    c->failed |= !*present && item.kind != CBOR_ANY_NULL;
}

enum member {
    MEMBER_MODULE,
    MEMBER_DIGEST,
    MEMBER_TIMESTAMP,
    MEMBER_PCRS,
    MEMBER_TPM_PCRS,
    MEMBER_CERTIFICATE,
    MEMBER_BUNDLE,
    MEMBER_PUBLIC_KEY,
    MEMBER_USER_DATA,
    MEMBER_NONCE,
    MEMBERS,
};

static const char *const member_names[MEMBERS] = {
    "module_id",   "digest",   "timestamp",  "pcrs",      "nitrotpm_pcrs",
    "certificate", "cabundle", "public_key", "user_data", "nonce"};

static void read_member(cursor *c, enum member member, dstack_nitro_document *out) {
    switch (member) {
    case MEMBER_MODULE:
        out->module_id = cbor_any_take(c, CBOR_ANY_TEXT).bytes;
        break;
    case MEMBER_DIGEST:
        c->failed |= !bytes_equal_str(cbor_any_take(c, CBOR_ANY_TEXT).bytes, "SHA384");
        break;
    case MEMBER_TIMESTAMP:
        out->timestamp_ms = cbor_any_take(c, CBOR_ANY_UINT).value;
        break;
    case MEMBER_PCRS:
    case MEMBER_TPM_PCRS:
        out->is_tpm = member == MEMBER_TPM_PCRS;
        read_pcrs(c, out);
        break;
    case MEMBER_CERTIFICATE:
        out->certificate = cbor_any_take(c, CBOR_ANY_BYTES).bytes;
        break;
    case MEMBER_BUNDLE:
        read_bundle(c, out);
        break;
    case MEMBER_PUBLIC_KEY:
        read_optional(c, &out->public_key, &out->has_public_key);
        break;
    case MEMBER_USER_DATA:
        read_optional(c, &out->user_data, &out->has_user_data);
        break;
    case MEMBER_NONCE:
        read_optional(c, &out->nonce, &out->has_nonce);
        break;
    case MEMBERS:
    default:
        cbor_any_skip(c);
    }
}

/* A member that stands twice would leave open which of them counts. */
static int read_payload(dstack_nitro_document *out, dstack_error *err) {
    unsigned seen = 0;
    cursor c = cursor_init(out->payload);
    const cbor_any map = cbor_any_take(&c, CBOR_ANY_MAP);
    for (uint64_t n = 0; cbor_any_next(&c, map, &n);) {
        const dstack_bytes key = cbor_any_take(&c, CBOR_ANY_TEXT).bytes;
        unsigned member = 0;
        while (member < MEMBERS && !bytes_equal_str(key, member_names[member])) {
            member++;
        }
        read_member(&c, (enum member)member, out);
        if (member < MEMBERS && (seen >> member & 1) != 0) {
            return malformed(err, "a member stands twice");
        }
        seen |= member < MEMBERS ? 1u << member : 0;
        if (!cursor_ok(&c)) {
            return error_set(err, DSTACK_E_FORMAT, "attestation document: %s is malformed",
                             member < MEMBERS ? member_names[member] : "a member");
        }
    }
    if (!cursor_done(&c)) {
        return malformed(err, "the payload is not one map");
    }
    static const enum member needed[] = {MEMBER_MODULE, MEMBER_DIGEST, MEMBER_TIMESTAMP,
                                         MEMBER_CERTIFICATE, MEMBER_BUNDLE};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        if ((seen >> needed[i] & 1) == 0) {
            return error_set(err, DSTACK_E_FORMAT, "attestation document: %s is missing",
                             member_names[needed[i]]);
        }
    }
    const unsigned both = 1u << MEMBER_PCRS | 1u << MEMBER_TPM_PCRS;
    if (out->pcr_mask == 0 || (seen & both) == both) {
        return malformed(err, "it must have PCRs, under one name");
    }
    return 0;
}

int dstack_nitro_document_parse(dstack_nitro_document *out, dstack_bytes document,
                                dstack_error *err) {
    *out = (dstack_nitro_document){0};
    if (document.len > DSTACK_NITRO_MAX_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "attestation document of %zu bytes, at most %zu",
                         document.len, DSTACK_NITRO_MAX_SIZE);
    }
    cursor c = cursor_init(document);
    cbor_any head = cbor_any_read(&c);
    if (head.kind == CBOR_ANY_TAG && head.value == TAG_COSE_SIGN1) {
        head = cbor_any_read(&c);
    }
    if (head.kind != CBOR_ANY_ARRAY || head.value != 4) {
        return malformed(err, "it is no COSE_Sign1");
    }
    out->protected_header = cbor_any_take(&c, CBOR_ANY_BYTES).bytes;
    if (cursor_left(&c) > 0 && c.data[c.pos] >> 5 != 5) {
        return malformed(err, "its unprotected header is no map");
    }
    cbor_any_skip(&c);
    out->payload = cbor_any_take(&c, CBOR_ANY_BYTES).bytes;
    out->signature = cbor_any_take(&c, CBOR_ANY_BYTES).bytes;
    if (!cursor_done(&c)) {
        return malformed(err, "it is no COSE_Sign1, or bytes follow it");
    }
    int rc = read_header(out->protected_header, err);
    return rc == 0 ? read_payload(out, err) : rc;
}
