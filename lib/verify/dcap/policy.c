#include "verify/dcap/policy.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <dstack/outlook.h>
#include <dstack/verifier.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "verify/dcap/chain.h"
#include "verify/dcap/json_in.h"
#include "verify/dcap/tcb_info.h"

#define MAX_POLICY_SIZE ((size_t)64 << 10)

struct dstack_policy {
    uint32_t allowed_statuses; /* bit per dstack_tcb_status */
    uint64_t platform_grace, qe_grace;
    dstack_advisories rejected;
    uint32_t min_eval_data_number;
    bool allow_dynamic_platform, allow_cached_keys, allow_smt;
    bool any_sgx_type;
    uint32_t sgx_types[8]; /* bit per type 0 to 255 */
    struct td_bits {
        uint8_t required[8], forbidden[8];
    } td_attributes, xfam;
};

/* ---- parsing ---- */

static void read_statuses(json_in *in, dstack_policy *p) {
    uint32_t allowed = 0;
    json_in_array(in);
    while (json_in_item(in)) {
        dstack_tcb_status status;
        if (!dcap_status_parse(json_in_string(in), &status)) {
            json_in_fail(in, "an unknown status");
            return;
        }
        allowed |= (uint32_t)1 << status;
    }
    if (allowed != 0) {
        p->allowed_statuses = allowed;
    }
}

static void read_rejected(json_in *in, dstack_advisories *list) {
    json_in_array(in);
    while (json_in_item(in)) {
        dstack_bytes id = json_in_string(in);
        if (list->count == DSTACK_MAX_ADVISORIES || id.len >= DSTACK_ADVISORY_SIZE) {
            json_in_fail(in, "more than 64 advisory ids, or one of more than 31 bytes");
            return;
        }
        if (id.len > 0) {
            memcpy(list->ids[list->count], id.data, id.len);
        }
        list->ids[list->count++][id.len] = '\0';
    }
}

static void read_types(json_in *in, dstack_policy *p) {
    p->any_sgx_type = json_in_null(in);
    if (p->any_sgx_type) {
        return;
    }
    json_in_array(in);
    while (json_in_item(in)) {
        uint64_t type = json_in_uint(in, UINT8_MAX);
        p->sgx_types[type / 32] |= (uint32_t)1 << type % 32;
    }
}

static void read_bits(json_in *in, uint8_t out[8]) {
    if (hex_decode_bytes(json_in_string(in), out, 8, NULL) != 0) {
        json_in_fail(in, "not 16 hex digits");
    }
}

static void read_member(json_in *in, dstack_policy *p, int member) {
    switch (member) {
    case 0:
        read_statuses(in, p);
        break;
    case 1:
        p->platform_grace = json_in_uint(in, UINT64_MAX);
        break;
    case 2:
        p->qe_grace = json_in_uint(in, UINT64_MAX);
        break;
    case 3:
        read_rejected(in, &p->rejected);
        break;
    case 4:
        p->min_eval_data_number = (uint32_t)json_in_uint(in, UINT32_MAX);
        break;
    case 5:
        p->allow_dynamic_platform = json_in_bool(in);
        break;
    case 6:
        p->allow_cached_keys = json_in_bool(in);
        break;
    case 7:
        p->allow_smt = json_in_bool(in);
        break;
    case 8:
        read_types(in, p);
        break;
    case 9:
        read_bits(in, p->td_attributes.required);
        break;
    case 10:
        read_bits(in, p->td_attributes.forbidden);
        break;
    case 11:
        read_bits(in, p->xfam.required);
        break;
    default:
        read_bits(in, p->xfam.forbidden);
    }
}

