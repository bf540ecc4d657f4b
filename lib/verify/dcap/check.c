/* Steps of Intel's quote verification that depend on the quote (Intel SGX DCAP "Quote Verification
 * Library", and TDX additions): two signatures, the binding between them, identities, TCB levels.
 */
#include "verify/dcap/check.h"

#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/hash.h"
#include "verify/dcap/quote_build.h"
#include "verify/dcap/tcb.h"

int dcap_check_kind(const dstack_quote *q, dstack_error *err) {
    if (memcmp(q->header->qe_vendor_id, quote_intel_vendor_id, 16) != 0) {
        return error_set(err, DSTACK_E_DCAP_QE_VENDOR, "the quoting enclave's vendor is not Intel");
    }
    bool sgx = q->tee_type == DSTACK_QUOTE_TEE_SGX;
    if (!sgx && q->tee_type != DSTACK_QUOTE_TEE_TDX) {
        return error_set(err, DSTACK_E_DCAP_TEE_TYPE, "TEE type 0x%08x is unknown", q->tee_type);
    }
    if (sgx != (q->version == 3)) {
        return error_set(err, DSTACK_E_DCAP_TEE_VERSION, "%s quotes of version %u are not verified",
                         dstack_quote_tee_name(q), q->version);
    }
    if (q->attestation_key_type != DSTACK_QUOTE_KEY_ECDSA_P256) {
        return error_set(err, DSTACK_E_DCAP_ATT_KEY_TYPE,
                         "attestation key type is %u, not 2 (ECDSA P-256)",
                         q->attestation_key_type);
    }
    if (!sgx && q->td == NULL) {
        return error_set(err, DSTACK_E_DCAP_QUOTE_FORMAT, "a TDX quote without a TD report");
    }
    return 0;
}

int dcap_check_identity_type(const dcap_context *c, const dstack_quote *q, dstack_error *err) {
    const dcap_text *text = &c->qe.text;
    bool sgx = q->tee_type == DSTACK_QUOTE_TEE_SGX;
    bool fits =
        sgx ? bytes_equal_str(text->id, "QE") && text->version == 2
            : bytes_equal_str(text->id, "TD_QE") && (text->version == 2 || text->version == 3);
    return fits ? 0
                : error_set(err, DSTACK_E_DCAP_QE_IDENTITY_TYPE,
                            "QE identity \"%.*s\" version %u is not for %s quotes",
                            (int)(text->id.len > 32 ? 32 : text->id.len),
                            (const char *)text->id.data, text->version, dstack_quote_tee_name(q));
}

