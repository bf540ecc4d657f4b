/* Verification of an Intel TDX attestation. */
#include <string.h>

#include "attest/verified.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"

static int get_collateral(dstack_verifier *verifier, dstack_bytes quote,
                          const dstack_attestation_options *options, dstack_error *err) {
    if (options->collateral == NULL ||
        dstack_verifier_has_collateral(verifier, quote, options->now)) {
        return 0;
    }
    return error_prefix(err, options->collateral(options->collateral_user, verifier, quote, err),
                        "collateral");
}

static int check_quote(dstack_verifier *verifier, dstack_bytes quote,
                       const dstack_attestation_options *options, dstack_quote_report *report,
                       dstack_error *err) {
    int rc = get_collateral(verifier, quote, options, err);
    if (rc != 0) {
        return rc;
    }
    const dstack_quote_expectations expectations = {.policy = options->policy};
    rc = dstack_verifier_check(verifier, quote, &expectations, options->now, report, err);
    if (rc == 0) {
        rc = dstack_quote_report_check_workload(report, err);
    }
    if (rc == 0 && dstack_quote_report_td(report) == NULL) {
        rc = error_set(err, DSTACK_E_REFUSED, "no TD report");
    }
    return error_prefix(err, rc, "failed to verify TDX quote");
}

int verify_provider_kind(const char *name, dstack_key_provider *out) {
    static const struct {
        const char *name;
        dstack_key_provider kind;
    } kinds[] = {{"none", DSTACK_KEY_PROVIDER_NONE},
                 {"local-sgx", DSTACK_KEY_PROVIDER_LOCAL},
                 {"kms", DSTACK_KEY_PROVIDER_KMS},
                 {"tpm", DSTACK_KEY_PROVIDER_TPM}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            *out = kinds[i].kind;
            return 0;
        }
    }
    return DSTACK_E_FORMAT;
}

/* The document of a version 3 configuration id: a text in the configuration that came along. Its
 * hash is in the signed register, so it need not be trusted. */
static dstack_bytes find_document(const dstack_attestation *a, json_t **keep) {
    *keep = json_loads(a->config, JSON_REJECT_DUPLICATES, NULL);
    const char *text = json_string_value(json_object_get(*keep, "mr_config"));
    return text == NULL ? (dstack_bytes){0} : bytes_of_str(text);
}

/* Without the key-provider event (before keys are given) only version 1 can be judged. */
static int check_mr_config(const dstack_attestation *a, const dstack_td_report *td,
                           const dstack_identity *identity, bool *bound, dstack_error *err) {
    *bound = false;
    if (bytes_are_zero(bytes_of(td->mr_config_id, sizeof td->mr_config_id))) {
        return 0;
    }
    dstack_bytes scripts[DSTACK_INIT_SCRIPTS_MAX];
    for (size_t i = 0; i < identity->init_script_count; i++) {
        scripts[i] = attest_value(&identity->init_scripts[i]);
    }
    DSTACK_AUTO(buf) dstack_buf provider_id = {0};
    char provider[32] = "none";
    bool known = attest_claim(a->runtime, "key-provider").len > 0;
    dstack_mr_config local = {
        .app_id = attest_claim(a->runtime, "app-id"),
        .compose_hash = attest_claim(a->runtime, "compose-hash"),
        .gpu_policy_hash = attest_claim(a->runtime, "gpu-policy-hash"),
        .instance_id = attest_claim(a->runtime, "instance-id"),
        .init_script_hashes = scripts,
        .init_script_count = identity->init_script_count,
        .has_init_scripts = true,
    };
    int rc = 0;
    if (known) {
        dstack_identity whole = *identity;
        dstack_bytes info = attest_claim(a->runtime, "key-provider");
        memset(whole.key_provider_info, 0, sizeof whole.key_provider_info);
        if (info.len >= sizeof whole.key_provider_info) {
            return error_set(err, DSTACK_E_REFUSED, "key-provider is too long");
        }
        memcpy(whole.key_provider_info, info.data, info.len);
        rc = dstack_identity_key_provider(&whole, provider, &provider_id, err);
    } else if (td->mr_config_id[0] != 1) {
        return 0;
    }
    if (rc == 0 && verify_provider_kind(provider, &local.key_provider) != 0) {
        rc = error_set(err, DSTACK_E_REFUSED, "unknown key provider");
    }
    if (rc == 0) {
        local.key_provider_id = bytes_of_buf(&provider_id);
        DSTACK_AUTO(json) json_t *config = NULL;
        dstack_bytes document = find_document(a, &config);
        rc = dstack_mr_config_check(td->mr_config_id, document, &local, bound, err);
    }
    return rc;
}