int dstack_policy_parse(dstack_policy **out, dstack_bytes json, dstack_error *err) {
    static const char *const names[] = {"allowed_statuses",
                                        "platform_grace_period_secs",
                                        "qe_grace_period_secs",
                                        "rejected_advisory_ids",
                                        "min_tcb_eval_data_number",
                                        "allow_dynamic_platform",
                                        "allow_cached_keys",
                                        "allow_smt",
                                        "accepted_sgx_types",
                                        "required_td_attributes",
                                        "forbidden_td_attributes",
                                        "required_xfam",
                                        "forbidden_xfam"};
    json_members members = {.names = names, .count = 13, .closed = true};
    if (json.len > MAX_POLICY_SIZE) {
        return error_set(err, DSTACK_E_DCAP_POLICY_FORMAT, "policy: more than %zu bytes",
                         MAX_POLICY_SIZE);
    }
    DSTACK_AUTO(buf) dstack_buf texts = {0};
    DSTACK_AUTO(policy) dstack_policy *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a policy");
    }
    p->allowed_statuses = 1u << DSTACK_TCB_UP_TO_DATE;
    p->any_sgx_type = true;
    json_in in = json_in_init(json, &texts);
    json_in_object(&in);
    for (int member; (member = json_in_member(&in, &members)) >= 0;) {
        read_member(&in, p, member);
    }
    if (!json_in_end(&in)) {
        return error_set(err, DSTACK_E_DCAP_POLICY_FORMAT, "policy, at byte %zu: %s", in.c.pos,
                         in.fault);
    }
    *out = p;
    p = NULL;
    return 0;
}

void dstack_policy_free(dstack_policy *policy) {
    free(policy);
}

/* ---- deciding ---- */

/* True while a level's date and the grace are not before now; sums do not wrap. */
static bool within_grace(bool has_date, int64_t date, uint64_t grace, int64_t now) {
    if (!has_date) {
        return false;
    }
    return grace > (uint64_t)(INT64_MAX - date) || date + (int64_t)grace >= now;
}

static const char *rejected_id(const dstack_policy *p, const dstack_advisories *list) {
    for (size_t i = 0; i < list->count; i++) {
        for (size_t r = 0; r < p->rejected.count; r++) {
            if (strcasecmp(list->ids[i], p->rejected.ids[r]) == 0) {
                return list->ids[i];
            }
        }
    }
    return NULL;
}

static int check_levels(const dstack_policy *p, const dstack_quote_report *r, int64_t now,
                        dstack_error *err) {
    if (r->status == DSTACK_TCB_REVOKED || (p->allowed_statuses >> r->status & 1) == 0) {
        return error_set(
            err, DSTACK_E_DCAP_POLICY_STATUS, "policy does not allow TCB status %s%s%s",
            dstack_tcb_status_name(r->status), r->shortfall[0] == '\0' ? "" : ": ", r->shortfall);
    }
    if (r->earliest_expiration_date < now) {
        return error_set(err, DSTACK_E_DCAP_POLICY_COLLATERAL,
                         "policy refuses collateral that expired at %lld",
                         (long long)r->earliest_expiration_date);
    }
    if ((r->platform_status == DSTACK_TCB_OUT_OF_DATE ||
         r->platform_status == DSTACK_TCB_OUT_OF_DATE_CONFIGURATION_NEEDED) &&
        !within_grace(r->has_platform_tcb_date, r->platform_tcb_date, p->platform_grace, now)) {
        return error_set(err, DSTACK_E_DCAP_POLICY_PLATFORM_AGE,
                         "the platform's TCB date %lld is further back than policy grants",
                         (long long)r->platform_tcb_date);
    }
    if (r->qe_status == DSTACK_TCB_OUT_OF_DATE &&
        !within_grace(r->has_qe_tcb_date, r->qe_tcb_date, p->qe_grace, now)) {
        return error_set(err, DSTACK_E_DCAP_POLICY_QE_AGE,
                         "the quoting enclave's TCB date %lld is further back than policy grants",
                         (long long)r->qe_tcb_date);
    }
    const char *rejected = rejected_id(p, &r->advisories);
    if (rejected != NULL) {
        return error_set(err, DSTACK_E_DCAP_POLICY_ADVISORY, "policy rejects advisory %s",
                         rejected);
    }
    if (r->tcb_eval_data_number < p->min_eval_data_number) {
        return error_set(err, DSTACK_E_DCAP_POLICY_EVAL_NUMBER,
                         "TCB evaluation data number is %u, policy demands %u",
                         r->tcb_eval_data_number, p->min_eval_data_number);
    }
    return 0;
}