static uint16_t u16le(const uint8_t bytes[2]) {
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static uint32_t u32le(const uint8_t bytes[4]) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static uint64_t u64le(const uint8_t bytes[8]) {
    return u32le(bytes) | (uint64_t)u32le(bytes + 4) << 32;
}

static bool signed_by(const ecdsa_key *key, dstack_bytes data, dstack_bytes signature) {
    uint8_t digest[HASH_SHA256_SIZE];
    hash_sha256(data, digest);
    return ecdsa_verify_raw(key, bytes_of(digest, sizeof digest), signature, NULL) == 0;
}

/* The QE report, signed by the platform, vouches for the attestation key. */
static int check_qe_report(const dcap_platform *p, const dstack_quote *q, dstack_error *err) {
    if (!signed_by(p->key, bytes_of(q->qe_report, sizeof *q->qe_report), q->qe_report_signature)) {
        return error_set(err, DSTACK_E_DCAP_QE_REPORT_SIGNATURE,
                         "the QE report is not signed by the PCK certificate's key");
    }
    if (q->qe_auth_data.len != QUOTE_QE_AUTH_SIZE) {
        return error_set(err, DSTACK_E_DCAP_QE_AUTH_DATA,
                         "QE authentication data are %zu bytes, not %d", q->qe_auth_data.len,
                         QUOTE_QE_AUTH_SIZE);
    }
    uint8_t hash[32];
    quote_build_key_hash(q->attestation_key.data, q->qe_auth_data, hash);
    if (memcmp(hash, q->qe_report->report_data, sizeof hash) != 0) {
        return error_set(err, DSTACK_E_DCAP_QE_REPORT_DATA,
                         "the QE report does not bind the attestation key");
    }
    return 0;
}

static int bad_qe(dstack_error *err, dstack_status status, const char *what) {
    return error_set(err, status, "the quoting enclave's %s is not the one of the QE identity",
                     what);
}

/* Expected bits outside of the mask can never be met. */
static bool masked_equal(uint32_t have, uint32_t mask, uint32_t want, dcap_compat *compat) {
    return (have & mask) == want ||
           ((have & mask) == (want & mask) && dcap_waive(compat, DSTACK_COMPAT_MASKED_IDENTITY));
}

static int check_qe_identity(const dcap_qe_identity *want, const dstack_enclave_report *have,
                             dcap_compat *compat, dstack_error *err) {
    if (memcmp(have->mr_signer, want->mr_signer, sizeof want->mr_signer) != 0) {
        return bad_qe(err, DSTACK_E_DCAP_QE_MRSIGNER, "MRSIGNER");
    }
    if ((have->attributes[0] & 2) != 0) {
        return error_set(err, DSTACK_E_DCAP_QE_DEBUG, "the quoting enclave runs in debug mode");
    }
    if (u16le(have->isv_prod_id) != want->isv_prod_id) {
        return bad_qe(err, DSTACK_E_DCAP_QE_ISVPRODID, "ISVPRODID");
    }
    if (!masked_equal(u32le(have->misc_select), want->misc_select_mask, want->misc_select,
                      compat)) {
        return bad_qe(err, DSTACK_E_DCAP_QE_MISCSELECT, "MISCSELECT");
    }
    for (int i = 0; i < 16; i++) {
        if (!masked_equal(have->attributes[i], want->attributes_mask[i], want->attributes[i],
                          compat)) {
            return bad_qe(err, DSTACK_E_DCAP_QE_ATTRIBUTES, "ATTRIBUTES");
        }
    }
    return 0;
}

/* known: the attestation key, or NULL where it was not seen before. */
static int check_quote_signature(const ecdsa_key *known, const dstack_quote *q, dstack_error *err) {
    uint8_t bytes[HASH_SHA256_SIZE];
    dstack_bytes digest = bytes_of(bytes, sizeof bytes);
    hash_sha256(q->signed_bytes, bytes);
    int rc = known != NULL
                 ? ecdsa_verify_raw(known, digest, q->signature, NULL)
                 : ecdsa_verify_point(ECDSA_P256, q->attestation_key, digest, q->signature, NULL);
    if (rc != 0) {
        return error_set(err, DSTACK_E_DCAP_QUOTE_SIGNATURE,
                         "the quote is not signed by its attestation key");
    }
    return 0;
}

/* The TCB info is for this platform and this kind of TEE. */
static int check_tcb_info_fits(const dcap_platform *p, const dstack_quote *q, dcap_compat *compat,
                               dstack_error *err) {
    const dcap_tcb_info *info = &p->context->tcb;
    uint8_t fmspc[6], pce_id[2];
    if (hex_decode_bytes(info->fmspc, fmspc, sizeof fmspc, NULL) != 0 ||
        memcmp(fmspc, p->pck.fmspc, sizeof fmspc) != 0) {
        return error_set(err, DSTACK_E_DCAP_FMSPC_MISMATCH,
                         "the TCB info is not for the platform's FMSPC %02x%02x%02x%02x%02x%02x",
                         p->pck.fmspc[0], p->pck.fmspc[1], p->pck.fmspc[2], p->pck.fmspc[3],
                         p->pck.fmspc[4], p->pck.fmspc[5]);
    }
    if ((hex_decode_bytes(info->pce_id, pce_id, sizeof pce_id, NULL) != 0 ||
         memcmp(pce_id, p->pck.pce_id, sizeof pce_id) != 0) &&
        !dcap_waive(compat, DSTACK_COMPAT_TCB_INFO_KIND)) {
        return error_set(err, DSTACK_E_DCAP_PCEID_MISMATCH,
                         "the TCB info is not for the platform's PCEID %02x%02x", p->pck.pce_id[0],
                         p->pck.pce_id[1]);
    }
    const char *id = q->tee_type == DSTACK_QUOTE_TEE_SGX ? "SGX" : "TDX";
    if (!bytes_equal_str(info->text.id, id)) {
        return error_set(err, DSTACK_E_DCAP_TCB_INFO_TYPE, "the TCB info is not for %s", id);
    }
    return 0;
}

/* The three levels that make up a verdict. */
typedef struct levels {
    const dcap_level *platform, *module, *qe;
    dstack_tcb_status platform_status, status;
} levels;

static int find_levels(const dcap_platform *p, const dstack_quote *q, const uint8_t *tee_tcb_svn,
                       const dcap_level *qe, dcap_compat *compat, levels *out, dstack_error *err) {
    const dcap_tcb_info *info = &p->context->tcb;
    dcap_platform_tcb have = {p->pck.components, p->pck.pce_svn, tee_tcb_svn};
    *out = (levels){.qe = qe};
    int rc = dcap_platform_match(info, &have, compat, &out->platform, err);
    if (rc == 0 && q->td != NULL) {
        rc = dcap_module_match(info, tee_tcb_svn, q->td, compat, &out->module, err);
    }
    if (rc == 0) {
        out->platform_status = out->module == NULL
                                   ? out->platform->status
                                   : dcap_status_merge(out->platform->status, out->module->status);
        out->status = dcap_status_merge(out->platform_status, qe->status);
    }
    return rc;
}

static bool is_out_of_date(dstack_tcb_status status) {
    return status == DSTACK_TCB_OUT_OF_DATE ||
           status == DSTACK_TCB_OUT_OF_DATE_CONFIGURATION_NEEDED;
}

/* Intel's advice to relaunch a TD: launched under an old module that has been replaced by a good
 * one since. It is advice, so a second evaluation that fails is no error. */
static bool relaunch_advised(const dcap_platform *p, const dstack_quote *q, const levels *launch) {
    levels now;
    return q->td15 != NULL && is_out_of_date(launch->status) &&
           find_levels(p, q, q->td15->tee_tcb_svn2, launch->qe, NULL, &now, NULL) == 0 &&
           !is_out_of_date(now.status) && now.status != DSTACK_TCB_REVOKED;
}

static int fill_advisories(const dcap_context *c, const levels *l, dstack_quote_report *r,
                           dstack_error *err) {
    r->advisories.count = r->platform_advisories.count = r->qe_advisories.count = 0;
    int rc =
        dcap_advisories_add(&r->platform_advisories, &c->tcb.text, l->platform->advisories, err);
    if (rc == 0 && l->module != NULL) {
        rc = dcap_advisories_add(&r->platform_advisories, &c->tcb.text, l->module->advisories, err);
    }
    if (rc == 0) {
        rc = dcap_advisories_add(&r->qe_advisories, &c->qe.text, l->qe->advisories, err);
    }
    if (rc == 0) {
        memcpy(r->advisories.ids, r->platform_advisories.ids,
               r->platform_advisories.count * sizeof *r->advisories.ids);
        r->advisories.count = r->platform_advisories.count;
        rc = dcap_advisories_add(&r->advisories, &c->qe.text, l->qe->advisories, err);
    }
    return rc;
}

static void fill_tcb_dates(const levels *l, dstack_quote_report *r) {
    r->has_platform_tcb_date = l->platform->has_date;
    r->platform_tcb_date = l->platform->date;
    r->has_qe_tcb_date = l->qe->has_date;
    r->qe_tcb_date = l->qe->date;
}

static void fill_report(const dcap_platform *p, const dstack_quote *q, const levels *l,
                        dstack_quote_report *r) {
    const dcap_context *c = p->context;
    r->tee_type = q->tee_type;
    r->quote_version = q->version;
    r->body_type = q->body_type;
    r->body_size = q->body.len;
    memcpy(r->header, q->header, sizeof r->header);
    memset(r->body, 0, sizeof r->body);
    memcpy(r->body, q->body.data, q->body.len);
    memcpy(r->qe_report, q->qe_report, sizeof r->qe_report);
    r->status = l->status;
    r->platform_status = l->platform_status;
    r->qe_status = l->qe->status;
    r->relaunch_advised = relaunch_advised(p, q, l);
    dcap_platform_tcb have = {p->pck.components, p->pck.pce_svn,
                              q->td != NULL ? q->td->tee_tcb_svn : NULL};
    r->shortfall[0] = '\0';
    if (l->platform->status != DSTACK_TCB_UP_TO_DATE) {
        dcap_shortfall(&c->tcb, &have, r->shortfall, sizeof r->shortfall);
    }
    r->pck = p->pck;
    r->anchor = c->anchor->info;
    r->platform_eval_data_number = c->tcb.text.eval_data_number;
    r->qe_eval_data_number = c->qe.text.eval_data_number;
    r->tcb_eval_data_number = r->qe_eval_data_number < r->platform_eval_data_number
                                  ? r->qe_eval_data_number
                                  : r->platform_eval_data_number;
    fill_tcb_dates(l, r);
    r->root_ca_crl_number = c->root_crl_number;
    r->pck_crl_number = c->pck_crl_number;
    dcap_validity all = c->validity;
    dcap_validity_merge(&all, &p->validity);
    r->earliest_issue_date = all.earliest_issue;
    r->latest_issue_date = all.latest_issue;
    r->earliest_expiration_date = all.earliest_expiration;
    r->qe_earliest_issue_date = c->qe_validity.earliest_issue;
    r->qe_latest_issue_date = c->qe_validity.latest_issue;
    r->qe_earliest_expiration_date = c->qe_validity.earliest_expiration;
}

#define BIT_RANGE(first, last) ((UINT64_MAX >> (63 - ((last) - (first)))) << (first))
/* Reserved in TDATTRIBUTES; MIGRATABLE is among them: who migrates a TD could read it. */
#define TD_RESERVED (BIT_RANGE(8, 27) | DSTACK_TD_ATTRIBUTE_MIGRATABLE | BIT_RANGE(32, 62))
#define TD_PROFILING BIT_RANGE(1, 7)
#define TD_OVERLOOKED BIT_RANGE(39, 39) /* by the reference verifier */

static int check_td(const dstack_quote *q, const dcap_check_flags *flags, dcap_compat *compat,
                    dstack_error *err) {
    uint64_t attributes = u64le(q->td->td_attributes);
    if (q->td15 != NULL && !flags->allow_service_td &&
        !bytes_are_zero(bytes_of(q->td15->mr_service_td, 48))) {
        return error_set(err, DSTACK_E_DCAP_SERVICE_TD, "a service TD is bound to the TD");
    }
    if ((attributes & TD_PROFILING) != 0) {
        return error_set(err, DSTACK_E_DCAP_TD_ATTRIBUTES,
                         "TD attributes %016llx have a debug or profiling bit of 1 to 7",
                         (unsigned long long)attributes);
    }
    if ((attributes & DSTACK_TD_ATTRIBUTE_DEBUG) != 0 && !flags->allow_debug) {
        return error_set(err, DSTACK_E_DCAP_DEBUG, "the TD runs in debug mode");
    }
    uint64_t reserved = attributes & TD_RESERVED;
    if (reserved != 0 &&
        !(reserved == TD_OVERLOOKED && dcap_waive(compat, DSTACK_COMPAT_TD_ATTRIBUTES))) {
        return error_set(err, DSTACK_E_DCAP_TD_ATTRIBUTES,
                         "TD attributes %016llx have a reserved bit or MIGRATABLE",
                         (unsigned long long)attributes);
    }
    if ((attributes & DSTACK_TD_ATTRIBUTE_SEPT_VE_DISABLE) == 0) {
        return error_set(err, DSTACK_E_DCAP_SEPT_VE_DISABLE,
                         "the TD attribute SEPT_VE_DISABLE is not set");
    }
    return 0;
}

static int check_workload(const dstack_quote *q, const dcap_check_flags *flags, dcap_compat *compat,
                          dstack_error *err) {
    if (q->td != NULL) {
        return check_td(q, flags, compat, err);
    }
    if (dstack_quote_is_debug(q) && !flags->allow_debug) {
        return error_set(err, DSTACK_E_DCAP_DEBUG, "the enclave runs in debug mode");
    }
    return 0;
}

int dcap_check_quote(dcap_platform *p, const dstack_quote *q, const dcap_check_flags *flags,
                     uint32_t compat_used, dstack_quote_report *report, dstack_error *err) {
    const dcap_context *c = p->context;
    dcap_compat compat = {flags->compat, compat_used | p->compat_used | c->compat_used};
    levels found = {0};
    int rc = check_qe_report(p, q, err);
    if (rc == 0) {
        rc = check_qe_identity(&c->qe, q->qe_report, &compat, err);
    }
    if (rc != 0) {
        return rc;
    }
    uint16_t qe_svn = u16le(q->qe_report->isv_svn);
    const dcap_level *qe = dcap_svn_match(&c->qe.levels, qe_svn);
    if (qe == NULL) {
        return error_set(err, DSTACK_E_DCAP_QE_ISVSVN,
                         "the quoting enclave's ISVSVN %u is below every level", qe_svn);
    }
    const ecdsa_key *known = dcap_platform_attestation_key(p, q->attestation_key);
    rc = check_quote_signature(known, q, err);
    if (rc == 0) {
        rc = check_tcb_info_fits(p, q, &compat, err);
    }
    if (rc == 0) {
        rc = find_levels(p, q, q->td != NULL ? q->td->tee_tcb_svn : NULL, qe, &compat, &found, err);
    }
    if (rc == 0 && found.status == DSTACK_TCB_REVOKED) {
        rc =
            error_set(err, DSTACK_E_DCAP_TCB_REVOKED, "the TCB level of the %s is revoked",
                      found.platform_status == DSTACK_TCB_REVOKED ? "platform" : "quoting enclave");
    }
    if (rc == 0) {
        rc = check_workload(q, flags, &compat, err);
    }
    if (rc == 0) {
        rc = fill_advisories(c, &found, report, err);
    }
    if (rc == 0) {
        if (known == NULL) {
            dcap_platform_keep_key(p, q->attestation_key);
        }
        fill_report(p, q, &found, report);
        report->compat_used = compat.used;
    }
    return rc;
}
