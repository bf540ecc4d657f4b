/* Verification reports: look-ups, dstack's own demands, JSON. */
#include <dstack/verifier.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "verify/dcap/quote_fields.h"

const dstack_td_report *dstack_quote_report_td(const dstack_quote_report *r) {
    return r->body_type == DSTACK_QUOTE_BODY_SGX ? NULL
                                                 : (const dstack_td_report *)(const void *)r->body;
}

static const dstack_enclave_report *enclave_of(const dstack_quote_report *r) {
    return (const dstack_enclave_report *)(const void *)r->body;
}

dstack_bytes dstack_quote_report_data_of(const dstack_quote_report *r) {
    const dstack_td_report *td = dstack_quote_report_td(r);
    return bytes_of(td != NULL ? td->report_data : enclave_of(r)->report_data, 64);
}

int dstack_quote_report_check_workload(const dstack_quote_report *r, dstack_error *err) {
    const dstack_td_report *td = dstack_quote_report_td(r);
    bool debug =
        td != NULL ? (td->td_attributes[0] & 1) != 0 : (enclave_of(r)->attributes[0] & 2) != 0;
    if (debug) {
        return error_set(err, DSTACK_E_DCAP_DEBUG, "the workload runs in debug mode");
    }
    if (td == NULL) {
        return 0;
    }
    if (!bytes_are_zero(bytes_of(td->mr_signer_seam, sizeof td->mr_signer_seam))) {
        return error_set(err, DSTACK_E_DCAP_MODULE_SIGNER, "the TDX module is not signed by Intel");
    }
    const dstack_td_report_15 *td15 = (const dstack_td_report_15 *)(const void *)(td + 1);
    if (r->body_type == DSTACK_QUOTE_BODY_TD15 &&
        !bytes_are_zero(bytes_of(td15->mr_service_td, 48))) {
        return error_set(err, DSTACK_E_DCAP_SERVICE_TD, "a service TD is bound to the TD");
    }
    return 0;
}

/* ---- JSON ---- */

static json_t *advisories_json(const dstack_advisories *list) {
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++) {
        json_array_append_new(array, json_string(list->ids[i]));
    }
    return array;
}

static json_t *status_json(dstack_tcb_status status, const dstack_advisories *list) {
    json_t *object = json_object();
    json_object_set_new(object, "status", json_string(dstack_tcb_status_name(status)));
    json_object_set_new(object, "advisory_ids", advisories_json(list));
    return object;
}

static json_t *flag_json(dstack_pck_flag flag) {
    return json_string(flag == DSTACK_PCK_FLAG_TRUE    ? "True"
                       : flag == DSTACK_PCK_FLAG_FALSE ? "False"
                                                       : "Undefined");
}

static json_t *pck_json(const dstack_pck_info *pck) {
    json_t *object = quote_pck_json(pck);
    json_object_set_new(object, "dynamic_platform", flag_json(pck->dynamic_platform));
    json_object_set_new(object, "cached_keys", flag_json(pck->cached_keys));
    json_object_set_new(object, "smt_enabled", flag_json(pck->smt_enabled));
    return object;
}

static json_t *compat_json(uint32_t used) {
    json_t *array = json_array();
    const char *name;
    for (unsigned i = 0; (name = dstack_compat_rule_name(i)) != NULL; i++) {
        if ((used >> i & 1) != 0) {
            json_array_append_new(array, json_string(name));
        }
    }
    return array;
}

static json_t *anchor_json(const dstack_anchor_info *anchor) {
    json_t *object = json_object();
    json_object_set_new(object, "name", json_string(anchor->name));
    json_object_set_new(object, "builtin", json_boolean(anchor->builtin));
    json_object_set_new(object, "sha256", json_hex(bytes_of(anchor->cert_sha256, 32)));
    json_object_set_new(object, "root_key_id", json_hex(bytes_of(anchor->key_id, 48)));
    return object;
}

static void set_dates(json_t *object, const dstack_quote_report *r) {
    json_object_set_new(object, "earliest_issue_date", json_integer(r->earliest_issue_date));
    json_object_set_new(object, "latest_issue_date", json_integer(r->latest_issue_date));
    json_object_set_new(object, "earliest_expiration_date",
                        json_integer(r->earliest_expiration_date));
    json_object_set_new(object, "qe_iden_earliest_issue_date",
                        json_integer(r->qe_earliest_issue_date));
    json_object_set_new(object, "qe_iden_latest_issue_date", json_integer(r->qe_latest_issue_date));
    json_object_set_new(object, "qe_iden_earliest_expiration_date",
                        json_integer(r->qe_earliest_expiration_date));
}

static void set_platform(json_t *object, const dstack_quote_report *r) {
    json_t *platform = json_object();
    json_object_set_new(platform, "tcb_date_tag",
                        r->has_platform_tcb_date ? json_integer(r->platform_tcb_date)
                                                 : json_null());
    json_object_set_new(platform, "pck", pck_json(&r->pck));
    json_object_set_new(platform, "root_key_id", json_hex(bytes_of(r->anchor.key_id, 48)));
    json_object_set_new(platform, "pck_crl_num", json_integer(r->pck_crl_number));
    json_object_set_new(platform, "root_ca_crl_num", json_integer(r->root_ca_crl_number));
    json_object_set_new(platform, "tcb_eval_data_number",
                        json_integer(r->platform_eval_data_number));
    json_object_set_new(object, "platform", platform);
    json_t *qe = json_object();
    json_object_set_new(qe, "tcb_date_tag",
                        r->has_qe_tcb_date ? json_integer(r->qe_tcb_date) : json_null());
    json_object_set_new(qe, "report", quote_fields_json(r->qe_report, quote_enclave_fields));
    json_object_set_new(qe, "tcb_eval_data_number", json_integer(r->qe_eval_data_number));
    json_object_set_new(object, "qe", qe);
}

int dstack_quote_report_to_json(const dstack_quote_report *r, bool pretty, dstack_buf *out,
                                dstack_error *err) {
    DSTACK_AUTO(json) json_t *object = json_object();
    json_object_set_new(object, "status", json_string(dstack_tcb_status_name(r->status)));
    json_object_set_new(object, "advisory_ids", advisories_json(&r->advisories));
    json_object_set_new(object, "report", quote_report_json(r->body_type, r->body));
    json_object_set_new(object, "ppid", json_hex(bytes_of(r->pck.ppid, sizeof r->pck.ppid)));
    json_object_set_new(object, "qe_status", status_json(r->qe_status, &r->qe_advisories));
    json_object_set_new(object, "platform_status",
                        status_json(r->platform_status, &r->platform_advisories));
    json_object_set_new(object, "tee",
                        json_string(r->tee_type == DSTACK_QUOTE_TEE_SGX ? "sgx" : "tdx"));
    json_object_set_new(object, "quote_version", json_integer(r->quote_version));
    json_object_set_new(object, "anchor", anchor_json(&r->anchor));
    json_object_set_new(object, "relaunch_advised", json_boolean(r->relaunch_advised));
    json_object_set_new(object, "shortfall",
                        r->shortfall[0] == '\0' ? json_null() : json_string(r->shortfall));
    json_object_set_new(object, "tcb_eval_data_number", json_integer(r->tcb_eval_data_number));
    json_object_set_new(object, "compat", compat_json(r->compat_used));
    set_dates(object, r);
    set_platform(object, r);
    return json_write(object, pretty, out, err);
}