/* The key provider's event is shown to people and decides who can have given keys: it must be what
 * the guest writes. */
static int check_key_provider(const dstack_identity *identity, dstack_error *err) {
    if (*identity->key_provider_info == '\0') {
        return 0;
    }
    char name[32];
    dstack_key_provider kind;
    DSTACK_AUTO(buf) dstack_buf id = {0};
    int rc = dstack_identity_key_provider(identity, name, &id, err);
    if (rc == 0) {
        rc = verify_provider_kind(name, &kind);
    }
    return rc == 0 ? 0 : error_set(err, DSTACK_E_REFUSED, "event log: key-provider is malformed");
}

int verify_tdx_evidence(dstack_verifier *verifier, const dstack_attestation *a,
                        const dstack_attestation_options *options, dstack_verified *verified,
                        dstack_error *err) {
    int rc = check_quote(verifier, bytes_of_buf(&a->evidence), options, &verified->quote, err);
    if (rc == 0) {
        rc = verify_report_data(a, verified, "tdx", options, err);
    }
    if (rc == 0) {
        rc = verify_events(a, dstack_quote_report_td(&verified->quote), err);
    }
    if (rc == 0 && options->boot_time && attest_claim_count(a->runtime, "boot-mr-done") == 0) {
        rc = error_set(err, DSTACK_E_REFUSED, "event log: boot-mr-done was not measured");
    }
    return rc;
}

int verify_tdx_binding(const dstack_attestation *a, const dstack_attestation_options *options,
                       dstack_verified *verified, dstack_error *err) {
    int rc = check_key_provider(&verified->identity, err);
    if (rc == 0) {
        rc = check_mr_config(a, dstack_quote_report_td(&verified->quote), &verified->identity,
                             &verified->mr_config_bound, err);
    }
    if (rc == 0 && options->require_mr_config && !verified->mr_config_bound) {
        rc = error_set(err, DSTACK_E_REFUSED, "MR_CONFIG_ID is unset and policy requires it");
    }
    return rc;
}

int verify_tdx(dstack_verifier *verifier, const dstack_attestation *a,
               const dstack_attestation_options *options, dstack_verified *verified,
               dstack_error *err) {
    int rc = verify_tdx_evidence(verifier, a, options, verified, err);
    if (rc != 0) {
        return rc;
    }
    const dstack_td_report *td = dstack_quote_report_td(&verified->quote);
    DSTACK_AUTO(json) json_t *vm_config = NULL;
    DSTACK_AUTO(json) json_t *unwrapped = NULL;
    attest_identity_input input = {
        .td = td,
        .runtime = a->runtime,
        .boot_time = options->boot_time,
        .device = bytes_of(verified->quote.pck.ppid, sizeof verified->quote.pck.ppid),
    };
    rc = attest_vm_config(options->vm_config, a->config, false, &vm_config, err);
    if (rc == 0) {
        rc = attest_vm_config(options->vm_config, a->config, true, &unwrapped, err);
    }
    if (rc == 0) {
        input.vm_config = vm_config;
        rc = error_prefix(err, attest_identity_tdx(&input, &verified->identity, err),
                          "decode app info");
    }
    if (rc == 0) {
        rc = verify_tdx_binding(a, options, verified, err);
    }
    const dstack_image_question question = {
        .mrtd = td->mr_td,
        .rtmr = {td->rt_mr[0], td->rt_mr[1], td->rt_mr[2]},
        .event_log = a->event_log,
    };
    return rc == 0 ? verify_image(&question, unwrapped, options, verified, err) : rc;
}