static int check_flags(const dstack_policy *p, const dstack_pck_info *pck, dstack_error *err) {
    if (pck->dynamic_platform == DSTACK_PCK_FLAG_TRUE && !p->allow_dynamic_platform) {
        return error_set(err, DSTACK_E_DCAP_POLICY_DYNAMIC_PLATFORM,
                         "policy refuses dynamic platforms");
    }
    if (pck->cached_keys == DSTACK_PCK_FLAG_TRUE && !p->allow_cached_keys) {
        return error_set(err, DSTACK_E_DCAP_POLICY_CACHED_KEYS,
                         "policy refuses platforms with cached keys");
    }
    if (pck->smt_enabled == DSTACK_PCK_FLAG_TRUE && !p->allow_smt) {
        return error_set(err, DSTACK_E_DCAP_POLICY_SMT, "policy refuses platforms with SMT");
    }
    if (!p->any_sgx_type && (pck->sgx_type > UINT8_MAX ||
                             (p->sgx_types[pck->sgx_type / 32] >> pck->sgx_type % 32 & 1) == 0)) {
        return error_set(err, DSTACK_E_DCAP_POLICY_SGX_TYPE, "policy does not accept SGX type %u",
                         pck->sgx_type);
    }
    return 0;
}

static bool bits_fit(const struct td_bits *rule, const uint8_t have[8]) {
    bool fit = true;
    for (size_t i = 0; i < 8; i++) {
        fit = fit && (have[i] & rule->required[i]) == rule->required[i] &&
              (have[i] & rule->forbidden[i]) == 0;
    }
    return fit;
}

/* An enclave has none of a TD's bits. */
static int check_attributes(const dstack_policy *p, const dstack_quote_report *r,
                            dstack_error *err) {
    static const uint8_t none[8] = {0};
    const dstack_td_report *td = dstack_quote_report_td(r);
    if (!bits_fit(&p->td_attributes, td != NULL ? td->td_attributes : none)) {
        return error_set(err, DSTACK_E_DCAP_POLICY_ATTRIBUTES,
                         "the TD attributes are not what policy demands");
    }
    if (!bits_fit(&p->xfam, td != NULL ? td->xfam : none)) {
        return error_set(err, DSTACK_E_DCAP_POLICY_ATTRIBUTES, "XFAM is not what policy demands");
    }
    return 0;
}

int dstack_policy_decide(const dstack_policy *policy, const dstack_quote_report *report,
                         int64_t now, dstack_error *err) {
    int rc = check_levels(policy, report, now, err);
    rc = rc != 0 ? rc : check_flags(policy, &report->pck, err);
    return rc != 0 ? rc : check_attributes(policy, report, err);
}

/* ---- outlook ---- */

/* The first second after a grace period; false when it has no end. */
static bool grace_end(bool has_date, int64_t date, uint64_t grace, int64_t *end) {
    if (!has_date || grace >= (uint64_t)(INT64_MAX - date)) {
        return false;
    }
    *end = date + (int64_t)grace + 1;
    return true;
}

static void sooner(dstack_quote_outlook *out, int64_t end, dstack_status cause) {
    if (!out->ends || end < out->end) {
        out->ends = true;
        out->end = end;
        out->cause = cause;
    }
}

void dstack_policy_outlook(const dstack_policy *p, const dstack_quote_report *report, int64_t at,
                           dstack_quote_outlook *out) {
    dstack_quote_report r = *report;
    int64_t end;
    r.earliest_expiration_date = INT64_MAX;
    *out = (dstack_quote_outlook){.decision = dstack_policy_decide(p, &r, at, NULL)};
    if (out->decision != 0) {
        return;
    }
    if ((r.platform_status == DSTACK_TCB_OUT_OF_DATE ||
         r.platform_status == DSTACK_TCB_OUT_OF_DATE_CONFIGURATION_NEEDED) &&
        grace_end(r.has_platform_tcb_date, r.platform_tcb_date, p->platform_grace, &end)) {
        sooner(out, end, DSTACK_E_DCAP_POLICY_PLATFORM_AGE);
    }
    if (r.qe_status == DSTACK_TCB_OUT_OF_DATE &&
        grace_end(r.has_qe_tcb_date, r.qe_tcb_date, p->qe_grace, &end)) {
        sooner(out, end, DSTACK_E_DCAP_POLICY_QE_AGE);
    }
}
